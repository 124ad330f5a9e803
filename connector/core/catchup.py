"""Catching up: a session reads its inbox until it has seen the end of it, and is then live.

Owns the phases BEHIND, SETTLING and LIVE (docs/design.md, "Behind and live"). A scan is a run of pages, one
request at a time, from where a row may have been missed to the end.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from connector.core.delivery import Delivery
from connector.core.links import Link, Links
from connector.core.rate_limited_log import RateLimitedLog
from connector.core.state import BEHIND, ENDED, LIVE, SETTLING, SentRow, Session, Turn
from connector.settings import ConnectorSettings
from fabric.control import Notify, PageRequest, Rows
from fabric.records import FIRST_UNSEEN_KIND, Record
from fabric.rows import RowKind
from protocol.sparrow_pb2 import READ, Message, Receipt
from protocol.strict import readable

_ROWS = frozenset(RowKind)


class Catchup:
    """Inbox reading for all sessions."""

    MAX_ROWS = 1024
    """Rows sent and not yet removed, beyond which no page is asked."""
    RETRY_S = 1.0
    SYNC_INTERVAL_S = 0.2
    SYNC_BURST = 10
    """So many at once, and one each interval."""

    def __init__(
        self,
        settings: ConnectorSettings,
        turn: Turn,
        links: Links,
        sessions: dict[int, Session],
        delivery: Delivery,
        log: RateLimitedLog,
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._links = links
        self._sessions = sessions
        self._delivery = delivery
        self._log = log
        self._requests = 0
        self._reading: dict[Session, None] = {}
        self.rows_sent = 0
        """Inbox rows written to devices."""
        self.rows_unreadable = 0
        """Inbox rows that were passed over."""
        in_buffer = (settings.max_write_buffer_bytes - settings.max_unacked_bytes) // settings.max_frame_bytes
        self._page_rows = max(1, min(settings.max_unacked // 2, in_buffer))

    @property
    def behind(self) -> int:
        """Sessions that are not live: they read their inbox."""
        return len(self._reading)

    # Why a session reads.

    def begin(self, session: Session) -> None:
        """The session has just been registered in presence: read the inbox from its start."""
        session.phase = SETTLING
        self.read_again(session)

    def fall_behind(self, session: Session) -> None:
        """The device is slow: live copies go to the inbox until it has caught up."""
        self._delivery.return_buffered(session)
        session.phase = BEHIND
        self.read_again(session)

    def read_again(self, session: Session) -> None:
        """There may be rows that the session does not know of: one scan that begins after now."""
        if session.phase not in (BEHIND, SETTLING, LIVE):
            return
        if session.phase == LIVE:
            session.phase = SETTLING
        session.want_pass = True
        self._reading[session] = None
        self._ask(session)

    def notify(self, link: Link, rec: Record) -> None:
        """A broker has appended a row for this session."""
        notify = Notify.of(rec)
        session = self._sessions.get(notify.session)
        if session is not None and session.key == notify.address:
            self.read_again(session)
        link.out.append(notify.encode_heard())

    def sync(self, session: Session, n: int) -> None:
        """The device asks for one whole scan; whoever asks again and again waits."""
        session.sync_asked = n
        now = self._turn.now
        if session.sync_due <= now:
            session.sync_due = max(session.sync_due, now - self.SYNC_BURST * self.SYNC_INTERVAL_S)
            session.sync_due += self.SYNC_INTERVAL_S
        self.read_again(session)

    # Reading.

    def _ask(self, session: Session) -> None:
        """Ask for the next page, if one is owed, none is under way and there is room for it."""
        if session.page or session.page_at > self._turn.now or not (session.mid_pass or session.want_pass):
            return
        room = self._settings.max_unacked - len(session.unacked)
        if (
            room < self._page_rows
            or session.unacked_bytes >= self._settings.max_unacked_bytes
            or len(session.rows) >= self.MAX_ROWS
        ):
            return
        if session.sync_asked and not session.mid_pass and session.sync_due > self._turn.now:
            session.page_at = session.sync_due
            return
        route = self._links.for_user(session.user)
        if route is None:
            session.page_at = self._turn.now + self.RETRY_S
            return
        was_under_way = session.mid_pass
        if not was_under_way:
            session.mid_pass, session.want_pass = True, False
            session.sync_passing, session.sync_asked = max(session.sync_asked, session.sync_passing), 0
        self._requests += 1
        session.page, session.page_at = self._requests, self._turn.now
        page = PageRequest(
            session.key, session.number, session.page, session.cursor, self._page_rows, fresh=not was_under_way
        )
        route[0].out.append(page.encode())

    def rows(self, rec: Record) -> None:
        """A page has come."""
        page = Rows.of(rec)
        session = self._sessions.get(page.session)
        if session is None or session.page != page.request:
            return
        session.page, session.page_at = 0, 0.0
        if page.failed:
            self._restart_pass(session, self._turn.now + self.RETRY_S)
            return
        session.cursor = page.cursor
        for key, kind, row in page.rows():
            # One of a later release's kinds stays for a connector of that release.
            if key not in session.rows and kind in _ROWS:
                self._row(session, key, kind, row)
        if page.end:
            self._end_pass(session)
        elif session.phase == SETTLING:
            session.phase = BEHIND
            self._delivery.return_buffered(session)
        self._ask(session)
        self._try_live(session)

    def _row(self, session: Session, key: bytes, kind: int, body: bytes) -> None:
        """One row; one that cannot be read stays where it is until it expires, and those behind it go on."""
        try:
            if kind == RowKind.RECEIPT:
                Receipt.FromString(body)
                sent = SentRow(key, None, "", 0, 0, len(body))
                session.wire.delivered(body)
            else:
                message = Message.FromString(body)
                author = None if message.kind == READ or message.from_id == session.user else message.from_id
                unseen = message.kind >= FIRST_UNSEEN_KIND
                sent = SentRow(key, author, message.from_device, message.stream, message.id, len(body), unseen)
                session.wire.message(readable(message, body))
        except DecodeError:
            self.rows_unreadable += 1
            self._log.add(f"a row in the inbox of {session.key.decode()} cannot be read and is passed over")
            return
        self.rows_sent += 1
        session.rows.add(key)
        session.unacked.append(sent)
        session.unacked_bytes += len(body)
        self._turn.mark(session)

    def _end_pass(self, session: Session) -> None:
        session.mid_pass = False
        if session.sync_passing:
            session.wire.synced(session.sync_passing)
            session.sync_passing = 0
            self._turn.mark(session)
        session.phase = SETTLING

    def _restart_pass(self, session: Session, at: float) -> None:
        session.mid_pass, session.want_pass = False, True
        session.page, session.page_at = 0, at

    def _try_live(self, session: Session) -> None:
        """Live: at the end of the inbox, with nothing on its way into it that we know of."""
        if (
            session.phase != SETTLING
            or session.mid_pass
            or session.want_pass
            or session.returned
            or session.predecessor_until
        ):
            return
        session.phase = LIVE
        self._reading.pop(session, None)
        self._delivery.release(session)

    # What it waits for.

    def acked(self, session: Session) -> None:
        """There may be room again."""
        if session in self._reading:
            self._ask(session)

    def stored(self, session: Session, count: int) -> None:
        """Copies that the session returned are settled."""
        session.returned = max(0, session.returned - count)
        self._try_live(session)

    def predecessor_gone(self, session: Session) -> None:
        """The session that this one replaced has stored what it had in hand."""
        session.predecessor_until = 0.0
        self._try_live(session)

    def tick(self) -> None:
        """Ask again what was not answered; stop waiting for what may never come."""
        now, timeout = self._turn.now, self._settings.request_timeout_s
        for session in list(self._reading):
            if session.phase == ENDED:
                del self._reading[session]
                continue
            if session.page and now - session.page_at > timeout:
                self._restart_pass(session, now)
            if session.returned and now - session.returned_at > timeout:
                session.returned = 0
            if session.predecessor_until and now > session.predecessor_until:
                session.predecessor_until = 0.0
            self._ask(session)
            self._try_live(session)
