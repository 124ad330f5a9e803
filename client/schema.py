"""The client's state file: how it is opened and locked, and its versioned schema.

Owns `CREATE` and `PRAGMA`, and the texts for a file that cannot be used. Knows no operation on the data.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from protocol.errors import ConfigError

APPLICATION_ID: Final = 0x53507277
"""Marks the file as ours ("SPrw")."""
LOCK_TIMEOUT_S: Final = 0.5
"""A process that has just been killed may take a moment to let go of the file."""

SESSION: Final = "session"
"""The key in `meta` of the last session's number."""
SESSION_OPEN: Final = "session_open"
"""1 until that session was seen to end."""
DOUBTFUL: Final = "doubtful"
"""JSON: the drafts that may have been sent already. Older releases do not look at it."""
DEVICE: Final = "device"
"""The key of the device's id."""
SEEN_MS: Final = "seen_ms"
"""The server's Unix time at the last login."""
MAX_MESSAGE: Final = "max_message"
"""The key of the longest message, encoded, that the server takes."""
NAME_ANOTHER: Final = "name another state file; this one can be removed if nothing in it is missed"

# Numbers of streams, and ids that others chose, are unsigned 64 bits: kept as SQLite's signed ones.
_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbound (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL UNIQUE,
    dest TEXT NOT NULL,
    next_id INTEGER NOT NULL,
    retired INTEGER NOT NULL
);
CREATE TABLE outgoing (
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    about BLOB,
    PRIMARY KEY (stream, id)
);
CREATE TABLE drafts (
    draft INTEGER PRIMARY KEY,
    dest TEXT NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    about BLOB
);
CREATE TABLE inbound (
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    next INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    gaps TEXT NOT NULL,
    PRIMARY KEY (from_id, from_device, stream)
) WITHOUT ROWID;
CREATE TABLE parked (
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (from_id, from_device, stream, id)
);
CREATE TABLE untaken (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    late INTEGER NOT NULL,
    message BLOB NOT NULL,
    UNIQUE (from_id, from_device, stream, id)
);
CREATE TABLE history (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    mine INTEGER NOT NULL,
    peer TEXT NOT NULL,
    device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    draft INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    stamp INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    late INTEGER NOT NULL,
    state INTEGER NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX history_by_name ON history (stream, id);
CREATE TABLE marks (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    state INTEGER NOT NULL
);
CREATE INDEX marks_by_name ON marks (stream, id);
"""
_HISTORY = """
ALTER TABLE outgoing ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN numbered_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE drafts ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE drafts ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN paged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN edit_device TEXT NOT NULL DEFAULT '';
ALTER TABLE history ADD COLUMN edit_stream INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN edit_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN edited_stamp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN erased_by TEXT NOT NULL DEFAULT '';
CREATE INDEX history_by_place ON history (peer, stamp);
CREATE TABLE changes (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    author TEXT NOT NULL,
    device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    edit_device TEXT NOT NULL,
    edit_stream INTEGER NOT NULL,
    edit_id INTEGER NOT NULL,
    body BLOB NOT NULL,
    stamp INTEGER NOT NULL,
    erased_by TEXT NOT NULL,
    UNIQUE (peer, author, device, stream, id)
);
CREATE TABLE pages (
    peer TEXT NOT NULL,
    upto INTEGER NOT NULL,
    low INTEGER NOT NULL,
    before TEXT,
    fetched_ms INTEGER NOT NULL,
    PRIMARY KEY (peer, low)
) WITHOUT ROWID;
"""
_GROUPS = """
CREATE TABLE groups (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL DEFAULT 0,
    mark INTEGER NOT NULL DEFAULT 0,
    called TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
ALTER TABLE untaken ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN author TEXT NOT NULL DEFAULT '';
"""
STEPS: tuple[str, ...] = (_FIRST, _HISTORY, _GROUPS)
"""What makes each version of the one before it, oldest first."""
VERSION = len(STEPS)


def signed(number: int) -> int:
    """Unsigned 64 bits as SQLite holds them."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    """The reverse of `signed`."""
    return number & ((1 << 64) - 1)


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, or make it; nobody else can until the connection is closed. Raises `ConfigError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=True)
    except OSError as error:
        raise ConfigError(
            f"state file {path} cannot be opened ({error.strerror}): name another, or let this user write there"
        ) from error
    except sqlite3.Error as error:
        raise config_error(path, error) from error
    try:
        # An exclusive lock from the first access on; it goes with the process, however that ends.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")  # what was erased is not to stay in the file
        _migrate(connection, path)
        _check(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise config_error(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    # Messages and a login token: nobody else's business. The companion inherits the mode. A file that is there must
    # not be opened but by SQLite: closing it would drop the lock of another client in this process.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if objects and application != APPLICATION_ID:
            raise ConfigError(f"state file {path} is another program's database: name another file")
        if version > VERSION:
            raise ConfigError(
                f"state file {path} was written by a newer Sparrow (version {version}, this one knows {VERSION}): "
                "use that one, or name another file"
            )
        for step in STEPS[version:]:
            for statement in step.split(";\n"):
                connection.execute(statement)
        if version < VERSION:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
            connection.execute(f"PRAGMA user_version = {VERSION:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise ConfigError(f"state file {path} is damaged ({verdict}): {NAME_ANOTHER}")


_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_IOERR: "the disk answers with errors",
}


def why(error: sqlite3.Error) -> str:
    """SQLite's error, for people."""
    return _REASONS.get(_code(error), str(error))


def config_error(path: Path, error: sqlite3.Error) -> ConfigError:
    """SQLite's error, with the file and the cure."""
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ConfigError(f"state file {path} is in use by another client: close that one, or name another file")
    if code == sqlite3.SQLITE_CANTOPEN:
        return ConfigError(f"state file {path} cannot be opened: name another, or let this user write there")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA):
        return ConfigError(f"state file {path} is damaged ({error}): {NAME_ANOTHER}")
    return ConfigError(f"state file {path} cannot be used: {why(error)}; name another, or let this user write there")


def _code(error: sqlite3.Error) -> int:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return 0 if code is None else code & 0xFF
