"""Which devices a user has, from a cache that is never older than T.

Owns the cache. The bound is what makes a further device complete: the user API keeps its token back for T, so when it
first logs in, every list without it has run out (docs/design.md, "Devices").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core.state import Outbox, StorePort
from broker.settings import BrokerSettings
from protocol.ids import address

DeviceList = tuple[tuple[str, bytes], ...]
"""(device id, address)."""


@dataclass(slots=True)
class Entry:
    """A user's devices; None for no such user."""

    devices: DeviceList | None
    read_at: float
    """When the read began."""


class Devices:
    """The cache of device lists."""

    def __init__(self, settings: BrokerSettings, outbox: Outbox, store: StorePort) -> None:
        self._settings = settings
        self._outbox = outbox
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._wanted: dict[str, None] = {}
        self._aging: dict[str, None] = {}
        """To be read again at the next tick: many in one read, since each read has a price of its own."""
        self._reading: set[str] = set()
        self.on_read: Callable[[list[str], bool], None] = lambda users, ok: None
        """Told which users' reads have ended, and whether they succeeded."""

    def get(self, user: str) -> Entry | None:
        """A list that may be used now; None: `on_read` will tell."""
        entry = self._entries.get(user)
        if entry is not None:
            age = self._outbox.now - entry.read_at
            limit = self._settings.device_cache_s
            if age < limit:
                if age > limit / 2 and user not in self._reading:
                    self._aging[user] = None
                return entry
        if user not in self._reading:
            self._wanted[user] = None
        return None

    def renew_at(self, *entries: Entry) -> float:
        """Until when what follows from these may be used before `get` is asked for them again."""
        read_at = min(entry.read_at for entry in entries)
        limit = self._settings.device_cache_s
        # In the later half a newer list is on its way.
        return max(read_at + limit / 2, min(read_at + limit, self._outbox.now + limit / 8))

    def tick(self) -> None:
        """Read the lists again that are in the later half of their time and in use."""
        self._wanted.update(self._aging)
        self._aging.clear()

    def flush(self) -> None:
        """Read what this turn asked for, at once."""
        if not self._wanted:
            return
        users, self._wanted = list(self._wanted), {}
        self._reading.update(users)
        began = self._outbox.now
        self._store.devices(users, lambda found: self._read(users, began, found))

    def _read(self, users: list[str], began: float, found: Mapping[str, tuple[str, ...] | None] | None) -> None:
        self._reading.difference_update(users)
        if found is not None:
            if len(self._entries) + len(users) > self._settings.max_cached_users:
                self._entries.clear()
            for user in users:
                ids = found.get(user)
                devices = None if ids is None else tuple((device, address(user, device)) for device in ids)
                self._entries[user] = Entry(devices, began)
        self.on_read(users, found is not None)
        for user in users:
            # A user who does not exist yet may, the next moment.
            entry = self._entries.get(user)
            if entry is not None and entry.devices is None:
                del self._entries[user]
