"""One call of the WSGI application: its environment, and its answer as far as it is there.

Owns the form of both. Knows no socket; `run` is called in a thread of a lane.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]

AT_ONCE = 64 * 1024
"""Bytes of an answer that are taken from the application before any is sent, if they come in several pieces."""
SINGLE = (b"content-type", b"host", b"authorization", b"content-length")
"""What a request has once, or its meaning would depend on who reads it."""

_log = logging.getLogger("sparrow.userapi")


@dataclass(slots=True)
class Answer:
    """What the application has answered. `rest` has more of the body, and is to be closed; None: that is all."""

    status: int
    reason: bytes
    headers: Headers
    body: bytes
    rest: _Rest | None = None


class _Rest:
    """The pieces that are still to come."""

    def __init__(self, result: Iterable[bytes]) -> None:
        self._result = result
        self._pieces: Iterator[bytes] = iter(result)

    def some(self) -> tuple[bytes, bool]:
        """The next bytes, and whether there may be more."""
        found: list[bytes] = []
        size = 0
        for piece in self._pieces:
            found.append(piece)
            size += len(piece)
            if size >= AT_ONCE:
                return b"".join(found), True
        self.close()
        return b"".join(found), False

    def close(self) -> None:
        """Nothing more is wanted. Once more is no error."""
        close = getattr(self._result, "close", None)
        self._result = ()
        self._pieces = iter(())
        if close is not None:
            close()


def environ_of(
    method: str,
    target: str,
    version: str,
    headers: Sequence[tuple[bytes, bytes]],
    peer: tuple[str, int] | None,
    server: tuple[str, int],
    scheme: str,
) -> Environ:
    """A WSGI environment without the body. `target` is a path with its query."""
    path, _, query = target.partition("?")
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{version}",
        "SERVER_SOFTWARE": "sparrow",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    if peer is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = peer[0], str(peer[1])
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").upper()
        # With an underscore it would look like the name with a hyphen, which proxies in front may set or remove.
        if "_" in name or name in ("CONTENT-LENGTH", "TRANSFER-ENCODING"):
            continue
        key = "CONTENT_TYPE" if name == "CONTENT-TYPE" else "HTTP_" + name.replace("-", "_")
        value = raw_value.decode("latin-1")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def with_body(environ: Environ, body: bytes) -> Environ:
    """For a call that has this body."""
    return environ | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def run(application: Application, environ: Environ) -> Answer | None:
    """Call the application, and take what it has at once; None if it has failed, which is logged."""
    started: list[tuple[str, Sequence[tuple[str, str]]]] = []

    def start_response(status: str, headers: Sequence[tuple[str, str]], exc_info: object = None) -> Callable[..., Any]:
        started[:] = [(status, headers)]
        return _write

    try:
        rest = _Rest(application(environ, start_response))
        body, more = rest.some()
        status, _, reason = started[0][0].partition(" ")
        made = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in started[0][1]]
        return Answer(int(status), reason.encode("latin-1"), made, body, rest if more else None)
    except Exception:
        _log.exception("a request failed")
        return None


def go_on(rest: _Rest) -> tuple[bytes, bool] | None:
    """Take more of a body; None if it has failed, which is logged."""
    try:
        return rest.some()
    except Exception:
        _log.exception("an answer failed")
        return None


def end(rest: _Rest) -> None:
    """Nobody wants the rest."""
    with contextlib.suppress(Exception):
        rest.close()


def _write(data: bytes) -> None:
    raise NotImplementedError("return the body")
