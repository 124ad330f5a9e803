"""Which rows Cassandra is to have of files, their pieces, and of what waits in inboxes.

Owns nothing but that.
"""

from __future__ import annotations

import hashlib
import sqlite3

from store.cassandra.keys import placed, time_us
from store.migration.rows import Cells, Facet, Key, Moment, Unit, Values, Want
from store.timeline_rules import stamp_ms_of
from store.timelines import is_group

_FILE = Facet(
    "files",
    ("file",),
    columns=(
        *("owner", "name", "media_type", "size", "created_ms", "expires_ms", "readers", "sha256", "complete"),
        "upload_expires_ms",
    ),
)
_PIECE = Facet("pieces", ("file",), ("position",), ("length", "piece"))
_DATA = Facet("piece_data", ("piece",), columns=("data",))
_NAMED = Facet("kept_files", ("file",), ("conversation", "author", "device", "stream", "id"))
_UPLOAD = Facet("uploads", ("owner", "file"), columns=("created_ms", "size", "upload_expires_ms", "complete"))
_DAY_MS = 86_400_000


def _removal(key: Key, values: Values) -> int:
    return min(time_us(key[2]) + 1, 2**63 - 1)


_WAITING = Facet("inbox", ("user", "device"), ("position",), ("kind", "body", "author", "size"), gone=_removal)


def _ends_ms(expires_ms: int, at: Moment) -> int:
    """Long enough for a message that may yet name it, as the engine has it."""
    return expires_ms + at.keep_days * _DAY_MS


def file(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """What a file is, where its pieces are, and which messages name it."""
    unit = Unit(scopes=[(_FILE, key), (_PIECE, key), (_NAMED, key)])
    row = connection.execute(
        "SELECT owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms "
        "FROM files WHERE file = ?",
        key,
    ).fetchone()
    _add_names(unit, connection, key, at)
    if row is None or not row[5]:
        # None, or its last message was erased.
        return unit
    owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms = row
    readers = connection.execute("SELECT user FROM file_readers WHERE file = ?", key).fetchall()
    values = {
        "owner": owner,
        "name": name,
        "media_type": media_type,
        "size": size,
        "created_ms": created_ms,
        "expires_ms": expires_ms,
        "readers": {reader for (reader,) in readers} or None,
        "sha256": sha256,
        "complete": bool(complete) or None,
        "upload_expires_ms": upload_expires_ms,
    }
    ends_ms = _ends_ms(expires_ms, at)
    unit.want(_FILE, key, values, ends_ms)
    pieces = connection.execute("SELECT position, length FROM pieces WHERE file = ?", key)
    for position, length in pieces.fetchall():
        unit.want(_PIECE, (*key, position), {"length": length, "piece": _piece(key[0], position)}, ends_ms)
    return unit


def _add_names(unit: Unit, connection: sqlite3.Connection, key: Key, at: Moment) -> None:
    rows = connection.execute(
        "SELECT c.name, s.user, s.device, s.stream, k.id, max(m.stamp, coalesce((SELECT max(a.stamp) FROM attempts "
        "AS a WHERE a.position = m.position), 0)) FROM kept_files AS k "
        "JOIN messages AS m ON m.stream = k.stream AND m.id = k.id "
        "JOIN streams AS s ON s.id = k.stream JOIN conversations AS c ON c.id = s.conversation WHERE k.file = ?",
        key,
    )
    for conversation, author, device, stream, number, stamp in rows.fetchall():
        life_ms = at.lives.group if is_group(conversation) else at.lives.kept
        unit.want(_NAMED, (*key, conversation, author, device, stream, number), {}, stamp_ms_of(stamp) + life_ms)


def upload(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """A file in its owner's list."""
    unit = Unit(scopes=[(_UPLOAD, key)])
    row = connection.execute(
        "SELECT created_ms, size, upload_expires_ms, complete, expires_ms FROM files WHERE owner = ? AND file = ?", key
    ).fetchone()
    if row is not None and row[4]:
        values = {"created_ms": row[0], "size": row[1], "upload_expires_ms": row[2], "complete": bool(row[3])}
        unit.want(_UPLOAD, key, values, _ends_ms(row[4], at))
    return unit


def piece(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """The bytes of a piece."""
    named = (_piece(*key),)
    unit = Unit(scopes=[(_DATA, named)])
    row = connection.execute(
        "SELECT p.data, f.expires_ms FROM pieces AS p JOIN files AS f ON f.file = p.file "
        "WHERE p.file = ? AND p.position = ?",
        key,
    ).fetchone()
    if row is not None:
        unit.want(_DATA, named, {"data": row[0]}, _ends_ms(row[1], at))
    return unit


def _piece(name: str, position: int) -> str:
    """The same each time, so that a copy that is repeated is the same copy."""
    return hashlib.blake2b(f"{name}/{position}".encode(), digest_size=16).hexdigest()


def queue(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """What waits for a device, or in a user's common queue."""
    unit = Unit(scopes=[(_WAITING, key)])
    rows = connection.execute(
        "SELECT position, kind, expires_ms, body, author FROM inbox WHERE user = ? AND device = ?", key
    )
    for number, kind, expires_ms, body, author in rows.fetchall():
        position = placed(max(1, expires_ms - at.inbox_ttl_ms) * 1000, number)
        values = {"kind": kind, "body": body, "author": author, "size": len(body)}
        cells = Cells(values, time_us(position), expires_ms)
        unit.wants.append(Want(_WAITING, (*key, position), (cells,)))
    return unit
