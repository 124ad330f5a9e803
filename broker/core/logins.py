"""Sessions come and go: the durable chain of a device's sessions, and its location in presence.

Owns logins under way, and those of a moment ago. Presence is swapped, and the session that was replaced told, before
the new one may read. A session belongs to a login of its device: the store compares them when it names a session, and
the broker once more when presence has it, be it the first time or again. Whoever ends a login writes that first and
looks in presence second, so one of the two sees the other. What 0.1 does not compare is looked at again when its user
changes shortly after.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from broker.core.closings import Closings
from broker.core.state import Location, Outbox, Presence, Rank, Registered, StorePort
from broker.settings import BrokerSettings
from fabric.records import (
    AGAIN,
    AWAY,
    DISABLED,
    EVICT,
    LATE,
    LOGIN_ENDED,
    NO_DEVICE,
    OK,
    ONLINE_REPLY,
    PREDECESSOR,
    TAKEN,
    Record,
    pack_terms,
    record,
    unpack_login,
)
from protocol.ids import address, split_address
from protocol.sparrow_pb2 import Goodbye
from store.sessions import NoSession, SessionStart, Standing

_RESULTS = {
    NoSession.NO_DEVICE: NO_DEVICE,
    NoSession.DISABLED: DISABLED,
    NoSession.LOGGED_OUT: LOGIN_ENDED,
    NoSession.LATE: LATE,
}
_CODES = {
    NoSession.NO_DEVICE: int(Goodbye.DEVICE_REMOVED),
    NoSession.DISABLED: int(Goodbye.ACCOUNT_DISABLED),
    NoSession.LOGGED_OUT: int(Goodbye.LOGGED_OUT),
}


@dataclass(frozen=True, slots=True)
class _Recent:
    """A login of a moment ago."""

    until: float
    user: str
    device: str
    login: str
    location: Location


class Logins:
    """All logins of a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        outbox: Outbox,
        presence: Presence,
        store: StorePort,
        closings: Closings,
        inbox_ttl_ms: int,
    ) -> None:
        self._settings = settings
        self._terms = pack_terms(inbox_ttl_ms)
        self._closings = closings
        self._outbox = outbox
        self._presence = presence
        self._store = store
        self._new: list[tuple[int, Record]] = []
        self._there: list[tuple[Record, int, Location | None, Location]] = []
        """In presence by now, not welcome yet: what each asked, its session before, whom it replaced, its location."""
        self._recent: deque[_Recent] = deque()
        """Oldest first."""
        self._seen: dict[str, None] = {}
        """Who came or left since that was kept."""
        self._keep_seen_at = 0.0
        self.results: Counter[int] = Counter()
        """What logins were answered, by the result."""
        self._doubtful: set[str] = set()
        """Users who have changed since the last tick."""

    def online(self, connector: int, rec: Record) -> None:
        """A session wants to be registered. Raises `RecordError`."""
        unpack_login(rec[9])
        self._remember(connector, rec)
        if rec[1] & AGAIN:
            self._register(connector, rec, 0)
        else:
            self._new.append((connector, rec))

    def flush(self) -> None:
        """Name the sessions of this turn durably, in one batch; look at those in presence by now in another."""
        if self._new:
            new, self._new = self._new, []
            starts = [_start(rec) for _, rec in new]
            self._store.begin_sessions(starts, lambda previous: self._begun(new, previous))
        if self._there:
            there, self._there = self._there, []
            users = list(dict.fromkeys(split_address(rec[4])[0] for rec, *_ in there))
            self._store.standing(users, lambda found: self._held(there, found))

    def _remember(self, connector: int, rec: Record) -> None:
        until = self._outbox.now + self._settings.recent_login_s
        login, _, _ = unpack_login(rec[9])
        self._recent.append(_Recent(until, *split_address(rec[4]), login, Location(connector, rec[8])))

    def _begun(self, new: list[tuple[int, Record]], previous: Sequence[int | NoSession] | None) -> None:
        for at, (connector, rec) in enumerate(new):
            if previous is None:
                self._reply(connector, rec, AWAY, 0)
                continue
            before = previous[at]
            if isinstance(before, NoSession):
                self._reply(connector, rec, _RESULTS[before], 0)
            else:
                self._register(connector, rec, before)

    def _register(self, connector: int, rec: Record, before: int) -> None:
        user, device = split_address(rec[4])
        location = Location(connector, rec[8])
        again = bool(rec[1] & AGAIN)
        _, start, tries = unpack_login(rec[9])

        def done(found: Registered | None) -> None:
            self._registered(location, rec, before, found)

        self._presence.online(user, device, location, rec[7], again, done, Rank(start, tries))

    def _registered(self, location: Location, rec: Record, before: int, found: Registered | None) -> None:
        if found is None:
            self._reply(location.connector, rec, AWAY, 0)
        elif found.taken:
            self._reply(location.connector, rec, TAKEN if rec[1] & AGAIN else LATE, 0)
        else:
            replaced = None if found.previous == location else found.previous
            login, _, _ = unpack_login(rec[9])
            if login:
                self._there.append((rec, before, replaced, location))
            else:
                self._remember(location.connector, rec)
                self._welcome(rec, before, replaced, location)

    def _held(
        self, there: list[tuple[Record, int, Location | None, Location]], found: Mapping[str, Standing | None] | None
    ) -> None:
        """What is in presence by now is held against what stands."""
        for rec, before, replaced, location in there:
            user, device = split_address(rec[4])
            login, _, _ = unpack_login(rec[9])
            refused = None if found is None else _refused(found.get(user), device, login)
            if replaced is not None and (found is None or refused is not None):
                self.evict(rec[4], replaced, None)
            if found is None:
                self._reply(location.connector, rec, AWAY, 0)
            elif refused is not None:
                self._presence.offline(user, device, location)
                self._reply(location.connector, rec, _RESULTS[refused], 0)
            else:
                self._welcome(rec, before, replaced, location)

    def _welcome(self, rec: Record, before: int, replaced: Location | None, location: Location) -> None:
        self._seen[split_address(rec[4])[0]] = None
        if replaced is None:
            self._reply(location.connector, rec, OK, before)
        else:
            self.evict(rec[4], replaced, location)
            self._reply(location.connector, rec, PREDECESSOR, before)

    def _reply(self, connector: int, rec: Record, result: int, before: int) -> None:
        self.results[result] += 1
        encoded = record(ONLINE_REPLY, flags=result, to=rec[4], session=rec[8], attempt=before, body=self._terms)
        self._outbox.push(connector, encoded)

    def evict(self, to: bytes, old: Location, new: Location | None) -> None:
        """Tell a connector that presence no longer names its session; `new` waits for the answer."""
        origin, attempt = new or (0, 0)
        encoded = record(EVICT, to=to, session=old.session, origin=origin, attempt=attempt)
        self._outbox.push(old.connector, encoded)

    def offline(self, connector: int, rec: Record) -> None:
        """A session has ended."""
        user, device = split_address(rec[4])
        self._seen[user] = None
        self._presence.offline(user, device, Location(connector, rec[8]))

    def superseded(self, user: str, device: str, old: Location) -> None:
        """Presence tells of a location that was taken by somebody who did not come through this broker."""
        self.evict(address(user, device), old, None)

    # Changes.

    def changed(self, users: Collection[str] | None) -> None:
        """What is kept of these users (None: of anybody) has changed, perhaps their devices."""
        if self._recent:
            self._doubtful.update((one.user for one in self._recent) if users is None else users)

    def tick(self) -> None:
        """Look again at logins whose users have changed; forget those that are recent no more; keep who was seen."""
        if self._doubtful:
            doubtful, self._doubtful = self._doubtful, set()
            recent = [one for one in self._recent if one.user in doubtful]
            if recent:
                users = list(dict.fromkeys(one.user for one in recent))
                self._store.standing(users, lambda found: self._looked(recent, found))
        while self._recent and self._recent[0].until <= self._outbox.now:
            self._recent.popleft()
        if self._seen and self._outbox.now >= self._keep_seen_at:
            seen, self._seen = self._seen, {}
            self._keep_seen_at = self._outbox.now + self._settings.seen_interval_s
            self._store.saw(list(seen))

    def _looked(self, recent: list[_Recent], found: Mapping[str, Standing | None] | None) -> None:
        for one in recent:
            if found is None:
                self._doubtful.add(one.user)
                continue
            refused = _refused(found.get(one.user), one.device, one.login)
            if refused is not None:
                self._closings.close_all(one.user, {one.device: one.location}, _CODES[refused])


def _start(rec: Record) -> SessionStart:
    login, start, tries = unpack_login(rec[9])
    return SessionStart(*split_address(rec[4]), rec[8], login, start, tries)


def _refused(standing: Standing | None, device: str, login: str) -> NoSession | None:
    return NoSession.NO_DEVICE if standing is None else standing.refuses(device, login)
