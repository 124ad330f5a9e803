"""One HTTP connection: what it sends becomes calls of the application, and answers go back.

Owns the connection's phases and their deadlines. A request gets a thread when its head and its body are there whole, an
upload when a piece of its body is; a slow client takes none meanwhile, nor while it reads its answer. HTTP itself is
h11's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any

import h11

from fabric.facts import BY_STRANGERS
from userapi.http import handover
from userapi.http.problems import ProblemError, rendered
from userapi.process import wsgi
from userapi.process.line import FrontPort, Line, Phase
from userapi.process.wsgi import Answer

if TYPE_CHECKING:
    from userapi.process.lanes import Lane

MAX_HEAD_BYTES = 32 * 1024
MAX_TARGET = 8190
"""Characters of path and query."""
MAX_HEADERS = 100
FULL_AGAIN_S = 2
PIECES = ("PATCH", b"application/offset+octet-stream")
"""The method and media type of uploads, which are handed over piece by piece (tus: a PATCH is as good as several)."""
_log = logging.getLogger("sparrow.userapi")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class Connection(Line):
    """A client's, from accept to close."""

    def __init__(self, front: FrontPort, peer: tuple[str, int] | None, server: tuple[str, int], *, door: str) -> None:
        super().__init__(front)
        self._peer, self._server = peer, server
        self._door = door
        self._scheme = "http"
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._line_is_there = False
        """The first line of the next head."""
        # Of the request in hand.
        self._environ: wsgi.Environ = {}
        self._lane: Lane | None = None
        self._body = bytearray()
        self._in_pieces = self._all_is_there = self._continued = False
        self._left: int | None = None
        self._broken: ProblemError | None = None
        self._rest: Any = None

    # What comes of the line.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if self._phase is Phase.BODY:
            self._keep_what_came(_ENDED)
        super().connection_lost(exc)
        if self._lane is None:
            self._end_request()

    def eof_received(self) -> bool:
        """See asyncio."""
        self._is_last = True
        if self._phase is Phase.BODY:
            self._keep_what_came(_ENDED)
        # A client that has closed its half is gone, as far as we are concerned, unless it waits for an answer.
        return self._phase in (Phase.BUSY, Phase.WRITING) and self._scheme == "http"

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        phase = self._phase
        if phase in (Phase.LINGERING, Phase.CLOSED):
            return
        if phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        if phase is not Phase.WRITING:
            self._moved(len(data))
        if not self._line_is_there and b"\n" in data:
            self._line_is_there = True
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            self._malformed(error)
            return
        if phase in (Phase.BUSY, Phase.WRITING):
            self._pause()  # it is for later
            return
        self._advance()

    def _expired(self, phase: Phase) -> bool:
        problem = ProblemError("request_timeout")
        if phase is Phase.BODY:
            if not self._keep_what_came(problem):
                self._refuse(problem)
            return True
        if phase is Phase.HEAD and self._counted:
            self._refuse(problem)
            return True
        return False

    # Requests.

    def _advance(self) -> None:
        """Go on with what has come, as far as that goes."""
        if self._phase is Phase.IDLE:
            self._resume()
        while self._phase in (Phase.HEAD, Phase.BODY):  # it has what it waits for
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                self._malformed(error)
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                self._resume()
                return
            if isinstance(event, h11.Request):
                try:
                    self._begin(event)
                except ProblemError as problem:
                    self._refuse(problem)
            elif isinstance(event, h11.Data):
                self._take(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._all_is_there = True
                self._hand_over()
            elif isinstance(event, h11.ConnectionClosed):
                self.abort()

    def _begin(self, event: h11.Request) -> None:
        """A head is there. Raises `ProblemError`."""
        target, method = event.target.decode("latin-1"), event.method.decode("latin-1")
        if event.http_version not in (b"1.0", b"1.1"):
            raise ProblemError("bad_request", "speak HTTP/1.1")
        if len(target) > MAX_TARGET:
            raise ProblemError("uri_too_long")
        if len(event.headers) > MAX_HEADERS:
            raise ProblemError("request_header_fields_too_large", f"send {MAX_HEADERS} header fields at most")
        names = [name for name, _ in event.headers]
        if repeated := [name for name in wsgi.SINGLE if names.count(name) > 1]:
            raise ProblemError("bad_request", f"the header {repeated[0].decode()} is there more than once")
        headers = dict(event.headers)
        if (absolute := _ABSOLUTE.match(target)) is not None:
            target = target[absolute.end() :] or "/"
        if not target.startswith("/") and target != "*":
            raise ProblemError("bad_request", "the target is no path")
        expected = headers.get(b"expect")
        if expected is not None and expected.lower() != b"100-continue":
            raise ProblemError("expectation_failed")
        version = event.http_version.decode()
        self._environ = wsgi.environ_of(
            method, target, version, list(event.headers), self._peer, self._server, self._scheme
        )
        self._environ[handover.DOOR] = self._door
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        self._in_pieces = (method, media_type) == PIECES
        length = headers.get(b"content-length")
        self._left = int(length) if length is not None else None if b"transfer-encoding" in headers else 0
        if not self._in_pieces and (self._left or 0) > self._settings.max_body_bytes:
            raise ProblemError("request_entity_too_large")
        self._lane = self._front.lanes.of(method, self._environ["PATH_INFO"])
        self._all_is_there = self._continued = False
        self._enter(Phase.BODY)
        if expected is not None and version != "1.0" and self._transport is not None:
            self._transport.write(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    def _take(self, data: bytes) -> None:
        self._body += data
        if self._in_pieces:
            # One byte more, so that whoever takes it knows that more is to come.
            if len(self._body) > self._piece_bytes():
                self._hand_over()
        elif len(self._body) > self._settings.max_body_bytes:
            self._refuse(ProblemError("request_entity_too_large"))

    def _piece_bytes(self) -> int:
        """The first is small: until it is taken, nobody knows whose it is."""
        settings = self._settings
        return settings.file_piece_bytes if self._continued else min(settings.max_body_bytes, settings.file_piece_bytes)

    def _hand_over(self) -> None:
        """A body, or a piece of one, is there: it is a thread's turn."""
        lane, size = self._lane, self._piece_bytes()
        assert lane is not None
        more = self._in_pieces and len(self._body) > size
        body = bytes(self._body[:size]) if more else bytes(self._body)
        self._body = self._body[size:] if more else bytearray()
        environ = wsgi.with_body(self._environ, body)
        environ[handover.HOLD_S] = 0.0
        environ[handover.MORE] = more
        environ[handover.CONTINUED] = self._continued
        environ[handover.BODY_LEFT] = self._left
        if not self._submit(lane, partial(wsgi.run, self._front.application, environ), self._answered, environ):
            self._front.counts.refused(f"{lane.name}s_busy")
            detail = f"too much at once; try again in {FULL_AGAIN_S} s"
            self._refuse(ProblemError("unavailable", detail, headers={"Retry-After": str(FULL_AGAIN_S)}))
            return
        if self._left is not None:
            self._left -= len(body)
        self._enter(Phase.BUSY)
        if self._in_pieces:
            self._pause()

    def _submit(self, lane: Lane, work: Any, then: Any, *more: object) -> bool:
        def job() -> None:
            found = work()
            self._front.post(partial(self._ended, lane, then, found, *more))

        return lane.submit(job, must=self._continued or self._rest is not None or self._broken is not None)

    def _let_go(self, rest: Any) -> None:
        lane, front = self._front.lanes.requests, self._front

        def job() -> None:
            wsgi.end(rest)
            front.post(lane.done)

        lane.submit(job, must=True)

    def _ended(self, lane: Lane, then: Any, found: Any, *more: object) -> None:
        lane.done()
        then(found, *more)

    def _answered(self, answer: Answer | None, environ: wsgi.Environ) -> None:
        if self._phase is Phase.CLOSED:
            self._drop(answer)
            return
        if answer is None:
            self._refuse(ProblemError("internal_error"))
            return
        if environ[handover.MORE] and answer.status < 300:
            self._drop(answer)
            self._continued = True
            self._environ["HTTP_UPLOAD_OFFSET"] = str(
                int(self._environ["HTTP_UPLOAD_OFFSET"]) + int(environ["CONTENT_LENGTH"])
            )
            self._enter(Phase.BODY)
            if len(self._body) > self._piece_bytes() or self._all_is_there:
                self._hand_over()
            else:
                self._advance()
            return
        if self._broken is not None and answer.status < 300:
            self._drop(answer)
            self._refuse(self._broken)
            return
        hold_s = environ[handover.HOLD_S]
        if hold_s:
            self._front.loop.call_later(hold_s, self._respond, answer)
        else:
            self._respond(answer)

    def _drop(self, answer: Answer | None) -> None:
        if answer is not None and answer.rest is not None:
            self._let_go(answer.rest)

    # Answers.

    def _respond(self, answer: Answer) -> None:
        transport = self._transport
        if self._phase is Phase.CLOSED or transport is None:
            self._drop(answer)
            return
        headers = [*answer.headers, (b"Date", _date())]
        if self._is_last or not self._all_is_there:
            headers.append((b"Connection", b"close"))
        self._rest = answer.rest
        response = h11.Response(status_code=answer.status, reason=answer.reason, headers=headers)
        self._write_or_abort(self._encoded(response, answer.body))

    def _encoded(self, head: h11.Response | None, body: bytes) -> bytes | None:
        """The bytes of what follows next; None if that is no answer, which is a fault of ours."""
        try:
            sent = b"" if head is None else self._h11.send(head) or b""
            if body:
                sent += self._h11.send(h11.Data(data=body)) or b""
            if self._rest is None:
                sent += self._h11.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            # Such as a file that was removed meanwhile, and ends before its Content-Length.
            _log.warning("an answer was cut off: %s", error, extra=BY_STRANGERS)
            return None
        return sent

    def _write_or_abort(self, data: bytes | None) -> None:
        if data is None:
            self.abort()
        else:
            self._write(data)

    def _all_sent(self) -> None:
        if self._rest is not None:
            self._fetch_more()
        elif self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE and not self._is_last:
            self._end_request()
            self._h11.start_next_cycle()
            self._line_is_there = b"\n" in self._h11.trailing_data[0]
            self._enter(Phase.HEAD if self._h11.trailing_data[0] else Phase.IDLE)
            self._advance()
        else:
            self._linger()

    def _fetch_more(self) -> None:
        rest = self._rest
        self._enter(Phase.BUSY)
        self._submit(self._front.lanes.requests, partial(wsgi.go_on, rest), self._fetched)

    def _fetched(self, found: tuple[bytes, bool] | None) -> None:
        transport = self._transport
        if self._phase is Phase.CLOSED or transport is None or found is None:
            self.abort()
            return
        data, more = found
        if not more:
            self._rest = None
        self._write_or_abort(self._encoded(None, data))

    def _refuse(self, problem: ProblemError) -> None:
        """Answer for ourselves, and close."""
        transport = self._transport
        if transport is None or self._phase in (Phase.CLOSED, Phase.LINGERING):
            return
        self._front.counts.count(0, problem.status, 0.0)
        status, reason, headers, body = rendered(problem)
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
        lines += [f"Date: {_date().decode()}", f"Content-Length: {len(body)}", "Connection: close", "", ""]
        sent = "\r\n".join(lines).encode("latin-1")
        transport.write(sent if self._environ.get("REQUEST_METHOD") == "HEAD" else sent + body)
        self._end_request()
        self._linger()

    def _malformed(self, error: h11.RemoteProtocolError) -> None:
        if self._phase is Phase.BODY:
            problem = ProblemError("bad_request", f"the body is broken: {error}")
            if self._keep_what_came(problem):
                return
        elif error.error_status_hint == ProblemError("request_header_fields_too_large").status:
            problem = ProblemError("request_header_fields_too_large" if self._line_is_there else "uri_too_long")
        elif error.error_status_hint == ProblemError("not_implemented").status:
            problem = ProblemError("not_implemented")
        else:
            problem = ProblemError("bad_request", f"this is no HTTP/1.1: {error}")
        self._front.counts.refused("malformed")
        self._refuse(problem)

    def _keep_what_came(self, problem: ProblemError) -> bool:
        """An upload ends too early, for that reason; False if there is nothing to keep."""
        if not self._in_pieces or not self._body:
            return False
        self._broken = problem
        self._hand_over()
        return True

    def _end_request(self) -> None:
        if self._rest is not None:
            self._let_go(self._rest)
        self._rest = self._lane = self._broken = None
        self._environ = {}
        self._body = bytearray()


_ENDED = ProblemError("bad_request", "the body ends too early")
_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, formatdate(now, usegmt=True).encode()
    return _dated[1]
