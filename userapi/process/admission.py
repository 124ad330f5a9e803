"""Who is connected: how many connections there may be, of one address and of all.

Owns the table, and who has to go when it is full: never a request in hand; of those who have most, whoever has kept us
waiting longest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fabric.networks import Address, Network, among, as_key


class Guest(Protocol):
    """A connection, as far as the table is concerned."""

    rank: int
    """How readily it goes: lower first; negative: it does not, as a request of it is in hand."""
    since: float
    """When it came to that; in seconds, on a clock that never steps."""

    def evict(self) -> None:
        """Close it."""


class Admission:
    """The table of one process. `exempt`: networks without a limit of an address (proxies, this machine)."""

    def __init__(self, most: int, most_of_address: int, exempt: tuple[Network, ...]) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._exempt = exempt
        self._guests: dict[str, dict[Guest, None]] = {}
        self._count = 0
        self.evicted = 0
        """How many connections have had to go so far."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Guest]:
        for some in list(self._guests.values()):
            yield from list(some)

    def enter(self, address: Address | None, guest: Guest) -> str | None:
        """Let it in, if need be in the place of another; returns the key for `leave`, None if there is no room."""
        key = as_key(address)
        limited = address is not None and not among(address, self._exempt)
        if limited and len(self._guests.get(key, ())) >= self._most_of_address and not self._make_room(key):
            return None
        if self._count >= self._most and not self._make_room_among_all(key):
            return None
        self._guests.setdefault(key, {})[guest] = None
        self._count += 1
        return key

    def leave(self, key: str, guest: Guest) -> None:
        """It is gone; once more is no error."""
        some = self._guests.get(key, {})
        if guest in some:
            del some[guest]
            self._count -= 1
            if not some:
                del self._guests[key]

    def _make_room_among_all(self, newcomer: str) -> bool:
        sizes = {key: len(some) + (key == newcomer) for key, some in self._guests.items()}
        return any(self._make_room(key) for key in sorted(sizes, key=sizes.__getitem__, reverse=True))

    def _make_room(self, key: str) -> bool:
        waiting = [guest for guest in self._guests[key] if guest.rank >= 0]
        if not waiting:
            return False
        chosen = min(waiting, key=lambda guest: (guest.rank, guest.since))
        self.leave(key, chosen)
        self.evicted += 1
        chosen.evict()
        return True
