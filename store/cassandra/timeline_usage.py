"""How much of each author is kept: counters, and what this engine knows of them.

Owns the table `usage`. What it counts is approximate: other engines' counts are seen after `FRESH_S`, and those of an
engine that ends within `FLUSH_S` are lost.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.settings import HistorySettings
from store.timelines import Name

FRESH_S = 60.0
FLUSH_S = 5.0
_MAX_AUTHORS = 50_000
_MAX_NAMES = 200_000
_READ = "SELECT day, rows, bytes FROM usage WHERE user = ?"
_ADD = "UPDATE usage SET rows = rows + ?, bytes = bytes + ? WHERE user = ? AND day = ?"
_FORGET = "DELETE FROM usage WHERE user = ?"


@dataclass(slots=True)
class _Author:
    read_at: float
    days: dict[int, tuple[int, int]]
    pending: dict[int, tuple[int, int]] = field(default_factory=dict)


class Usage:
    """What authors have."""

    def __init__(self, connection: Connection, requests: Requests, history: HistorySettings) -> None:
        self._requests = requests
        self._history = history
        self._read = connection.prepare(_READ)
        self._add = connection.prepare(_ADD)
        self._forget = connection.prepare(_FORGET)
        self._authors: OrderedDict[str, _Author] = OrderedDict()
        self._names: OrderedDict[int, None] = OrderedDict()
        self._flushed_at = time.monotonic()

    async def load(self, authors: Collection[str]) -> None:
        """Know these authors' counts. Raises `StoreError`."""
        now = time.monotonic()
        stale = []
        for author in set(authors):
            known = self._authors.get(author)
            if known is None or (now - known.read_at > FRESH_S and not known.pending):
                stale.append(author)
        if not stale:
            return
        for author, rows in zip(
            stale, await self._requests.run([self._read.bind((author,)) for author in stale]), strict=True
        ):
            known = self._authors.get(author)
            pending = {} if known is None else known.pending
            days = {day: (rows_of_day or 0, size or 0) for day, rows_of_day, size in rows}
            for day, more in pending.items():
                days[day] = _sum(days.get(day, (0, 0)), more)
            self._authors[author] = _Author(now, days, pending)
            self._authors.move_to_end(author)
        while len(self._authors) > _MAX_AUTHORS and not next(iter(self._authors.values())).pending:
            self._authors.popitem(last=False)

    def is_repeat(self, conversation: str, name: Name) -> bool:
        """Whether this engine has counted that message before, not long ago."""
        return hash((conversation, name)) in self._names

    def counted(self, conversation: str, name: Name) -> None:
        """Know it again."""
        self._names[hash((conversation, name))] = None
        if len(self._names) > _MAX_NAMES:
            self._names.popitem(last=False)

    def take(self, author: str, day: int, size: int, first_day: int, rows: int = 1) -> bool:
        """Count one more, of so many bytes; False if there is no room for it. Of days before `first_day` nothing is
        kept any more."""
        known, history = self._authors[author], self._history
        rows_of_day, bytes_of_day = known.days.get(day, (0, 0))
        if rows and rows_of_day + rows > history.max_rows_per_day_of_author:
            return False
        if size > 0 and (
            bytes_of_day + size > history.max_bytes_per_day_of_author
            or sum([there[1] for at, there in known.days.items() if at >= first_day]) + size
            > history.max_bytes_of_author
        ):
            return False
        self.add(author, day, rows, size)
        return True

    def add(self, author: str, day: int, rows: int, size: int) -> None:
        """Count, or give back."""
        known = self._authors.get(author)
        if known is not None:
            known.days[day] = _sum(known.days.get(day, (0, 0)), (rows, size))
            known.pending[day] = _sum(known.pending.get(day, (0, 0)), (rows, size))

    async def flush(self, *, now: bool = False) -> None:
        """Write what was counted, if it is time."""
        at = time.monotonic()
        if not now and at - self._flushed_at < FLUSH_S:
            return
        self._flushed_at = at
        statements = []
        for author, known in self._authors.items():
            if known.pending:
                pending, known.pending = known.pending, {}
                statements += [self._add.bind((*more, author, day)) for day, more in pending.items()]
        # Approximate: what fails here is not counted twice.
        await self._requests.outcomes(statements)

    async def forget(self, author: str) -> None:
        """An account ends."""
        self._authors.pop(author, None)
        await self._requests.run([self._forget.bind((author,))])


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
