"""Groups, at the receiving end: live messages to members' sessions, and what each session has to catch up with.

Owns which groups are dirty for which session, and reading them (docs/design/groups.md, rules G1, G2). A timeline
is its group's queue: what a session cannot take now is read there later, so nothing goes back to a broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from connector.core.checkpoints import Checkpoints
from connector.core.delivery import Delivery
from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED, GREETING
from connector.core.state import GroupReading, GroupSyncs, Session, Turn
from connector.settings import ConnectorSettings
from fabric.group_records import (
    ROW_MESSAGE,
    ROW_SKIPPED,
    GroupCopy,
    GroupHeard,
    GroupLook,
    GroupPageRequest,
    GroupRows,
)
from fabric.rates import RateLimit
from fabric.records import Record
from protocol.framing import message_frame
from protocol.ids import STAMP_SHIFT, TRAIL_MS
from protocol.sparrow_pb2 import Hint

ALL: Final = ""
"""In place of a group: all of the user's."""
MAX_DIRTY: Final = 500
"""Groups of one session that are dirty, each by itself; beyond it all are."""


class GroupCatchup:
    """Groups of all sessions of a connector."""

    PAGE_ROWS: ClassVar[int] = 64
    MAX_WAITING: ClassVar[int] = 64
    """Live messages that wait for the end of a read of their group."""
    MAX_WAITING_BYTES: ClassVar[int] = 256 * 1024
    RETRY_S: ClassVar[float] = 1.0

    def __init__(
        self,
        settings: ConnectorSettings,
        turn: Turn,
        links: Links,
        sessions: dict[int, Session],
        delivery: Delivery,
        synced_groups: Callable[[Session, int], None],
    ) -> None:
        """`synced_groups` is told of a `Sync` whose part here is done."""
        self._settings = settings
        self._turn = turn
        self._links = links
        self._sessions = sessions
        self._delivery = delivery
        self._synced_groups = synced_groups
        self.checkpoints = Checkpoints(turn, links)
        half = settings.max_unacked // 2
        self._most = half
        """Frames of groups that a session may have unacked."""
        self._page_rows = max(1, min(self.PAGE_ROWS, half // 2))
        self._full_scans = RateLimit(1 / settings.group_scan_s, 2) if settings.group_scan_s else RateLimit(0, 0)
        self._one_scans = RateLimit(1, 2)
        self._requests = 0
        self.heard: dict[Link, list[int]] = {}
        """Numbers of what brokers have handed out in this turn, by their links."""
        self._reading: dict[Session, None] = {}
        """Sessions that have something to read."""
        self.copies = 0
        """Live messages of groups written to devices."""
        self.rows_sent = 0
        """Rows of groups written to devices."""

    def begin(self, session: Session, fresh: bool) -> None:
        """The session is registered in presence, and its client understands groups."""
        session.groups = reading = GroupReading()
        self.checkpoints.begin(reading, fresh)
        if not fresh:
            self.read_again(session)

    def read_again(self, session: Session) -> None:
        """There may be rows in any group that the session does not know of: one full scan that begins after now."""
        if session.groups is not None:
            self._owe(session, session.groups, ALL, 0)

    # Live.

    def copy(self, link: Link, rec: Record) -> None:
        """A broker has a message for some of our sessions. Raises `RecordError`."""
        group, author, copy_number, stamp, numbers, message = GroupCopy.of(rec)
        frame, sessions, mark = message_frame(message), self._sessions, self._turn.mark
        sent = self._delivery.sent_group_frame
        size, most, max_unacked = len(frame), self._most, self._settings.max_unacked
        max_bytes = self._settings.max_unacked_bytes
        for number in numbers:
            session = sessions.get(number)
            if session is None or (reading := session.groups) is None or session.key == author:
                continue
            if (
                reading.dirty
                or reading.reading is not None
                or reading.request
                or session.unsure
                or session.group_unacked >= most
                or len(session.unacked) + len(session.buffered) >= max_unacked
                or session.unacked_bytes >= max_bytes
            ):
                self._give(session, reading, group.decode(), stamp, frame)
                continue
            # What `_write` does, in one: this is what a group's message costs for each of its members.
            session.wire.group_frame(frame)
            sent(session, size)
            self.copies += 1
            if not session.dirty:
                mark(session)
        self._hear(link, copy_number)

    def _give(self, session: Session, reading: GroupReading, group: str, stamp: int, frame: bytes) -> None:
        if reading.reading == group and group not in reading.dirty and not session.unsure:
            self._hold(session, reading, group, stamp, frame)
        elif reading.reading == ALL or group in reading.dirty or ALL in reading.dirty or session.unsure:
            self._owe(session, reading, group, stamp)
        elif self._has_room(session, reading):
            self._write(session, frame)
            self.copies += 1
        else:
            self._owe(session, reading, group, stamp)

    def _has_room(self, session: Session, reading: GroupReading) -> bool:
        """For a live message, beside what is asked for already."""
        asked = self._page_rows if reading.request else 0
        return (
            session.group_unacked + asked < self._most
            and len(session.unacked) + len(session.buffered) + asked < self._settings.max_unacked
            and session.unacked_bytes < self._settings.max_unacked_bytes
        )

    def _write(self, session: Session, frame: bytes) -> None:
        session.wire.group_frame(frame)
        self._delivery.sent_group_frame(session, len(frame))
        if not session.dirty:
            self._turn.mark(session)

    def _hold(self, session: Session, reading: GroupReading, group: str, stamp: int, frame: bytes) -> None:
        """The group is being read: it waits for the end, or a session under steady traffic would read for ever."""
        held = reading.held
        if len(held) < self.MAX_WAITING and reading.held_bytes + len(frame) <= self.MAX_WAITING_BYTES:
            held.append((stamp, frame))
            reading.held_bytes += len(frame)
        else:
            lowest = min(stamp, *(each for each, _ in held)) if held else stamp
            held.clear()
            reading.held_bytes = 0
            self._owe(session, reading, group, lowest)

    def look(self, link: Link, rec: Record) -> None:
        """There are rows for some of our sessions that nobody has told us of. Raises `RecordError`."""
        look = GroupLook.of(rec)
        group = look.group.decode()
        for number in look.sessions if group else list(self._sessions):
            session = self._sessions.get(number)
            if session is not None and session.groups is not None:
                self._owe(session, session.groups, group, look.stamp)
        self._hear(link, look.number)

    def _hear(self, link: Link, number: int) -> None:
        heard = self.heard.get(link)
        if heard is None:
            self.heard[link] = [number]
        else:
            heard.append(number)

    def flush(self) -> None:
        """Confirm what is in hand."""
        if self.heard:
            heard, self.heard = self.heard, {}
            for link, numbers in heard.items():
                link.out.append(GroupHeard(numbers).encode())

    # Reading.

    def _owe(self, session: Session, reading: GroupReading, group: str, stamp: int) -> None:
        """Rows of this group, from this stamp on (0: from the checkpoint), are to be read."""
        dirty = reading.dirty
        known = dirty.get(group)
        if group == ALL and stamp == 0:
            dirty[ALL] = 0
        elif known is None and len(dirty) >= MAX_DIRTY:
            # Where they begin is known of each: of all together it is the lowest.
            lowest = min(stamp, *dirty.values())
            dirty.clear()
            dirty[ALL] = lowest
        else:
            dirty[group] = stamp if known is None else min(known, stamp)
        self._reading[session] = None
        self._ask(session, reading)

    def sync(self, session: Session, n: int, group: str) -> None:
        """The device asks for one whole scan, of a group or of everything; whoever asks again and again waits."""
        reading = session.groups
        if reading is not None:
            if reading.syncs is None:
                now = self._turn.now
                reading.syncs = GroupSyncs(self._full_scans.bucket(now), self._one_scans.bucket(now))
            asked = reading.syncs.asked
            asked[group] = max(n, asked.get(group, 0))
            if len(asked) > MAX_DIRTY:
                del asked[next(iter(asked))]
            self._reading[session] = None
            self._begin_syncs(session, reading, reading.syncs)
        elif group == ALL:
            self._synced_groups(session, n)
        else:
            session.wire.synced(n)  # who understands no groups is sent none
            self._turn.mark(session)

    def _begin_syncs(self, session: Session, reading: GroupReading, syncs: GroupSyncs) -> None:
        """Scans that were asked for, and may begin by now, are owed."""
        now = self._turn.now
        for group in list(syncs.asked):
            limit, bucket = (self._full_scans, syncs.full_scans) if group == ALL else (self._one_scans, syncs.one_scans)
            if not bucket.wait_s(limit, now):
                bucket.left -= 1.0
                syncs.owed[group] = syncs.asked.pop(group)
                self._owe(session, reading, group, self._since(reading))

    def _since(self, reading: GroupReading) -> int:
        """The stamp from which on a scan has to begin; 0: whatever the store says of the device."""
        return max(0, reading.checkpoint - TRAIL_MS) << STAMP_SHIFT

    def _next(self, reading: GroupReading) -> bool:
        """Begin the next read that is owed: of all groups first, since what is read of one may be behind it."""
        dirty, syncs = reading.dirty, reading.syncs
        if ALL in dirty:
            # Of each group it reads what is to be read of that one alone.
            since = min(dirty.values()) or self._since(reading)
            dirty.clear()
            if syncs is not None:
                syncs.answers, syncs.owed = syncs.owed, {}
            self._start(reading, ALL, since)
        elif dirty:
            group = next(iter(dirty))
            if syncs is not None:
                syncs.answers = {group: syncs.owed.pop(group)} if group in syncs.owed else {}
            self._start(reading, group, dirty.pop(group))
        return reading.reading is not None

    def _start(self, reading: GroupReading, group: str, since: int) -> None:
        reading.reading, reading.since = group, since
        reading.cursor, reading.began_ms = b"", 0

    def _ask(self, session: Session, reading: GroupReading) -> None:
        """Ask for the next page, if one is owed, none is under way and there is room for it."""
        now = self._turn.now
        if reading.request or reading.not_before > now or session.phase in (ENDED, GREETING):
            return
        room = self._most - session.group_unacked
        if room < self._page_rows or session.unacked_bytes >= self._settings.max_unacked_bytes:
            return
        link = self._links.for_groups(session.user)
        if link is None:
            reading.not_before = now + self.RETRY_S
            return
        if reading.reading is None and not self._next(reading):
            return
        assert reading.reading is not None
        self._requests += 1
        reading.request, reading.asked_at = self._requests, now
        page = GroupPageRequest(
            session.key,
            session.number,
            reading.request,
            reading.reading,
            reading.since,
            reading.began_ms,
            reading.cursor,
            min(room, self._page_rows),
        )
        link.out.append(page.encode())

    def rows(self, rec: Record) -> None:
        """A page has come. Raises `RecordError`."""
        page = GroupRows.of(rec)
        session = self._sessions.get(page.session)
        reading = None if session is None else session.groups
        if session is None or reading is None or reading.request != page.request:
            return
        reading.request, reading.not_before = 0, 0.0
        if page.failed:
            reading.not_before = self._turn.now + self.RETRY_S  # the same page again
            return
        found = list(page.rows())
        if len(session.unacked) + len(session.buffered) + len(found) > self._settings.max_unacked:
            return  # copies have taken the room that was there when it was asked for: the same page again
        reading.cursor, reading.began_ms = page.cursor, page.began_ms
        for group, kind, row in found:
            if kind == ROW_MESSAGE:
                self.rows_sent += 1
                self._write(session, message_frame(row))
            elif kind == ROW_SKIPPED:
                session.wire.hint(Hint(kind=Hint.SKIPPED, group=group.decode()).SerializeToString())
                self._turn.mark(session)
        if page.end:
            self._end(session, reading)
        self._ask(session, reading)
        self._done(session, reading)

    def _end(self, session: Session, reading: GroupReading) -> None:
        """The read has seen the end."""
        group, reading.reading = reading.reading, None
        if group == ALL:
            self.checkpoints.scanned(session, reading)
        held, reading.held, reading.held_bytes = reading.held, [], 0
        for at, (stamp, frame) in enumerate(held):
            if not self._has_room(session, reading):
                lowest = min(each for each, _ in held[at:])
                self._owe(session, reading, group or ALL, min(lowest, stamp))
                break
            self.copies += 1
            self._write(session, frame)
        if reading.syncs is not None:
            self._answer(session, reading.syncs)

    def _answer(self, session: Session, syncs: GroupSyncs) -> None:
        answers, syncs.answers = syncs.answers, {}
        for asked, n in answers.items():
            if asked == ALL:
                self._synced_groups(session, n)
            else:
                session.wire.synced(n)
                self._turn.mark(session)

    def _done(self, session: Session, reading: GroupReading) -> None:
        if reading.is_clean and not (reading.syncs and reading.syncs.asked):
            self._reading.pop(session, None)

    # What it waits for.

    def acked(self, session: Session) -> None:
        """There may be room again."""
        if session in self._reading and session.groups is not None:
            self._ask(session, session.groups)

    def tick(self) -> None:
        """Ask again what was not answered."""
        now, timeout = self._turn.now, self._settings.request_timeout_s
        for session in list(self._reading):
            reading = session.groups
            if session.phase == ENDED or reading is None:
                del self._reading[session]
                continue
            if reading.request and now - reading.asked_at > timeout:
                reading.request = 0
            if reading.syncs is not None:
                self._begin_syncs(session, reading, reading.syncs)
            self._ask(session, reading)
            self._done(session, reading)

    @property
    def reading(self) -> int:
        """Sessions that catch up with a group."""
        return len(self._reading)

    def check(self) -> None:
        """Assert what holds of all sessions at the end of a turn."""
        for session in self._sessions.values():
            reading = session.groups
            if reading is None:
                continue
            assert session in self._reading or reading.is_clean, "something is to be read, and nobody looks"
            frames = sum(isinstance(entry, int) for entry in session.unacked)
            assert session.group_unacked == frames, (
                f"{session.group_unacked} frames of groups are counted, and {frames} are"
            )
            assert not reading.held or reading.reading, "messages wait for the end of no read"
            assert not reading.request or reading.reading is not None, "a page is asked for outside a read"
