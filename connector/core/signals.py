"""Signals: what matters only now, from clients to brokers, and from brokers to whoever is there to be told.

Owns how many a client may send, and when one is dropped: wherever it would have to wait. Keeps none, answers none, and
touches nothing of messages (docs/design/signals.md).
"""

from __future__ import annotations

from connector.core.links import Links
from connector.core.phases import LIVE
from connector.core.state import Ports, Session, Turn
from connector.settings import ConnectorSettings
from fabric.rates import RateLimit
from fabric.records import Record
from fabric.signal_records import SignalDown, SignalUp
from protocol.allowed import PRESENCE_SIGNALS, carries_signal
from protocol.errors import InvalidIdError
from protocol.framing import signal_frame
from protocol.ids import split_address
from protocol.sparrow_pb2 import Signal


class Signals:
    """All signals of a connector."""

    def __init__(
        self, ports: Ports, settings: ConnectorSettings, turn: Turn, links: Links, sessions: dict[int, Session]
    ) -> None:
        self._ports = ports
        self._turn = turn
        self._links = links
        self._sessions = sessions
        rate = settings.max_signals_per_second
        self._limit = RateLimit(rate, rate)
        self._most_unacked = settings.max_unacked // 2
        self.stale = False
        """What clients say now has waited here."""
        self.taken = 0
        """Signals of clients that were handed to brokers."""
        self.dropped = 0
        """Signals of clients that were not."""
        self.copies = 0
        """Signals written to clients."""
        self.copies_dropped = 0
        """Signals that came for a client which does not know them, is gone, or is behind."""

    def submit(self, session: Session, signal: Signal) -> None:
        """A client has one. Whatever becomes of it, nobody is told."""
        if self._send(session, signal):
            self.taken += 1
        else:
            self.dropped += 1

    def _send(self, session: Session, signal: Signal) -> bool:
        if self.stale or not self._may(session) or not carries_signal(signal.kind):
            return False
        try:
            route = self._links.for_user(signal.dest_id)
        except InvalidIdError:
            return False
        if route is None or not route[0].knows_signals:
            return False
        author, device = split_address(session.key)
        # Of fields that this release does not know, nothing is handed on: what is written here everybody can read.
        encoded = Signal(
            kind=signal.kind, dest_id=signal.dest_id, body=signal.body, from_id=author, from_device=device
        ).SerializeToString()
        up = SignalUp(signal.dest_id, session.key, signal.kind in PRESENCE_SIGNALS, encoded)
        route[0].out.append(up.encode())
        return True

    def _may(self, session: Session) -> bool:
        """Whether the session may send one more now."""
        now = self._turn.now
        if session.signals is None:
            session.signals = self._limit.bucket(now)
        bucket = session.signals
        bucket.fill(self._limit, now)
        if bucket.left < 1.0:
            return False
        bucket.left -= 1.0
        return True

    def give(self, rec: Record) -> None:
        """A broker has one for some of our sessions. Raises `RecordError`."""
        author, numbers, signal = SignalDown.of(rec)
        frame = signal_frame(signal)
        for number in numbers:
            session = self._sessions.get(number)
            if session is None or session.key == author or not self._takes(session):
                self.copies_dropped += 1
                continue
            self.copies += 1
            session.wire.signal(frame)
            self._turn.mark(session)

    def _takes(self, session: Session) -> bool:
        """Whether its client knows signals, and one would not come behind something that has waited."""
        groups = session.groups
        return (
            session.knows_signals
            and session.phase == LIVE
            and not session.unsure
            and not session.buffered
            and len(session.unacked) <= self._most_unacked
            and (groups is None or groups.is_clean)
            and not self._ports.is_behind(session.handle)
        )
