"""gunicorn's arbiter, which also tells whoever manages the service: ready, alive, stopping.

Owns when which of them is told. How it is told, and to whom, is the manager's business; replacing workers is
gunicorn's.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter as GunicornsArbiter

from fabric.abilities import Abilities
from fabric.certificates import LOOK_S
from protocol.errors import ConfigError

_log = logging.getLogger("sparrow.userapi")

_UNTIL_READY_S = 0.1


class Manager(Protocol):
    """Whom a service tells of itself, such as systemd."""

    watchdog_s: float
    """It wants to hear that we live at least this often; 0: it does not."""

    def ready(self) -> None:
        """Requests are served."""

    def alive(self) -> None:
        """All is well."""

    def stopping(self) -> None:
        """We end."""

    def able(self, abilities: Abilities) -> None:
        """What was lately found out (`userapi.health`). A worker says so, in a thread of its own."""


class Arbiter(GunicornsArbiter):  # type: ignore[misc]  # gunicorn has no types
    """It is ready when a worker serves, and alive as long as its loop turns and some worker answers.

    gunicorn kills a worker that has not answered for `cfg.timeout`, and starts another. So it is no trouble when none
    answers for that long and for as long as a start takes, `start_s`; beyond it gunicorn is not up to it. Every
    `LOOK_S` it calls `look`.
    """

    def __init__(
        self,
        app: BaseApplication,
        manager: Manager,
        start_s: float,
        look: Callable[[], object] = lambda: None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """`check` raises `ConfigError` if new workers could not start."""
        super().__init__(app)
        self._check = check
        self._look = look
        self._looked_at = float("-inf")
        self._manager = manager
        self._silence_s = self.timeout + start_s
        self._turn_s = manager.watchdog_s / 3 or float("inf")
        self._is_ready = self._is_stopping = False
        self._heard_at = self._told_at = 0.0

    def wait_for_signals(self, timeout: float = 1.0) -> Any:
        """Between two turns of the loop."""
        found = super().wait_for_signals(min(timeout, self._turn_s if self._is_ready else _UNTIL_READY_S))
        # Many reloads are one, and an end does not wait for it.
        return sorted(dict.fromkeys(found), key=lambda number: number == signal.SIGHUP)

    def murder_workers(self) -> None:
        """Once in each turn."""
        super().murder_workers()
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._look()
        self._tell()

    def reap_workers(self) -> None:
        """Also while a reload waits for the workers from before, which may last longer than the watchdog."""
        super().reap_workers()
        self._tell()

    def reload(self) -> None:
        """SIGHUP: new workers read keys and all else again, and those from before end when they are done. If they could
        not start, nothing changes."""
        try:
            self._check()
        except ConfigError as error:
            _log.error("nothing is read again: %s", error)
            return
        super().reload()
        _log.info("SIGHUP: keys were read again")

    def stop(self, graceful: bool = True) -> None:
        """Told once, though gunicorn stops twice when it is interrupted."""
        if not self._is_stopping:
            self._is_stopping = True
            self._manager.stopping()
        super().stop(graceful)

    def _tell(self) -> None:
        if self._is_stopping:
            return
        for worker in self.WORKERS.values():
            with contextlib.suppress(OSError, ValueError):  # its file is closed
                heard_at = worker.tmp.last_update()
                # A worker that has not served yet has a file of today's date, which is far beyond the steady clock.
                if self._heard_at < heard_at <= time.monotonic():
                    self._heard_at = heard_at
        if not self._heard_at:
            return
        if not self._is_ready:
            self._is_ready = True
            self._manager.ready()
        now = time.monotonic()
        if now - self._told_at >= self._turn_s and now - self._heard_at <= self._silence_s:
            self._told_at = now
            self._manager.alive()
