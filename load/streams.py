"""What one client writes to another, or to a group, and is shown of it, whatever the protocol.

Owns the books of one stream. Sends nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from load.ledger import Tally


class Pending(NamedTuple):
    """A message without SENT."""

    at: float | None
    """When it was to be sent; None if it is no text."""
    tail: bytes
    """The message's bytes behind the fields that may change."""
    due: float
    """When to send it again."""
    tries: int = 0


class Group:
    """A group, as load clients know it."""

    __slots__ = ("id", "members", "next_writer")

    def __init__(self, id: str, members: frozenset[str]) -> None:
        self.id = id
        self.members = members
        """Their user ids."""
        self.next_writer: Iterator[Out] | None = None
        """Whose turn it is to write, where a text's SENT sends the next one; None: who has written the last one."""


class Out:
    """All that one client writes to one user, or to one group."""

    __slots__ = (
        "backlog", "delivered", "dest", "early", "group", "head", "key", "next", "number", "open", "owner", "padding",
        "prefix", "reach", "refused", "sent", "undelivered",
    )  # fmt: skip

    def __init__(self, owner: Any, dest: str, number: int, group: Group | None = None) -> None:
        self.owner = owner
        self.dest = dest
        self.group = group
        self.reach = 1
        """How many people are to be shown what is SENT here."""
        self.number = number
        self.key = number.to_bytes(8, "little")
        self.head, self.prefix, self.padding = b"", b"", b""
        """For the dialect."""
        self.next = 1
        self.open: dict[int, Pending] = {}
        """Id → message, of those without SENT; lowest id first."""
        self.backlog: deque[tuple[float | None, bytes]] = deque()
        """What waits for the window, or for a connection."""
        self.sent = 0
        self.delivered = 0
        self.undelivered: set[int] = set()
        """SENT and not DELIVERED."""
        self.early: set[int] = set()
        """DELIVERED and not SENT."""
        self.refused: set[int] = set()
        """For good."""


class In:
    """All that one client is shown of one stream."""

    __slots__ = ("author", "stream", "tally", "unread")

    def __init__(self, author: Out) -> None:
        self.author = author
        self.stream: Any = None
        """For the dialect."""
        self.tally = Tally()
        self.unread: list[int] = []
