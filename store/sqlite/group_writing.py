"""Membership of groups, as functions of a connection; those that write need one that holds the write lock.

Owns the tables `group_states`, `group_members`, `group_changes` and `group_intervals`. Begins and commits nothing;
reads no clock. What a change makes of a group, `store.membership` says.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from store.groups import Group, GroupChange, GroupCounts, Member, MyGroup, Role


def make(connection: sqlite3.Connection, group: Group, change: GroupChange) -> None:
    """Keep a new group; once more it is a repeat."""
    if connection.execute("SELECT 1 FROM group_states WHERE group_id = ?", (group.group,)).fetchone() is None:
        _write(connection, group, change, {})


def change(connection: sqlite3.Connection, group: Group, change: GroupChange) -> bool:
    """Keep the group as the change has made it; False if it was made for another version."""
    there = connection.execute(
        "SELECT s.version, c.version, c.ms, c.actor, c.kind, c.user, c.value FROM group_states AS s LEFT JOIN "
        "group_changes AS c ON c.group_id = s.group_id AND c.version = ? WHERE s.group_id = ?",
        (change.version, group.group),
    ).fetchone()
    if there is None:
        return False
    if there[1] is not None:
        return GroupChange(*there[1:]) == change
    if there[0] != change.version - 1:
        return False
    _write(connection, group, change, _members(connection, [group.group]).get(group.group, {}))
    return True


def _write(connection: sqlite3.Connection, group: Group, change: GroupChange, before: dict[str, Member]) -> None:
    connection.execute(
        "INSERT INTO group_states "
        "(group_id, version, name, picture, admins_write, admins_add, open, created_ms, closed_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, "
        "name = excluded.name, picture = excluded.picture, admins_write = excluded.admins_write, "
        "admins_add = excluded.admins_add, open = excluded.open, closed_ms = excluded.closed_ms",
        (
            group.group,
            group.version,
            group.name,
            group.picture,
            group.admins_write,
            group.admins_add,
            group.open,
            group.created_ms,
            change.ms if group.closed else None,
        ),
    )
    connection.execute("INSERT INTO group_changes VALUES (?, ?, ?, ?, ?, ?, ?)", (group.group, *change))
    gone = [user for user, member in before.items() if _came(member) != _came(group.members.get(user))]
    new = [member for user, member in group.members.items() if _came(member) != _came(before.get(user))]
    written = [member for user, member in group.members.items() if member != before.get(user)]
    if gone:
        users = json.dumps(gone)
        connection.execute(
            "DELETE FROM group_members WHERE group_id = ? AND user IN (SELECT value FROM json_each(?))",
            (group.group, users),
        )
        connection.execute(
            "UPDATE group_intervals SET until = ?, left_ms = ? WHERE group_id = ? AND until = 0 "
            "AND user IN (SELECT value FROM json_each(?))",
            (change.version, change.ms, group.group, users),
        )
    if written:
        connection.execute(
            "INSERT INTO group_members (group_id, user, role, since) SELECT ?, json_extract(w.value, '$[0]'), "
            "json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]') FROM json_each(?) AS w WHERE true "
            "ON CONFLICT DO UPDATE SET role = excluded.role, since = excluded.since",
            (group.group, json.dumps(written)),
        )
    if new:
        connection.execute(
            "INSERT OR IGNORE INTO group_intervals (user, group_id, since) SELECT json_extract(w.value, '$[0]'), ?, "
            "json_extract(w.value, '$[2]') FROM json_each(?) AS w",
            (group.group, json.dumps(new)),
        )


def _came(member: Member | None) -> int | None:
    return None if member is None else member.since


def groups(connection: sqlite3.Connection, wanted: Collection[str]) -> dict[str, Group | None]:
    """As they are now."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(s.group_id, s.version, s.name, s.created_ms, s.picture, s.admins_write, "
        "s.admins_add, s.open, s.closed_ms IS NOT NULL)) FROM json_each(?) AS w "
        "CROSS JOIN group_states AS s ON s.group_id = w.value",
        (json.dumps(list(wanted)),),
    ).fetchone()
    members = _members(connection, wanted)
    answer: dict[str, Group | None] = dict.fromkeys(wanted)
    for group, version, name, created_ms, picture, *flags in json.loads(found):
        answer[group] = Group(group, version, name, created_ms, members.get(group, {}), picture, *map(bool, flags))
    return answer


def _members(connection: sqlite3.Connection, wanted: Collection[str]) -> dict[str, dict[str, Member]]:
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(m.group_id, m.user, m.role, m.since)) FROM json_each(?) AS w "
        "CROSS JOIN group_members AS m ON m.group_id = w.value",
        (json.dumps(list(wanted)),),
    ).fetchone()
    members: dict[str, dict[str, Member]] = {}
    for group, user, role, since in json.loads(found):
        members.setdefault(group, {})[user] = Member(user, Role(role), since)
    return members


def changes(connection: sqlite3.Connection, group: str, since: int, limit: int) -> list[GroupChange]:
    """Some, by version."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(version, ms, actor, kind, user, value)) FROM (SELECT * FROM group_changes "
        "WHERE group_id = ? AND version > ? ORDER BY version LIMIT ?)",
        (group, since, limit),
    ).fetchone()
    return [GroupChange(*row) for row in json.loads(found)]


def of_user(connection: sqlite3.Connection, user: str, after: str, limit: int) -> list[MyGroup]:
    """Those that the user is or was in, by id."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(group_id, left_ms)) FROM (SELECT group_id, "
        "CASE WHEN min(until) = 0 THEN 0 ELSE max(left_ms) END AS left_ms FROM group_intervals "
        "WHERE user = ? AND group_id > ? GROUP BY group_id ORDER BY group_id LIMIT ?)",
        (user, after, limit),
    ).fetchone()
    return [MyGroup(*row) for row in json.loads(found)]


def all_groups(connection: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Ids, in order."""
    (found,) = connection.execute(
        "SELECT json_group_array(group_id) FROM "
        "(SELECT group_id FROM group_states WHERE group_id > ? ORDER BY group_id LIMIT ?)",
        (after, limit),
    ).fetchone()
    answer: list[str] = json.loads(found)
    return answer


def was_member(connection: sqlite3.Connection, group: str, user: str) -> bool:
    """Whether the user was in it, ever, and is not now. Asked of its changes, which stay when intervals have gone."""
    (was, is_now) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM group_changes "
        "WHERE group_id = ?1 AND user = ?2 AND kind IN ('left', 'removed')), "
        "EXISTS (SELECT 1 FROM group_members WHERE group_id = ?1 AND user = ?2)",
        (group, user),
    ).fetchone()
    return bool(was and not is_now)


def counts(connection: sqlite3.Connection) -> GroupCounts:
    """Groups that are not closed, and who is in them."""
    return GroupCounts(
        *connection.execute(
            "SELECT (SELECT count(*) FROM group_states WHERE closed_ms IS NULL), (SELECT count(*) FROM group_members)"
        ).fetchone()
    )


def purge(connection: sqlite3.Connection, before_ms: int, limit: int) -> int:
    """Drop up to `limit` intervals that ended before, and what is left of as many groups that were closed before;
    returns how many in all."""
    gone = connection.execute(
        "DELETE FROM group_intervals WHERE (user, group_id, since) IN (SELECT user, group_id, since "
        "FROM group_intervals WHERE until > 0 AND left_ms < ? LIMIT ?)",
        (before_ms, limit),
    ).rowcount
    (closed,) = connection.execute(
        "SELECT json_group_array(group_id) FROM (SELECT group_id FROM group_states WHERE closed_ms < ? LIMIT ?)",
        (before_ms, limit),
    ).fetchone()
    if closed == "[]":
        return gone
    for table in ("group_changes", "group_links", "group_invitations", "group_states"):
        connection.execute(f"DELETE FROM {table} WHERE group_id IN (SELECT value FROM json_each(?))", (closed,))
    return gone + len(json.loads(closed))


def forget_user(connection: sqlite3.Connection, user: str) -> None:
    """The user's list, invitations and checkpoints go."""
    for table in ("group_intervals", "group_invitations"):
        connection.execute(f"DELETE FROM {table} WHERE user = ?", (user,))
    connection.execute("UPDATE devices SET checkpoint = 0 WHERE user = ?", (user,))
