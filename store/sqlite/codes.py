"""`Codes` over one SQLite file.

Owns the tables `invitations` and `invitation_uses`, and of `accounts` the columns `reset_code` and `invitation`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

from protocol.errors import NotFoundError
from store.codes import Codes, Invitation, ResetCode, read_reset_code
from store.sqlite import accounts
from store.sqlite.worker import Worker

_OPEN = "SELECT invitation, digest, made_ms, ends_ms, uses, note FROM invitations WHERE ends_ms > ? AND "


class SqliteCodes(Codes):
    """With the store's threads and clock (Unix time in ms)."""

    def __init__(self, writer: Worker, reader: Worker, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms

    async def put_reset_code(self, user: str, code: ResetCode) -> None:
        await self._writer.call(partial(_put_reset_code, user=user, code=code))

    async def reset_code(self, user: str) -> ResetCode | None:
        return await self._reader.call(partial(_reset_code, user=user))

    async def reset_password(self, user: str, digest: str, new_hash: str) -> bool:
        work = partial(_reset_password, user=user, digest=digest, new_hash=new_hash, now_ms=self._now_ms())
        return await self._writer.call(work)

    async def add_invitation(self, invitation: Invitation) -> None:
        await self._writer.call(partial(_add, invitation=invitation, now_ms=self._now_ms()))

    async def invitations(self, after: str, limit: int) -> Sequence[Invitation]:
        return await self._reader.call(partial(_list, after=after, limit=limit, now_ms=self._now_ms()))

    async def count_invitations(self) -> int:
        return await self._reader.call(partial(_count, now_ms=self._now_ms()))

    async def withdraw_invitation(self, invitation: str) -> bool:
        return await self._writer.call(partial(_withdraw, invitation=invitation, now_ms=self._now_ms()))

    async def use_invitation(self, digest: str, user: str) -> str | None:
        return await self._writer.call(partial(_use, digest=digest, user=user, now_ms=self._now_ms()))

    async def return_use(self, digest: str, user: str) -> None:
        await self._writer.call(partial(_return, digest=digest, user=user))

    async def invitation_of(self, user: str) -> str | None:
        return await self._reader.call(partial(_invitation_of, user=user))


# A new password.


def _put_reset_code(connection: sqlite3.Connection, user: str, code: ResetCode) -> None:
    change = "UPDATE accounts SET reset_code = ? WHERE user = ? AND deleted_ms IS NULL"
    if connection.execute(change, (code.written(), user)).rowcount == 0:
        raise NotFoundError(f'there is no user "{user}"')


def _reset_code(connection: sqlite3.Connection, user: str) -> ResetCode | None:
    query = "SELECT reset_code FROM accounts WHERE user = ? AND deleted_ms IS NULL"
    row = connection.execute(query, (user,)).fetchone()
    return read_reset_code(row[0]) if row else None


def _reset_password(connection: sqlite3.Connection, user: str, digest: str, new_hash: str, now_ms: int) -> bool:
    code = _reset_code(connection, user)
    if code is None or code.digest != digest or code.used or code.ends_ms <= now_ms:
        return False
    used = ResetCode(digest, code.ends_ms, used=True)
    change = "UPDATE accounts SET password_hash = ?, reset_code = ? WHERE user = ? AND disabled = 0"
    if connection.execute(change, (new_hash, used.written(), user)).rowcount == 0:
        return False
    accounts.end_logins(connection, user)
    return True


# Invitations.


def _add(connection: sqlite3.Connection, invitation: Invitation, now_ms: int) -> None:
    ended = "(SELECT invitation FROM invitations WHERE ends_ms <= ?)"
    connection.execute(f"DELETE FROM invitation_uses WHERE invitation IN {ended}", (now_ms,))
    connection.execute("DELETE FROM invitations WHERE ends_ms <= ?", (now_ms,))
    connection.execute(
        "INSERT OR IGNORE INTO invitations (invitation, digest, made_ms, ends_ms, uses, note) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            invitation.invitation,
            invitation.digest,
            invitation.made_ms,
            invitation.ends_ms,
            invitation.uses,
            invitation.note,
        ),
    )


def _list(connection: sqlite3.Connection, after: str, limit: int, now_ms: int) -> list[Invitation]:
    query = _OPEN + "invitation > ? ORDER BY invitation LIMIT ?"
    rows = connection.execute(query, (now_ms, after, limit)).fetchall()
    return [
        Invitation(name, digest, made_ms, ends_ms, uses, note, _used_by(connection, name))
        for name, digest, made_ms, ends_ms, uses, note in rows
    ]


def _used_by(connection: sqlite3.Connection, invitation: str) -> tuple[str, ...]:
    query = "SELECT user FROM invitation_uses WHERE invitation = ? ORDER BY user"
    return tuple(user for (user,) in connection.execute(query, (invitation,)).fetchall())


def _count(connection: sqlite3.Connection, now_ms: int) -> int:
    query = "SELECT count(*) FROM invitations WHERE ends_ms > ?"
    (count,) = connection.execute(query, (now_ms,)).fetchone()
    return int(count)


def _withdraw(connection: sqlite3.Connection, invitation: str, now_ms: int) -> bool:
    connection.execute("DELETE FROM invitation_uses WHERE invitation = ?", (invitation,))
    gone = connection.execute("DELETE FROM invitations WHERE invitation = ? RETURNING ends_ms", (invitation,))
    return any(ends_ms > now_ms for (ends_ms,) in gone.fetchall())


def _use(connection: sqlite3.Connection, digest: str, user: str, now_ms: int) -> str | None:
    row = connection.execute(_OPEN + "digest = ?", (now_ms, digest)).fetchone()
    if row is None:
        return None
    name, uses = str(row[0]), int(row[4])
    used_by = _used_by(connection, name)
    if user not in used_by:
        if len(used_by) >= uses:
            return None
        connection.execute("INSERT INTO invitation_uses (invitation, user) VALUES (?, ?)", (name, user))
    return name


def _return(connection: sqlite3.Connection, digest: str, user: str) -> None:
    connection.execute(
        "DELETE FROM invitation_uses WHERE user = ? AND invitation IN (SELECT invitation FROM invitations "
        "WHERE digest = ?)",
        (user, digest),
    )


def _invitation_of(connection: sqlite3.Connection, user: str) -> str | None:
    row = connection.execute("SELECT invitation FROM accounts WHERE user = ?", (user,)).fetchone()
    return None if row is None else str(row[0])
