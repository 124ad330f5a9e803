"""Who is here: login, registration in presence, replacement, leaving, and registering again.

Owns the sessions' registration. Presence first, inbox second; a session that ends returns its copies before
the one that replaced it is told so.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from sys import intern
from typing import ClassVar

from connector.core.attempts import Attempts
from connector.core.catchup import Catchup
from connector.core.delivery import Delivery
from connector.core.doubts import Doubts
from connector.core.groups import GroupCatchup
from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED, GREETING
from connector.core.rate_limited_log import RateLimitedLog
from connector.core.state import Ports, Session, Turn
from connector.settings import MESSAGE_OVERHEAD_BYTES, ConnectorSettings
from fabric.control import Close, Closed, Evict, Evicted, Online, OnlineReply, Stored
from fabric.rates import Rate
from fabric.records import AWAY, DISABLED, LATE, LOGIN_ENDED, NO_DEVICE, OK, PREDECESSOR, TAKEN, Record
from protocol.errors import TokenError
from protocol.framing import varint
from protocol.ids import address, split_address
from protocol.sparrow_pb2 import Goodbye, LoggedIn, Login

REMOVED = "this device has been removed; log in anew"
REFUSALS = {
    NO_DEVICE: int(Goodbye.DEVICE_REMOVED),
    LOGIN_ENDED: int(Goodbye.LOGGED_OUT),
    DISABLED: int(Goodbye.ACCOUNT_DISABLED),
}
"""What a session gets that is refused, by the result."""
MAX_TRIES = (1 << 63) - 1
MAX_CLIENT_CHARACTERS = 64
"""Characters of a client's own name that are kept for the log."""


class Logins:
    """Registration of all sessions of a connector."""

    RETRY_MS: ClassVar[int] = 1000
    TOO_OFTEN_MS: ClassVar[int] = 10_000

    def __init__(
        self,
        ports: Ports,
        settings: ConnectorSettings,
        turn: Turn,
        links: Links,
        sessions: dict[int, Session],
        delivery: Delivery,
        catchup: Catchup,
        groups: GroupCatchup,
        doubts: Doubts,
        log: RateLimitedLog,
        attempts: Attempts,
    ) -> None:
        self._ports = ports
        self._settings = settings
        self._turn = turn
        self._links = links
        self._sessions = sessions
        self._delivery = delivery
        self._catchup = catchup
        self._groups = groups
        self._doubts = doubts
        self._log = log
        self._attempts = attempts
        self._departures = delivery.departures
        self._asked: dict[Session, float] = {}
        self._leaving: dict[int, Session] = {}
        self._evictions: dict[int, list[tuple[Link, Evicted]]] = {}
        """What is said when a session, by its number, has left."""
        self._rejoin: dict[Session, bool] = {}
        """Sessions that will read their inbox again, or (True) register again and then read."""
        per_minute = settings.max_logins_per_minute_of_device
        self.devices = Rate(per_minute / 60, per_minute)
        self.stopping = False
        self.begun = 0
        """Sessions that were told `LoggedIn`."""
        self.goodbyes: Counter[int] = Counter()
        """Sessions that were told Goodbye, by `Goodbye.Code`."""

    # Coming.

    def login(self, session: Session, frame: Login) -> None:
        """A client names itself: nothing comes of it on a connection that its client has given up meanwhile, since
        that must not replace the one which it has begun instead."""
        try:
            identity = self._ports.verify(frame.token, self._turn.wall_ms / 1000)
        except TokenError as error:
            self._log.add(f"a login was refused: {error}")
            self.end(session, Goodbye.BAD_TOKEN, str(error))
            return
        if self.stopping or not self._links.ready or len(self._sessions) >= self._settings.max_sessions:
            self.end(session, Goodbye.TRY_AGAIN, "not now", self.RETRY_MS)
            return
        if self._came_late(session):
            return
        if not self.devices.once((identity.user, identity.device), self._turn.now):
            self._log.add(f"{identity.user}/{identity.device} logs in too often")
            self.end(session, Goodbye.TRY_AGAIN, "this device logs in too often", self.TOO_OFTEN_MS)
            return
        session.client = intern(frame.client[:MAX_CLIENT_CHARACTERS])
        session.user = identity.user
        session.key = address(identity.user, identity.device)
        from_id, from_device = identity.user.encode(), identity.device.encode()
        session.suffix = b"\x22" + varint(len(from_id)) + from_id + b"\x2a" + varint(len(from_device)) + from_device
        session.login = identity.login
        session.tried = frame.start, min(frame.tries, MAX_TRIES)
        session.knows_disabled = "disabled" in frame.understands
        session.knows_changes = "changes" in frame.understands
        session.knows_groups = "groups" in frame.understands
        session.knows_signals = "signals" in frame.understands
        session.fresh = frame.fresh
        session.number = self._ports.random64()
        # Up to a tenth later: those who came at one time need not go at one time.
        left_s = identity.expires - self._turn.wall_ms / 1000
        spread = 1 + (session.number >> 1 & 1023) / 10240
        session.overdue_at = self._turn.now + left_s + self._settings.token_overdue_s * spread
        self._sessions[session.number] = session
        self._asked[session] = self._turn.now + self._settings.request_timeout_s
        self._register(session, False)

    def _came_late(self, session: Session) -> bool:
        """Whether its client has given the connection up by now, or must have; then it is at its end."""
        silent_s = self._ports.silent_s(session.handle)
        if silent_s is None:
            self._log.add("a login was passed over: its client has closed the connection")
            self.end(session, Goodbye.TRY_AGAIN, "the connection was closed", self.RETRY_MS)
            return True
        if max(silent_s, self._turn.now - session.opened) > self._settings.login_timeout_s:
            self._log.add("a login was passed over: it has waited for too long")
            self.end(session, Goodbye.NOT_LOGGED_IN, "no login came in time")
            return True
        return False

    def _register(self, session: Session, again: bool) -> None:
        route = self._links.for_user(session.user)
        if route is not None:
            online = Online(session.key, session.number, self._links.lease, again, session.login, *session.tried)
            route[0].out.append(online.encode())

    def online(self, link: Link, rec: Record) -> None:
        """Presence has answered. Raises `RecordError`."""
        reply = OnlineReply.of(rec)
        session = self._sessions.get(reply.session)
        if session is None:
            if reply.result in (OK, PREDECESSOR, AWAY):
                self._departures.registered(link, reply.address, reply.session)
            return
        result, welcome = reply.result, reply.result in (OK, PREDECESSOR)
        if session.phase != GREETING:
            if welcome:
                self._asked.pop(session, None)
                self._read_again(session)
                self._doubts.registered(session)
            elif result == TAKEN:
                self.end(session, Goodbye.TRY_AGAIN, "another connection of this device is registered")
            elif result in REFUSALS:
                self._refuse(session, REFUSALS[result])
            return
        self._asked.pop(session, None)
        if welcome:
            self._welcome(session, reply)
        elif result == LATE:
            self.end(session, Goodbye.REPLACED, "this client has logged in by a later try")
        elif result in REFUSALS:
            self._refuse(session, REFUSALS[result])
        else:
            self.end(session, Goodbye.TRY_AGAIN, "logins are not possible now", self.RETRY_MS)

    def _refuse(self, session: Session, code: int) -> None:
        """Something beside the client has ended its session, or lets it have none."""
        if code == Goodbye.DEVICE_REMOVED:
            self.end(session, Goodbye.DEVICE_REMOVED, REMOVED)
        elif code == Goodbye.ACCOUNT_DISABLED:
            # Who does not know it keeps device and state when told to be logged out.
            known = Goodbye.ACCOUNT_DISABLED if session.knows_disabled else Goodbye.LOGGED_OUT
            self.end(session, known, "this account is disabled")
        else:
            self.end(session, Goodbye.LOGGED_OUT, "this device was logged out; log in again over HTTP")

    def _welcome(self, session: Session, reply: OnlineReply) -> None:
        self.begun += 1
        self._attempts.begin(session)
        settings = self._settings
        user, device = split_address(session.key)
        session.wire.logged_in(
            LoggedIn(
                user_id=user,
                device_id=device,
                session=session.number,
                previous_session=reply.previous,
                server_time_ms=self._turn.wall_ms,
                heartbeat_ms=int(settings.heartbeat_s * 1000),
                max_frame_bytes=settings.max_frame_bytes,
                max_message_bytes=settings.max_frame_bytes - MESSAGE_OVERHEAD_BYTES,
                max_unsettled_per_stream=settings.max_unsettled_per_stream,
                max_unsettled_per_connection=settings.max_unsettled_per_connection,
                max_unacked=settings.max_unacked,
                inbox_ttl_ms=reply.inbox_ttl_ms,
                edit_hours=reply.edit_hours,
                understands=self._understands(),
            )
        )
        self._turn.mark(session)
        self._ports.session_began(session, reply.previous)
        self._catchup.begin(session, reply.result == PREDECESSOR)
        if session.knows_groups:
            self._groups.begin(session, session.fresh)

    def _understands(self) -> list[str]:
        """What all brokers that are up know, and so this server."""
        links = self._links
        known = (("changes", links.know_changes), ("groups", links.know_groups), ("signals", links.know_signals))
        return [name for name, knows in known if knows]

    # Going.

    def end(self, session: Session, code: Goodbye.Code, text: str, retry_after_ms: int = 0) -> None:
        """Say Goodbye, and leave."""
        if session.phase != ENDED:
            self.goodbyes[code] += 1
            session.wire.goodbye(code, text, retry_after_ms)
            self._turn.mark(session)
            self.leave(session, text)

    def leave(self, session: Session, why: str) -> None:
        """The connection is over: return its copies, give up its place."""
        if session.phase == ENDED:
            return
        if session.phase != GREETING:
            self._ports.session_ended(session, why)
        session.to(ENDED)
        self._asked.pop(session, None)
        self._rejoin.pop(session, None)
        self._sessions.pop(session.number, None)
        self._doubts.left(session)
        if not session.number:
            return
        self._delivery.return_all(session)
        self._groups.checkpoints.left(session)
        self._departures.left(session.key, session.number)
        if session.returned:
            self._leaving[session.number] = session

    def evict(self, link: Link, rec: Record) -> None:
        """Presence names another session for this device."""
        evict = Evict.of(rec)
        session = self._sessions.get(evict.session)
        if session is not None and session.key == evict.address:
            self.end(session, Goodbye.REPLACED, "this device has logged in elsewhere")
        if not evict.by_connector:
            return
        evicted = Evicted(evict.by_connector, evict.by_session)
        if evict.session in self._leaving:
            self._evictions.setdefault(evict.session, []).append((link, evicted))
        else:
            link.out.append(evicted.encode())

    def close(self, link: Link, rec: Record) -> None:
        """The user API, or a broker, ends a session; not if it is of the login that is to be spared."""
        close = Close.of(rec)
        session, spared = self._sessions.get(close.session), close.spared()
        if session is not None and session.key == close.address and not (spared and spared == session.login.encode()):
            self._refuse(session, close.code)
        if close.number:
            link.out.append(Closed(close.address, close.session, close.number).encode())

    def evicted(self, evicted: Evicted) -> None:
        """The session that one of ours replaced is gone."""
        session = self._sessions.get(evicted.session)
        if session is not None:
            self._catchup.predecessor_gone(session)

    def stored(self, rec: Record) -> None:
        """Copies that a session returned are settled."""
        stored = Stored.of(rec)
        session = self._sessions.get(stored.session)
        if session is not None:
            self._catchup.stored(session, stored.copies)
            return
        session = self._leaving.get(stored.session)
        if session is not None:
            self._delivery.stored(session, stored.copies)
            if not session.returned:
                self._left(session)

    def _left(self, session: Session) -> None:
        del self._leaving[session.number]
        for link, evicted in self._evictions.pop(session.number, ()):
            link.out.append(evicted.encode())

    @property
    def leaving(self) -> int:
        """Sessions that have ended and have copies on their way to be stored."""
        return len(self._leaving)

    def check(self) -> None:
        """Assert what holds of all sessions at the end of a turn."""
        for number, session in self._sessions.items():
            assert number == session.number, "a session is known by another's number"
            assert session.phase != ENDED, "a session that has ended is here"
        for session in self._leaving.values():
            assert session.phase == ENDED, "a session is waited for that has not ended"
            assert session.returned, "a session is waited for that has nothing on its way"
        registering = self._asked.keys() | self._rejoin.keys()
        assert registering <= set(self._sessions.values()), "a session that has ended is to be registered"

    # Again.

    def broker_lost(self) -> None:
        """A broker may have died between an append and its notification: every session reads its inbox again."""
        for session in self._sessions.values():
            self._rejoin.setdefault(session, False)
        self._departures.broker_lost()

    def lease_changed(self) -> None:
        """Presence has forgotten us: every session registers again, and then reads its inbox again."""
        self._rejoin.update(dict.fromkeys(self._sessions.values(), True))
        self._doubts.unregistered(list(self._sessions.values()))

    def hurry(self, session: Session) -> None:
        """The session registers again at once, if it is to: somebody waits for that."""
        if self._rejoin.get(session):
            del self._rejoin[session]
            self._register_again(session)

    def _read_again(self, session: Session) -> None:
        self._catchup.read_again(session)
        self._groups.read_again(session)

    def _register_again(self, session: Session) -> None:
        self._asked[session] = self._turn.now + self._settings.request_timeout_s
        self._register(session, True)

    def tick(self) -> None:
        """Spread rejoining over time; give up what was not answered."""
        self._departures.tick()
        for session in list(islice(self._rejoin, self._settings.rejoin_per_tick)):
            register = self._rejoin.pop(session)
            if session.phase == GREETING:
                self._rejoin[session] = register  # another broker's answer, under the lease before, may still come
            elif register:
                self._register_again(session)
            else:
                self._read_again(session)
        now = self._turn.now
        self.devices.tick(now)
        for session, due in list(self._asked.items()):
            if due <= now:
                self._unanswered(session)
        for session in list(self._leaving.values()):
            if now - session.returned_at > self._settings.request_timeout_s:
                self._left(session)

    def _unanswered(self, session: Session) -> None:
        if session.phase == GREETING:
            self.end(session, Goodbye.TRY_AGAIN, "logins are not possible now", self.RETRY_MS)
        else:
            self._register_again(session)
