"""Invitations into groups and links, as functions of a connection; those that write need one that holds the write lock.

Owns the tables `group_invitations` and `group_links`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3

from store.groups import MAX_INVITATIONS, Invitation, Link


def invite(connection: sqlite3.Connection, invitation: Invitation) -> bool:
    """Keep it, if there is room."""
    user, group = invitation.user, invitation.group
    (there, count) = connection.execute(
        "SELECT coalesce(sum(group_id = ?2), 0), count(*) FROM group_invitations WHERE user = ?1", (user, group)
    ).fetchone()
    if not there and count >= MAX_INVITATIONS:
        return False
    connection.execute(
        "INSERT OR IGNORE INTO group_invitations (user, group_id, invited_by, ms) VALUES (?, ?, ?, ?)",
        (user, group, invitation.by, invitation.ms),
    )
    return True


def invitations(connection: sqlite3.Connection, user: str) -> list[Invitation]:
    """All of a user, oldest first."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(group_id, user, invited_by, ms)) FROM "
        "(SELECT * FROM group_invitations WHERE user = ? ORDER BY ms, group_id)",
        (user,),
    ).fetchone()
    return [Invitation(*row) for row in json.loads(found)]


def drop_invitation(connection: sqlite3.Connection, user: str, group: str) -> bool:
    """Whether it was there."""
    drop = "DELETE FROM group_invitations WHERE user = ? AND group_id = ?"
    return connection.execute(drop, (user, group)).rowcount > 0


def add_link(connection: sqlite3.Connection, link: Link) -> None:
    """Keep it; once more it is a repeat, which gives no uses back."""
    connection.execute(
        "INSERT OR IGNORE INTO group_links (group_id, link, digest, ends_ms, uses_left, made_by) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        link,
    )


def links(connection: sqlite3.Connection, group: str) -> list[Link]:
    """All of a group."""
    return _links(connection, "group_id = ?", group)


def find_link(connection: sqlite3.Connection, digest: str) -> Link | None:
    """By its secret's digest."""
    found = _links(connection, "digest = ?", digest)
    return found[0] if found else None


def _links(connection: sqlite3.Connection, which: str, value: str) -> list[Link]:
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(group_id, link, digest, ends_ms, uses_left, made_by)) FROM "
        f"(SELECT * FROM group_links WHERE {which} ORDER BY link)",
        (value,),
    ).fetchone()
    return [Link(*row) for row in json.loads(found)]


def use_link(connection: sqlite3.Connection, group: str, link: str, now_ms: int) -> bool:
    """Take one use."""
    use = (
        "UPDATE group_links SET uses_left = uses_left - 1 "
        "WHERE group_id = ? AND link = ? AND uses_left > 0 AND ends_ms > ?"
    )
    return connection.execute(use, (group, link, now_ms)).rowcount > 0


def drop_link(connection: sqlite3.Connection, group: str, link: str) -> None:
    """It ends."""
    connection.execute("DELETE FROM group_links WHERE group_id = ? AND link = ?", (group, link))


def purge(connection: sqlite3.Connection, before_ms: int, limit: int) -> int:
    """Drop up to `limit` links that ended before; returns how many."""
    drop = (
        "DELETE FROM group_links WHERE (group_id, link) IN "
        "(SELECT group_id, link FROM group_links WHERE ends_ms < ? LIMIT ?)"
    )
    return connection.execute(drop, (before_ms, limit)).rowcount
