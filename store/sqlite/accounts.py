"""Profiles, passwords, the end of accounts, and logins, as functions of a connection.

Owns their SQL. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from protocol.errors import AlreadyExistsError, NotFoundError, OutdatedError
from store.interface import Account, Profile
from store.logins import Login, Refresh, nonce_of, refresh
from store.sqlite import reading

_PROFILE = (
    "SELECT user, display_name, hides_presence, created_ms, friends_may_add_me FROM accounts "
    "WHERE deleted_ms IS NULL AND "
)
# Above all characters of a user id.
_LAST = "\x7f"


def _profile(row: tuple[str, str, int, int, int]) -> Profile:
    return Profile(row[0], row[1], bool(row[2]), row[3], bool(row[4]))


def change_password(connection: sqlite3.Connection, user: str, old_hash: str, new_hash: str) -> None:
    """Swap the hash. Raises `NotFoundError`, `AlreadyExistsError`."""
    row = connection.execute(
        "SELECT password_hash FROM accounts WHERE user = ? AND deleted_ms IS NULL", (user,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f'there is no user "{user}"')
    if row[0] not in (old_hash, new_hash):
        raise AlreadyExistsError("the password was changed meanwhile: log in with the new one")
    connection.execute(
        "UPDATE accounts SET password_hash = ?, epoch = epoch + 1, reset_code = '' WHERE user = ?", (new_hash, user)
    )


def profiles(connection: sqlite3.Connection, users: Collection[str]) -> dict[str, Profile]:
    """The profile of each of these users that exists."""
    rows = connection.execute(_PROFILE + "user IN (SELECT value FROM json_each(?))", (json.dumps(list(users)),))
    return {row[0]: _profile(row) for row in rows.fetchall()}


def change_profile(
    connection: sqlite3.Connection, user: str, changes: tuple[str | None, bool | None, bool | None]
) -> Profile:
    """Change what is not None of display name, `hides_presence` and `friends_may_add_me`. Raises `NotFoundError`."""
    connection.execute(
        "UPDATE accounts SET display_name = coalesce(?, display_name), hides_presence = coalesce(?, hides_presence), "
        "friends_may_add_me = coalesce(?, friends_may_add_me) WHERE user = ? AND deleted_ms IS NULL",
        (*changes, user),
    )
    found = profiles(connection, [user])
    if user not in found:
        raise NotFoundError(f'there is no user "{user}"')
    return found[user]


def search(connection: sqlite3.Connection, prefix: str, after: str, limit: int) -> list[Profile]:
    """Profiles that match, by id, from behind `after` on."""
    rows = connection.execute(
        _PROFILE + "user >= ? AND user < ? AND user > ? ORDER BY user LIMIT ?", (prefix, prefix + _LAST, after, limit)
    )
    return [_profile(row) for row in rows.fetchall()]


def mark_deleted(connection: sqlite3.Connection, user: str, now_ms: int) -> None:
    """End the account and its devices. Raises `NotFoundError` if there never was one."""
    cursor = connection.execute(
        "UPDATE accounts SET deleted_ms = coalesce(deleted_ms, ?), password_hash = '', display_name = '', "
        "reset_code = '' "
        "WHERE user = ?",
        (now_ms, user),
    )
    if cursor.rowcount == 0:
        raise NotFoundError(f'there is no user "{user}"')
    connection.execute(
        "UPDATE devices SET removed_ms = coalesce(removed_ms, ?), label = '', login = '' WHERE user = ?", (now_ms, user)
    )


def drop_inbox(connection: sqlite3.Connection, user: str, limit: int) -> int:
    """Delete up to `limit` of all rows that wait for the user; returns how many."""
    return connection.execute(
        "DELETE FROM inbox WHERE position IN (SELECT position FROM inbox WHERE user = ? LIMIT ?)", (user, limit)
    ).rowcount


def rename_device(connection: sqlite3.Connection, user: str, device: str, label: str) -> None:
    """Change the label. Raises `NotFoundError`."""
    _change_device(connection, user, device, "label = ?", label)


def begin_login(
    connection: sqlite3.Connection, user: str, device: str, login: str, now_ms: int, checked: Account | None
) -> None:
    """Log the device in. Raises `NotFoundError`, and `OutdatedError` unless the account is as it was `checked`."""
    if checked is not None:
        there = reading.account(connection, user)
        if (
            there is None
            or there.disabled
            or (there.password_hash, there.epoch)
            != (
                checked.password_hash,
                checked.epoch,
            )
        ):
            raise OutdatedError(f'the account "{user}" has changed meanwhile')
    change = "login = ?, generation = 1, refreshed_ms = ?, nonce = ''"
    _change_device(connection, user, device, change, login, now_ms)


def _change_device(connection: sqlite3.Connection, user: str, device: str, change: str, *values: object) -> None:
    cursor = connection.execute(
        f"UPDATE devices SET {change} WHERE user = ? AND device = ? AND removed_ms IS NULL", (*values, user, device)
    )
    if cursor.rowcount == 0:
        raise NotFoundError(f'"{user}" has no device "{device}"')


def login(connection: sqlite3.Connection, user: str, device: str) -> Login | None:
    """The device's login; None without such a device."""
    row = connection.execute(
        "SELECT d.login, d.generation, d.refreshed_ms, a.disabled, d.nonce, a.user, a.display_name, a.hides_presence, "
        "a.created_ms, a.friends_may_add_me FROM devices AS d JOIN accounts AS a USING (user) "
        "WHERE d.user = ? AND d.device = ? AND d.removed_ms IS NULL AND a.deleted_ms IS NULL",
        (user, device),
    ).fetchone()
    return None if row is None else Login(row[0], row[1], row[2], bool(row[3]), _profile(row[5:]), row[4])


def refresh_login(
    connection: sqlite3.Connection, user: str, device: str, presented: tuple[str, int, int, int, int, str, int | None]
) -> Refresh:
    """`presented`: what `store.logins.refresh` is asked behind the login."""
    kept = login(connection, user, device)
    outcome = Refresh.UNKNOWN if kept is None else refresh(kept, *presented)
    if outcome is Refresh.DONE:
        change = "generation = generation + 1, refreshed_ms = ?, nonce = ?"
        made = nonce_of(kept.generation + 1, presented[5]) if kept is not None else ""
        _change_device(connection, user, device, change, presented[2], made)
    elif outcome is Refresh.REUSED:
        end_login(connection, user, device)
    return outcome


def end_login(connection: sqlite3.Connection, user: str, device: str) -> None:
    """Log the device out, if it is logged in."""
    connection.execute("UPDATE devices SET login = '' WHERE user = ? AND device = ?", (user, device))


def end_logins(connection: sqlite3.Connection, user: str) -> None:
    """Log all devices out. Raises `NotFoundError`."""
    change = "UPDATE accounts SET epoch = epoch + 1 WHERE user = ? AND deleted_ms IS NULL"
    if connection.execute(change, (user,)).rowcount == 0:
        raise NotFoundError(f'there is no user "{user}"')
    connection.execute("UPDATE devices SET login = '' WHERE user = ?", (user,))
