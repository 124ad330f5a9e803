"""Sessions come and go: the durable chain of a device's sessions, and its location in presence.

Owns logins under way, and those of a moment ago. Presence is swapped, and the session that was replaced told, before
the new one may read. A session belongs to a login of its device: the store compares them when it names a session, and
the broker once more when presence has it, be it the first time or again. Whoever ends a login writes that first and
looks in presence second, so one of the two sees the other. What 0.1 does not compare is looked at again when its user
changes shortly after.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from broker.core.closings import Closings
from broker.core.state import Location, Presence, Rank, StorePort, Swapped, Turn
from broker.settings import BrokerSettings
from fabric.control import Evict, Offline, Online, OnlineReply
from fabric.records import AWAY, DISABLED, LATE, LOGIN_ENDED, NO_DEVICE, OK, PREDECESSOR, TAKEN, Record
from protocol.ids import address, split_address
from protocol.sparrow_pb2 import Goodbye
from store.sessions import NoSession, SessionStart, Standing
from store.settings import HistorySettings

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


@dataclass(slots=True)
class _Coming:
    """A session that is about to be registered."""

    location: Location
    user: str
    device: str
    asked: Online
    before: int = 0
    """The device's session before, for its client; 0: none, or this one registers again."""
    replaced: Location | None = None
    """Whom presence named until now."""


class Registrations:
    """All registrations of sessions at a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        presence: Presence,
        store: StorePort,
        closings: Closings,
        inbox_ttl_ms: int,
        history: HistorySettings,
    ) -> None:
        self._settings = settings
        self._inbox_ttl_ms = inbox_ttl_ms
        self._edit_hours = math.ceil(history.edit_hours)
        self._closings = closings
        self._turn = turn
        self._presence = presence
        self._store = store
        self.coming: list[_Coming] = []
        """Sessions of this turn, to be named by the store."""
        self.there: list[_Coming] = []
        """Sessions in presence by now, not welcome yet."""
        self._recent: deque[_Recent] = deque()
        """Logins that are compared again when their users change; the oldest first."""
        self._seen: dict[str, None] = {}
        """Users who came or left since the store was told last."""
        self._keep_seen_at = 0.0
        self.results: Counter[int] = Counter()
        """What logins were answered, by the result."""
        self._doubtful: set[str] = set()
        """Users who have changed since the last tick."""

    def online(self, connector: int, rec: Record) -> None:
        """A session wants to be registered. Raises `RecordError`."""
        asked = Online.of(rec)
        coming = _Coming(Location(connector, asked.session), *split_address(asked.address), asked)
        self._remember(coming)
        if asked.again:
            self._register(coming)
        else:
            self.coming.append(coming)

    def flush(self) -> None:
        """Name the sessions of this turn durably, in one batch; look at those in presence by now in another."""
        if self.coming:
            new, self.coming = self.coming, []
            starts = [_start(coming) for coming in new]
            self._store.begin_sessions(starts, lambda previous: self._begun(new, previous))
        if self.there:
            there, self.there = self.there, []
            users = list(dict.fromkeys(coming.user for coming in there))
            self._store.standing(users, lambda found: self._compared(there, found))

    def _remember(self, coming: _Coming) -> None:
        until = self._turn.now + self._settings.recent_login_s
        self._recent.append(_Recent(until, coming.user, coming.device, coming.asked.login, coming.location))

    def _begun(self, new: list[_Coming], previous: Sequence[int | NoSession] | None) -> None:
        for at, coming in enumerate(new):
            before = None if previous is None else previous[at]
            if before is None:
                self._reply(coming, AWAY)
            elif isinstance(before, NoSession):
                self._reply(coming, _RESULTS[before])
            else:
                coming.before = before
                self._register(coming)

    def _register(self, coming: _Coming) -> None:
        asked = coming.asked
        self._presence.online(
            coming.user,
            coming.device,
            coming.location,
            asked.lease,
            asked.again,
            lambda found: self._registered(coming, found),
            Rank(asked.start, asked.tries),
        )

    def _registered(self, coming: _Coming, found: Swapped | None) -> None:
        if found is None:
            self._reply(coming, AWAY)
        elif found.taken:
            self._reply(coming, TAKEN if coming.asked.again else LATE)
        else:
            coming.replaced = None if found.previous == coming.location else found.previous
            if coming.asked.login:
                self.there.append(coming)
            else:
                self._remember(coming)
                self._welcome(coming)

    def _compared(self, there: list[_Coming], found: Mapping[str, Standing | None] | None) -> None:
        """The logins of those who are in presence by now are compared with what stands."""
        for coming in there:
            user, device = coming.user, coming.device
            refused = None if found is None else _refused(found.get(user), device, coming.asked.login)
            if coming.replaced is not None and (found is None or refused is not None):
                self._evict(coming.asked.address, coming.replaced)
            if found is None:
                self._reply(coming, AWAY)
            elif refused is not None:
                self._presence.offline(user, device, coming.location)
                self._reply(coming, _RESULTS[refused])
            else:
                self._welcome(coming)

    def _welcome(self, coming: _Coming) -> None:
        self._seen[coming.user] = None
        if coming.replaced is None:
            self._reply(coming, OK)
        else:
            self._evict(coming.asked.address, coming.replaced, coming.location)
            self._reply(coming, PREDECESSOR)

    def _reply(self, coming: _Coming, result: int) -> None:
        self.results[result] += 1
        previous = coming.before if result in (OK, PREDECESSOR) else 0
        asked, terms = coming.asked, (self._inbox_ttl_ms, self._edit_hours)
        reply = OnlineReply(asked.address, asked.session, result, previous, *terms)
        self._turn.push(coming.location.connector, reply.encode())

    def _evict(self, to: bytes, old: Location, new: Location | None = None) -> None:
        """Tell a connector that presence no longer names its session; `new` waits for the answer."""
        self._turn.push(old.connector, Evict(to, old.session, *(new or (0, 0))).encode())

    def offline(self, connector: int, rec: Record) -> None:
        """A session has ended."""
        gone = Offline.of(rec)
        user, device = split_address(gone.address)
        self._seen[user] = None
        self._presence.offline(user, device, Location(connector, gone.session))

    def superseded(self, user: str, device: str, old: Location) -> None:
        """Presence tells of a location that was taken by somebody who did not come through this broker."""
        self._evict(address(user, device), old)

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
        while self._recent and self._recent[0].until <= self._turn.now:
            self._recent.popleft()
        if self._seen and self._turn.now >= self._keep_seen_at:
            seen, self._seen = self._seen, {}
            self._keep_seen_at = self._turn.now + self._settings.seen_interval_s
            self._store.saw(list(seen))

    def _looked(self, recent: list[_Recent], found: Mapping[str, Standing | None] | None) -> None:
        for one in recent:
            if found is None:
                self._doubtful.add(one.user)
                continue
            refused = _refused(found.get(one.user), one.device, one.login)
            if refused is not None:
                self._closings.close_all(one.user, {one.device: one.location}, _CODES[refused])


def _start(coming: _Coming) -> SessionStart:
    asked = coming.asked
    return SessionStart(coming.user, coming.device, asked.session, asked.login, asked.start, asked.tries)


def _refused(standing: Standing | None, device: str, login: str) -> NoSession | None:
    return NoSession.NO_DEVICE if standing is None else standing.refuses(device, login)
