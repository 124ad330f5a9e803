"""Positions, row keys and page cursors.

Owns their form; draws positions. A position is 16 bytes: microseconds of Unix time by the clock of whoever appended,
then eight bytes of that engine's own. Bytes compare as positions do.

A row's write timestamp is the time in its position, and a removal's is later. So an insert that is repeated, or that
happens after its time-out, is the same insert again, and never undoes a removal, whatever the clocks say.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from typing import NamedTuple

from store.interface import COMMON

_POSITION = struct.Struct(">QQ")
_CURSOR = struct.Struct(">B16sQ")
_MID, _ENDED = 1, 2
_KEY_BYTES = 1 + _POSITION.size
_OWN, _COMMON = b"\0", b"\1"

FIRST = bytes(16)
"""Below every position."""
LAST = b"\xff" * 16
"""Above every position."""


class Positions:
    """Draws positions: rising while the clock does not jump back, and unique without asking anybody."""

    JUMP_US = 1_000_000
    """A clock that went back further is followed, not waited for: readers look by the time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_us = 0
        self._own = 0

    def draw(self) -> bytes:
        """A new position."""
        now_us = int(self._clock() * 1_000_000)
        if now_us + self.JUMP_US < self._last_us or not self._own:
            # These microseconds may have been given before, so they are told apart by the other half.
            self._own = 1 + secrets.randbelow(2**64 - 1)
            self._last_us = 0
        self._last_us = max(now_us, self._last_us + 1)
        return _POSITION.pack(self._last_us, self._own)


def time_us(position: bytes) -> int:
    """The time in a position."""
    return int.from_bytes(position[:8], "big")


def position_at(time_us: int) -> bytes:
    """Below all positions of this microsecond, and above all earlier ones."""
    return _POSITION.pack(max(0, time_us), 0)


def placed(time_us: int, own: int) -> bytes:
    """The position of a row that was appended elsewhere, at that time; `own` tells it from others of that time."""
    return _POSITION.pack(max(1, time_us), own)


def bucket_of(user: str) -> str:
    """The partition of `names` that a user, or a prefix of two characters or more, is in."""
    return user[:2]


def key_of(device: str, position: bytes) -> bytes:
    """The key of a row in this device's, or the common, queue."""
    return (_COMMON if device == COMMON else _OWN) + position


def queue_of(key: bytes, device: str) -> tuple[str, bytes] | None:
    """The queue and the position that `key` names in the view of `device`; None for a key that is not ours."""
    if len(key) != _KEY_BYTES or key[:1] not in (_OWN, _COMMON):
        return None
    return (COMMON if key[:1] == _COMMON else device), key[1:]


class Cursor(NamedTuple):
    """Where a scan of an inbox is."""

    at: bytes
    """All positions up to this one are done."""
    began_us: int
    """When the scan began, by the clock of its first reader."""
    ended: bool

    def pack(self) -> bytes:
        """25 bytes."""
        return _CURSOR.pack(_ENDED if self.ended else _MID, self.at, self.began_us)


def parse_cursor(data: bytes) -> Cursor | None:
    """None for bytes that are no cursor of this engine (another engine's, after a move)."""
    if len(data) != _CURSOR.size:
        return None
    state, at, began_us = _CURSOR.unpack(data)
    return Cursor(at, began_us, state == _ENDED) if state in (_MID, _ENDED) else None


def begin_pass(before: Cursor | None, now_us: int, trail_us: int) -> Cursor:
    """The cursor of a fresh scan that begins now.

    Whatever was durable before the last scan began, that scan has shown, as far as it came. What became durable
    since has a position that lies at most `trail_us` before that begin, however clocks differ: brokers append anew
    what took long. Taking the newest position seen instead would miss rows when a scan takes longer than the trail.
    """
    if before is None:
        return Cursor(FIRST, now_us, ended=False)
    trail = position_at(before.began_us - trail_us)
    return Cursor(trail if before.ended else min(trail, before.at), now_us, ended=False)
