"""Sessions come and go: the durable chain of a device's sessions, and its place in presence.

Owns logins under way, and those of a moment ago. Presence is swapped, and the session that was replaced told, before
the new one may read. A device that is removed while it logs in may be registered after all sessions of removed devices
were closed, so each login that was seen shortly before a change is looked at again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence

from broker.core.state import Outbox, Place, Presence, Registered, StorePort
from broker.settings import BrokerSettings
from protocol.ids import address, split_address
from protocol.records import (
    AGAIN,
    AWAY,
    CLOSE,
    EVICT,
    NO_DEVICE,
    OK,
    ONLINE_REPLY,
    PREDECESSOR,
    TAKEN,
    Record,
    record,
)
from protocol.sparrow_pb2 import Goodbye
from store.interface import SessionStart

DEVICE_REMOVED = int(Goodbye.DEVICE_REMOVED)


class Logins:
    """All logins of a broker."""

    def __init__(self, settings: BrokerSettings, outbox: Outbox, presence: Presence, store: StorePort) -> None:
        self._settings = settings
        self._outbox = outbox
        self._presence = presence
        self._store = store
        self._new: list[tuple[int, Record]] = []
        self._recent: deque[tuple[float, str, str, Place]] = deque()
        """(until when it is recent, user, device, place), oldest first."""
        self._seen: dict[str, None] = {}
        """Who came or left since that was kept."""
        self._keep_seen_at = 0.0
        self.results: Counter[int] = Counter()
        """What logins were answered, by the result."""
        self._doubtful: set[str] = set()
        """Users who have changed since the last tick."""

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
            until = self._outbox.now + self._settings.recent_login_s
            for start, (connector, _) in zip(starts, new, strict=True):
                self._recent.append((until, start.user, start.device, Place(connector, start.session)))
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
            self._welcome(rec)
            self._reply(place.connector, rec, OK, before)
        else:
            self._welcome(rec)
            self.evict(rec[4], found.previous, place)
            self._reply(place.connector, rec, PREDECESSOR, before)

    def _welcome(self, rec: Record) -> None:
        self._seen[split_address(rec[4])[0]] = None

    def _reply(self, connector: int, rec: Record, result: int, before: int) -> None:
        self.results[result] += 1
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
        self._seen[user] = None
        self._presence.offline(user, device, Place(connector, rec[8]))

    def displaced(self, user: str, device: str, old: Place) -> None:
        """Presence tells of a place that was taken by somebody who did not come through this broker."""
        self.evict(address(user, device), old, None)

    # Changes.

    def changed(self, users: Collection[str] | None) -> None:
        """What is kept of these users (None: of anybody) has changed, perhaps their devices."""
        if self._recent:
            self._doubtful.update((user for _, user, _, _ in self._recent) if users is None else users)

    def tick(self) -> None:
        """Look again at logins whose users have changed; forget those that are recent no more; keep who was seen."""
        if self._doubtful:
            doubtful, self._doubtful = self._doubtful, set()
            recent = [entry for entry in self._recent if entry[1] in doubtful]
            if recent:
                users = list(dict.fromkeys(user for _, user, _, _ in recent))
                self._store.devices(users, lambda found: self._looked(recent, found))
        while self._recent and self._recent[0][0] <= self._outbox.now:
            self._recent.popleft()
        if self._seen and self._outbox.now >= self._keep_seen_at:
            seen, self._seen = self._seen, {}
            self._keep_seen_at = self._outbox.now + self._settings.seen_interval_s
            self._store.saw(list(seen))

    def _looked(
        self,
        recent: list[tuple[float, str, str, Place]],
        found: Mapping[str, tuple[str, ...] | None] | None,
    ) -> None:
        for _, user, device, place in recent:
            if found is None:
                self._doubtful.add(user)
            elif device not in (found.get(user) or ()):
                encoded = record(CLOSE, flags=DEVICE_REMOVED, to=address(user, device), session=place.session)
                self._outbox.push(place.connector, encoded)
