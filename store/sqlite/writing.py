"""The operations that write, as functions of a connection that holds the write lock.

Owns their SQL. Begins and commits nothing; reads no clock. Each statement takes a whole batch: every step of a
statement gives up the interpreter's lock, and beside a busy event loop each return of it can take milliseconds
(200 rows: 1,200 ms with `executemany`, 30 ms this way).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

from protocol.errors import AlreadyExistsError, NotFoundError
from store.interface import COMMON, Account, Device, NewRow, Removal
from store.sessions import NoSession, SessionStart, Standing
from store.sqlite import reading
from store.sqlite.keys import position_of

_CHUNKS = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
_U64 = 1 << 64
_I63 = 1 << 63
_T = TypeVar("_T")


def create_account(connection: sqlite3.Connection, account: Account, invitation: str) -> Account:
    """Add `account`, or return it if this very one stands already. Raises `AlreadyExistsError`."""
    # Also a deleted account keeps its name.
    made = connection.execute(
        "INSERT INTO accounts (user, password_hash, created_ms, invitation) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (account.user, account.password_hash, account.created_ms, invitation),
    )
    if made.rowcount:
        return account
    there = reading.account(connection, account.user)
    # A salted hash is never the same twice by chance: this is the same call, repeated.
    if there is not None and there.password_hash == account.password_hash:
        return there
    raise AlreadyExistsError(f'the user id "{account.user}" is taken: choose another')


def set_disabled(connection: sqlite3.Connection, user: str, disabled: bool) -> None:
    """Disable or enable an account. Raises `NotFoundError`."""
    change = "UPDATE accounts SET disabled = ?, epoch = epoch + 1, reset_code = '' WHERE user = ?"
    if connection.execute(change, (disabled, user)).rowcount == 0:
        raise NotFoundError(f'there is no user "{user}"')


def add_device(connection: sqlite3.Connection, user: str, device: Device) -> Device:
    """Add `device`, or return it if it stands already. Raises `NotFoundError`, `AlreadyExistsError`."""
    if connection.execute("SELECT 1 FROM accounts WHERE user = ? AND deleted_ms IS NULL", (user,)).fetchone() is None:
        raise NotFoundError(f'there is no user "{user}"')
    row = connection.execute(
        "SELECT device, label, created_ms, removed_ms FROM devices WHERE user = ? AND device = ?", (user, device.device)
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO devices (user, device, label, created_ms) VALUES (?, ?, ?, ?)",
            (user, device.device, device.label, device.created_ms),
        )
        row = (device.device, device.label, device.created_ms, None)
    if row[3] is not None:
        raise AlreadyExistsError(f'the device "{device.device}" was removed: mint a new id')
    (known,) = connection.execute("SELECT count(*) FROM devices WHERE user = ?", (user,)).fetchone()
    return Device(row[0], row[1], row[2], first=known == 1)


def mark_removed(connection: sqlite3.Connection, user: str, device: str, now_ms: int) -> None:
    """Mark the device removed, if it is not yet. Raises `NotFoundError` if there never was one."""
    cursor = connection.execute(
        "UPDATE devices SET removed_ms = coalesce(removed_ms, ?) WHERE user = ? AND device = ?", (now_ms, user, device)
    )
    if cursor.rowcount == 0:
        raise NotFoundError(f'"{user}" has no device "{device}"')


def move_to_common(connection: sqlite3.Connection, user: str, device: str, limit: int) -> int:
    """Move up to `limit` rows, oldest first, from the device's queue to the common one; returns how many.

    They get new positions, so that a scan of the common queue that is under way will come to them.
    """
    oldest = "FROM inbox WHERE user = ? AND device = ? ORDER BY position LIMIT ?"
    connection.execute(
        "INSERT INTO inbox (user, device, kind, expires_ms, body, author) "
        f"SELECT user, '{COMMON}', kind, expires_ms, body, author {oldest}",
        (user, device, limit),
    )
    return connection.execute(
        f"DELETE FROM inbox WHERE position IN (SELECT position {oldest})", (user, device, limit)
    ).rowcount


def begin_sessions(connection: sqlite3.Connection, starts: Sequence[SessionStart]) -> list[int | NoSession]:
    """Name each device's newest session; returns the one before, or why there is none.

    A start that names the newest session already is a repeat, and gets the same answer as the first time; one that
    names the session before it comes late.
    """
    wanted = json.dumps(list({(start.user, start.device) for start in starts}))
    (found,) = connection.execute(
        "SELECT json_group_array(json_array("
        "d.user, d.device, d.session, d.previous_session, d.start, d.tries, d.login, a.disabled)) "
        "FROM json_each(?) AS w CROSS JOIN devices AS d "
        "ON d.user = json_extract(w.value, '$[0]') AND d.device = json_extract(w.value, '$[1]') "
        "CROSS JOIN accounts AS a ON a.user = d.user "
        "WHERE d.removed_ms IS NULL AND a.deleted_ms IS NULL",
        (wanted,),
    ).fetchone()
    now: dict[tuple[str, str], tuple[int, int, int, int]] = {}
    held = {}
    for user, device, session, previous, started, tries, login, disabled in json.loads(found):
        now[user, device] = (session, previous, started, tries)
        held[user, device] = Standing(bool(disabled), {device: login})
    answers: list[int | NoSession] = []
    for start in starts:
        key = start.user, start.device
        entry = now.get(key)
        if entry is None:
            answers.append(NoSession.NO_DEVICE)
            continue
        refused = held[key].refuses(start.device, start.login)
        if refused is not None:
            answers.append(refused)
            continue
        session, previous, started, tries = entry
        signed, start_signed = _signed(start.session), _signed(start.start)
        if signed == session:
            answers.append(previous % _U64)
        elif signed == previous:
            answers.append(0)
        elif start_signed and start_signed == started and start.tries < tries:
            answers.append(NoSession.LATE)
        else:
            now[key] = (signed, session, start_signed, start.tries)
            answers.append(session % _U64)
    changes = json.dumps([(user, device, *sessions) for (user, device), sessions in now.items()])
    connection.execute(
        "UPDATE devices SET session = json_extract(w.value, '$[2]'), previous_session = json_extract(w.value, '$[3]'), "
        "start = json_extract(w.value, '$[4]'), tries = json_extract(w.value, '$[5]') "
        "FROM json_each(?) AS w "
        "WHERE devices.user = json_extract(w.value, '$[0]') AND devices.device = json_extract(w.value, '$[1]')",
        (changes,),
    )
    return answers


def _signed(number: int) -> int:
    return number - _U64 if number >= _I63 else number


def append(connection: sqlite3.Connection, rows: Sequence[NewRow], expires_ms: int) -> None:
    """Add all rows, in this order."""
    for chunk in _chunks(rows):
        connection.execute(
            _append_statement(len(chunk)),
            [value for row in chunk for value in (row.user, row.device, row.kind, expires_ms, row.body, row.author)],
        )


def remove(connection: sqlite3.Connection, removals: Sequence[Removal]) -> None:
    """Delete exactly these rows, where they stand in the removal's own or the common queue."""
    named = [
        (position, removal.user, removal.device)
        for removal in removals
        for position in map(position_of, removal.keys)
        if position is not None
    ]
    for chunk in _chunks(named):
        connection.execute(_remove_statement(len(chunk)), [value for row in chunk for value in row])


def drop(connection: sqlite3.Connection, user: str, positions: Sequence[int]) -> int:
    """Delete these rows of a user; returns how many were there."""
    return connection.execute(
        "DELETE FROM inbox WHERE position IN (SELECT value FROM json_each(?)) AND user = ?",
        (json.dumps(positions), user),
    ).rowcount


def purge(connection: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Delete up to `limit` expired rows; returns how many."""
    return connection.execute(
        "DELETE FROM inbox WHERE position IN "
        "(SELECT position FROM inbox WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)",
        (now_ms, limit),
    ).rowcount


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Few sizes, so that each size's statement stays prepared."""
    start = 0
    for size in _CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


@cache
def _append_statement(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO inbox (user, device, kind, expires_ms, body, author) VALUES {values}"


@cache
def _remove_statement(rows: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * rows)
    return (
        f"DELETE FROM inbox WHERE position IN (SELECT i.position FROM (VALUES {values}) AS w "
        "CROSS JOIN inbox AS i ON i.position = w.column1 "
        f"WHERE i.user = w.column2 AND i.device IN (w.column3, '{COMMON}'))"
    )
