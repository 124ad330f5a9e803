"""The link between the connector and the broker of a node: batches go from one core to the other without a socket.

Owns what is on its way between them, whose turn it is, and when the rest of the process gets its own. Knows neither
records nor sockets nor clocks: the node and the simulation run it alike. No time-out stands on this link, since both
ends live, stand still and die together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

MAX_ROUNDS = 8
"""How often each end gets its turn before everybody else in the process does."""


class End(Protocol):
    """What the pump calls of a core's shell."""

    def time(self, now: float, wall_ms: int) -> None:
        """The time of the turn: seconds of a steady clock, and Unix milliseconds."""

    def take(self, batch: bytes) -> None:
        """A batch from the other end."""

    def end_turn(self) -> None:
        """Send what the turn has left behind: batches for the other end to the pump."""


class ConnectorEnd(End, Protocol):
    """The connector's end, which is the one that knows whether a link is up."""

    def link_broken(self) -> None:
        """What was given to either end last may be lost, as if a link between processes had broken."""


class Pump:
    """Whoever makes one sets both ends."""

    connector: ConnectorEnd
    broker: End

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        """`on_error` is told what an end has raised, which is a fault of ours."""
        self.incarnation = 0
        """The connector's."""
        self.to_connector: deque[bytes] = deque()
        self.to_broker: deque[bytes] = deque()
        self._on_error = on_error

    def run(self, end: End, now: float, wall_ms: int) -> bool:
        """A turn of this end is over: give each in turn what waits for it, until nothing does.

        Whether something waits after so many rounds.
        """
        to_connector, to_broker = self.to_connector, self.to_broker
        self._turn(end, to_broker if end is self.broker else to_connector, now, wall_ms)
        for _ in range(MAX_ROUNDS):
            if to_broker:
                self._turn(self.broker, to_broker, now, wall_ms)
            if to_connector:
                self._turn(self.connector, to_connector, now, wall_ms)
            if not to_broker and not to_connector:
                return False
        return True

    def _turn(self, end: End, waiting: deque[bytes], now: float, wall_ms: int) -> None:
        try:
            end.time(now, wall_ms)
            while waiting:
                end.take(waiting.popleft())
            end.end_turn()
        except Exception as error:
            self._on_error(error)
            self._break()

    def _break(self) -> None:
        try:
            self.connector.link_broken()
        except Exception as error:
            self._on_error(error)
