"""What holds for groups in every engine: where a scan begins, its positions, how long rows live.

Owns these rules (docs/design/groups.md, G2). Pure functions; knows no engine.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocol.ids import STAMP_SHIFT
from store.groups import MAX_BEHIND_MS, TRAIL_MS
from store.settings import StoreSettings

_DAY_MS = 86_400_000
_CURSOR = struct.Struct(">cQqqq")


class Lives(NamedTuple):
    """How long rows live, in ms."""

    kept: int
    """Of conversations."""
    group: int
    """Of groups: the longer of that and an inbox's."""


def lives_of(keep_days: int, settings: StoreSettings) -> Lives:
    """What follows from `keep_days`."""
    return Lives(keep_days * _DAY_MS, max(keep_days * _DAY_MS, settings.inbox_ttl_ms))


def floor_of_group(floor: int, now_ms: int, inbox_ttl_ms: int) -> int:
    """The lowest stamp that is shown of groups; `floor`: of conversations."""
    return min(floor, max(now_ms - inbox_ttl_ms, 0) << STAMP_SHIFT)


class Cursor(NamedTuple):
    """Where a scan goes on."""

    since: int
    """The stamp from which on all of it reads: which name was shown before follows from it."""
    group: str
    """In this group, and those behind it."""
    after: tuple[int, int, int]
    """Behind this row of it, as the engine names rows."""


def pack_cursor(engine: bytes, cursor: Cursor) -> bytes:
    """58 bytes."""
    return _CURSOR.pack(engine, cursor.since, *cursor.after) + cursor.group.encode()


def unpack_cursor(engine: bytes, packed: bytes) -> Cursor | None:
    """The way back. None for what is none, or of another engine: then the scan begins again."""
    if len(packed) < _CURSOR.size:
        return None
    letter, since, *after = _CURSOR.unpack_from(packed)
    if letter != engine:
        return None
    return Cursor(since, packed[_CURSOR.size :].decode(errors="replace"), (after[0], after[1], after[2]))


def since_of(checkpoint_ms: int, now_ms: int, keeps: bool) -> tuple[int, int | None]:
    """The stamp from which on a device reads whose checkpoint, or birth, is this; and, if that is not as far back as
    it would have to be, how far that is. `keeps`: what is left out can be paged."""
    # A checkpoint from a clock that was ahead must hide nothing.
    begin = max(0, min(checkpoint_ms, now_ms) - TRAIL_MS)
    cut = now_ms - MAX_BEHIND_MS - TRAIL_MS
    if keeps and begin < cut:
        return cut << STAMP_SHIFT, begin << STAMP_SHIFT
    return begin << STAMP_SHIFT, None
