"""Catching up: a session reads its inbox until it has seen the end of it, and is then live.

Owns the phases BEHIND, SETTLING and LIVE (docs/design.md, "Behind and live"). A scan is a run of pages, one
request at a time, from where a row may have been missed to the end.
"""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import DecodeError

from connector.core.delivery import Delivery
from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import BEHIND, ENDED, LIVE, SETTLING
from connector.core.rate_limited_log import RateLimitedLog
from connector.core.state import Scan, SentRow, Session, Turn
from connector.settings import ConnectorSettings
from fabric.control import Notify, PageRequest, Rows
from fabric.rates import RateLimit
from fabric.records import FIRST_UNSEEN_KIND, Record
from fabric.rows import RowKind
from protocol.allowed import SILENT_KINDS
from protocol.sparrow_pb2 import Message, Receipt
from protocol.strict import readable

_ROWS = frozenset(RowKind)


class Catchup:
    """Inbox reading for all sessions."""

    MAX_ROWS: ClassVar[int] = 1024
    """Rows sent and not yet removed, beyond which no page is asked."""
    RETRY_S: ClassVar[float] = 1.0
    SYNCS_PER_SECOND: ClassVar[int] = 5
    SYNCS_AT_ONCE: ClassVar[int] = 9
    """Scans that a device may ask for; one more waits its time, and is all that is remembered of those beyond."""

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
        self._syncs = RateLimit(self.SYNCS_PER_SECOND, self.SYNCS_AT_ONCE)
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
        return sum(session.phase != LIVE for session in self._reading)

    # Why a session reads.

    def begin(self, session: Session, predecessor: bool) -> None:
        """The session has just been registered in presence: read the inbox from its start. With a `predecessor`, its
        device has another session that has to store what it has in hand."""
        if predecessor:
            session.scan.predecessor_until = self._turn.now + self._settings.predecessor_timeout_s
        session.to(SETTLING)
        self.read_again(session)

    def fall_behind(self, session: Session) -> None:
        """The device of a live session is slow: copies go to the inbox until it has caught up."""
        self._delivery.return_buffered(session)
        session.to(BEHIND)
        self.read_again(session)

    def read_again(self, session: Session) -> None:
        """There may be rows that the session does not know of: one scan that begins after now."""
        if session.phase not in (BEHIND, SETTLING, LIVE):
            return
        if session.phase == LIVE:
            session.to(SETTLING)
        self._owe(session)

    def _owe(self, session: Session) -> None:
        session.scan.owed = True
        self._reading[session] = None
        self._ask(session)

    def notify(self, link: Link, rec: Record) -> None:
        """A broker has appended a row for this session."""
        notify = Notify.of(rec)
        session = self._sessions.get(notify.session)
        if session is not None and session.key == notify.address:
            self.read_again(session)
        else:
            self._delivery.departures.absent(link, notify.address, notify.session)
        link.out.append(notify.encode_heard())

    def sync(self, session: Session, n: int) -> None:
        """The device asks for one whole scan; whoever asks again and again waits.

        A live session stays so meanwhile: nothing was missed here, and the store may be away for long.
        """
        scan = session.scan
        scan.sync_asked = n
        if scan.syncs is None:
            scan.syncs = self._syncs.bucket(self._turn.now)
        if not scan.syncs.wait_s(self._syncs, self._turn.now):
            scan.syncs.left -= 1.0
        if session.phase == LIVE:
            self._owe(session)
        else:
            self.read_again(session)

    # Reading.

    def _ask(self, session: Session) -> None:
        """Ask for the next page, if one is owed, none is under way and there is room for it."""
        scan, now = session.scan, self._turn.now
        if scan.request or scan.not_before > now or not (scan.under_way or scan.owed):
            return
        room = self._settings.max_unacked - len(session.unacked)
        if (
            room < self._page_rows
            or session.unacked_bytes >= self._settings.max_unacked_bytes
            or (session.rows and len(session.rows) >= self.MAX_ROWS)
        ):
            return
        begins = not scan.under_way
        if begins and scan.sync_asked and scan.syncs is not None:
            wait_s = scan.syncs.wait_s(self._syncs, now)
            if wait_s:
                scan.not_before = now + wait_s
                return
        route = self._links.for_user(session.user)
        if route is None:
            scan.not_before = now + self.RETRY_S
            return
        if begins:
            scan.under_way, scan.owed = True, False
            scan.sync_answered, scan.sync_asked = max(scan.sync_asked, scan.sync_answered), 0
        self._requests += 1
        scan.request, scan.asked_at = self._requests, now
        page = PageRequest(session.key, session.number, scan.request, scan.cursor, self._page_rows, fresh=begins)
        route[0].out.append(page.encode())

    def rows(self, rec: Record) -> None:
        """A page has come. Raises `RecordError`."""
        page = Rows.of(rec)
        session = self._sessions.get(page.session)
        if session is None or session.scan.request != page.request:
            return
        scan = session.scan
        scan.request, scan.not_before = 0, 0.0
        if page.failed:
            self._restart(scan, self._turn.now + self.RETRY_S)
            return
        found = list(page.rows())
        if len(session.unacked) + len(found) > self._settings.max_unacked:
            # Live copies, or messages of groups, have taken the room that was there when it was asked for.
            self._restart(scan, self._turn.now)
            if session.phase == LIVE:
                self.fall_behind(session)
            return
        scan.cursor = page.cursor
        for key, kind, row in found:
            # One of a later release's kinds stays for a connector of that release.
            if not (session.rows and key in session.rows) and kind in _ROWS:
                self._row(session, key, kind, row)
        if page.end:
            self._end(session)
        elif session.phase == SETTLING:
            session.to(BEHIND)
            self._delivery.return_buffered(session)
        self._ask(session)
        self._try_live(session)

    def _row(self, session: Session, key: bytes, kind: int, body: bytes) -> None:
        """Send one row; one that cannot be read stays where it is until it expires, and those behind it go on."""
        try:
            if kind == RowKind.RECEIPT:
                Receipt.FromString(body)
                sent = SentRow(key, None, "", 0, 0, len(body))
                session.wire.delivered(body)
            else:
                message = Message.FromString(body)
                author = None if message.kind in SILENT_KINDS or message.from_id == session.user else message.from_id
                unseen = message.kind >= FIRST_UNSEEN_KIND
                sent = SentRow(key, author, message.from_device, message.stream, message.id, len(body), unseen)
                session.wire.message(readable(message, body))
        except DecodeError:
            self.rows_unreadable += 1
            self._log.add(f"a row in the inbox of {session.key.decode()} cannot be read and is passed over")
            return
        self.rows_sent += 1
        if session.rows is None:
            session.rows = set()
        session.rows.add(key)
        self._delivery.sent_row(session, sent)
        self._turn.mark(session)

    def _end(self, session: Session) -> None:
        """The scan has seen the end of the inbox."""
        scan = session.scan
        scan.under_way = False
        if scan.sync_answered:
            session.wire.synced(scan.sync_answered)
            scan.sync_answered = 0
            self._turn.mark(session)
        if session.phase == BEHIND:
            session.to(SETTLING)

    def _restart(self, scan: Scan, at: float) -> None:
        """The scan has failed: another one is owed, from this time on."""
        scan.under_way, scan.owed = False, True
        scan.request, scan.not_before = 0, at

    def _try_live(self, session: Session) -> None:
        """Live: at the end of the inbox, with nothing on its way into it that we know of."""
        scan = session.scan
        if session.phase not in (SETTLING, LIVE) or scan.under_way or scan.owed:
            return
        if session.phase == LIVE:
            self._reading.pop(session, None)
            return
        if session.returned or scan.predecessor_until:
            return
        session.to(LIVE)
        self._reading.pop(session, None)
        self._delivery.release(session)

    # What it waits for.

    def acked(self, session: Session) -> None:
        """There may be room again."""
        if session in self._reading:
            self._ask(session)

    def stored(self, session: Session, copies: int) -> None:
        """So many copies that the session returned are settled."""
        self._delivery.stored(session, copies)
        self._try_live(session)

    def predecessor_gone(self, session: Session) -> None:
        """The session that this one replaced has stored what it had in hand."""
        session.scan.predecessor_until = 0.0
        self._try_live(session)

    def tick(self) -> None:
        """Ask again what was not answered; stop waiting for what may never come."""
        now, timeout = self._turn.now, self._settings.request_timeout_s
        for session in list(self._reading):
            if session.phase == ENDED:
                del self._reading[session]
                continue
            scan = session.scan
            if scan.request and now - scan.asked_at > timeout:
                self._restart(scan, now)
            if session.returned and now - session.returned_at > timeout:
                self._delivery.stored(session, session.returned)
            if scan.predecessor_until and now > scan.predecessor_until:
                scan.predecessor_until = 0.0
            self._ask(session)
            self._try_live(session)

    def check(self) -> None:
        """Assert what holds of all sessions at the end of a turn."""
        for session in self._sessions.values():
            scan, reading = session.scan, session in self._reading
            owed = scan.under_way or scan.owed
            assert reading == (session.phase in (BEHIND, SETTLING) or owed), f"{session.phase=}, {reading=}, {owed=}"
            assert scan.under_way or not scan.request, "a page is asked for outside a scan"
            if session.phase == LIVE:
                awaited = (session.returned, scan.predecessor_until)
                assert not any(awaited), f"live, and {awaited}"
                assert not owed or scan.sync_asked or scan.sync_answered, "live, and reading for no Sync"
