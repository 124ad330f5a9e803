"""Who may write to whom: blocks, always, and friendship, if the settings want it.

Owns the verdicts on (author, receiver) and what each means. How long one may be used is `broker.core.cached`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from broker.core.cached import Cached, Freshness
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from fabric.records import BLOCKED, BLOCKS, NOT_FRIEND, SAFE
from store.contacts import Verdict

Pair = tuple[str, str]
"""(author, receiver)."""


class Policy(Cached[Pair, Verdict]):
    """Verdicts, by pair; dropped by the receiver, since every change of a pair is told of both."""

    def __init__(self, settings: BrokerSettings, turn: Turn, freshness: Freshness, store: StorePort) -> None:
        super().__init__(settings, turn, freshness, self._read_verdicts)
        self._store = store
        self._max_receivers = settings.max_cached_users
        self._of: dict[str, set[Pair]] = {}
        """Receiver → pairs that were read."""
        self._refused = {Verdict.BLOCKED: BLOCKED, Verdict.BLOCKS: BLOCKS}
        if settings.blocks_are_silent:
            self._refused[Verdict.BLOCKED] = SAFE
        if settings.who_may_write == "friends":
            self._refused[Verdict.STRANGER] = NOT_FRIEND

    def _read_verdicts(self, pairs: Sequence[Pair], done: Callable[[Mapping[Pair, Verdict] | None], None]) -> None:
        if len(self._of) >= self._max_receivers:
            self.changed(None)
        for pair in pairs:
            self._of.setdefault(pair[1], set()).add(pair)
        self._store.verdicts(pairs, done)

    def state(self, verdict: Verdict) -> int:
        """The outcome's state of a message that may not be written, SAFE where nobody is to know; 0: it may be."""
        return self._refused.get(verdict, 0)

    def changed(self, users: Collection[str] | None) -> None:
        """How these users (None: anybody) stand to others has changed."""
        if users is None:
            self._of.clear()
            self.forget(None)
            return
        self.forget([pair for user in users for pair in self._of.pop(user, ())])
