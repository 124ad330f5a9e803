"""Row keys and page cursors: a position, as 8 bytes.

Owns their form. A position is above 0 and fits SQLite's signed 64 bits.
"""

from __future__ import annotations

import struct

_POSITION = struct.Struct(">q")
key_of = _POSITION.pack


def position_of(key: bytes) -> int | None:
    """The position that `key` names; None for a key that is not ours (another engine's, after a move)."""
    return _POSITION.unpack(key)[0] if len(key) == _POSITION.size else None
