"""A client's connection below HTTP: what it waits for, until when, and its transport.

Owns phases and their deadlines. Knows no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, cast

from userapi.http.counts import Counts
from userapi.process.lanes import Lanes
from userapi.settings import UserApiSettings

KEEP_ALIVE_S = 75
"""Longer than proxies keep a connection that nothing is asked on, so that it is they who close it."""
LINGER_S = 2.0
"""After a refusal what the client still sends is read and thrown away, or it might not see the answer."""
SOCKET_BUFFER_BYTES = 64 * 1024
"""What may be on its way without our seeing that it moves."""


class Phase(Enum):
    """What a connection waits for."""

    HANDSHAKE = "handshake"
    HEAD = "head"
    IDLE = "idle"
    BODY = "body"
    BUSY = "busy"
    """For us: a thread has the request, or is to have it."""
    WRITING = "writing"
    LINGERING = "lingering"
    CLOSED = "closed"


_RANKS = {Phase.BUSY: -1, Phase.CLOSED: -1, Phase.BODY: 1, Phase.WRITING: 2}
"""As in `userapi.process.admission.Guest`. One whose request is still to come goes like one that is kept open for the
next: a browser opens several at once, and would lose the first of them to its second."""


class FrontPort(Protocol):
    """What a connection needs of the `Front` that has accepted it."""

    settings: UserApiSettings
    application: Any
    """The WSGI application."""
    counts: Counts
    loop: asyncio.AbstractEventLoop
    lanes: Lanes
    now: Callable[[], float]
    """A steady clock, in seconds."""

    def post(self, what: Callable[[], object]) -> None:
        """Have the event loop call `what`; from any thread."""

    def left(self, line: Line) -> None:
        """The connection is over."""


class Line(asyncio.Protocol):
    """A connection from accept to close. `userapi.process.connection` says what data means."""

    def __init__(self, front: FrontPort) -> None:
        self._front = front
        self._settings = front.settings
        self._transport: asyncio.Transport | None = None
        self._phase = Phase.HANDSHAKE
        self.rank = 0
        self.since = self._progress_at = front.now()
        self._counted = 0
        """Bytes since then, of what the phase waits for."""
        self._unsent = 0
        """Bytes that the transport still had when we looked last."""
        self._paused = self._is_full = self._is_writing = self._is_last = False
        self.cancel: Callable[[], object] = lambda: None
        """Gives up what there is before there is a transport."""

    # What HTTP does.

    def _expired(self, phase: Phase) -> bool:
        """It was late in that phase; whether that was answered."""
        raise NotImplementedError

    def _all_sent(self) -> None:
        """What was written has left."""
        raise NotImplementedError

    def _end_request(self) -> None:
        """Nothing comes of the request in hand any more."""
        raise NotImplementedError

    # Phases.

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self.rank = _RANKS.get(phase, 0)
        self.since = self._progress_at = self._front.now()
        self._counted = 0

    def _moved(self, size: int) -> None:
        self._counted += size
        self._progress_at = self._front.now()

    def is_late(self, now: float) -> bool:
        """Whether the client lets us wait for too long."""
        settings, phase = self._settings, self._phase
        if phase is Phase.IDLE:
            return now > self.since + KEEP_ALIVE_S
        if phase is Phase.HEAD:
            return now > self.since + settings.header_timeout_s
        if phase is Phase.LINGERING:
            return now > self.since + LINGER_S
        if phase is Phase.WRITING:
            self._look_at_writing()
            phase = self._phase
        if phase in (Phase.BODY, Phase.WRITING):
            # On average the rate, and never silent for longer than a full socket buffer takes at that rate.
            average_s = settings.stall_timeout_s + self._counted / settings.min_bytes_per_second
            silent_s = settings.stall_timeout_s
            if phase is Phase.WRITING:
                silent_s += SOCKET_BUFFER_BYTES / settings.min_bytes_per_second
                average_s = max(average_s, silent_s)
            return now > min(self.since + average_s, self._progress_at + silent_s)
        return False

    def _look_at_writing(self) -> None:
        assert self._transport is not None
        left = self._transport.get_write_buffer_size()
        if left < self._unsent:
            self._moved(self._unsent - left)
            self._unsent = left
        if not left:  # under TLS nobody may have said so
            self._all_sent()

    def expire(self) -> None:
        """It was late."""
        self._front.counts.refused(f"{self._phase.value}_timeout")
        if not self._expired(self._phase):
            self.abort()

    def evict(self) -> None:
        """Somebody else has its place."""
        self._front.counts.refused("evicted")
        self.abort()

    def abort(self) -> None:
        """Close it at once."""
        self._end_request()
        if self._transport is not None:
            self._transport.abort()
        else:
            self.cancel()
        self._enter(Phase.CLOSED)

    def stop(self, *, now: bool) -> None:
        """The process ends: the request in hand is the last one; `now`: those that wait for one close."""
        self._is_last = True
        if now and self._phase in (Phase.IDLE, Phase.HEAD, Phase.LINGERING, Phase.HANDSHAKE):
            self.abort()

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        if self._phase is Phase.CLOSED:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=0)  # to hear when all is sent
        self._enter(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._enter(Phase.CLOSED)
        self._front.left(self)

    def pause_writing(self) -> None:
        """See asyncio."""
        self._is_full = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self._is_full = False
        if self._phase is Phase.WRITING and not self._is_writing:
            self._look_at_writing()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._enter(Phase.WRITING)
        self._is_writing = True  # TLS may pause and resume in the middle of it
        self._transport.write(data)
        self._is_writing = False
        self._unsent = self._transport.get_write_buffer_size()
        if not self._is_full or not self._unsent:
            self._all_sent()

    def _linger(self) -> None:
        """Nothing more is written; what is read does not matter."""
        transport = self._transport
        assert transport is not None
        self._enter(Phase.LINGERING)
        self._resume()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
