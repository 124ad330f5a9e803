"""What each of the two has of a conversation: marks and floors; and reports. As functions of a connection.

Owns this part of the table `members`, and `reports`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from store.sqlite.timeline_streams import chunks, values
from store.timeline_rules import MAX_STAMP, other_of, pack_report, unpack_report
from store.timelines import Mark, Report, is_group

_Key = tuple[str, str | None]
_Marks = tuple[int, int]
"""The private and the public one."""


def would_rise(connection: sqlite3.Connection, marks: Sequence[Mark]) -> list[bool]:
    """Whether each rises."""
    return _rise(connection, marks)[0]


def raise_marks(connection: sqlite3.Connection, marks: Sequence[Mark]) -> list[bool]:
    """Raise marks; whether each rose."""
    answers, changed = _rise(connection, marks)
    for chunk in chunks(list(changed.items())):
        connection.execute(
            "INSERT INTO members (user, other, private, public) "
            f"SELECT column1, column2, column3, column4 FROM ({values(len(chunk), 4)}) WHERE true "
            "ON CONFLICT DO UPDATE SET private = excluded.private, public = excluded.public",
            [value for key, standing in chunk for value in (*key, *standing)],
        )
    return answers


def _rise(connection: sqlite3.Connection, marks: Sequence[Mark]) -> tuple[list[bool], dict[_Key, _Marks]]:
    keys = _keys(connection, marks)
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(m.user, m.other, m.private, m.public)) FROM json_each(?) AS w "
        "CROSS JOIN members AS m ON m.user = json_extract(w.value, '$[0]') AND m.other = json_extract(w.value, '$[1]')",
        (json.dumps([key for key in dict.fromkeys(keys) if key[1] is not None]),),
    ).fetchone()
    there: dict[_Key, _Marks] = {(row[0], row[1]): (row[2], row[3]) for row in json.loads(found)}
    changed: dict[_Key, _Marks] = {}
    answers = []
    for mark, key in zip(marks, keys, strict=True):
        stamp = min(mark.stamp, MAX_STAMP)
        private, public = there.get(key, (0, 0))
        rises = key[1] is not None and stamp > (public if mark.public else private)
        if rises:
            there[key] = changed[key] = max(private, stamp), stamp if mark.public else public
        answers.append(rises)
    return answers, changed


def _keys(connection: sqlite3.Connection, marks: Sequence[Mark]) -> list[_Key]:
    """User and other, or group; None: they are not in it."""
    asked = {(mark.user, mark.conversation) for mark in marks if is_group(mark.conversation)}
    inside: set[_Key] = set()
    if asked:
        (found,) = connection.execute(
            "SELECT json_group_array(json_array(m.user, m.group_id)) FROM json_each(?) AS w CROSS JOIN group_members "
            "AS m ON m.group_id = json_extract(w.value, '$[1]') AND m.user = json_extract(w.value, '$[0]')",
            (json.dumps(list(asked)),),
        ).fetchone()
        inside = {(user, group) for user, group in json.loads(found)}
    keys: list[_Key] = []
    for mark in marks:
        if not is_group(mark.conversation):
            keys.append((mark.user, other_of(mark.conversation, mark.user)))
        else:
            key = (mark.user, mark.conversation)
            keys.append(key if key in inside else (mark.user, None))
    return keys


def hide_group(connection: sqlite3.Connection, user: str, group: str, stamp: int) -> None:
    """The same for a group that the user is in."""
    connection.execute(
        "INSERT INTO members (user, other, hidden) SELECT user, group_id, ?3 FROM group_members "
        "WHERE user = ?1 AND group_id = ?2 ON CONFLICT DO UPDATE SET hidden = max(hidden, excluded.hidden)",
        (user, group, min(stamp, MAX_STAMP)),
    )


def hide(connection: sqlite3.Connection, user: str, other: str, stamp: int) -> None:
    """A floor under what brings the conversation into the user's list."""
    connection.execute(
        "UPDATE members SET hidden = max(hidden, ?) WHERE user = ? AND other = ?", (min(stamp, MAX_STAMP), user, other)
    )


def report(connection: sqlite3.Connection, new: Report) -> None:
    """Keep a report."""
    connection.execute(
        "INSERT OR IGNORE INTO reports (report, reporter, told) VALUES (?, ?, ?)",
        (new.report, new.reporter, pack_report(new)),
    )


def reports(connection: sqlite3.Connection, after: str, limit: int) -> list[Report]:
    """Some reports, by id."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(report, reporter, told)) FROM "
        "(SELECT * FROM reports WHERE report > ? ORDER BY report LIMIT ?)",
        (after, limit),
    ).fetchone()
    return [unpack_report(*row) for row in json.loads(found)]


def drop_report(connection: sqlite3.Connection, report: str) -> None:
    """Forget a report."""
    connection.execute("DELETE FROM reports WHERE report = ?", (report,))


def others_of(connection: sqlite3.Connection, user: str) -> list[str]:
    """With whom the user has conversations."""
    (found,) = connection.execute("SELECT json_group_array(other) FROM members WHERE user = ?", (user,)).fetchone()
    others: list[str] = json.loads(found)
    return others


def forget(connection: sqlite3.Connection, user: str) -> None:
    """The user's list, marks, reports and count are no more."""
    for table, column in (("members", "user"), ("reports", "reporter"), ("usage", "user")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (user,))
