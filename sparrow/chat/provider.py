"""Logging in with an OpenID provider from a terminal: a browser goes there, and comes back to this machine (RFC 8252).

Owns the listener on loopback, and what is said meanwhile. Where the browser is on another machine, it ends at an
address that leads nowhere there: that can be typed in.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

from client import OidcAnswer, parse_oidc_answer
from protocol.errors import OidcError

WAIT_S: Final = 600.0
"""So long the service lets somebody be at the provider."""
_LOOK_S: Final = 0.2
_REQUEST_S: Final = 5.0
_MAX_LINE: Final = 16 * 1024
_DONE = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sparrow</title>'
    b"<p>Go on in the terminal. This page can be closed."
)


class Return:
    """Where the browser comes back to: a port of this machine's own, on loopback, for one answer."""

    def __init__(self) -> None:
        found: list[OidcAnswer] = []

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_S

            def do_GET(self) -> None:
                answer = parse_oidc_answer(self.path)
                body = _DONE if answer is not None else b""
                self.send_response(200 if answer is not None else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                if answer is not None:
                    found.append(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._found = found
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.timeout = 0
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()

    def wait(self, state: str, typed: Callable[[], str | None], until: float) -> OidcAnswer:
        """The answer to the login with this state, from the browser or from what is `typed` (None: nothing now).

        What answers another login is passed over. `until`: on the monotonic clock. Raises `OidcError` after that.
        """
        while time.monotonic() < until:
            ready, _, _ = select.select([self._server], [], [], _LOOK_S)
            if ready:
                self._server.handle_request()
            line = typed()
            typed_answer = parse_oidc_answer(line) if line else None
            answers = [*self._found, *([typed_answer] if typed_answer is not None else [])]
            self._found.clear()
            for answer in answers:
                if answer.state == state:
                    return answer
        raise OidcError("nobody came back from the provider in time: begin again")


def line_typed() -> str | None:
    """A line at the terminal, if there is one; None: nothing now, or nobody is there."""
    if not sys.stdin.isatty():
        return None
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return sys.stdin.readline(_MAX_LINE) if ready else None


def open_browser(address: str) -> bool:
    """Open it in a browser with a window of its own. False: there is none that could."""
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    # One that draws into this terminal is none.
    if type(browser) is webbrowser.GenericBrowser:
        return False
    # Some return when their window is closed.
    threading.Thread(target=browser.open, args=(address,), name="browser", daemon=True).start()
    return True


def tell(say: Callable[[str], None], address: str, is_open: bool) -> None:
    """Say what to do now."""
    say("A browser was opened, to log in there. If it was not, open this:" if is_open else "Open this in a browser:")
    say(f"  {address}")
    say(
        "If that browser is on another machine, it ends at an address that begins with http://127.0.0.1 and cannot be "
        "reached: type that in here. Ctrl-C ends."
    )
