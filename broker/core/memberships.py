"""Who is in which group, as brokers remember it.

Owns that reading. How long an answer may be used is `broker.core.cached`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.core.cached import Cached, Freshness
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from store.groups import Group


class Memberships(Cached[str, Group | None]):
    """Group id → the group; None for what is none."""

    def __init__(self, settings: BrokerSettings, turn: Turn, freshness: Freshness, store: StorePort) -> None:
        super().__init__(settings, turn, freshness, self._read_groups, worth=lambda group: group is not None)
        self._store = store

    def _read_groups(self, ids: Sequence[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        self._store.groups(ids, done)
