"""Presence in memory, for the one broker of a node: the same port as presence in etcd.

Owns the map and the leases. Gone when the broker is gone; its connectors then register again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from broker.core.state import UNKNOWN_RANK, Location, Rank, Swapped

_NOBODY: Mapping[str, Location] = {}


class MemoryPresence:
    """`broker.core.state.Presence`, always up to date. Not thread-safe."""

    def __init__(
        self,
        lease_s: float,
        first_lease: int,
        on_changed: Callable[[Collection[str] | None], None] = lambda users: None,
    ) -> None:
        self.joined = 1
        """Always: there is no cluster to be left out of."""
        self._lease_s = lease_s
        self._on_changed = on_changed
        self._users: dict[str, dict[str, Location]] = {}
        self._ranks: dict[Location, Rank] = {}
        """The rank of each location whose connector has told it."""
        self._by_connector: dict[int, dict[tuple[str, str], Location]] = {}
        self._leases: dict[int, tuple[int, float]] = {}
        """connector → (lease, when it runs out)."""
        self._next_lease = first_lease
        self._now = 0.0

    @property
    def locations(self) -> Mapping[str, Mapping[str, Location]]:
        """See `broker.core.state.Presence`."""
        return self._users

    def where(self, user: str) -> Mapping[str, Location]:
        """Device → location."""
        return self._users.get(user, _NOBODY)

    def online(
        self,
        user: str,
        device: str,
        location: Location,
        lease: int,
        again: bool,
        done: Callable[[Swapped | None], None],
        rank: Rank = UNKNOWN_RANK,
    ) -> None:
        """Swap the location of a device; refused as "away" under a lease that has run out."""
        held = self._leases.get(location.connector)
        if held is None or held[0] != lease:
            done(None)
            return
        devices = self._users.get(user, _NOBODY)
        previous = devices.get(device)
        if previous is not None and previous != location:
            if again or rank.is_behind(self._ranks.get(previous, UNKNOWN_RANK)):
                done(Swapped(previous, taken=True))
                return
            self._ranks.pop(previous, None)
        if previous is not None:
            self._by_connector[previous.connector].pop((user, device), None)
        self._users.setdefault(user, {})[device] = location
        if rank.start:
            self._ranks[location] = rank
        self._by_connector.setdefault(location.connector, {})[user, device] = location
        done(Swapped(previous))

    def offline(self, user: str, device: str, location: Location) -> None:
        """Forget the location, if it is still this one."""
        devices = self._users.get(user)
        if devices is not None and devices.get(device) == location:
            self._by_connector[location.connector].pop((user, device), None)
            self._ranks.pop(location, None)
            del devices[device]
            if not devices:
                del self._users[user]

    def barrier(self, done: Callable[[bool], None]) -> None:
        """There is one map, and this is it."""
        done(True)

    def changed(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        """There is one broker to tell."""
        self._on_changed(users)
        done(True)

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        """Keep the lease, or grant a new one."""
        held = self._leases.get(connector)
        if held is None or held[0] != lease:
            self._drop(connector)
            lease, self._next_lease = self._next_lease, self._next_lease + 1
        self._leases[connector] = (lease, self._now + self._lease_s)
        done(lease)

    def tick(self, now: float) -> None:
        """Drop what hangs on leases that have run out."""
        self._now = now
        for connector in [c for c, (_, until) in self._leases.items() if until <= now]:
            del self._leases[connector]
            self._drop(connector)

    def _drop(self, connector: int) -> None:
        for (user, device), location in self._by_connector.pop(connector, {}).items():
            self._ranks.pop(location, None)
            devices = self._users.get(user)
            if devices is not None and devices.get(device) == location:
                del devices[device]
                if not devices:
                    del self._users[user]

    def __len__(self) -> int:
        return sum(len(locations) for locations in self._by_connector.values())
