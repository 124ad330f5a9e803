"""Outcomes on their way to the connectors whose attempts they are of.

Owns that those of one turn leave in one record for each connector.
"""

from __future__ import annotations

from broker.core.state import Turn
from fabric.records import OTHERS, OTHERS_BIT, OUTCOME, OUTCOMES, record


class Outcomes:
    """What the turn has come to."""

    __slots__ = ("_turn", "entries")

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.entries: dict[int, list[bytes]] = {}
        """Connector → what it is to be told; `flush` sends it."""

    def add(self, origin: int, attempt: int, index: int, count: int, state: int, flags: int) -> None:
        """One copy of an attempt of the connector `origin`; `flags` are those of the copy."""
        if flags & OTHERS:
            state |= OTHERS_BIT
        entry = OUTCOME.pack(attempt, index, count, state)
        entries = self.entries.get(origin)
        if entries is None:
            self.entries[origin] = [entry]
        else:
            entries.append(entry)

    def flush(self) -> None:
        """Send them with the other records of this turn."""
        if self.entries:
            gathered, self.entries = self.entries, {}
            for origin, entries in gathered.items():
                self._turn.push(origin, record(OUTCOMES, origin=origin, body=b"".join(entries)))
