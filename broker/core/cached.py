"""What brokers remember of the store: a cache that lacks no change which may already count.

Owns the two bounds of docs/design.md, "What brokers remember". An entry may be used for T after its reading began; and
beyond that for T after presence was last known to be up to date, since who changes what is kept of a user tells all
brokers through presence, and such entries are dropped. So conversations go on while the store is away, and while
presence is away, though not while both are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.core.state import Presence, Turn
from broker.settings import BrokerSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Read = Callable[[Sequence[K], Callable[[Mapping[K, V] | None], None]], None]


class Freshness:
    """Until when presence vouches for what is cached, in seconds of the turn's clock."""

    def __init__(self, settings: BrokerSettings, turn: Turn, presence: Presence) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self.until = 0.0
        self._next_look = 0.0
        self._looking = False

    def tick(self) -> None:
        """Look whether presence is up to date."""
        now = self._turn.now
        if not self._looking and now >= self._next_look:
            self._looking = True
            self._next_look = now + self._settings.cache_s / 8
            self._presence.barrier(lambda passed: self._looked(now, passed))

    def _looked(self, began: float, passed: bool) -> None:
        self._looking = False
        if passed:
            self.until = began + self._settings.cache_s


@dataclass(slots=True)
class CachedValue(Generic[V]):
    """What was read."""

    value: V
    read_at: float
    """When the read began, in seconds of the turn's clock."""


class Cached(Generic[K, V]):
    """One kind of things that are read by key, many at a time. `worth` says which answers are kept at all."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        freshness: Freshness,
        read: Read[K, V],
        worth: Callable[[V], bool] = lambda value: True,
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._freshness = freshness
        self._read = read
        self._worth = worth
        self._entries: dict[K, CachedValue[V]] = {}
        self.wanted: dict[K, None] = {}
        """Keys that `flush` will read."""
        self._aging: dict[K, None] = {}
        """Keys to be read again at the next tick: many in one read, since each read has a price of its own."""
        self._reading: set[K] = set()
        self._spoilt: set[K] = set()
        """Keys whose values changed while they were being read."""
        self.on_read: Callable[[Sequence[K], bool], None]
        """Told which reads have ended, and whether they succeeded. Whoever makes this has to set it."""
        self.on_forgotten: Callable[[], None]
        """Told that entries are not what they were, so that what follows from them must be made anew. Whoever makes
        this has to set it, too."""

    def get(self, key: K) -> CachedValue[V] | None:
        """An entry that may be used now; None: `on_read` will tell."""
        entry = self._entries.get(key)
        if entry is not None:
            now = self._turn.now
            age, limit = now - entry.read_at, self._settings.cache_s
            trusted = now < self._freshness.until
            if trusted or age < limit:
                if age > (self._settings.cache_refresh_s if trusted else limit / 2) and key not in self._reading:
                    self._aging[key] = None
                return entry
        if key not in self._reading:
            self.wanted[key] = None
        return None

    def peek(self, key: K) -> CachedValue[V] | None:
        """An entry that may be used now; unlike `get`, this asks for none."""
        entry, now = self._entries.get(key), self._turn.now
        if entry is None or (now >= self._freshness.until and now - entry.read_at >= self._settings.cache_s):
            return None
        return entry

    def renew_at(self, read_at: float) -> float:
        """Until when what follows from entries, the oldest read then, may be used before they are asked for again."""
        now = self._turn.now
        if now < self._freshness.until:
            return self._freshness.until
        limit = self._settings.cache_s
        # In the later half a newer entry is on its way.
        return max(read_at + limit / 2, min(read_at + limit, now + limit / 8))

    def forget(self, keys: Collection[K] | None) -> None:
        """The values of these keys (None: of all) have changed: entries of before are of no use."""
        self._spoilt.update(self._reading if keys is None else self._reading.intersection(keys))
        if keys is None:
            self._entries.clear()
            self.on_forgotten()
        elif [key for key in keys if self._entries.pop(key, None) is not None]:
            self.on_forgotten()

    def tick(self) -> None:
        """Read again what has aged and is in use."""
        self.wanted.update(self._aging)
        self._aging.clear()

    def flush(self) -> None:
        """Read what this turn asked for, at once."""
        if not self.wanted:
            return
        keys, self.wanted = list(self.wanted), {}
        self._reading.update(keys)
        began = self._turn.now
        self._read(keys, lambda found: self._ended(keys, began, found))

    def _ended(self, keys: list[K], began: float, found: Mapping[K, V] | None) -> None:
        self._reading.difference_update(keys)
        spoilt = self._spoilt.intersection(keys)
        self._spoilt -= spoilt
        if found is not None:
            self.wanted.update(dict.fromkeys(key for key in keys if key in spoilt))
            keys = [key for key in keys if key not in spoilt]
            self._keep(keys, began, found)
        self.on_read(keys, found is not None)
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and not self._worth(entry.value):
                del self._entries[key]

    def _keep(self, keys: list[K], began: float, found: Mapping[K, V]) -> None:
        if len(self._entries) + len(keys) > self._settings.max_cached_users:
            self._entries.clear()
        other = False
        for key in keys:
            before = self._entries.get(key)
            other = other or (before is not None and before.value != found[key])
            self._entries[key] = CachedValue(found[key], began)
        if other:
            self.on_forgotten()
