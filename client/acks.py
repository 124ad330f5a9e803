"""When the next ack is due: at once, but for messages of groups, which may be acked late (docs/protocol.md, A5).

Owns that decision. Sends nothing and knows no message.
"""

from __future__ import annotations

from typing import Final

MOST_FRAMES: Final = 64
"""Of groups, unacked."""
MOST_BYTES: Final = 65_536
"""Of their messages, unacked."""
WAIT_S: Final = 30.0
"""From the first of them on, in seconds."""
PART: Final = 4
"""Where the server's window is small, only so much of it stands unacked: groups have half of it, to go on with."""


class Acks:
    """Of one connection at a time. `now` is in seconds of the core's steady clock."""

    def __init__(self) -> None:
        self._most = MOST_FRAMES
        self.frames = 0
        """Of groups, unacked."""
        self._bytes = 0
        self.due: float | None = None
        """When to ack if nothing else comes; None: nothing came since the last ack."""

    def connected(self) -> None:
        """A new connection: its count begins anew."""
        self.frames = self._bytes = 0
        self.due = None

    def window(self, max_unacked: int) -> None:
        """The server sends no more frames than this beyond an ack; 0: it does not say."""
        self._most = max(1, min(MOST_FRAMES, max_unacked // PART)) if max_unacked else MOST_FRAMES

    def counted(self, now: float) -> None:
        """A frame has come that is to be acked at once."""
        self.due = now

    def counted_late(self, size: int, now: float) -> None:
        """A group's message of so many bytes has come."""
        self.frames += 1
        self._bytes += size
        if self.frames >= self._most or self._bytes >= MOST_BYTES:
            self.due = now
        elif self.due is None:
            self.due = now + WAIT_S

    def is_due(self, now: float) -> bool:
        """Whether to ack now."""
        return self.due is not None and self.due <= now

    def acked(self) -> None:
        """All that came is acked."""
        self.connected()
