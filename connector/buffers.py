"""What clients have not read yet: how much may pile up for one, and for all together.

Owns the count. What a socket does not take piles up at its connection, as whole frames, so that it can be dropped.
"""

from __future__ import annotations

from typing import Protocol


class Piling(Protocol):
    """A connection for which something piles up."""

    @property
    def piled(self) -> int:
        """Bytes."""

    def choked(self) -> None:
        """Too much has piled up: drop it, and let the client go."""


class WriteBuffers:
    """Bytes that wait for all connections together."""

    def __init__(self, max_bytes: int, max_bytes_of_one: int) -> None:
        self._max_bytes = max_bytes
        self._max_bytes_of_one = max_bytes_of_one
        self._piling: set[Piling] = set()
        self.bytes = 0

    def grew(self, connection: Piling, size: int) -> None:
        """So much more has piled up; whoever has most is let go when it is too much for all."""
        self._piling.add(connection)
        self.bytes += size
        if connection.piled > self._max_bytes_of_one:
            connection.choked()
        elif self.bytes > self._max_bytes:
            max(self._piling, key=lambda one: one.piled).choked()

    def shrank(self, connection: Piling, size: int) -> None:
        """So much has left, or was dropped."""
        self.bytes -= size
        if not connection.piled:
            self._piling.discard(connection)
