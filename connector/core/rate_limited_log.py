"""What clients did wrong, for the log: one line for each kind of it and tick, however many did it.

Owns the counts of the tick. A client must not be able to fill a disk: what a day's lines may come to is bounded where
they are written (`log.strangers_bytes_per_day`).
"""

from __future__ import annotations

from typing import ClassVar

from connector.core.state import Ports


class RateLimitedLog:
    """Gathers lines until the next tick."""

    MAX_KINDS: ClassVar[int] = 20

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._counts: dict[str, int] = {}
        self._more = 0

    def add(self, text: str) -> None:
        """Say this at the next tick."""
        if text in self._counts or len(self._counts) < self.MAX_KINDS:
            self._counts[text] = self._counts.get(text, 0) + 1
        else:
            self._more += 1

    def tick(self) -> None:
        """Say what was gathered."""
        for text, count in self._counts.items():
            self._ports.warn(text if count == 1 else f"{text} ({count} times)")
        if self._more:
            self._ports.warn(f"and {self._more} more clients let go")
        self._counts.clear()
        self._more = 0
