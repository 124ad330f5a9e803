"""The receiving end: live copies to devices, acks back, and copies that go back to be stored.

Owns what is unacked. A copy is kept here until its device acks it or its broker has it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from connector.core.departures import Departures
from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED, LIVE, SETTLING
from connector.core.state import RETURNED, Copy, SentRow, Session, Turn
from connector.settings import ConnectorSettings
from fabric.records import (
    ATTEMPT,
    BODY,
    DELIVERED,
    FLAGS,
    ORIGIN,
    OTHERS,
    OTHERS_BIT,
    OUTCOME,
    OWN,
    QUIET,
    RECEIPT,
    SAFE,
    STORE,
    TO,
    TRACED,
    Record,
    encode,
)


def _state_of_ack(flags: int) -> int:
    """The outcome that a device's ack of a copy with these flags is."""
    state = SAFE if flags & (OWN | RECEIPT | QUIET) else DELIVERED
    return state | OTHERS_BIT if flags & OTHERS else state


_ACKED = [_state_of_ack(flags) for flags in range(256)]
"""The outcome of an ack by the flags of the copy, with any that a later release may add."""


class Delivery:
    """All unacked copies of a connector."""

    def __init__(
        self,
        settings: ConnectorSettings,
        turn: Turn,
        links: Links,
        sessions: dict[int, Session],
        outcome: Callable[[int, int, int, int], None],
        acked_rows: Callable[[Session, list[SentRow]], None],
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._links = links
        self._sessions = sessions
        self._outcome = outcome
        self._acked_rows = acked_rows
        self.departures = Departures(turn, links)
        # With store_after_s = 0 nothing is live: every copy goes to the inbox first.
        self._max_unacked = settings.max_unacked if settings.store_after_s > 0 else 0
        self._max_unacked_bytes = settings.max_unacked_bytes
        self._max_buffered_bytes = settings.max_buffered_bytes
        self._waiting: dict[Session, None] = {}
        self.buffered_bytes = 0
        """Bodies of all unacked copies."""
        self.copies = 0
        """Live copies written to devices."""
        self.requeued = 0
        """Copies that went back to a broker to be stored."""
        self.fall_behind: Callable[[Session], None]
        """Told when a live session can take no more copies. Whoever makes this has to set it."""

    # Out to the device.

    def copy(self, link: Link, rec: Record) -> None:
        """A broker has a copy for one of our sessions."""
        _, _, _, _, to, _, _, _, number, body = rec
        session = self._sessions.get(number)
        if session is None or session.key != to:
            self._send_back(rec)
            self.departures.absent(link, to, number)
            return
        size = len(body)
        if (
            session.phase >= SETTLING
            and len(session.unacked) + len(session.buffered) < self._max_unacked
            and session.unacked_bytes + size <= self._max_unacked_bytes
            and self.buffered_bytes + size <= self._max_buffered_bytes
        ):
            session.unacked_bytes += size
            self.buffered_bytes += size
            self._waiting[session] = None
            if session.phase == LIVE:
                self._send(session, (self._turn.now, link, rec))
            else:
                session.buffered.append((self._turn.now, link, rec))
            return
        self.requeue(session, rec)
        if session.phase == LIVE:
            self.fall_behind(session)

    def _drop(self, session: Session, rec: Record) -> None:
        size = len(rec[BODY])
        session.unacked_bytes -= size
        self.buffered_bytes -= size

    def _send(self, session: Session, copy: Copy) -> None:
        self.copies += 1
        session.unacked.append(copy)
        rec = copy[2]
        flags = rec[FLAGS]
        if flags & TRACED:
            self._trace(rec, "written to")
        if flags & RECEIPT:
            session.wire.delivered(rec[BODY])
        else:
            session.wire.message(rec[BODY])
        if not session.dirty:
            self._turn.mark(session)

    def release(self, session: Session) -> None:
        """The session has become live: send what was buffered for it."""
        buffered, session.buffered = session.buffered, []
        for copy in buffered:
            self._send(session, copy)

    def sent_row(self, session: Session, row: SentRow) -> None:
        """An inbox row has been sent: its ack is due like a copy's."""
        session.unacked.append(row)
        session.unacked_bytes += row.size

    def sent_group_frame(self, session: Session, size: int) -> None:
        """A group's message has been sent. Not acked, it stands in its timeline."""
        session.unacked.append(size)
        session.group_unacked += 1
        session.unacked_bytes += size

    # Back from the device.

    def acked(self, session: Session) -> None:
        """The device has kept everything up to its last ack."""
        unacked, wire = session.unacked, session.wire
        acked = unacked[: len(unacked) - (wire.counted - wire.acked)]
        del unacked[: len(acked)]
        rows: list[SentRow] = []
        size = 0
        for entry in acked:
            if isinstance(entry, tuple):
                size += len(entry[2][BODY])
                self._report(entry)
            elif isinstance(entry, SentRow):
                session.unacked_bytes -= entry.size
                rows.append(entry)
            elif entry is not None:
                session.unacked_bytes -= entry
                session.group_unacked -= 1
        session.unacked_bytes -= size
        self.buffered_bytes -= size
        if rows:
            self._acked_rows(session, rows)

    def _report(self, copy: Copy) -> None:
        _, flags, index, count, _, _, origin, attempt, _, _ = copy[2]
        state = _ACKED[flags]
        if flags & TRACED:
            self._trace(copy[2], "acked by")
        if origin == self._links.incarnation:
            self._outcome(attempt, index, count, state)
            return
        link = copy[1] if copy[1].up else self._links.any_up(copy[1])
        if link is not None:
            entries = link.outcomes.get(origin)
            if entries is None:
                entries = link.outcomes[origin] = []
            entries.append(OUTCOME.pack(attempt, index, count, state))

    def _trace(self, rec: Record, what: str) -> None:
        self._turn.traces.append((rec[ORIGIN], rec[ATTEMPT], f"{what} {rec[TO].decode()}"))

    # Back to be stored.

    def requeue(self, session: Session, rec: Record) -> None:
        """Return a copy to be stored; the session waits for the word that it is."""
        if self._send_back(rec):
            session.returned += 1
            session.returned_at = self._turn.now

    def _send_back(self, rec: Record) -> bool:
        _, flags, index, count, to, by, origin, attempt, session, body = rec
        route = self._links.for_user(to.partition(b"/")[0].decode())
        if route is None:
            return False  # its sender was not told SENT and repeats it
        self.requeued += 1
        if flags & TRACED:
            self._trace(rec, "requeued for")
        route[0].out.append(encode((STORE, flags, index, count, to, by, origin, attempt, session, body)))
        return True

    def return_buffered(self, session: Session) -> None:
        """The end of the inbox is not in sight after all."""
        buffered, session.buffered = session.buffered, []
        for _, _, rec in buffered:
            self._drop(session, rec)
            self.requeue(session, rec)

    def return_all(self, session: Session) -> None:
        """The session has ended: nothing of it may stay here."""
        for entry in session.unacked:
            if isinstance(entry, tuple):
                self._drop(session, entry[2])
                self.requeue(session, entry[2])
        session.unacked.clear()
        session.group_unacked = 0
        self.return_buffered(session)
        session.unacked_bytes = 0
        self._waiting.pop(session, None)
        session.returned_at = self._turn.now

    def stored(self, session: Session, copies: int) -> None:
        """So many copies that the session returned are settled, or are not waited for any more."""
        session.returned = max(0, session.returned - copies)

    def tick(self) -> None:
        """Return what was not acked in time."""
        limit = self._turn.now - self._settings.store_after_s
        for session in list(self._waiting):
            if session.phase == ENDED or not self._overdue(session, limit):
                if not session.unacked_bytes:
                    del self._waiting[session]
                continue
            if session.phase == LIVE:
                self.fall_behind(session)

    def _overdue(self, session: Session, limit: float) -> bool:
        """Return each overdue copy; whether there was one."""
        found = False
        for at, entry in enumerate(session.unacked):
            if isinstance(entry, tuple):
                if entry[0] > limit:
                    break
                session.unacked[at] = RETURNED
                self._drop(session, entry[2])
                self.requeue(session, entry[2])
                found = True
        if session.buffered and session.buffered[0][0] <= limit:
            self.return_buffered(session)
            found = True
        return found

    def check(self, sessions: Iterable[Session]) -> None:
        """Assert what holds of all sessions at the end of a turn: what is counted is there."""
        total = 0
        for session in sessions:
            copies = [entry for entry in session.unacked if isinstance(entry, tuple)]
            rows = [entry for entry in session.unacked if isinstance(entry, SentRow)]
            size = sum(len(rec[BODY]) for _, _, rec in (*copies, *session.buffered))
            total += size
            size += sum(row.size for row in rows) + sum(each for each in session.unacked if isinstance(each, int))
            assert session.unacked_bytes == size, f"{session.unacked_bytes} unacked bytes are counted, and {size} are"
            assert session.phase == ENDED or len(session.unacked) == session.wire.unacked, "an ack is owed for others"
            assert session.phase == SETTLING or not session.buffered, "copies wait for the end of no scan"
            assert session in self._waiting or not (copies or session.buffered), "nobody looks whether it acks"
            assert session.returned >= 0, f"{session.returned=}"
        assert self.buffered_bytes == total, f"{self.buffered_bytes} buffered bytes are counted, and {total} are"
