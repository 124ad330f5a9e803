"""How much of each author is kept, as functions of a connection.

Owns the table `usage`: a row for each author and day, and one for all days. Begins and commits nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping

from store.settings import HistorySettings

_ALL = -1
"""In the place of a day: all that is kept; its rows are not counted."""
_KEEP_DAYS = 3
_OF_VALUE = ", ".join(f"json_extract(w.value, '$[{field}]')" for field in range(4))


class _Day:
    """What an author has of one day."""

    __slots__ = ("bytes", "bytes_of_all", "more", "more_rows", "rows")

    def __init__(self, rows: int, size: int, bytes_of_all: int) -> None:
        self.rows, self.bytes, self.bytes_of_all = rows, size, bytes_of_all
        self.more_rows = self.more = 0
        """Of this batch."""


class Usage:
    """What the authors of one batch have, and what the batch adds."""

    def __init__(
        self, connection: sqlite3.Connection, days: Collection[tuple[str, int]], history: HistorySettings
    ) -> None:
        self._history = history
        wanted = list({*days, *((author, _ALL) for author, _ in days)})
        (found,) = connection.execute(
            "SELECT json_group_array(json_array(u.user, u.day, u.rows, u.bytes)) FROM json_each(?) AS w CROSS JOIN "
            "usage AS u ON u.user = json_extract(w.value, '$[0]') AND u.day = json_extract(w.value, '$[1]')",
            (json.dumps(wanted),),
        ).fetchone()
        there = {(user, day): (rows, size) for user, day, rows, size in json.loads(found)}
        self._days = {key: _Day(*there.get(key, (0, 0)), there.get((key[0], _ALL), (0, 0))[1]) for key in days}
        self._all: dict[str, int] = {}
        """Bytes that each author has more or less by this batch."""

    def take(self, author: str, day: int, size: int, rows: int = 1) -> bool:
        """Count one more, of so many bytes more or less; False if there is no room for it."""
        there, history, more = self._days[author, day], self._history, self._all.get(author, 0)
        if rows and there.rows + rows > history.max_rows_per_day_of_author:
            return False
        if size > 0 and (
            there.bytes + size > history.max_bytes_per_day_of_author
            or there.bytes_of_all + more + size > history.max_bytes_of_author
        ):
            return False
        there.rows += rows
        there.bytes += size
        there.more_rows += rows
        there.more += size
        self._all[author] = more + size
        return True

    def write(self, connection: sqlite3.Connection) -> None:
        """Keep what was added."""
        rows = [
            (author, day, there.more_rows, there.more)
            for (author, day), there in self._days.items()
            if there.more_rows or there.more
        ]
        rows += [(author, _ALL, 0, more) for author, more in self._all.items() if more]
        if rows:
            connection.execute(
                f"INSERT INTO usage (user, day, rows, bytes) SELECT {_OF_VALUE} FROM json_each(?) AS w WHERE true "
                "ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, bytes = max(0, bytes + excluded.bytes)",
                (json.dumps(rows),),
            )


def give_back(connection: sqlite3.Connection, sizes: Mapping[tuple[str, int], int]) -> None:
    """Bytes that are kept no more, of (author, day)."""
    less: Counter[tuple[str, int]] = Counter()
    for (author, day), size in sizes.items():
        less[author, day] += size
        less[author, _ALL] += size
    connection.execute(
        "UPDATE usage SET bytes = max(0, bytes - json_extract(w.value, '$[2]')) FROM json_each(?) AS w "
        "WHERE usage.user = json_extract(w.value, '$[0]') AND usage.day = json_extract(w.value, '$[1]')",
        (json.dumps([(*key, size) for key, size in less.items()]),),
    )


def forget_days(connection: sqlite3.Connection, today: int) -> None:
    """Days that are over."""
    connection.execute("DELETE FROM usage WHERE day >= 0 AND day < ?", (today - _KEEP_DAYS,))
