"""Who wrote a message, read from its encoded form as connectors hand it on.

Owns that one look. What connectors put behind a client's bytes are `from_id`, `from_device` and `stamp`, in this order
(docs/design.md, "Records"); nothing before them is parsed.
"""

from __future__ import annotations

from typing import Final

_FROM_ID: Final = b"\x22"
_FROM_DEVICE: Final = b"\x2a"
_STAMP_BYTES: Final = 9


def author_of(message: bytes) -> str:
    """The user in `from_id`; "" where no connector has written one."""
    # Neither a device's id nor its length has a byte like the tag.
    end = message.rfind(_FROM_DEVICE, 0, -_STAMP_BYTES)
    start = message.rfind(_FROM_ID, 0, end)
    if start > 0 and message[start + 1] != end - start - 2:
        start -= 1  # the length of a name of 34 bytes looks like the tag before it
    if end <= 0 or start < 0 or message[start] != 0x22 or message[start + 1] != end - start - 2:
        return ""
    return message[start + 2 : end].decode("latin-1")
