"""How much somebody may do: token buckets, each under a limit of so much a second and so much at once.

Owns the arithmetic, and the buckets of those who have names. Knows nothing of what is counted.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import ClassVar

ROUNDING = 1e-9
"""A debt below this is none."""


class RateLimit:
    """So much a second over some time, and so much at once. A rate of 0 is no limit."""

    __slots__ = ("at_once", "per_second")

    def __init__(self, per_second: float, at_once: float) -> None:
        self.per_second = float(per_second) or inf
        self.at_once = float(at_once) if per_second else inf

    def bucket(self, now: float) -> Bucket:
        """A full one."""
        return Bucket(self.at_once, now)


class Bucket:
    """What somebody may still do, as of `at`. Less than 0: it has been done in advance, and has to be waited for."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at

    def fill(self, limit: RateLimit, now: float) -> None:
        """Add what the time since then is worth."""
        if now > self.at:
            self.left = min(limit.at_once, self.left + (now - self.at) * limit.per_second)
            self.at = now

    def wait_s(self, limit: RateLimit, now: float) -> float:
        """In how many seconds nothing is owed any more; 0: nothing is."""
        self.fill(limit, now)
        return -self.left / limit.per_second if self.left < -ROUNDING else 0.0


class Rate:
    """One kind of thing that each of many, by name, may do so often."""

    SWEEP_S: ClassVar[float] = 10.0

    def __init__(self, per_second: float, at_once: float) -> None:
        self._limit = RateLimit(per_second, at_once)
        self._buckets: dict[Hashable, Bucket] = {}
        """Name → bucket; a bucket that is not here is full."""
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, name: Hashable, now: float) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = self._limit.bucket(now)
        bucket.fill(self._limit, now)
        return bucket

    def take(self, name: Hashable, wanted: float, now: float) -> float:
        """Take as much as there is, up to `wanted`; returns how much that was."""
        if self._limit.per_second == inf:
            return wanted
        bucket = self._bucket(name, now)
        taken = min(bucket.left, wanted)
        bucket.left -= taken
        return taken

    def once(self, name: Hashable, now: float) -> bool:
        """Take one, if there is one."""
        if self._limit.per_second == inf:
            return True
        bucket = self._bucket(name, now)
        if bucket.left < 1.0:
            return False
        bucket.left -= 1.0
        return True

    def spend(self, name: Hashable, amount: float, now: float) -> bool:
        """Take this much if anything is left at all: what is too much has to be waited for afterwards."""
        if self._limit.per_second == inf:
            return True
        bucket = self._bucket(name, now)
        if bucket.left <= 0.0:
            return False
        bucket.left -= amount
        return True

    def tick(self, now: float) -> None:
        """Forget full buckets, once in so many seconds."""
        if now >= self._sweep_at:
            self._sweep_at = now + self.SWEEP_S
            for name in list(self._buckets):
                if self._bucket(name, now).left >= self._limit.at_once:
                    del self._buckets[name]
