"""How far devices are with their groups: when a checkpoint moves, and when it is kept (docs/design/groups.md, rule G2).

Owns checkpoints. An older one than could be only makes a device read more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.core.links import Links
from connector.core.phases import ENDED, GREETING
from connector.core.state import GroupReading, Session, Turn
from fabric.group_records import Checkpoint
from protocol.ids import TRAIL_MS

KEEP_S: Final = 600.0
"""Checkpoints of sessions that go on are kept so often."""


class Checkpoints:
    """Those of all sessions."""

    def __init__(self, turn: Turn, links: Links) -> None:
        self._turn = turn
        self._links = links

    def begin(self, reading: GroupReading, fresh: bool) -> None:
        """A session begins. Whoever keeps nothing wants what is written from now on."""
        reading.kept_at = self._turn.now
        if fresh:
            reading.fresh = True
            reading.checkpoint = self._turn.wall_ms + TRAIL_MS

    def sweep(self, sessions: Iterable[Session]) -> None:
        """Move checkpoints on, now and then."""
        clear_ms, now = self._links.clear_ms, self._turn.now
        for session in sessions:
            reading = session.groups
            if reading is None or session.phase in (ENDED, GREETING) or session.unsure:
                continue
            self._move(session, reading, clear_ms)
            if now - reading.kept_at >= KEEP_S:
                self._keep(session, reading)

    def scanned(self, session: Session, reading: GroupReading) -> None:
        """A read of all groups has ended: its begin is the next checkpoint, when all of it is acked."""
        reading.candidate = reading.began_ms, session.wire.counted

    def _move(self, session: Session, reading: GroupReading, clear_ms: int) -> None:
        """Past what is acked, and as far as brokers are clear; never past what is dirty, or owes a scan."""
        ms, counted = reading.candidate
        if ms and session.wire.acked >= counted and reading.is_clean:
            reading.checkpoint = max(reading.checkpoint, ms)
            reading.candidate = 0, 0
        if not reading.candidate[0] and clear_ms and reading.is_clean:
            reading.candidate = clear_ms, session.wire.counted

    def left(self, session: Session) -> None:
        """The session has ended: keep how far it is."""
        reading = session.groups
        if reading is not None:
            self._move(session, reading, 0)
            self._keep(session, reading)

    def _keep(self, session: Session, reading: GroupReading) -> None:
        reading.kept_at = self._turn.now
        if reading.checkpoint > reading.kept and not reading.fresh:
            reading.kept = reading.checkpoint
            link = self._links.for_groups(session.user)
            if link is not None:
                link.out.append(Checkpoint(session.key, reading.checkpoint).encode())
