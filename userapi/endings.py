"""Sessions of what has ended (a login, a device, an account): closed, and again until that is confirmed.

Owns what is not confirmed yet, and the thread that goes on with it. What stands, the store says, each time anew; so
what is repeated late never ends what has begun since. If this process dies, a session of an ended login still goes no
further than its token (`connector.token_overdue_s`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from protocol.errors import ServiceError
from protocol.sparrow_pb2 import Goodbye
from userapi.asks import Fabric
from userapi.bridge import StoreBridge

REPEAT_S = 1.0
GIVE_UP_S = 3600.0
MAX_PENDING = 10_000
STOP_S = 5.0

_log = logging.getLogger("sparrow.userapi")


class Endings:
    """All endings of logins that one process sees through. Threads may share it."""

    def __init__(self, bridge: StoreBridge, fabric: Fabric, steady: Callable[[], float] = time.monotonic) -> None:
        self._bridge = bridge
        self._fabric = fabric
        self._steady = steady
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str | None], float] = {}
        """(user, device or all) → when to give up."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def end(self, user: str, *devices: str) -> None:
        """Close the sessions of these devices, or of all, that may not go on as the store has it now.

        Returns when it is confirmed, or after about a second, and then goes on by itself. Raises `ServiceError` when no
        broker answers, and goes on, too; may be repeated.
        """
        wanted: list[tuple[str, str | None]] = [(user, device) for device in devices] or [(user, None)]
        try:
            # Sessions of connectors of 0.1 that are about to begin are looked at again by their brokers.
            self._fabric.changed([user])
            confirmed = self._close(user, *devices)
        except ServiceError:
            self._go_on(wanted)
            raise
        with self._lock:
            for one in wanted:
                self._pending.pop(one, None)
        if not confirmed:
            self._go_on(wanted)

    def _close(self, user: str, *devices: str) -> bool:
        """Whether it is confirmed."""
        standing = self._bridge.call(self._bridge.store.standing, [user])[user]
        if standing is None:
            return self._fabric.close(user, code=Goodbye.DEVICE_REMOVED)
        if standing.disabled:
            return self._fabric.close(user, code=Goodbye.ACCOUNT_DISABLED)
        return self._fabric.close_devices(user, {one: standing.logins.get(one) for one in devices or standing.logins})

    # What goes on.

    def _go_on(self, wanted: list[tuple[str, str | None]]) -> None:
        with self._lock:
            for one in wanted:
                self._pending.pop(one, None)
                self._pending[one] = self._steady() + GIVE_UP_S
            while len(self._pending) > MAX_PENDING:
                lost, _ = next(iter(self._pending))
                del self._pending[next(iter(self._pending))]
                _log.error("too many sessions wait to be ended: one of %s ends with its token", lost)
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="endings", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(REPEAT_S):
            self.repeat()
            with self._lock:
                if not self._pending:
                    self._thread = None
                    return

    def repeat(self) -> None:
        """Try each that is not confirmed."""
        with self._lock:
            pending = list(self._pending.items())
        for one, until in pending:
            if self._stopped.is_set():
                return
            user, device = one
            try:
                done = self._close(user, *([] if device is None else [device]))
            except ServiceError:
                done = False
            if not done and self._steady() < until:
                continue
            if not done:
                _log.error("the sessions of %s could not be ended: they end with their tokens", user)
            with self._lock:
                if self._pending.get(one) == until:
                    del self._pending[one]

    @property
    def pending(self) -> int:
        """How many are not confirmed."""
        return len(self._pending)

    def stop(self) -> None:
        """End the thread; what is not confirmed then is left to tokens' ends."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join(STOP_S)
