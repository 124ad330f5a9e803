"""Files that kept messages name, as functions of a connection.

Owns the table `kept_files`, and when a file ends because of it. A file is bound to messages of its owner alone: naming
somebody else's gives nobody a right to it, and ends nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from protocol.ids import STAMP_SHIFT
from store.group_rules import Lives
from store.timelines import Entry

_RAISE = (
    "UPDATE files SET expires_ms = max(expires_ms, e.ends) FROM (SELECT k.file AS file, "
    f"max((max(m.stamp, coalesce((SELECT max(a.stamp) FROM attempts AS a WHERE a.position = m.position), 0)) "
    f">> {STAMP_SHIFT}) + CASE WHEN m.version > 0 THEN ?2 ELSE ?1 END) AS ends FROM %s kept_files AS k %s "
    "CROSS JOIN messages AS m ON m.stream = k.stream AND m.id = k.id "
    "WHERE m.erased_by IS NULL GROUP BY k.file) AS e WHERE files.file = e.file"
)


def keep_files(connection: sqlite3.Connection, named: Sequence[tuple[Entry, tuple[int, int]]], lives: Lives) -> None:
    """Messages that were inserted name files, which live as long as they."""
    rows = [(entry.file, *place, entry.name.author) for entry, place in named]
    connection.execute(
        "INSERT OR IGNORE INTO kept_files (file, stream, id) SELECT json_extract(w.value, '$[0]'), "
        "json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]') FROM json_each(?) AS w "
        "CROSS JOIN files AS f ON f.file = json_extract(w.value, '$[0]') "
        "AND f.owner = json_extract(w.value, '$[3]')",
        (json.dumps(rows),),
    )
    files = sorted({entry.file for entry, _ in named})
    raising = _RAISE % ("json_each(?3) AS w CROSS JOIN", "ON k.file = w.value")
    connection.execute(raising, (*lives, json.dumps(files)))


def raise_all(connection: sqlite3.Connection, lives: Lives) -> None:
    """All that are named live at least as long as their messages do from now on."""
    connection.execute(_RAISE % ("", ""), lives)


def end_files(connection: sqlite3.Connection, places: Collection[tuple[int, int]]) -> list[str]:
    """These messages were erased: files that no other kept message names are over. Returns which."""
    (found,) = connection.execute(
        "SELECT json_group_array(DISTINCT k.file) FROM json_each(?) AS w CROSS JOIN kept_files AS k "
        "ON k.stream = json_extract(w.value, '$[0]') AND k.id = json_extract(w.value, '$[1]')",
        (json.dumps(list(places)),),
    ).fetchone()
    if found == "[]":
        return []
    drop_names(connection, places)
    (ended,) = connection.execute(
        "SELECT json_group_array(w.value) FROM json_each(?) AS w "
        "WHERE NOT EXISTS (SELECT 1 FROM kept_files AS k WHERE k.file = w.value)",
        (found,),
    ).fetchone()
    connection.execute("UPDATE files SET expires_ms = 0 WHERE file IN (SELECT value FROM json_each(?))", (ended,))
    files: list[str] = json.loads(ended)
    return files


def drop_names(connection: sqlite3.Connection, places: Collection[tuple[int, int]]) -> None:
    """These messages name no file any more."""
    connection.execute(
        "DELETE FROM kept_files WHERE (file, stream, id) IN (SELECT k.file, k.stream, k.id FROM json_each(?) AS w "
        "CROSS JOIN kept_files AS k ON k.stream = json_extract(w.value, '$[0]') "
        "AND k.id = json_extract(w.value, '$[1]'))",
        (json.dumps(list(places)),),
    )


def in_groups(connection: sqlite3.Connection, file: str) -> list[tuple[str, int]]:
    """Groups, and positions of their messages, that name it."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(c.name, m.position)) FROM kept_files AS k "
        "CROSS JOIN messages AS m ON m.stream = k.stream AND m.id = k.id AND m.version > 0 AND m.erased_by IS NULL "
        "CROSS JOIN streams AS s ON s.id = m.stream CROSS JOIN files AS f ON f.file = k.file AND f.owner = s.user "
        "CROSS JOIN conversations AS c ON c.id = m.conversation WHERE k.file = ?",
        (file,),
    ).fetchone()
    return [(group, position) for group, position in json.loads(found)]


def may_read(connection: sqlite3.Connection, file: str, user: str, floor: int) -> bool:
    """Whether a message that the user may see names it."""
    return (
        connection.execute(
            "SELECT 1 FROM kept_files AS k CROSS JOIN messages AS m ON m.stream = k.stream AND m.id = k.id "
            "CROSS JOIN streams AS s ON s.id = m.stream CROSS JOIN conversations AS c ON c.id = s.conversation "
            "CROSS JOIN files AS f ON f.file = k.file AND f.owner = s.user "
            "WHERE k.file = ?1 AND m.erased_by IS NULL AND m.stamp >= ?3 "
            "AND (s.user = ?2 OR (m.view = 0 AND ?2 IN ("
            "substr(c.name, 1, instr(c.name, '+') - 1), substr(c.name, instr(c.name, '+') + 1)))) LIMIT 1",
            (file, user, floor),
        ).fetchone()
        is not None
    )
