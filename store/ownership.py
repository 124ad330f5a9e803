"""Whose the data is while a broker works on it, and what is said to a second one.

Owns the words. Knows no engine: how each of them keeps a second owner away is its own business.
"""

from __future__ import annotations

import enum
import os
import socket
import time
from dataclasses import dataclass


class Ownership(enum.Enum):
    """What a process wants of the data that it opens."""

    NONE = "none"
    """It visits: the user API, a command."""
    SHARED = "shared"
    """It routes, and shares presence with others that do."""
    ALONE = "alone"
    """It routes, and nobody else may: its presence is in its memory."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that owns data."""

    pid: int
    host: str
    since_ms: int
    """Unix time."""

    @classmethod
    def me(cls) -> Holder:
        """This process, from now on."""
        return cls(os.getpid(), socket.gethostname(), int(time.time() * 1000))

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since_ms / 1000))
        return f"process {self.pid} on {self.host}, since {since}"


def taken(what: str, holder: Holder | None, cure: str) -> str:
    """The text for whoever comes second."""
    by = f"by {holder}" if holder else "by another process"
    return f"{what} is in use already, {by}: stop that one first, or {cure}"
