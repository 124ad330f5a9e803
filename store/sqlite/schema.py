"""The database file: how it is opened, and its versioned schema.

Owns `PRAGMA`, and the steps from version to version. Knows no operation on the data.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from pathlib import Path

from fabric.files import make_folder, open_as_folders
from protocol.errors import ConfigError, StoreError
from store.settings import StoreSettings
from store.sqlite.failures import is_busy, store_error
from store.sqlite.schema_steps import STEPS as STEPS
from store.sqlite.schema_steps import VERSION as VERSION

_OLDEST_SQLITE = (3, 33, 0)  # UPDATE ... FROM
_RETRY_S = 0.002
OLDEST = 6
"""The lowest schema whose releases can go on with this one: a step that only adds leaves it at the release before."""
_HALF = 16
"""`PRAGMA user_version` holds the version in its low bits, and from here on OLDEST."""
MOVED = (1 << 15) - 1
"""The version of a database whose contents went to Cassandra: no release opens it."""


def open_writer(settings: StoreSettings, keep_days: int = 0) -> sqlite3.Connection:
    """A connection that may write; makes the file, its folder and the schema where missing. A database that it makes
    keeps conversations for `keep_days`.

    Its caller waits for other writers by itself (`begin_immediate`). Raises `ConfigError` for a file of a newer
    version that leaves us behind, and `StoreError` for everything else.
    """
    _check_library()
    try:
        _make_file(Path(settings.path))
        connection = _connect(settings, timeout=settings.busy_timeout_s)
    except (OSError, sqlite3.Error) as error:
        raise store_error(settings.path, error) from error
    try:
        _enter_wal(connection, settings)
        # FULL: a commit is on the disk before it returns, which is what SENT promises.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{settings.cache_kib:d}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {settings.checkpoint_pages:d}")
        # What was erased goes from the file, too.
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection, settings, keep_days)
        connection.execute("PRAGMA busy_timeout = 0")
    except sqlite3.Error as error:
        connection.close()
        raise store_error(settings.path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(settings: StoreSettings) -> sqlite3.Connection:
    """A connection to a database that a writer has opened before. Raises `StoreError`."""
    try:
        connection = _connect(settings, timeout=settings.busy_timeout_s)
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error as error:
        raise store_error(settings.path, error) from error
    return connection


def begin_immediate(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Begin a transaction that holds the write lock. Raises `sqlite3.OperationalError` after `timeout_s`.

    SQLite's own waiting grows to 100 ms between looks, so that beside a busy writer it would rarely see the lock
    free; this looks often instead.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)


def _check_library() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise ConfigError(
            f"Python's SQLite is {sqlite3.sqlite_version}; {oldest} or newer is needed: use a newer Python"
        )


def _make_file(path: Path) -> None:
    make_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # Password hashes and messages: nobody else's business. The companions inherit the mode. A file that is there must
    # not be opened but by SQLite: closing it would drop the locks of another store in this process.
    with contextlib.suppress(FileExistsError):
        os.close(open_as_folders(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _connect(settings: StoreSettings, *, timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(settings.path, timeout=timeout, isolation_level=None, cached_statements=256)


def _enter_wal(connection: sqlite3.Connection, settings: StoreSettings) -> None:
    # Two processes that switch at once: SQLite does not always wait by itself here.
    deadline = time.monotonic() + settings.busy_timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)
    if mode != "wal":
        raise StoreError(
            f"store {settings.path}: its file system cannot hold a write-ahead log (a network file system?): "
            "put it on a local disk"
        )


def version_of(connection: sqlite3.Connection) -> int:
    """Of the schema; 0: none yet."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number) & (1 << _HALF) - 1


def mark_version(connection: sqlite3.Connection, version: int, oldest: int) -> None:
    """Write both down."""
    connection.execute(f"PRAGMA user_version = {version | oldest << _HALF:d}")


def find_version(connection: sqlite3.Connection, what: str, cure: str) -> int:
    """Of the schema; 0: none yet. Raises `ConfigError` for one that this release cannot go on with."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    version = version_of(connection)
    if version == MOVED:
        raise ConfigError(
            f'{what} was moved to Cassandra by sparrow migrate: set store.engine = "cassandra" and start again'
        )
    if version > VERSION and (number >> _HALF or version) > VERSION:
        raise ConfigError(f"{what} was written by a newer Sparrow (schema {version}, this one knows {VERSION}): {cure}")
    return version


def is_migrating(connection: sqlite3.Connection) -> bool:
    """Whether `sparrow migrate` has begun here, and neither finished nor given up."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'"
    return connection.execute(query).fetchone() is not None


def forget_migration(connection: sqlite3.Connection) -> None:
    """Drop all that `sparrow migrate` has left, in the transaction that is open."""
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'migration_*'"
    for (name,) in connection.execute(query).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for table in ("migration_due", "migration"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def _migrate(connection: sqlite3.Connection, settings: StoreSettings, keep_days: int) -> None:
    begin_immediate(connection, settings.busy_timeout_s)
    try:
        cure = "run that one, or name another file in store.path"
        version = find_version(connection, f"store {settings.path}", cure)
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise ConfigError(f"store {settings.path} is another program's database: name another file in store.path")
        for step in STEPS[version:]:
            for statement in step.split(";\n"):
                connection.execute(statement)
        if version == 0:
            made = (keep_days, int(time.time() * 1000) if keep_days else 0)
            connection.execute("UPDATE history SET keep_days = ?, since_ms = ?", made)
        if version < VERSION:
            mark_version(connection, VERSION, OLDEST)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
