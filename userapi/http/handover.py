"""What the HTTP worker and the application tell each other beside WSGI, in a request's environment.

Owns those names. Without the worker (another WSGI server, a test client) none of them is there, and all works as well.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import request

HOLD_S = "sparrow.hold_s"
"""Set by the application: the answer is to be held back so many seconds. The worker offers it by a 0."""
MORE = "sparrow.more"
"""True: this is a piece of an upload, and at least one byte of its body follows in another call."""
CONTINUED = "sparrow.continued"
"""True: a piece that is not the first of its request: what counts requests passes over it."""
BODY_LEFT = "sparrow.body_left"
"""Bytes of the request's body from this call on, where the client has said how many there are."""
DOOR = "sparrow.door"
"""At which listener the request came in: `PUBLIC`, `ADMIN` or `MONITOR`."""
PUBLIC = "public"
ADMIN = "admin"
"""`userapi.admin_listen_port`."""
MONITOR = "monitor"
"""`monitor.listen_port`."""


def held_s() -> float:
    """For how long this request's answer is held back."""
    found: float = request.environ.get(HOLD_S, 0.0)
    return found


def hold(seconds: float, sleep: Callable[[float], None]) -> None:
    """Hold this request's answer back: without a thread where the worker can do that, else by `sleep`."""
    if HOLD_S in request.environ:
        request.environ[HOLD_S] = max(seconds, request.environ[HOLD_S])
    else:
        sleep(seconds)
