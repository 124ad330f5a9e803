"""The operations on files, as functions of a connection; those that write need one that holds the write lock.

Owns their SQL. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from protocol.errors import NotFoundError
from store.interface import File, Uploads

_FILE = (
    "SELECT f.file, owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms, "
    "(SELECT json_group_array(user) FROM file_readers AS r WHERE r.file = f.file) FROM files AS f WHERE "
)

_CREATE = (
    "INSERT OR IGNORE INTO files "
    "(file, owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
)


def create(connection: sqlite3.Connection, file: File) -> None:
    """Begin a file, or do nothing if it is there."""
    values = (
        file.file,
        file.owner,
        file.name,
        file.media_type,
        file.size,
        file.created_ms,
        file.expires_ms,
        file.sha256,
        file.upload_expires_ms,
    )
    if connection.execute(_CREATE, values).rowcount:
        for user in sorted(file.readers):
            connection.execute("INSERT INTO file_readers (file, user) VALUES (?, ?)", (file.file, user))


def one(connection: sqlite3.Connection, file: str, now_ms: int) -> File | None:
    """The file, unless it has expired."""
    row = connection.execute(_FILE + "file = ?", (file,)).fetchone()
    found = None if row is None else _file(row)
    return found if found is not None and found.gone_ms > now_ms else None


def of_owner(connection: sqlite3.Connection, owner: str, now_ms: int) -> list[File]:
    """All of one owner that have not expired, by id."""
    rows = connection.execute(_FILE + "owner = ? ORDER BY f.file", (owner,)).fetchall()
    return [found for found in map(_file, rows) if found.gone_ms > now_ms]


def uploads_of(connection: sqlite3.Connection, owner: str, since_ms: int, now_ms: int) -> Uploads:
    """What an owner has begun."""
    row = connection.execute(
        "SELECT coalesce(sum(size) FILTER (WHERE created_ms >= ?2), 0), count(*) FILTER (WHERE NOT complete), "
        "coalesce(sum(size) FILTER (WHERE NOT complete), 0) FROM files WHERE owner = ?1 AND expires_ms > ?3 "
        "AND (complete OR upload_expires_ms = 0 OR upload_expires_ms > ?3)",
        (owner, since_ms, now_ms),
    ).fetchone()
    return Uploads(*row)


def _file(row: tuple[Any, ...]) -> File:
    file, owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_ms, readers = row
    users = frozenset(json.loads(readers))
    done = bool(complete)
    return File(file, owner, name, media_type, size, created_ms, expires_ms, users, sha256, done, upload_ms)


def length(connection: sqlite3.Connection, file: str) -> int:
    """Where the last piece ends."""
    row = connection.execute(
        "SELECT position + length FROM pieces WHERE file = ? ORDER BY position DESC LIMIT 1", (file,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def append(connection: sqlite3.Connection, file: str, offset: int, data: bytes) -> bool:
    """Keep a piece, if none stands there."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO pieces (file, position, length, data) SELECT ?1, ?2, ?3, ?4 "
        "WHERE EXISTS (SELECT 1 FROM files WHERE file = ?1)",
        (file, offset, len(data), data),
    )
    return cursor.rowcount == 1


def read(connection: sqlite3.Connection, file: str, offset: int) -> bytes:
    """The rest of the piece that holds this offset."""
    row = connection.execute(
        "SELECT substr(data, ?2 - position + 1) FROM pieces WHERE file = ?1 AND position <= ?2 "
        "ORDER BY position DESC LIMIT 1",
        (file, offset),
    ).fetchone()
    return b"" if row is None else row[0]


def finish(connection: sqlite3.Connection, file: str, sha256: str) -> None:
    """It is complete."""
    connection.execute("UPDATE files SET sha256 = ?, complete = 1 WHERE file = ?", (sha256, file))


def add_reader(connection: sqlite3.Connection, file: str, user: str) -> None:
    """One more. Raises `NotFoundError`."""
    if connection.execute("SELECT 1 FROM files WHERE file = ?", (file,)).fetchone() is None:
        raise NotFoundError(f'there is no file "{file}" (any more)')
    connection.execute("INSERT OR IGNORE INTO file_readers (file, user) VALUES (?, ?)", (file, user))


def remove_reader(connection: sqlite3.Connection, file: str, user: str) -> None:
    """One less. Raises `NotFoundError`."""
    if connection.execute("SELECT 1 FROM files WHERE file = ?", (file,)).fetchone() is None:
        raise NotFoundError(f'there is no file "{file}" (any more)')
    connection.execute("DELETE FROM file_readers WHERE file = ? AND user = ?", (file, user))


def remove(connection: sqlite3.Connection, file: str, limit: int) -> bool:
    """Forget the file and up to `limit` of its pieces; whether some are left."""
    connection.execute("DELETE FROM files WHERE file = ?", (file,))
    connection.execute("DELETE FROM file_readers WHERE file = ?", (file,))
    gone = connection.execute(
        "DELETE FROM pieces WHERE id IN (SELECT id FROM pieces WHERE file = ? LIMIT ?)", (file, limit)
    )
    return gone.rowcount == limit


def expired(connection: sqlite3.Connection, now_ms: int) -> list[str]:
    """Files whose time is over, some of them."""
    rows = connection.execute(
        "SELECT file FROM (SELECT file FROM files WHERE expires_ms <= ?1 UNION SELECT file FROM files "
        "WHERE complete = 0 AND upload_expires_ms > 0 AND upload_expires_ms <= ?1) LIMIT 100",
        (now_ms,),
    )
    return [file for (file,) in rows.fetchall()]
