"""How much room the disk of a database has.

Owns that look, at most one a second. Writes nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from store.settings import StoreSettings

LOOK_S = 1.0


class Disk:
    """The disk that `store.path` is on."""

    def __init__(self, settings: StoreSettings) -> None:
        self._folder = Path(settings.path).resolve().parent
        self._min_free = settings.min_free_bytes
        self._looked_at = -LOOK_S
        self._free: int | None = None

    def free_bytes(self) -> int | None:
        """What is free for us; None if nobody can say."""
        now = time.monotonic()
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            try:
                found = os.statvfs(self._folder)
            except OSError:
                self._free = None
            else:
                self._free = found.f_bavail * found.f_frsize
        return self._free

    def is_low(self) -> bool:
        """Whether it is less than `store.min_free_bytes`."""
        free = self.free_bytes()
        return free is not None and free < self._min_free
