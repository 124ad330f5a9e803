"""The operations that read, as functions of a connection.

Owns their SQL. Writes nothing; reads no clock. Each query returns one row that holds all: why, see `writing`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from store.interface import COMMON, Account, Counts, Device, Page, PageQuery, Row, RowKind
from store.sessions import Standing
from store.sqlite.keys import key_of, position_of

_QUEUE = "SELECT position, kind, body FROM inbox WHERE user = ? AND device = ? AND position > ? AND expires_ms > ?"
# Both queues come in order from the index and are merged on the way. The LIMIT is what keeps SQLite from
# dropping the inner ORDER BY, so the aggregates see the rows in order.
_PAGE = (
    "SELECT group_concat(position || ',' || kind || ',' || length(body)), group_concat(hex(body), '') "
    f"FROM ({_QUEUE} UNION ALL {_QUEUE} ORDER BY position LIMIT ?)"
)
_PAGE_OF_COMMON = (
    "SELECT group_concat(position || ',' || kind || ',' || length(body)), group_concat(hex(body), '') "
    f"FROM ({_QUEUE} ORDER BY position LIMIT ?)"
)


def account(connection: sqlite3.Connection, user: str) -> Account | None:
    """The account, or None."""
    row = connection.execute(
        "SELECT user, password_hash, created_ms, disabled, epoch FROM accounts WHERE user = ? AND deleted_ms IS NULL",
        (user,),
    ).fetchone()
    return None if row is None else Account(row[0], row[1], row[2], bool(row[3]), row[4])


def users(connection: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Users from behind `after` on, by id."""
    query = "SELECT user FROM accounts WHERE user > ? AND deleted_ms IS NULL ORDER BY user LIMIT ?"
    return [user for (user,) in connection.execute(query, (after, limit)).fetchall()]


def counts(connection: sqlite3.Connection) -> Counts:
    """How much there is."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM accounts WHERE deleted_ms IS NULL), "
        "(SELECT count(*) FROM devices WHERE removed_ms IS NULL), (SELECT count(*) FROM inbox)"
    ).fetchone()
    return Counts(*row)


def list_devices(connection: sqlite3.Connection, user: str) -> list[Device]:
    """The user's devices, oldest first, without removed ones."""
    rows = connection.execute(
        "SELECT d.device, d.label, d.created_ms, d.login <> '' FROM devices AS d JOIN accounts AS a USING (user) "
        "WHERE d.user = ? AND d.removed_ms IS NULL AND a.deleted_ms IS NULL ORDER BY d.id",
        (user,),
    )
    return [Device(row[0], row[1], row[2], logged_in=bool(row[3])) for row in rows.fetchall()]


def devices(connection: sqlite3.Connection, users: Collection[str]) -> dict[str, tuple[str, ...] | None]:
    """Device ids of each user, oldest first, without removed ones; None for a user that does not exist."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(a.user, d.id, d.device)) FROM json_each(?) AS w "
        "CROSS JOIN accounts AS a ON a.user = w.value AND a.deleted_ms IS NULL "
        "LEFT JOIN devices AS d ON d.user = a.user AND d.removed_ms IS NULL",
        (json.dumps(list(users)),),
    ).fetchone()
    answer: dict[str, tuple[str, ...] | None] = dict.fromkeys(users)
    for user, number, device in sorted(json.loads(found), key=lambda row: row[1] or 0):
        known = answer[user] or ()
        answer[user] = known if number is None else (*known, device)
    return answer


def standing(connection: sqlite3.Connection, users: Collection[str]) -> dict[str, Standing | None]:
    """What the sessions of each user are held against; None for a user that does not exist."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(a.user, a.disabled, d.device, d.login)) FROM json_each(?) AS w "
        "CROSS JOIN accounts AS a ON a.user = w.value AND a.deleted_ms IS NULL "
        "LEFT JOIN devices AS d ON d.user = a.user AND d.removed_ms IS NULL",
        (json.dumps(list(users)),),
    ).fetchone()
    logins: dict[str, dict[str, str]] = {}
    disabled = set()
    for user, is_disabled, device, login in json.loads(found):
        of_user = logins.setdefault(user, {})
        if device is not None:
            of_user[device] = login
        if is_disabled:
            disabled.add(user)
    return {user: Standing(user in disabled, logins[user]) if user in logins else None for user in users}


def waiting(
    connection: sqlite3.Connection, users: Collection[str], now_ms: int
) -> dict[str, dict[str, tuple[int, int]]]:
    """Rows and bytes that wait for each user, by author."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(user, author, count, size)) FROM ("
        "SELECT i.user, i.author, count(*) AS count, sum(length(i.body)) AS size FROM json_each(?) AS w "
        "CROSS JOIN inbox AS i ON i.user = w.value WHERE i.expires_ms > ? GROUP BY i.user, i.author)",
        (json.dumps(list(users)), now_ms),
    ).fetchone()
    answer: dict[str, dict[str, tuple[int, int]]] = {user: {} for user in users}
    for user, author, count, size in json.loads(found):
        answer[user][author] = (count, size)
    return answer


def positions_from(connection: sqlite3.Connection, user: str, author: str) -> list[int]:
    """Where the messages from `author` are that wait for `user`."""
    (found,) = connection.execute(
        "SELECT json_group_array(position) FROM inbox WHERE user = ? AND author = ? AND kind = ?",
        (user, author, int(RowKind.MESSAGE)),
    ).fetchone()
    positions: list[int] = json.loads(found)
    return positions


def page(connection: sqlite3.Connection, queries: Sequence[PageQuery], now_ms: int) -> list[Page]:
    """One page for each query."""
    return [_page(connection, query, now_ms) for query in queries]


def _page(connection: sqlite3.Connection, query: PageQuery, now_ms: int) -> Page:
    # A fresh scan goes on where the last one ended, because positions rise in the order of commits: SQLite has one
    # write lock for the whole file, whichever process asks; a position is drawn (AUTOINCREMENT) while that lock is
    # held, and its row is visible only once it is given back. So when a snapshot shows position p, no row below p
    # is still to come, be it of this process or of another; and a moved row is a new one with a new position.
    after = (position_of(query.after) or 0) if query.after else 0
    if query.device == COMMON:
        meta, text = connection.execute(_PAGE_OF_COMMON, (query.user, COMMON, after, now_ms, query.limit)).fetchone()
    else:
        meta, text = connection.execute(
            _PAGE,
            (query.user, query.device, after, now_ms, query.user, COMMON, after, now_ms, query.limit),
        ).fetchone()
    if meta is None:
        return Page((), key_of(after), True)
    rows = _rows(list(map(int, meta.split(","))), bytes.fromhex(text))
    return Page(tuple(rows), rows[-1].key, len(rows) < query.limit)


def _rows(numbers: list[int], bodies: bytes) -> list[Row]:
    rows = []
    start = 0
    for position, kind, length in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        end = start + length
        rows.append(Row(key_of(position), kind, bodies[start:end]))
        start = end
    return rows
