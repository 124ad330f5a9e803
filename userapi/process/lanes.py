"""Lanes: threads that requests wait for, apart by what they do, so that none can stop the others.

Owns which request goes where, and the threads. Passwords have a lane of their own since each check takes tens of
milliseconds of a core, or waits for another user system; what asks an OpenID provider, since it may be slow while
passwords work; health, so that busy threads never hide that we live.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from userapi.settings import UserApiSettings

_HEALTH = {"/healthz", "/readyz", "/metrics", "/varz", "/v1/admin/metrics"}
_HEALTH_THREADS, _HEALTH_WAITING = 2, 64
PASSWORDS = {
    ("POST", "/v1/login"),
    ("POST", "/v1/accounts"),
    ("POST", "/v1/admin/accounts"),
    ("PUT", "/v1/me/password"),
    ("POST", "/v1/password-reset"),
    ("POST", "/v1/me/deletion"),
}
"""Methods and paths of all that checks or hashes a password."""
_PROVIDERS = {"/v1/oidc/start", "/v1/oidc/ticket"}
"""Paths of all that asks an OpenID provider."""


class Lane:
    """Some threads, and a bound on what waits for them. Used from one thread, that of the event loop."""

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        self.name = name
        self._room = threads + max_waiting
        self._in_hand = 0
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(threads):
            # Daemons: a process that ends waits for its requests, and not for a thread that hangs.
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, job: Callable[[], None], *, must: bool = False) -> bool:
        """Run `job`, which raises nothing, in a thread, and call `done` when it is; False if too much waits already.

        `must`: of a request that was taken before.
        """
        if self._in_hand >= self._room and not must:
            return False
        self._in_hand += 1
        self._jobs.put(job)
        return True

    def done(self) -> None:
        """A job has ended."""
        self._in_hand -= 1

    def _work(self) -> None:
        while True:
            self._jobs.get()()


class Lanes:
    """Those of one process."""

    def __init__(self, settings: UserApiSettings) -> None:
        checks = settings.password_threads if settings.identity == "own" else settings.identity_max_at_once
        self.requests = Lane("request", settings.threads, settings.max_waiting_requests)
        self.passwords = Lane("password", checks, settings.max_waiting_passwords)
        self.providers: Lane | None = None
        if settings.oidc_issuer:
            self.providers = Lane("provider", settings.identity_max_at_once, settings.max_waiting_passwords)
        self.health = Lane("health", _HEALTH_THREADS, _HEALTH_WAITING)

    def of(self, method: str, path: str) -> Lane:
        """Where a request belongs."""
        if (method, path) in PASSWORDS:
            return self.passwords
        if self.providers is not None and path in _PROVIDERS:
            return self.providers
        return self.health if path in _HEALTH else self.requests
