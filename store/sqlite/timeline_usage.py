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
        self._there = {(user, day): (rows, size) for user, day, rows, size in json.loads(found)}
        self._added: dict[tuple[str, int], tuple[int, int]] = {}

    def take(self, author: str, day: int, size: int, rows: int = 1) -> bool:
        """Count one more, of so many bytes more or less; False if there is no room for it."""
        rows_of_day, bytes_of_day = self._now(author, day)
        _, bytes_of_all = self._now(author, _ALL)
        history = self._history
        if rows and rows_of_day + rows > history.max_rows_per_day_of_author:
            return False
        if size > 0 and (
            bytes_of_day + size > history.max_bytes_per_day_of_author
            or bytes_of_all + size > history.max_bytes_of_author
        ):
            return False
        self._add((author, day), rows, size)
        self._add((author, _ALL), 0, size)
        return True

    def _now(self, author: str, day: int) -> tuple[int, int]:
        key = (author, day)
        rows, size = self._there.get(key, (0, 0))
        more_rows, more = self._added.get(key, (0, 0))
        return rows + more_rows, size + more

    def _add(self, key: tuple[str, int], rows: int, size: int) -> None:
        there = self._added.get(key, (0, 0))
        self._added[key] = (there[0] + rows, there[1] + size)

    def write(self, connection: sqlite3.Connection) -> None:
        """Keep what was added."""
        rows = [(author, day, *more) for (author, day), more in self._added.items() if more != (0, 0)]
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
