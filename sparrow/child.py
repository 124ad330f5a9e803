"""The user API as a child process of a node: started, watched, started again, and what it tells.

Owns that process, and the memory that both see. What is served is `userapi`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess

from prometheus_client.core import Metric

from fabric.abilities import NOTIFY, SERVE, Abilities
from protocol.errors import ServiceError, SparrowError
from sparrow.config.settings import Settings
from sparrow.ops.logs import set_up
from userapi.http.counts import Counts
from userapi.server import run

log = logging.getLogger("sparrow")

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 5
FIRST_RESTART_S, LAST_RESTART_S = 1.0, 30.0
WATCHDOG_S = 15.0
"""As WatchdogSec= has it for one that is a service of its own."""


_BITS = {SERVE: 1, NOTIFY: 2}
_WHY = {SERVE: "the store does not do what the user API asks", NOTIFY: "no broker answers the user API"}


class _Pulse:
    """What the user API tells its node: `userapi.process.arbiter.Manager`, over memory that both see.

    Without locks, since whoever held one may be killed."""

    watchdog_s = WATCHDOG_S

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._heard_at = context.RawValue("d", 0.0)
        self._is_ready = context.RawValue("i", 0)
        self._missing = context.RawValue("i", 0)

    def ready(self) -> None:
        """A worker serves."""
        self._is_ready.value = 1

    def alive(self) -> None:
        """The arbiter and some worker do."""
        self._heard_at.value = time.monotonic()

    def stopping(self) -> None:
        """It is not late any more."""
        self._heard_at.value = 0.0

    def able(self, abilities: Abilities) -> None:
        """A worker has looked."""
        self._missing.value = sum(_BITS[name] for name, why in abilities.items() if why)

    @property
    def is_ready(self) -> bool:
        """Requests have been served."""
        return bool(self._is_ready.value)

    @property
    def was_heard(self) -> bool:
        """It serves, and does not stop."""
        heard_at: float = self._heard_at.value
        return heard_at > 0

    @property
    def is_late(self) -> bool:
        """Not before it has been heard at all."""
        heard_at: float = self._heard_at.value
        return 0 < heard_at < time.monotonic() - self.watchdog_s

    @property
    def abilities(self) -> Abilities:
        """What was found last; why not, its log says more exactly."""
        missing: int = self._missing.value
        return {name: _WHY[name] if missing & bit else "" for name, bit in _BITS.items()}


class UserApiChild:
    """The user API as a child process, started again if it dies or stands still."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pulse = _Pulse()
        self._counts = Counts("spawn")
        self._process: SpawnProcess | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and return when it serves. Raises `ServiceError` if it does not."""
        process = self._spawn()
        for _ in range(START_TIMEOUT_S * 10):
            if self._pulse.is_ready:
                self._watcher = asyncio.create_task(self._watch())
                return
            if not process.is_alive():
                break
            await asyncio.sleep(0.1)
        raise ServiceError("the user API did not start; the line above says why")

    def _spawn(self) -> SpawnProcess:
        self._pulse = _Pulse()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self._settings, self._pulse, self._counts, os.getpid()), name="sparrow-userapi"
        )
        process.start()
        self._process = process
        return process

    def metrics(self) -> Iterator[Metric]:
        """What it has counted since the node began, in all its lives."""
        return self._counts.metrics()

    def abilities(self) -> Abilities:
        """What the user API is for, and why it cannot do it now."""
        process, pulse = self._process, self._pulse
        if process is None:
            why = "not started"
        elif not process.is_alive():
            why = f"the user API has ended (exit status {process.exitcode}); it is started again"
        elif not pulse.is_ready:
            why = "the user API is starting"
        elif pulse.is_late:
            why = "the user API stands still"
        else:
            return pulse.abilities
        return dict.fromkeys(_BITS, why)

    async def _watch(self) -> None:
        wait_s = FIRST_RESTART_S
        was_late = False
        while True:
            await asyncio.sleep(wait_s)
            # Twice, since both may have stood still together and go on now.
            is_late = self._pulse.is_late
            if is_late and was_late and self._process is not None and self._process.is_alive():
                log.error("the user API has stood still for %.0f s; ending it", WATCHDOG_S)
                self._process.kill()
            was_late = is_late
            if self._process is not None and not self._process.is_alive():
                log.error("the user API has ended (exit status %s); starting it again", self._process.exitcode)
                wait_s = FIRST_RESTART_S if self._pulse.is_ready else min(2 * wait_s, LAST_RESTART_S)
                self._spawn()

    def reload(self) -> None:
        """Have it read keys again; one that has not served yet, whom the signal would end, is about to read them."""
        process = self._process
        if process is not None and process.pid is not None and process.is_alive() and self._pulse.was_heard:
            os.kill(process.pid, signal.SIGHUP)

    async def stop(self) -> None:
        """Stop it, by force if it does not listen."""
        if self._watcher is not None:
            self._watcher.cancel()
        process = self._process
        if process is None or not process.is_alive():
            return
        process.terminate()
        for _ in range(STOP_TIMEOUT_S * 10):
            if not process.is_alive():
                return
            await asyncio.sleep(0.1)
        process.kill()


def _serve(settings: Settings, pulse: _Pulse, counts: Counts, parent: int) -> None:
    """The child's main function."""
    set_up(settings.log)
    try:
        run(settings.userapi, settings.store, settings.history, manager=pulse, parent=parent, counts=counts)
    except SparrowError as error:
        log.error("%s", error)
        raise SystemExit(1) from None
