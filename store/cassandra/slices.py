"""Reading a queue in slices of time, where the whole is too much for one read.

Cassandra refuses to read past very many tombstones (`tombstone_failure_threshold`). A slice that is short enough holds
few: an engine draws one position a microsecond.

Owns the width of slices. Knows no statement.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from store.cassandra.failures import store_error, too_much_to_read
from store.cassandra.keys import LAST, position_at, time_us
from store.cassandra.requests import Rows
from store.settings import StoreSettings

_DAY_US = 86_400_000_000
_SHRINK = 8
_GROW = 2
_BUDGET_S = 2.0
"""After this long a call returns what it knows; the next one goes on from there."""

Read = Callable[[bytes, bytes], Awaitable[Rows | Exception]]
"""Rows between two positions, both exclusive."""


class Found(NamedTuple):
    """What a read came to."""

    rows: Rows
    empty_to: bytes
    """Below this position there is nothing before the first row."""
    reached_end: bool


class Slices:
    """Reads queues whose whole is too much at once."""

    def __init__(self, settings: StoreSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock

    async def read(self, read: Read, after: bytes, full: Callable[[Rows], bool]) -> Found:
        """The first rows above `after`, of one slice; none if there are none, or after two seconds without any.

        `full` tells whether `read` may have left rows of its slice out. Raises `StoreError`.
        """
        horizon_us = int(self._clock() * 1_000_000) + _DAY_US
        oldest_us = horizon_us - 2 * _DAY_US - int(self._settings.inbox_ttl_days * _DAY_US)
        # First all that must have expired, in one go.
        start_us = time_us(after)
        width = oldest_us - start_us if start_us < oldest_us else (horizon_us - start_us) // _SHRINK
        width = max(1, width)
        give_up = time.monotonic() + _BUDGET_S
        empty_to = after
        while True:
            upper_us = time_us(empty_to) + width
            before = position_at(upper_us) if upper_us < horizon_us else LAST
            answer = await read(empty_to, before)
            if isinstance(answer, Exception):
                if width == 1 or not too_much_to_read(answer):
                    raise store_error(self._settings, answer) from answer
                width = max(1, min(width, horizon_us - time_us(empty_to)) // _SHRINK)
                continue
            if answer or before == LAST:
                return Found(answer, empty_to, reached_end=before == LAST and not full(answer))
            empty_to = before
            width *= _GROW
            if time.monotonic() > give_up:
                return Found([], empty_to, reached_end=False)
