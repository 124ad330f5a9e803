"""The index of words: a database of its own beside the store's, which no backup has.

Owns its file and its SQL, as functions of its connection. What stands there of a message is its words and who may ask
for it; what is shown comes from the store.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from fabric.files import open_as_folders
from protocol.errors import MisuseError, StoreError

SLOW_S = 0.2
"""A question takes no longer."""
_STEPS = 2000
_MERGE_PAGES = 500
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS progress (last INTEGER NOT NULL)",
    "INSERT INTO progress SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM progress)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, who, detail=column, columnsize=0, tokenize='ascii')",
)


class Indexed(NamedTuple):
    """What stands of one message."""

    position: int
    words: str
    who: str


def index_path(path: str) -> Path:
    """Where the index of a database is."""
    return Path(f"{path}-search")


def companions(path: str) -> list[Path]:
    """The index's file, and those that SQLite keeps beside it."""
    index = index_path(path)
    return [index, *(index.with_name(index.name + end) for end in ("-wal", "-shm"))]


def open_index(path: str, timeout_s: float) -> sqlite3.Connection:
    """A connection to it; makes it where it is missing. One that cannot be read is made anew. Raises `StoreError`."""
    try:
        return _open(index_path(path), timeout_s)
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreError(f"the search index {index_path(path)}: {error}") from error
    except sqlite3.DatabaseError:
        drop_index(path)
        return _open(index_path(path), timeout_s)


def _open(index: Path, timeout_s: float) -> sqlite3.Connection:
    with contextlib.suppress(FileExistsError):
        os.close(open_as_folders(index, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(index, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # It can be made anew: what a power cut takes of it, the next run adds again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        for statement in _SCHEMA:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def drop_index(path: str) -> None:
    """Remove it, if it is there."""
    for file in companions(path):
        file.unlink(missing_ok=True)


def member_of(user: str) -> str:
    """What stands for a user in `who`; two may share it, so what is found is looked at again."""
    return "u" + blake2b(user.encode(), digest_size=5).hexdigest()


def conversation_word(number: int) -> str:
    """What stands for a conversation in `who`."""
    return f"c{number}"


def last(connection: sqlite3.Connection) -> int:
    """The position up to which the store has been looked through."""
    (found,) = connection.execute("SELECT last FROM progress").fetchone()
    return int(found)


def write(connection: sqlite3.Connection, rows: Sequence[Indexed], again: Sequence[int], up_to: int) -> None:
    """Add these; what stands at the positions `again` goes first."""
    connection.executemany("DELETE FROM words WHERE rowid = ?", [(position,) for position in again])
    connection.executemany("INSERT INTO words (rowid, text, who) VALUES (?, ?, ?)", rows)
    connection.execute("UPDATE progress SET last = ?", (up_to,))


def clear(connection: sqlite3.Connection) -> None:
    """Begin anew."""
    connection.execute("DROP TABLE words")
    connection.execute("UPDATE progress SET last = 0")
    for statement in _SCHEMA:
        connection.execute(statement)


def merge_some(connection: sqlite3.Connection) -> bool:
    """Rewrite a part of the index, so that words that went leave its file; False: there is no more to do."""
    before = connection.total_changes
    connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (-_MERGE_PAGES,))
    return connection.total_changes - before >= 2


def scrub(path: str) -> bool:
    """Copy the index's log into its file and cut it off; False while somebody reads an old state."""
    with contextlib.closing(sqlite3.connect(index_path(path), timeout=1.0, isolation_level=None)) as connection:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def find(
    connection: sqlite3.Connection, phrase: Sequence[str], who: Sequence[str], before: int, limit: int
) -> list[int]:
    """Positions of messages that have all these words, the last as a beginning, and one of `who`; from the newest back.

    Raises `MisuseError` for a question that takes longer than `SLOW_S`.
    """
    *whole, begun = [f'"{word}"' for word in phrase]
    question = f"who : ({' OR '.join(who)}) AND text : ({' AND '.join([*whole, begun + ' *'])})"
    end = time.monotonic() + SLOW_S
    connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
    try:
        rows = connection.execute(
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
            (question, before, limit),
        ).fetchall()
    except sqlite3.OperationalError:
        if time.monotonic() <= end:
            raise
        raise MisuseError("the search took too long: name more of the words, or a conversation") from None
    finally:
        connection.set_progress_handler(None, 0)
    return [position for (position,) in rows]
