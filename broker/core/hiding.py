"""Who hides their presence: what they have read is told to their own devices alone.

Owns that reading. How long an answer may be used is `broker.core.cached`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.core.cached import Cached, Freshness
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings


class Hiding(Cached[str, bool]):
    """User → whether they hide their presence; who is not there hides nothing."""

    def __init__(self, settings: BrokerSettings, turn: Turn, freshness: Freshness, store: StorePort) -> None:
        super().__init__(settings, turn, freshness, self._read_users)
        self._store = store

    def _read_users(self, users: Sequence[str], done: Callable[[Mapping[str, bool] | None], None]) -> None:
        self._store.hiders(
            users, lambda found: done(None if found is None else {user: user in found for user in users})
        )
