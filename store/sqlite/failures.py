"""What SQLite's errors mean to the one who runs the server.

Owns the texts. Opens nothing.
"""

from __future__ import annotations

import sqlite3

from protocol.errors import NoSpaceError, StoreError

_CURES = {
    sqlite3.SQLITE_FULL: "its disk is full: free some space there",
    sqlite3.SQLITE_BUSY: "another program keeps it locked: stop the one that does (a backup, a database shell), "
    "or raise store.busy_timeout_s",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked: stop the one that does (a backup, a database shell)",
    sqlite3.SQLITE_CORRUPT: "it is damaged: stop the server, keep a copy of the file, and restore a backup",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: name another file in store.path, or restore a backup",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: let the server's user read and write its folder",
    sqlite3.SQLITE_READONLY: "it cannot be written: let the server's user write to the file and its folder",
    sqlite3.SQLITE_PERM: "it may not be accessed: let the server's user read and write the file and its folder",
    sqlite3.SQLITE_IOERR: "the disk answers with errors: look at the system's log",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
}


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error did not come from SQLite itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return 0 if code is None else code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection's lock is in the way, so that trying again makes sense."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def store_error(path: str, error: Exception) -> StoreError:
    """`error` as a `StoreError` whose text names the file and the cure."""
    if not isinstance(error, sqlite3.Error):
        return StoreError(f"store {path}: {error}")
    code = primary_code(error)
    cure = _CURES.get(code)
    kind = NoSpaceError if code == sqlite3.SQLITE_FULL else StoreError
    return kind(f"store {path}: {cure} ({error})" if cure else f"store {path}: {error}")
