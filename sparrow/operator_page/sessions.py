"""Operators who have shown the administrator's token, and those who try to.

Owns the sessions, in memory: a restart ends them all. A session's secret goes to the page and comes back in a header,
never in a cookie: a cookie knows no port, so that whatever another user of this machine serves on another port of it
would be sent ours.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable

from fabric.rates import Rate

MAX_SESSIONS = 32
"""One more ends the oldest."""
TRIES_AT_ONCE = 20
TRY_EVERY_S = 60.0
"""Logins of one address, right or wrong: so many at once, and then one so often."""
MAX_ADDRESSES = 10_000
"""Who tries lately; beyond them nobody new is looked at."""


class TooManyTriesError(Exception):
    """From this address no token is looked at for a while."""


class Sessions:
    """Of one process. Threads may share it."""

    def __init__(self, token: str, lifetime_s: float, steady: Callable[[], float]) -> None:
        """`token`: the administrator's."""
        self._token = token.encode()
        self._lifetime_s = lifetime_s
        self._steady = steady
        self._tries = Rate(1 / TRY_EVERY_S, TRIES_AT_ONCE)
        self._ends: dict[bytes, float] = {}
        """Digest of a session's secret → when it ends; the oldest first."""
        self._lock = threading.Lock()

    def begin(self, token: str, address: str) -> str:
        """The secret of a new session; empty if the token is wrong. Raises `TooManyTriesError`."""
        with self._lock:
            now = self._steady()
            self._tries.tick(now)
            if len(self._tries) >= MAX_ADDRESSES or not self._tries.once(address, now):
                raise TooManyTriesError
            if not hmac.compare_digest(token.encode(), self._token):
                return ""
            secret = secrets.token_urlsafe(32)
            self._ends = {digest: end for digest, end in self._ends.items() if end > now}
            while len(self._ends) >= MAX_SESSIONS:
                del self._ends[next(iter(self._ends))]
            self._ends[_digest(secret)] = now + self._lifetime_s
            return secret

    def is_open(self, secret: str) -> bool:
        """Whether this is the secret of a session that has not ended."""
        with self._lock:
            return self._ends.get(_digest(secret), 0.0) > self._steady()

    def end(self, secret: str) -> None:
        """End it. Once more is no error."""
        with self._lock:
            self._ends.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
