"""What the user API is able to do, by what was lately tried: its store, and a broker.

Owns the trials, and the thread that makes them, so that nobody who asks costs anything or waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from fabric.abilities import NOTIFY, SERVE, Abilities
from protocol.errors import SparrowError, StoreError
from userapi.asks import Fabric
from userapi.bridge import StoreBridge

LOOK_S = 2.0
STALE_S = 15.0
"""What was found so long ago says nothing any more."""
_PATIENCE_S = 3.0
_NOBODY = "-"


class Health:
    """Of one process. Threads may share it."""

    def __init__(self, bridge: StoreBridge, fabric: Fabric, steady: Callable[[], float] = time.monotonic) -> None:
        self.told: Callable[[Abilities], None] = lambda abilities: None
        """Hears each time what was found."""
        self._bridge = bridge
        self._fabric = fabric
        self._steady = steady
        self._found: Abilities = {}
        self._found_at = float("-inf")
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Look again and again, from now on."""
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * _PATIENCE_S)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self.look()

    def abilities(self) -> Abilities:
        """What was found last, also while somebody looks; looks where that was long ago."""
        if self._is_stale:
            with self._turn:
                if self._is_stale:
                    self._look()
        return self._found

    @property
    def _is_stale(self) -> bool:
        return self._steady() - self._found_at >= STALE_S

    def look(self) -> None:
        """Try both now."""
        with self._turn:
            self._look()

    def _look(self) -> None:
        self._found = {SERVE: self._store_trouble(), NOTIFY: self._broker_trouble()}
        self._found_at = self._steady()
        self.told(self._found)

    def _store_trouble(self) -> str:
        health = self._bridge.health
        try:
            self._bridge.call_within(_PATIENCE_S, partial(health.look, reads=True))
        except StoreError as error:  # it has not answered
            return str(error)
        return health.trouble or health.full

    def _broker_trouble(self) -> str:
        try:
            self._fabric.online((_NOBODY,))
        except SparrowError as error:
            return str(error)
        return ""
