"""How much somebody may do: token buckets by name, each with so much a second and so much at once.

Owns the buckets. Knows nothing of what is counted.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf


class Rate:
    """One kind of thing that may be done so often. A rate of 0 is no limit."""

    SWEEP_S = 10.0

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second = per_second or inf
        self._at_once = at_once if per_second else inf
        self._buckets: dict[Hashable, tuple[float, float]] = {}
        """Name → (what was left, when). One that is not here is full."""
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._buckets)

    def _left(self, name: Hashable, now: float) -> float:
        left, at = self._buckets.get(name, (self._at_once, now))
        return min(self._at_once, left + (now - at) * self._per_second) if now > at else left

    def take(self, name: Hashable, wanted: float, now: float) -> float:
        """Take as much as there is, up to `wanted`; returns how much that was."""
        if self._per_second == inf:
            return wanted
        left = self._left(name, now)
        taken = min(left, wanted)
        self._buckets[name] = (left - taken, now)
        return taken

    def once(self, name: Hashable, now: float) -> bool:
        """Take one, if there is one."""
        if self._per_second == inf:
            return True
        left = self._left(name, now)
        self._buckets[name] = (left - 1.0 if left >= 1.0 else left, now)
        return left >= 1.0

    def tick(self, now: float) -> None:
        """Forget full buckets, once in a while."""
        if now >= self._sweep_at:
            self._sweep_at = now + self.SWEEP_S
            full = [name for name in self._buckets if self._left(name, now) >= self._at_once]
            for name in full:
                del self._buckets[name]
