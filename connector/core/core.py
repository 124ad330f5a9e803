"""The connector's core put together: what each event means, and what one turn leaves behind.

Owns connections and the order of things. Every effect goes through `Ports`; those of one turn leave at `flush`,
as one write a session and one batch a broker.
"""

from __future__ import annotations

import sys
from itertools import islice

from connector.core.attempts import Attempts
from connector.core.catchup import Catchup
from connector.core.delivery import Delivery
from connector.core.doubts import STANDSTILL_S, Doubts
from connector.core.greeting import Greeting
from connector.core.groups import GroupCatchup
from connector.core.link import Link
from connector.core.links import Links
from connector.core.logins import Logins
from connector.core.phases import ENDED, GREETING, LIVE
from connector.core.rate_limited_log import RateLimitedLog
from connector.core.receipts import Receipts
from connector.core.signals import Signals
from connector.core.state import Ports, Session, Turn
from connector.settings import ConnectorSettings
from fabric import records
from fabric.control import Evicted, Hint
from fabric.heartbeats import HeartbeatReply
from fabric.rates import RateLimit
from fabric.records import ATTEMPT, BODY, COPY, KIND, ORIGIN, OUTCOMES, ROUTE, unpack_outcomes
from protocol.server import Breach, Event, NotAllowed, ServerSession, Windows
from protocol.sparrow_pb2 import Goodbye, Login, Logout, Ping, Signal, Sync

_GIVEN = frozenset((records.COPY, records.ROWS, records.HINT, records.GROUP_ROWS))
"""Records with something for a session's client."""
RECEIPT_ATTEMPTS = 1 << 63
"""Attempt numbers from here on belong to receipts."""
FRAME_BURST_S = 4.0
"""Seconds; as many frames as may come in this time may come at once."""


class ConnectorCore:
    """One connector. Call `time` before events, `flush` at the end of the turn, `tick` every 0.1 s."""

    def __init__(self, ports: Ports, settings: ConnectorSettings) -> None:
        self._ports = ports
        self._settings = settings
        self._windows = Windows(
            settings.max_frame_bytes, settings.max_unsettled_per_stream, settings.max_unsettled_per_connection
        )
        self.turn = turn = Turn()
        self.incarnation = ports.random64()
        self.sessions: dict[int, Session] = {}
        """Logged in or about to be, by number."""
        self.connections: dict[Session, None] = {}
        self.max_connections = sys.maxsize
        """Connections beyond it are turned away; the shell knows how many descriptors there are."""
        self._greeting = Greeting(settings)
        per_second = settings.max_frames_per_second
        self._frame_limit = RateLimit(per_second, FRAME_BURST_S * per_second)
        self._frames_per_turn = settings.max_frames_per_turn
        self._next_sweep = 0.0
        self._to_tell: dict[Session, None] = {}
        """Sessions that are still to be told to move on, once we stop."""
        self._repeats = 0
        """Repeats on connections that are gone."""
        self.records_unreadable = 0
        """Records of brokers that were passed over."""
        self._strange: set[int] = set()
        """Kinds of records that were passed over."""
        self.log = RateLimitedLog(ports)
        self.links = Links(ports, settings, turn, self.incarnation, self._broker_lost, self._lease_changed)
        self.doubts = Doubts(ports, turn, self.links, self.sessions, self._take_parked, self._give)
        self.receipts = Receipts(settings, turn, self.links, RECEIPT_ATTEMPTS)
        self.attempts = Attempts(settings, turn, self.links, self.receipts, 1)
        self.delivery = Delivery(
            settings, turn, self.links, self.sessions, self.attempts.outcome, self.receipts.acked_rows
        )
        self.catchup = Catchup(settings, turn, self.links, self.sessions, self.delivery, self.log)
        self.groups = GroupCatchup(settings, turn, self.links, self.sessions, self.delivery, self.catchup.sync)
        self.signals = Signals(ports, settings, turn, self.links, self.sessions)
        self.logins = Logins(
            ports,
            settings,
            turn,
            self.links,
            self.sessions,
            self.delivery,
            self.catchup,
            self.groups,
            self.doubts,
            self.log,
            self.attempts,
        )
        self.doubts.hurry = self.logins.hurry
        self.delivery.fall_behind = self.catchup.fall_behind

    def time(self, now: float, wall_ms: int) -> None:
        """The time of the events that follow: seconds of a steady clock, and Unix milliseconds."""
        turn = self.turn
        gap_s = now - turn.now if turn.now else 0.0
        turn.now = now
        turn.wall_ms = wall_ms
        if gap_s > STANDSTILL_S:
            self.doubts.stood_still(self.connections)
            if gap_s > self._settings.link_timeout_s:
                self.logins.lease_changed()  # it may have, and brokers may hear of that later than we ask

    # Clients.

    def opened(self, handle: object, address: str = "") -> Session:
        """A client has connected, from this address or network."""
        now = self.turn.now
        frames = self._frame_limit.bucket(now)
        session = Session(handle, ServerSession(self._windows), now, frames)
        self.connections[session] = None
        if len(self.connections) > self.max_connections:
            self.log.add("a connection is turned away: this process may have no more of them")
            self.logins.end(session, Goodbye.TRY_AGAIN, "too many connections", Logins.TOO_OFTEN_MS)
            return session
        self._crowded(self._greeting.add(session, address))
        self.doubts.opened(session)
        return session

    def proxied(self, session: Session, address: str) -> None:
        """A proxy has told where a client that has not logged in comes from."""
        self._crowded(self._greeting.moved(session, address))

    def _crowded(self, oldest: Session | None) -> None:
        if oldest is not None:
            self._end_greeting(oldest, Goodbye.TRY_AGAIN, "too many connections that have not logged in")

    def data(self, session: Session, data: bytes, frames: int = 0) -> float | None:
        """Bytes from a client. If not everything was handled, in how many seconds to come back with more, or b"",
        for the rest; meanwhile nothing needs to be read.

        Args:
            data: What it has sent; none of it: it was not heard.
            frames: Those of the transport that brought it, which count if they are more than it holds.
        """
        if data or not frames:
            session.heard = self.turn.now
        if session.unsure:
            self.doubts.park(session, data)
            return None
        return self._take(session, data, frames)

    def _take(self, session: Session, data: bytes, carriers: int = 0) -> float | None:
        wire = session.wire
        events = wire.receive_data(data, self._frames_per_turn)
        for event in events:
            if session.phase == ENDED:
                return None
            if isinstance(event, tuple):
                self.attempts.submit(session, event)
            elif isinstance(event, int):
                self.delivery.acked(session)
                if session.phase != LIVE:
                    self.catchup.acked(session)
                if session.groups is not None:
                    self.groups.acked(session)
            else:
                self._rare_event(session, event)
        frames = session.frames
        frames.left -= max(len(events), carriers)
        if frames.left <= 0.0:
            wait_s = frames.wait_s(self._frame_limit, self.turn.now)
            if wait_s:
                return wait_s
        return 0.0 if wire.more else None

    def _take_parked(self, session: Session, data: bytes) -> None:
        """What was held back, at once: it is little."""
        self.signals.stale = True
        wait_s = self._take(session, data)
        while wait_s is not None and session.wire.more:
            wait_s = self._take(session, b"")
        self.signals.stale = False

    def _rare_event(self, session: Session, event: Event) -> None:
        if isinstance(event, Ping):
            session.wire.pong(event.n)
            self.turn.mark(session)
        elif isinstance(event, Sync):
            self.groups.sync(session, event.n, event.group)
        elif isinstance(event, Signal):
            self.signals.submit(session, event)
        elif isinstance(event, Login):
            self._greeting.remove(session)
            self.logins.login(session, event)
        elif isinstance(event, Logout):
            self._greeting.remove(session)
            self.logins.end(session, Goodbye.LOGGED_OUT, "goodbye")
        elif isinstance(event, NotAllowed):
            self.attempts.not_allowed(session, event)
        elif isinstance(event, Breach):
            self.breach(session, event)

    def breach(self, session: Session, breach: Breach) -> None:
        """A client has broken the protocol, its own or its transport's."""
        self._greeting.remove(session)
        self.log.add(f"protocol breach by {session.key.decode() or 'a stranger'}: {breach.text}")
        self.logins.end(session, breach.code, breach.text)

    def closed(self, session: Session) -> None:
        """A client's connection is gone."""
        self._to_tell.pop(session, None)
        if session in self.connections:
            del self.connections[session]
            self._repeats += session.wire.repeats
        self._greeting.remove(session)
        self.logins.leave(session, "the connection was lost")

    def too_slow(self, session: Session) -> None:
        """A client lets more pile up than a write buffer may hold."""
        self.log.add(f"{session.key.decode() or 'a stranger'} does not read and is let go")
        self.logins.end(session, Goodbye.TOO_SLOW, "the connection was not read")

    def _end_greeting(self, session: Session, code: Goodbye.Code, text: str) -> None:
        self._greeting.remove(session)
        self.log.add(f"a connection without a login is let go: {text}")
        self.logins.end(session, code, text)

    # Brokers.

    def batch(self, endpoint: str, data: bytes) -> None:
        """A batch from a broker. Raises `RecordError` for what is no batch; then nothing of it was used.

        A record that is not for this release to understand, or cannot be read, is as good as lost on the way, which
        whoever sent it can bear; the other records are of other people.
        """
        link = self.links.link(endpoint)
        if link is None:
            return
        if not link.up and self.links.is_alone:
            # What it says may be older than what has become of our sessions, of which nobody could tell us.
            self.doubts.unregistered(list(self.sessions.values()))
        unsure = self.doubts.unsure
        for rec in records.parse(data):
            kind = rec[KIND]
            try:
                if unsure and kind in _GIVEN and self.doubts.park_record(link, rec):
                    continue
                if kind == COPY:
                    self.delivery.copy(link, rec)
                elif kind == OUTCOMES:
                    if rec[ORIGIN] == self.incarnation:
                        outcome = self.attempts.outcome
                        for attempt, index, count, state in unpack_outcomes(rec[BODY]):
                            outcome(attempt, index, count, state)
                else:
                    self._rare_record(link, rec)
            except records.UNREADABLE:
                self._unreadable(link, kind)

    def _unreadable(self, link: Link, kind: int) -> None:
        self.records_unreadable += 1
        self.log.add(f"a record of kind {kind} from {link.endpoint} cannot be read and is passed over")

    def _give(self, link: Link, rec: records.Record) -> None:
        """A record that was held back; one that cannot be read keeps nothing else from being given."""
        try:
            if rec[KIND] == COPY:
                self.delivery.copy(link, rec)
            else:
                self._rare_record(link, rec)
        except records.UNREADABLE:
            self._unreadable(link, rec[KIND])

    def _rare_record(self, link: Link, rec: records.Record) -> None:
        kind = rec[KIND]
        if kind == records.GROUP_COPY:
            self.groups.copy(link, rec)
        elif kind == records.ROWS:
            self.catchup.rows(rec)
        elif kind == records.GROUP_ROWS:
            self.groups.rows(rec)
        elif kind == records.GROUP_LOOK:
            self.groups.look(link, rec)
        elif kind == records.STORED:
            self.logins.stored(rec)
        elif kind == records.NOTIFY:
            self.catchup.notify(link, rec)
        elif kind == records.HEARTBEAT:
            beat = HeartbeatReply.of(rec)
            self.links.heartbeat(link, beat)
            self.doubts.heard(link, beat.beat)
        elif kind == records.ONLINE_REPLY:
            self.logins.online(link, rec)
        elif kind == records.EVICT:
            self.logins.evict(link, rec)
        elif kind == records.CLOSE:
            self.logins.close(link, rec)
        elif kind == records.SIGNAL:
            self.signals.give(rec)
        elif kind == records.HINT:
            self._hint(rec)
        elif kind == records.EVICTED:
            evicted = Evicted.of(rec)
            if evicted.connector == self.incarnation:
                self.logins.evicted(evicted)
        elif kind not in self._strange:
            self._strange.add(kind)
            self._ports.log(f"a broker sends records of kind {kind}, of another release; they are passed over")

    def _hint(self, rec: records.Record) -> None:
        hint = Hint.of(rec)
        session = self.sessions.get(hint.session)
        if session is not None and session.key == hint.to and session.phase not in (GREETING, ENDED):
            session.wire.hint(hint.hint)
            self.turn.mark(session)

    def _lease_changed(self) -> None:
        self.logins.lease_changed()

    def _broker_lost(self, link: Link | None) -> None:
        if link is not None:
            self.attempts.link_lost(link)
        self.logins.broker_lost()

    # The turn.

    def tick(self) -> None:
        """What is due by now."""
        self.links.tick()
        self.doubts.tick()
        self.logins.tick()
        self.delivery.tick()
        self.catchup.tick()
        self.groups.tick()
        self.receipts.tick()
        self.attempts.tick()
        self._tick_greeting()
        self.log.tick()
        if self._to_tell:
            self._tell_some()
        if self.turn.now >= self._next_sweep:
            self._next_sweep = self.turn.now + self._settings.heartbeat_s / 4
            self._sweep()

    def _tick_greeting(self) -> None:
        for session in self._greeting.overdue(self.turn.now):
            self._end_greeting(session, Goodbye.NOT_LOGGED_IN, "no login came in time")

    def _sweep(self) -> None:
        now = self.turn.now
        self.groups.checkpoints.sweep(self.connections)
        for session in [s for s in self.connections if s.overdue_at < now and s.phase not in (GREETING, ENDED)]:
            self.logins.end(session, Goodbye.BAD_TOKEN, "the token has expired long ago: come back with a new one")
        limit = now - 2 * self._settings.heartbeat_s
        for session in [s for s in self.connections if s.heard < limit and s.phase not in (GREETING, ENDED)]:
            self.log.add("a session was silent for two heartbeats")
            self.logins.end(session, Goodbye.TIMED_OUT, "nothing was heard for two heartbeats")

    def flush(self) -> None:
        """Send what the turn has left behind."""
        if self.receipts.waiting:
            self.receipts.flush()
        if self.groups.heard:
            self.groups.flush()
        for refused in self.links.flush():
            self._unsent(refused)
        turn = self.turn
        while turn.dirty:
            dirty, turn.dirty = turn.dirty, []
            for session in dirty:
                session.dirty = False
                if session not in self.connections:
                    continue  # its connection was lost in this turn
                ended = session.phase == ENDED  # a write may find out that it is too slow, and has a Goodbye to come
                if data := session.wire.data_to_send():
                    self._ports.write(session.handle, data)
                if ended:
                    self._ports.close(session.handle)

    def _unsent(self, refused: bytes) -> None:
        """A link did not take a batch. Only attempts need an answer now; all else is asked again by time."""
        for rec in records.parse(refused):
            if rec[KIND] == ROUTE and rec[ATTEMPT] < RECEIPT_ATTEMPTS:
                self.attempts.unsent(rec[ATTEMPT])

    def stop(self) -> None:
        """Take no more logins, tell every client to move on, so many in a tick, and return their copies.

        Done when `idle`.
        """
        self.logins.stopping = True
        self._to_tell = dict.fromkeys(session for session in self.connections if session.phase != ENDED)
        self._tell_some()

    def _tell_some(self) -> None:
        """Whom all clients of a large connector go to must not get them at once."""
        for session in list(islice(self._to_tell, max(1, self._settings.drain_per_second // 10))):
            del self._to_tell[session]
            self._greeting.remove(session)
            self.logins.end(session, Goodbye.MOVE, "the server is stopping; reconnect")

    def check(self) -> None:
        """Assert what must hold between turns, after `flush`: for simulation and tests. Looks at every session."""
        self.attempts.check(self.connections)
        self.delivery.check(self.connections)
        self.catchup.check()
        self.groups.check()
        self.doubts.check(self.connections)
        self.logins.check()

    def trace(self, user: str, seconds: float) -> None:
        """Trace what this user writes here for so long."""
        self.attempts.traced[user] = self.turn.now + seconds

    @property
    def repeats(self) -> int:
        """Messages that came again on the same connection; looks at each connection."""
        return self._repeats + sum(session.wire.repeats for session in self.connections)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to be stored, and nobody is left to be told to move on."""
        return self.logins.leaving == 0 and not self._to_tell
