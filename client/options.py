"""What an application may set for its client: limits and times.

Owns these values and their defaults. Plain data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from client.connection import Timing

DEFAULT_MAX_MESSAGE = 64_512
"""Bytes of a message, encoded, until the server has told."""


@dataclass(frozen=True, slots=True)
class Options:
    """Limits of a client, and its times."""

    max_unsettled: int = 1000
    """`Client.send` waits while so many messages are neither SENT nor refused."""
    max_waiting: int = 1000
    """With so many messages waiting to be taken, the server is asked for no more, until half of them are."""
    open_timeout_s: float = 15.0
    """How long entering the client may take, in seconds."""
    close_timeout_s: float = 5.0
    """How long leaving the client waits for messages to become safe, in seconds."""
    fresh: bool = False
    """Of groups, have only what is written while the client is logged in.

    For a program that keeps nothing, and misses nothing by it. What is written to the user waits for it all the same.
    """
    timing: Timing = field(default_factory=Timing)
    """How the client treats its connections."""
