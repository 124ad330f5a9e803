"""From Cassandra back to a SQLite file that is not there yet, while no server runs: table by table.

Owns what becomes of each row, but those of conversations (`back_talks`). What is read is not changed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from store.cassandra.connecting import Connection
from store.cassandra.group_states import CHANGE, INTERVAL, MEMBER_PART
from store.migration.back_talks import put_talks

_AT_ONCE = 1_000
Scan = Callable[[str, str], Iterator[Any]]
"""All rows of a table: columns, table."""


def put_all(connection: Connection, database: sqlite3.Connection, say: Callable[[str], None]) -> None:
    """Fill an empty database of this version. Raises `StoreError`, and `sqlite3.Error`."""

    def scan(columns: str, table: str) -> Iterator[Any]:
        return connection.scan(f"SELECT {columns} FROM {table}", _AT_ONCE)

    for name, put in (
        ("how long is kept", _put_terms),
        ("accounts", _put_people),
        ("contacts", _put_pairs),
        ("lists and marks", _put_lists),
        ("codes, reports and counts", _put_codes),
        ("groups", _put_groups),
        ("files", _put_files),
        ("conversations", put_talks),
        ("inboxes", _put_waiting),
    ):
        database.execute("BEGIN")
        count = put(scan, database)
        database.execute("COMMIT")
        say(f"{name}: {count:,} rows")


def _fill(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert all; returns how many."""
    count, statement = 0, ""
    for row in rows:
        statement = statement or f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
        database.execute(statement, row)
        count += 1
    return count


def _ms(us: int | None) -> int | None:
    return None if us is None else us // 1000


def _put_terms(scan: Scan, database: sqlite3.Connection) -> int:
    for row in scan("keep_days, since_ms, floor", "history"):
        database.execute("UPDATE history SET keep_days = ?, since_ms = ?, floor = ?", [value or 0 for value in row])
    return 1


_ACCOUNT = (
    "user, password_hash, created_us, display_name, hides_presence, deleted_us, disabled, epoch, friends_may_add_me, "
    "reset_code, invitation"
)
_DEVICE = (
    "device, label, added_us, removed_us, session, previous_session, login, generation, refreshed_us, start, tries, "
    "nonce, checkpoint"
)


def _put_people(scan: Scan, database: sqlite3.Connection) -> int:
    count = 0
    for user, found in groupby(scan(f"{_ACCOUNT}, {_DEVICE}", "users"), key=lambda row: row[0]):
        rows = list(found)
        _, password_hash, created_us, name, hides, deleted_us, disabled, epoch, may_add, code, invitation = rows[0][:11]
        if created_us is None:
            continue  # what a write behind a removal has left
        count += 1 + len(rows)
        database.execute(
            "INSERT INTO accounts (user, password_hash, created_ms, display_name, hides_presence, deleted_ms, "
            "disabled, epoch, friends_may_add_me, reset_code, invitation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(user, password_hash, created_us // 1000, name or "", bool(hides), _ms(deleted_us)),
                *(bool(disabled), epoch or 0, bool(may_add), code or "", invitation or ""),
            ),
        )
        devices = [row[11:] for row in rows if row[11] is not None and row[13] is not None]
        for device in sorted(devices, key=lambda row: (row[2], row[0])):
            _put_device(database, user, device)
    subjects = "issuer, subject, user, linked_ms"
    count += _fill(database, f"oidc_subjects ({subjects})", scan(subjects, "oidc_subjects"))
    return count + _fill(database, "seen (user, seen_ms)", scan("user, seen_ms", "seen"))


def _put_device(database: sqlite3.Connection, user: str, row: tuple[Any, ...]) -> None:
    device, label, added_us, removed_us, session, previous, login, generation, refreshed_us, *rest = row
    start, tries, nonce, checkpoint = rest
    database.execute(
        "INSERT INTO devices (user, device, label, created_ms, removed_ms, session, previous_session, login, "
        "generation, refreshed_ms, start, tries, nonce, checkpoint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(user, device, label or "", added_us // 1000, _ms(removed_us), session or 0, previous or 0, login or ""),
            *(generation or 0, (refreshed_us or 0) // 1000, start or 0, tries or 0, nonce or "", checkpoint or 0),
        ),
    )


def _put_pairs(scan: Scan, database: sqlite3.Connection) -> int:
    rows = scan("low, high, bits, since_us", "pairs")
    there = ((low, high, bits, since_us // 1000) for low, high, bits, since_us in rows if bits)
    return _fill(database, "contacts (low, high, bits, since_ms)", there)


def _put_lists(scan: Scan, database: sqlite3.Connection) -> int:
    rows = scan("user, other, span, hidden, private, public", "members")
    members = (
        (user, other, span is not None, hidden or 0, private or 0, public or 0)
        for user, other, span, hidden, private, public in rows
    )
    count = _fill(database, "members (user, other, listed, hidden, private, public)", members)
    mutes = ((user, other, until) for user, told in scan("user, told", "mutes") for other, until in _object(told))
    count += _fill(database, "mutes (user, other, until_ms)", mutes)
    invited = (row for row in scan("user, group_id, invited_by, ms", "group_invitations") if row[3] is not None)
    return count + _fill(database, "group_invitations (user, group_id, invited_by, ms)", invited)


def _object(told: str | None) -> Iterable[tuple[str, int]]:
    return json.loads(told or "{}").items()  # type: ignore[no-any-return]


def _put_codes(scan: Scan, database: sqlite3.Connection) -> int:
    count = 0
    for name, digest, made_ms, ends_ms, uses, note, used_by in scan(
        "invitation, digest, made_ms, ends_ms, uses, note, used_by", "invitations"
    ):
        if name is None or ends_ms is None:
            continue
        database.execute(
            "INSERT INTO invitations VALUES (?, ?, ?, ?, ?, ?)", (name, digest, made_ms, ends_ms, uses, note)
        )
        count += 1 + _fill(database, "invitation_uses", ((name, user) for user in used_by or ()))
    count += _fill(database, "reports (report, reporter, told)", scan("report, reporter, told", "reports"))
    usage = (row for row in scan("user, day, rows, bytes", "usage") if row[2] or row[3])
    return count + _fill(database, "usage (user, day, rows, bytes)", usage)


_HEAD = "group_id, version, name, picture, admins_write, admins_add, open, created_ms, closed_ms"


def _put_groups(scan: Scan, database: sqlite3.Connection) -> int:
    count = 0
    found = scan(f"{_HEAD}, part, key, role, since, until, left_ms, told", "group_states")
    for group, some in groupby(found, key=lambda row: row[0]):
        rows = list(some)
        _, version, name, picture, admins_write, admins_add, is_open, created_ms, closed_ms = rows[0][:9]
        if version is None:
            continue
        flags = (bool(admins_write), bool(admins_add), bool(is_open))
        head = (group, version, name, picture or "", *flags, created_ms, closed_ms)
        count += 1 + _fill(database, f"group_states ({_HEAD})", [head])
        for row in rows:
            count += _put_group_row(
                database, group, row[9:], closed=None if closed_ms is None else (version, closed_ms)
            )
    # Whoever has ended has no list of groups any more, which is what these are in SQLite.
    database.execute(
        "DELETE FROM group_intervals WHERE user IN (SELECT user FROM accounts WHERE deleted_ms IS NOT NULL)"
    )
    links = (row for row in scan("group_id, link, digest, ends_ms, uses_left, made_by", "group_links") if row[2])
    return count + _fill(database, "group_links (group_id, link, digest, ends_ms, uses_left, made_by)", links)


def _put_group_row(
    database: sqlite3.Connection, group: str, row: tuple[Any, ...], closed: tuple[int, int] | None
) -> int:
    part, key, role, since, until, left_ms, told = row
    if part == MEMBER_PART and since is not None and closed is None:
        return _fill(database, "group_members (group_id, user, role, since)", [(group, key, role, since)])
    if part == CHANGE and told:
        return _fill(database, "group_changes", [(group, int(key), *json.loads(told))])
    if part == INTERVAL and since is not None:
        if until is None and closed is not None:
            until, left_ms = closed
        row = (key.rpartition("/")[0], group, since, until or 0, left_ms or 0)
        return _fill(database, "group_intervals (user, group_id, since, until, left_ms)", [row])
    return 0


_FILE = "file, owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms"


def _put_files(scan: Scan, database: sqlite3.Connection) -> int:
    count = 0
    for *row, readers in scan(f"{_FILE}, readers", "files"):
        file, owner, name, media_type, size, created_ms, expires_ms, sha256, complete, upload_expires_ms = row
        if owner is None:
            continue
        values = (file, owner, name, media_type, size, created_ms, expires_ms, sha256 or "", bool(complete))
        count += _fill(database, f"files ({_FILE})", [(*values, upload_expires_ms or 0)])
        count += _fill(database, "file_readers (file, user)", ((file, reader) for reader in readers or ()))
    # Each piece's bytes are found by its name, which is drawn at random.
    database.execute("CREATE TEMP TABLE places (piece TEXT PRIMARY KEY, file TEXT, position INTEGER, length INTEGER)")
    places = (row for row in scan("piece, file, position, length", "pieces") if row[0] is not None)
    _fill(database, "places", places)
    for piece, data in scan("piece, data", "piece_data"):
        count += database.execute(
            "INSERT INTO pieces (file, position, length, data) SELECT file, position, length, ? FROM places "
            "WHERE piece = ? AND file IN (SELECT file FROM files)",
            (data, piece),
        ).rowcount
    database.execute("DROP TABLE places")
    return count


def _put_waiting(scan: Scan, database: sqlite3.Connection) -> int:
    now_ms = time.time_ns() // 1_000_000
    # Positions follow each other as those in Cassandra do, over all queues.
    database.execute(
        "CREATE TEMP TABLE waiting "
        "(position BLOB, user TEXT, device TEXT, kind INTEGER, expires_ms INTEGER, body BLOB, author TEXT)"
    )
    rows = scan("position, user, device, kind, TTL(body), body, author", "inbox")
    there = (
        (position, user, device, kind, now_ms + (ttl_s or 0) * 1000, body, author or "")
        for position, user, device, kind, ttl_s, body, author in rows
        if body is not None
    )
    count = _fill(database, "waiting", there)
    database.execute(
        "INSERT INTO inbox (user, device, kind, expires_ms, body, author) "
        "SELECT user, device, kind, expires_ms, body, author FROM waiting ORDER BY position"
    )
    database.execute("DROP TABLE waiting")
    return count
