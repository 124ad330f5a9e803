"""Who wrote a message, read from its encoded form as connectors hand it on.

Owns that one look. What connectors put behind a client's bytes are `from_id`, `from_device` and `stamp`, in this order
(docs/design.md, "Records"); nothing before them is parsed.
"""

from __future__ import annotations

from typing import Final

_FROM_ID: Final = 0x22
_FROM_DEVICE: Final = b"\x2a"
_STAMP_BYTES: Final = 9


def author_of(message: bytes) -> str:
    """The user in `from_id`; "" where no connector has written one."""
    # Neither a device's id nor its length has a byte like the tag.
    end = message.rfind(_FROM_DEVICE, 0, max(0, len(message) - _STAMP_BYTES))
    start = message.rfind(b"\x22", 0, max(0, end))
    # The length of a name of 34 bytes looks like the tag before it.
    for tag in (start, start - 1):
        if tag >= 0 and message[tag] == _FROM_ID and message[tag + 1] == end - tag - 2:
            return message[tag + 2 : end].decode("ascii", "replace")
    return ""
