"""`Subjects` over one SQLite file.

Owns the table `oidc_subjects`. A row goes with its account.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

from protocol.errors import NotFoundError
from store.sqlite.worker import Worker
from store.subjects import Subject, Subjects

_STANDS = "EXISTS (SELECT 1 FROM accounts AS a WHERE a.user = {} AND a.deleted_ms IS NULL)"


class SqliteSubjects(Subjects):
    """With the store's threads and clock (Unix time in ms)."""

    def __init__(self, writer: Worker, reader: Worker, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms

    async def user_of(self, subject: Subject) -> str | None:
        return await self._reader.call(partial(_user_of, subject=subject))

    async def link(self, subject: Subject, user: str) -> str:
        return await self._writer.call(partial(_link, subject=subject, user=user, now_ms=self._now_ms()))

    async def unlink(self, subject: Subject, user: str) -> bool:
        return await self._writer.call(partial(_unlink, subject=subject, user=user))

    async def of(self, user: str) -> Sequence[Subject]:
        return await self._reader.call(partial(_of, user=user))


def _user_of(connection: sqlite3.Connection, subject: Subject) -> str | None:
    query = "SELECT user FROM oidc_subjects WHERE issuer = ? AND subject = ?"
    row = connection.execute(query, subject).fetchone()
    return None if row is None else str(row[0])


def _link(connection: sqlite3.Connection, subject: Subject, user: str, now_ms: int) -> str:
    if not connection.execute("SELECT " + _STANDS.format("?"), (user,)).fetchone()[0]:
        raise NotFoundError(f'there is no user "{user}"')
    # A release that does not know this table may have ended the account.
    stale = "DELETE FROM oidc_subjects WHERE issuer = ? AND subject = ? AND NOT "
    connection.execute(stale + _STANDS.format("oidc_subjects.user"), subject)
    connection.execute(
        "INSERT OR IGNORE INTO oidc_subjects (issuer, subject, user, linked_ms) VALUES (?, ?, ?, ?)",
        (*subject, user, now_ms),
    )
    return _user_of(connection, subject) or user


def _unlink(connection: sqlite3.Connection, subject: Subject, user: str) -> bool:
    gone = "DELETE FROM oidc_subjects WHERE issuer = ? AND subject = ? AND user = ?"
    return connection.execute(gone, (*subject, user)).rowcount > 0


def _of(connection: sqlite3.Connection, user: str) -> list[Subject]:
    query = "SELECT issuer, subject FROM oidc_subjects WHERE user = ? ORDER BY issuer, subject"
    return [Subject(*row) for row in connection.execute(query, (user,)).fetchall()]


def forget(connection: sqlite3.Connection, user: str) -> None:
    """The account has ended."""
    connection.execute("DELETE FROM oidc_subjects WHERE user = ?", (user,))
