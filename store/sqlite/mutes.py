"""Which conversations a user has muted, and until when. As functions of a connection.

Owns the table `mutes`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import sqlite3


def mute(connection: sqlite3.Connection, user: str, other: str, until_ms: int, most: int, now_ms: int) -> bool:
    """See `Timelines.mute`."""
    connection.execute("DELETE FROM mutes WHERE user = ? AND (other = ? OR until_ms <= ?)", (user, other, now_ms))
    if until_ms <= now_ms:
        return True
    added = connection.execute(
        "INSERT INTO mutes (user, other, until_ms) SELECT ?1, ?2, ?3 "
        "WHERE (SELECT count(*) FROM mutes WHERE user = ?1) < ?4",
        (user, other, until_ms, most),
    )
    return added.rowcount == 1


def of(connection: sqlite3.Connection, user: str, now_ms: int) -> dict[str, int]:
    """Those that hold."""
    rows = connection.execute("SELECT other, until_ms FROM mutes WHERE user = ? AND until_ms > ?", (user, now_ms))
    return dict(rows.fetchall())


def forget(connection: sqlite3.Connection, user: str) -> None:
    """Nothing is left of this user's."""
    connection.execute("DELETE FROM mutes WHERE user = ?", (user,))
