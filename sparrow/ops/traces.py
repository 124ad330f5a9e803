"""What has happened to messages that are traced, as a process keeps it until somebody asks.

Owns the form of a line and how many are kept. Reads no clock: the time comes with each call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that has happened to one attempt at a message."""

    at: float
    """Unix time in seconds; of two lines of a process always different."""
    attempt: str
    """The same in all processes: the connector's incarnation and the attempt's number."""
    text: str


class Traces:
    """The last of a process."""

    def __init__(self) -> None:
        self._kept: deque[Trace] = deque(maxlen=MAX_KEPT)
        self._last = 0.0

    def add(self, traces: Iterable[tuple[int, int, str]], now: float) -> None:
        """(origin, attempt, what) of each, at this Unix time."""
        for origin, attempt, text in traces:
            self._last = max(now, self._last + 1e-6)
            self._kept.append(Trace(self._last, f"{origin:016x}/{attempt}", text))

    def since(self, at: float) -> list[Trace]:
        """Those after this Unix time, oldest first."""
        return [trace for trace in self._kept if trace.at > at]
