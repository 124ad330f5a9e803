"""How long is kept, and the end of what was kept for so long; as functions of a connection.

Owns the table `history`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from protocol.ids import STAMP_SHIFT
from store.group_rules import Lives, floor_of_group
from store.sqlite.timeline_changes import drop_edits
from store.sqlite.timeline_files import drop_names, raise_all
from store.sqlite.timeline_streams import CHANGES_VIEW, drop_unused
from store.sqlite.timeline_usage import forget_days, give_back
from store.timeline_rules import day_of, floor_of, next_floor, unstored
from store.timelines import R_B_MS, HistoryTerms, Name

_TRAIL = 2 * R_B_MS << STAMP_SHIFT
# A later attempt of a group's message needs its body for as long.
_OVER = (
    "erased_by IS NULL AND stamp < ? AND NOT EXISTS (SELECT 1 FROM attempts AS a "
    "WHERE a.position = messages.position AND a.stamp >= ?) ORDER BY stamp LIMIT ?"
)


def terms(connection: sqlite3.Connection) -> HistoryTerms:
    """What holds now."""
    return HistoryTerms(*connection.execute("SELECT keep_days, since_ms FROM history").fetchone())


def floor(connection: sqlite3.Connection, now_ms: int) -> int:
    """The lowest stamp that is shown."""
    keep_days, lowered = connection.execute("SELECT keep_days, floor FROM history").fetchone()
    return floor_of(keep_days, lowered, now_ms)


def keeps(connection: sqlite3.Connection) -> bool:
    """Whether conversations are kept."""
    (keep_days,) = connection.execute("SELECT keep_days FROM history").fetchone()
    return bool(keep_days)


def group_floor(connection: sqlite3.Connection, now_ms: int, inbox_ttl_ms: int) -> int:
    """The lowest stamp that is shown of groups."""
    return floor_of_group(floor(connection, now_ms), now_ms, inbox_ttl_ms)


def set_keep_days(connection: sqlite3.Connection, days: int, since_ms: int, now_ms: int, lives: Lives) -> HistoryTerms:
    """Keep for so long; what is below the floor of now stays there."""
    before, lowered = connection.execute("SELECT keep_days, floor FROM history").fetchone()
    lowest = next_floor(before, days, lowered, now_ms)
    connection.execute("UPDATE history SET keep_days = ?, since_ms = ?, floor = ?", (days, since_ms, lowest))
    if days > before:
        raise_all(connection, lives)
    return HistoryTerms(days, since_ms)


def purge(connection: sqlite3.Connection, now_ms: int, floor: int, lowest: int, limit: int) -> int:
    """Drop up to `limit` messages below the stamp `lowest`, and as many markers and edits, whose time is over; returns
    how many in all."""
    gone = _drop(connection, _OVER, (lowest, lowest, limit))
    gone += _drop(
        connection, "erased_by IS NOT NULL AND ends < ? ORDER BY ends LIMIT ?", (now_ms << STAMP_SHIFT, limit)
    )
    # Edits whose target never came.
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(stream, id)) FROM "
        "(SELECT e.stream, e.id FROM edits AS e CROSS JOIN streams AS s ON s.id = e.stream "
        "CROSS JOIN conversations AS c ON c.id = s.conversation "
        "WHERE e.stamp < ?1 AND (e.stamp < ?2 OR c.name < '~') ORDER BY e.stamp LIMIT ?3)",
        (floor - _TRAIL, lowest - _TRAIL, limit),
    ).fetchone()
    places = [(stream, number) for stream, number in json.loads(found)]
    if places:
        drop_edits(connection, places)
        drop_unused(connection, [stream for stream, _ in places])
    forget_days(connection, day_of(now_ms << STAMP_SHIFT))
    return gone + len(places)


def find_over(
    connection: sqlite3.Connection, after: tuple[int, int], lowest: int, limit: int
) -> tuple[list[int], tuple[int, int] | None]:
    """Where conversations' messages are over among up to `limit` from behind a (stamp, position) on, where those of
    groups live longer; and where to go on."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(stamp, position, version)) FROM (SELECT stamp, position, version "
        "FROM messages WHERE erased_by IS NULL AND (stamp, position) > (?, ?) AND stamp < ? "
        "ORDER BY stamp, position LIMIT ?)",
        (*after, lowest, limit),
    ).fetchone()
    rows = json.loads(found)
    return [row[1] for row in rows if not row[2]], tuple(rows[-1][:2]) if rows else None


def drop_over(connection: sqlite3.Connection, positions: list[int]) -> int:
    """Drop these messages; returns how many there were."""
    return _drop(connection, "position IN (SELECT value FROM json_each(?))", (json.dumps(positions),))


def _drop(connection: sqlite3.Connection, which: str, values: tuple[object, ...]) -> int:
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(m.position, m.stream, m.id, s.user, m.stamp, length(m.body))) FROM "
        f"(SELECT * FROM messages WHERE {which}) AS m CROSS JOIN streams AS s ON s.id = m.stream",
        values,
    ).fetchone()
    rows = json.loads(found)
    if not rows:
        return 0
    places = [(row[1], row[2]) for row in rows]
    back: Counter[tuple[str, int]] = Counter()
    for *_, author, stamp, size in rows:
        back[author, day_of(stamp)] += size
    drop_edits(connection, places, back)
    drop_names(connection, places)
    connection.execute(
        "DELETE FROM messages WHERE position IN (SELECT value FROM json_each(?))",
        (json.dumps([row[0] for row in rows]),),
    )
    give_back(connection, back)
    drop_unused(connection, [row[1] for row in rows])
    return len(rows)


def words(
    connection: sqlite3.Connection, user: str, after: tuple[int, int], limit: int
) -> list[tuple[tuple[int, int], str, Name]]:
    """Up to `limit` messages of a user that are not erased, from behind a place on: place, conversation and name."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(stream, id, name, device, number)) FROM (SELECT m.stream AS stream, "
        "m.id AS id, c.name AS name, s.device AS device, s.stream AS number FROM streams AS s "
        "CROSS JOIN messages AS m ON m.stream = s.id CROSS JOIN conversations AS c ON c.id = s.conversation "
        "WHERE s.user = ?1 AND s.id >= ?2 AND (s.id > ?2 OR m.id > ?3) AND m.erased_by IS NULL "
        f"AND m.view <> {CHANGES_VIEW} "
        "ORDER BY s.id, m.id LIMIT ?4)",
        (user, *after, limit),
    ).fetchone()
    return [
        ((stream, number), conversation, Name(user, device, unstored(own), number))
        for stream, number, conversation, device, own in json.loads(found)
    ]


def drop_edits_of(connection: sqlite3.Connection, user: str, limit: int) -> int:
    """Drop up to `limit` edits of a user, whose targets are not there; returns how many."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(stream, id)) FROM (SELECT e.stream AS stream, e.id AS id "
        "FROM streams AS s CROSS JOIN edits AS e ON e.stream = s.id WHERE s.user = ? LIMIT ?)",
        (user, limit),
    ).fetchone()
    places = [(stream, number) for stream, number in json.loads(found)]
    drop_edits(connection, places)
    return len(places)
