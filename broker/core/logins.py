"""Sessions come and go: the durable chain of a device's sessions, and its place in presence.

Owns logins under way. Presence is swapped, and the session that was replaced told, before the new one may read.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.core.state import Outbox, Place, Presence, Registered, StorePort
from protocol.ids import address, split_address
from protocol.records import (
    AGAIN,
    AWAY,
    EVICT,
    NO_DEVICE,
    OK,
    ONLINE_REPLY,
    PREDECESSOR,
    TAKEN,
    Record,
    record,
)
from store.interface import SessionStart


class Logins:
    """All logins of a broker."""

    def __init__(self, outbox: Outbox, presence: Presence, store: StorePort) -> None:
        self._outbox = outbox
        self._presence = presence
        self._store = store
        self._new: list[tuple[int, Record]] = []

    def online(self, connector: int, rec: Record) -> None:
        """A session wants to be registered."""
        if rec[1] & AGAIN:
            self._register(connector, rec, 0)
        else:
            self._new.append((connector, rec))

    def flush(self) -> None:
        """Name the sessions of this turn durably, in one batch."""
        if self._new:
            new, self._new = self._new, []
            starts = [SessionStart(*split_address(rec[4]), rec[8]) for _, rec in new]
            self._store.begin_sessions(starts, lambda previous: self._begun(new, previous))

    def _begun(self, new: list[tuple[int, Record]], previous: Sequence[int | None] | None) -> None:
        for at, (connector, rec) in enumerate(new):
            if previous is None:
                self._reply(connector, rec, AWAY, 0)
                continue
            before = previous[at]
            if before is None:
                self._reply(connector, rec, NO_DEVICE, 0)
            else:
                self._register(connector, rec, before)

    def _register(self, connector: int, rec: Record, before: int) -> None:
        user, device = split_address(rec[4])
        place = Place(connector, rec[8])
        again = bool(rec[1] & AGAIN)
        self._presence.online(
            user, device, place, rec[7], again, lambda found: self._registered(place, rec, before, found)
        )

    def _registered(self, place: Place, rec: Record, before: int, found: Registered | None) -> None:
        if found is None:
            self._reply(place.connector, rec, AWAY, 0)
        elif found.taken:
            self._reply(place.connector, rec, TAKEN, 0)
        elif found.previous is None or found.previous == place:
            self._reply(place.connector, rec, OK, before)
        else:
            self.evict(rec[4], found.previous, place)
            self._reply(place.connector, rec, PREDECESSOR, before)

    def _reply(self, connector: int, rec: Record, result: int, before: int) -> None:
        encoded = record(ONLINE_REPLY, flags=result, to=rec[4], session=rec[8], attempt=before)
        self._outbox.push(connector, encoded)

    def evict(self, to: bytes, old: Place, new: Place | None) -> None:
        """Tell a connector that presence no longer names its session; `new` waits for the answer."""
        origin, attempt = new or (0, 0)
        encoded = record(EVICT, to=to, session=old.session, origin=origin, attempt=attempt)
        self._outbox.push(old.connector, encoded)

    def offline(self, connector: int, rec: Record) -> None:
        """A session has ended."""
        user, device = split_address(rec[4])
        self._presence.offline(user, device, Place(connector, rec[8]))

    def displaced(self, user: str, device: str, old: Place) -> None:
        """Presence tells of a place that was taken by somebody who did not come through this broker."""
        self.evict(address(user, device), old, None)
