"""Which devices each user has.

Owns the reading. How long a list may be used is `broker.core.cached`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.core.cached import Cached, Freshness
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from protocol.ids import address

DeviceList = tuple[tuple[str, bytes], ...]
"""(device id, address)."""
Lists = Mapping[str, DeviceList | None]


class Devices(Cached[str, DeviceList | None]):
    """User → devices; None for no such user, which is not remembered: they may exist the next moment."""

    def __init__(self, settings: BrokerSettings, turn: Turn, freshness: Freshness, store: StorePort) -> None:
        super().__init__(settings, turn, freshness, self._read_lists, lambda devices: devices is not None)
        self._store = store

    def _read_lists(self, users: Sequence[str], done: Callable[[Lists | None], None]) -> None:
        self._store.devices(users, lambda found: done(None if found is None else _lists(users, found)))


def _lists(users: Sequence[str], found: Mapping[str, tuple[str, ...] | None]) -> Lists:
    return {user: _with_addresses(user, found.get(user)) for user in users}


def _with_addresses(user: str, devices: tuple[str, ...] | None) -> DeviceList | None:
    return None if devices is None else tuple((device, address(user, device)) for device in devices)
