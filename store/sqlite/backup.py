"""Copies of a database: one that is in use is copied, and a copy takes the place of one that is lost.

Owns what a copy must be before anybody may go on from it. Knows no archive, and nothing of keys.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from protocol.errors import ConfigError
from store.interface import Counts
from store.ownership import Ownership
from store.settings import StoreSettings
from store.sqlite import reading
from store.sqlite.failures import primary_code, store_error
from store.sqlite.lock import DataLock
from store.sqlite.schema import VERSION, find_version, forget_migration, open_writer

_BUSY_S = 30.0
_NEVER_GIVEN = 1 << 40
_VERSIONS = 1 << 20
"""So many positions are left out: more than were given between a backup and its restore."""


def companions(path: Path) -> tuple[Path, ...]:
    """The files that SQLite keeps beside a database in use."""
    return tuple(path.with_name(path.name + end) for end in ("-wal", "-shm"))


def existing(path: Path) -> Path:
    """`path`, for those who must not make a database by looking for one. Raises `ConfigError` if there is none."""
    try:
        there = path.is_file()
    except PermissionError as error:
        text = f"{path} cannot be seen by this user ({error.strerror}): run this as root, or as the server's user"
        raise ConfigError(text) from error
    if not there:
        raise ConfigError(f"there is no database {path}: name it in store.path, or run this in the server's folder")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """While nobody works on the database of this name, be it there or not. Raises `ConfigError`, `OSError`."""
    lock = DataLock(str(path))
    lock.take(Ownership.ALONE)
    try:
        yield
    finally:
        lock.release()


def copy(source: Path, target: Path) -> None:
    """Copy a database, in use or not, as it is at one moment; `target` must not be there.

    One step: it holds up nobody who writes, and sees nothing of what is written meanwhile. Raises `StoreError`, and
    `OSError` for a disk of `target` that is full.
    """
    with _open(source) as there, closing(sqlite3.connect(target)) as here:
        try:
            there.backup(here)
        except sqlite3.Error as error:
            if primary_code(error) == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise store_error(str(source), error) from error


@contextmanager
def making(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is to be filled, empty and of this version, and stands at `path` when that has ended well.

    Raises `StoreError`.
    """
    new = path.with_name(path.name + "-new")
    for left in (new, *companions(new)):
        left.unlink(missing_ok=True)
    try:
        with closing(open_writer(StoreSettings(path=str(new)))) as connection:
            yield connection
            # All in one file.
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise store_error(str(new), error) from error
    new.rename(path)


def look_at(path: Path) -> tuple[int, Counts]:
    """Schema and contents of a copy, all of which is read. Raises `StoreError` if damaged, `ConfigError` if newer."""
    with _open(path) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise store_error(str(path), sqlite3.DatabaseError(f"it is damaged: {found}"))
            version = find_version(connection, "it", "use that one")
            return version, _counts(connection, version)
        except sqlite3.Error as error:
            raise store_error(str(path), error) from error


def _counts(connection: sqlite3.Connection, version: int) -> Counts:
    if version >= VERSION:
        return reading.counts(connection)
    return Counts()  # tables of another time


def begin_anew(path: Path) -> None:
    """Make a copy fit to be gone on from, by those who have seen what came after it. Raises `StoreError`.

    No position is given a second time, since a connector may still hold keys of rows. And no device's newest session is
    one that its client may have kept, so that every client draws new streams (docs/protocol.md, K4): a client that
    went back in time together with the database would find nothing wrong, and give ids that it has given.
    """
    with _open(path) as connection:
        try:
            # All in one file: what is beside it does not come along.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE devices SET previous_session = session, session = random() | 1")
            connection.execute(
                "INSERT INTO sqlite_sequence SELECT 'inbox', 0 "
                "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'inbox')"
            )
            connection.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'inbox'", (_NEVER_GIVEN,))
            # Nor does a group get a version that members have seen otherwise.
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'group_states'").fetchone():
                connection.execute("UPDATE group_states SET version = version + ?", (_VERSIONS,))
            # Nor is a code good twice, or one that was withdrawn since.
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'invitations'").fetchone():
                connection.execute("UPDATE accounts SET reset_code = '' WHERE reset_code <> ''")
                connection.execute("DELETE FROM invitation_uses")
                connection.execute("DELETE FROM invitations")
            # Nor has a migration that was under way seen what is the truth from now on.
            forget_migration(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise store_error(str(path), error) from error


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to what is there; SQLite would make what is not."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None
        )
    except sqlite3.Error as error:
        raise store_error(str(path), error) from error
    with closing(connection):
        yield connection
