"""Framing, read from docs/protocol.md literally and slowly: what fast code is compared with.

Owns nothing else, and shares no code with `protocol.framing`.
"""

from __future__ import annotations

from protocol.errors import FrameError, FrameTooLargeError

HEADER = 5
"""A length takes at most so many bytes."""


def by_the_rules(stream: bytes, limit: int) -> tuple[list[bytes], type[FrameError] | None]:
    """Payloads and error of a whole stream."""
    frames: list[bytes] = []
    at = 0
    while True:
        length, used = 0, 0
        while True:
            if used == HEADER:
                return frames, FrameError
            if at + used >= len(stream):
                return frames, None
            byte = stream[at + used]
            length += (byte % 128) * 128**used
            used += 1
            if byte < 128:
                break
        if length > limit:
            return frames, FrameTooLargeError
        if at + used + length > len(stream):
            return frames, None
        frames.append(stream[at + used : at + used + length])
        at += used + length
