"""Who is told of a group's change: brokers at once, and T later whoever is in it (docs/design/groups.md, G5).

Owns the hints that wait, and the thread that sends them: no request's thread waits for it. A hint may be lost, so what
is too much is dropped; clients see a change with the group's next message, too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from protocol.errors import ServiceError
from protocol.sparrow_pb2 import Hint
from userapi.asks import Fabric
from userapi.groups import Outcome
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
    """Tests call `send` by themselves."""

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

    def tell(self, outcomes: Sequence[Outcome], actor: str) -> None:
        """Tell the brokers, and T later all members and whoever has left. Raises `ServiceError`; may be repeated.

        Brokers are told of what has not changed, too: it may be a repeat of what they were not told of. By T they know
        even then (their caches are no older), so hints go out in any case.
        """
        if not outcomes:
            return
        try:
            self._fabric.changed([one.group.group for one in outcomes])
        finally:
            for group, before, changed in outcomes:
                if changed:
                    hint = Hint(kind=Hint.GROUP_CHANGED, group=group.group, version=group.version, user_id=actor)
                    self.add({*group.members, *before.members}, hint)

    def add(self, users: Collection[str], hint: Hint) -> None:
        """Tell these users T later."""
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
            self.send(self._steady())

    def send(self, until: float = float("inf")) -> None:
        """Send what is due by then."""
        while True:
            with self._lock:
                if not self._waiting or self._waiting[0].due > until:
                    return
                _, users, hint = self._waiting.popleft()
            with contextlib.suppress(ServiceError):
                self._fabric.hint_of_group(users, hint)

    def stop(self) -> None:
        """Send what waits, and end the thread."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join(self._delay_s + 1.0)
