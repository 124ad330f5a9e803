"""From Cassandra back to SQLite: messages, their edits, markers, attempts, and the files that they name.

Owns what becomes of these rows. Write times tell of a marker how old it is (`store.cassandra.timeline_keys`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from store.cassandra.timeline_keys import FOREVER, unpack_edit, unpack_value
from store.cassandra.timeline_rows import ATTEMPT
from store.sqlite.timeline_streams import BOTH_VIEW, CHANGES_VIEW, NO_VIEW, view_of
from store.timeline_rules import EDIT, ERASE, marker_end, may_widen
from store.timelines import is_group

_BODY = (
    "conversation, author, device, stream, part, id, editor, audience, edit_stream, kind, stamp, both_stamp, value, "
    "erased_by, version, open, WRITETIME(erased_by)"
)


class _Body(NamedTuple):
    conversation: str
    author: str
    device: str
    stream: int
    part: int
    id: int
    editor: str
    audience: int
    edit_stream: int
    kind: int | None
    stamp: int | None
    both_stamp: int | None
    value: bytes | None
    erased_by: str | None
    version: int | None
    open: bool | None
    erased_us: int | None


class _Attempt(NamedTuple):
    stamp: int
    version: int
    open: bool


class _Talks:
    """The numbers that stand for conversations and streams."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._conversations: dict[str, int] = {}

    def conversation(self, name: str) -> int:
        number = self._conversations.get(name)
        if number is None:
            made = self._database.execute("INSERT INTO conversations (name) VALUES (?)", (name,)).lastrowid
            assert made is not None
            number = self._conversations[name] = made
        return number

    def stream(self, row: _Body) -> int:
        """Of the conversation, author, device and stream that a row has."""
        key = (self.conversation(row.conversation), row.author, row.device, row.stream)
        there = "SELECT id FROM streams WHERE conversation = ? AND user = ? AND device = ? AND stream = ?"
        found = self._database.execute(there, key).fetchone()
        if found is not None:
            return int(found[0])
        new = "INSERT INTO streams (conversation, user, device, stream) VALUES (?, ?, ?, ?)"
        made = self._database.execute(new, key).lastrowid
        assert made is not None
        return made


def put_talks(scan: Callable[[str, str], Iterator[Any]], database: sqlite3.Connection) -> int:
    """All messages; returns how many rows."""
    _put_settled(scan, database)
    talks, count = _Talks(database), 0
    rows = (_Body(*row) for row in scan(_BODY, "bodies"))
    for _, part in groupby(rows, key=lambda row: row[:5]):
        stream: int | None = None
        for number, some in groupby(part, key=lambda row: row.id):
            of_one = list(some)
            stream = talks.stream(of_one[0]) if stream is None else stream
            conversation = talks.conversation(of_one[0].conversation)
            count += _put_message(database, conversation, stream, number, of_one)
    database.execute("DROP TABLE settled")
    _put_names(scan, database)
    # What was made of it is none of the search index's business: it begins anew.
    database.execute("DELETE FROM unindexed")
    return count


def _put_settled(scan: Callable[[str, str], Iterator[Any]], database: sqlite3.Connection) -> None:
    """What only groups' rows in timelines say."""
    database.execute(
        "CREATE TEMP TABLE settled (conversation TEXT, author TEXT, device TEXT, stream INTEGER, id INTEGER, "
        "version INTEGER, stamp INTEGER, settled INTEGER, "
        "PRIMARY KEY (conversation, author, device, stream, id, version, stamp)) WITHOUT ROWID"
    )
    for row in scan("conversation, author, device, stream, id, version, stamp, settled", "timeline"):
        if row[5]:
            database.execute("INSERT OR IGNORE INTO settled VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


_PUT_EDIT = (
    "INSERT INTO edits (stream, id, device, audience, revision, edit_stream, edit_id, stamp, checked, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET revision = excluded.revision, "
    "edit_stream = excluded.edit_stream, edit_id = excluded.edit_id, stamp = excluded.stamp, "
    "checked = excluded.checked, body = excluded.body "
    "WHERE (excluded.revision, excluded.edit_stream, excluded.edit_id) > (revision, edit_stream, edit_id)"
)
"""Of one device's edits of a message the highest is kept."""


def _put_message(database: sqlite3.Connection, conversation: int, stream: int, number: int, rows: list[_Body]) -> int:
    count = 0
    attempts = sorted(
        _Attempt(row.stamp, row.version, bool(row.open))
        for row in rows
        if not row.editor and row.audience == ATTEMPT and row.stamp and row.version
    )
    for row in rows:
        if row.editor and row.value:
            edit = unpack_edit(row.value)
            place = (stream, number, row.editor, row.audience)
            told = (edit.revision, row.edit_stream, edit.id, edit.stamp, edit.checked, edit.body)
            database.execute(_PUT_EDIT, (*place, *told))
            count += 1
        elif not row.editor and row.audience != ATTEMPT and (row.stamp is not None or row.erased_by):
            _put_body(database, conversation, (stream, number), row, attempts)
            count += max(1, len(attempts))
    return count


def _put_body(
    database: sqlite3.Connection, conversation: int, place: tuple[int, int], row: _Body, attempts: list[_Attempt]
) -> None:
    stamp, ends = row.stamp, None
    if row.erased_by:
        erased_at = FOREVER - (row.erased_us or FOREVER)
        stamp, ends = stamp if stamp is not None else erased_at, marker_end(erased_at)
    told = unpack_value(b"" if row.erased_by else row.value or b"")
    first = attempts[0] if attempts else _Attempt(stamp or 0, 0, False)
    said = (_view(row), first.stamp, *place, row.kind or 0, told.body, told.about or None, row.erased_by, ends)
    made = database.execute(
        "INSERT INTO messages (conversation, view, stamp, stream, id, kind, body, about, erased_by, ends, version, "
        "open, settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (conversation, *said, first.version, first.open, _settled(database, row, first)),
    )
    for attempt in attempts[1:]:
        database.execute(
            "INSERT INTO attempts (position, version, stamp, conversation, open, settled) VALUES (?, ?, ?, ?, ?, ?)",
            (
                *(made.lastrowid, attempt.version, attempt.stamp, conversation, attempt.open),
                _settled(database, row, attempt),
            ),
        )


def _view(row: _Body) -> int:
    if row.stamp is None:
        return NO_VIEW
    if is_group(row.conversation):
        return CHANGES_VIEW if row.kind in (EDIT, ERASE) else BOTH_VIEW
    if row.both_stamp is not None and may_widen(row.both_stamp, row.stamp):
        return BOTH_VIEW
    return view_of(row.conversation, row.author)


def _settled(database: sqlite3.Connection, row: _Body, attempt: _Attempt) -> int:
    if not attempt.version:
        return 0
    found = database.execute(
        "SELECT settled FROM settled WHERE conversation = ? AND author = ? AND device = ? AND stream = ? AND id = ? "
        "AND version = ? AND stamp = ?",
        (row.conversation, row.author, row.device, row.stream, row.id, attempt.version, attempt.stamp),
    ).fetchone()
    return 0 if found is None else found[0] or 0


def _put_names(scan: Callable[[str, str], Iterator[Any]], database: sqlite3.Connection) -> None:
    for file, *key, number in scan("file, conversation, author, device, stream, id", "kept_files"):
        database.execute(
            "INSERT OR IGNORE INTO kept_files (file, stream, id) SELECT ?, s.id, ? FROM streams AS s "
            "JOIN conversations AS c ON c.id = s.conversation "
            "WHERE c.name = ? AND s.user = ? AND s.device = ? AND s.stream = ?",
            (file, number, *key),
        )
