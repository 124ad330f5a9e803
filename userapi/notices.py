"""Hints about groups, a while after the brokers were told of a change (docs/design/groups.md, G5).

Owns what waits, and the thread that tells it: no request's thread waits for it. A hint may be lost, so what is too much
is dropped; clients see a change with the group's next message, too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from protocol.errors import ServiceError
from protocol.sparrow_pb2 import Hint
from userapi.asks import Fabric
from userapi.http.counts import Counts

MAX_WAITING = 10_000
"""Hints, each for all members of a group."""

_log = logging.getLogger("sparrow.userapi")


class _Waiting(NamedTuple):
    due: float
    users: Collection[str]
    hint: Hint


class Notices:
    """Of one process. Threads may share it. `steady` is a clock in seconds that never steps."""

    threaded = True
    """Tests call `tell` by themselves."""

    def __init__(
        self, fabric: Fabric, delay_s: float, counts: Counts, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._fabric = fabric
        self._delay_s = delay_s
        self._counts = counts
        self._steady = steady
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def add(self, users: Collection[str], hint: Hint) -> None:
        """Tell these users, when every broker knows of what it says."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                self._counts.group("hint_dropped")
                return
            self._waiting.append(_Waiting(self._steady() + self._delay_s, users, hint))
            if self._thread is None and self.threaded and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                wait_s = self._waiting[0].due - self._steady()
            # At the end all that is left is told as it falls due, which is soon.
            time.sleep(max(0.0, wait_s))
            self.tell(self._steady())

    def tell(self, until: float = float("inf")) -> None:
        """What is due by then."""
        while True:
            with self._lock:
                if not self._waiting or self._waiting[0].due > until:
                    return
                _, users, hint = self._waiting.popleft()
            with contextlib.suppress(ServiceError):
                self._fabric.hint_of_group(users, hint)

    def stop(self) -> None:
        """Tell what waits, and end the thread."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join(self._delay_s + 1.0)
