"""Which rows Cassandra is to have of groups: state, members, changes, intervals, links, and lists of groups.

Owns nothing but that. What the parts of a group's partition are: `store.cassandra.group_states`.
"""

from __future__ import annotations

import json
import sqlite3

from store.cassandra.group_entrance import LINK_SPARE_S
from store.cassandra.group_states import CHANGE, FORMER, INTERVAL, MEMBER_PART, interval_key, version_key
from store.migration.rows import Cells, Facet, Key, Moment, Unit, Want

_HEAD = Facet(
    "group_states",
    ("group_id",),
    columns=("version", "name", "picture", "admins_write", "admins_add", "open", "created_ms", "closed_ms"),
)
_STATE = Facet("group_states", ("group_id",), ("part", "key"), ("role", "since", "until", "left_ms", "told"))
_LISTED = Facet("group_lists", ("user", "group_id"), columns=("left_ms",))
_END = Facet("group_ends", ("day", "group_id"))
_LINK = Facet("group_links", ("group_id",), ("link",), ("digest", "ends_ms", "uses_left", "made_by"))
_SECRET = Facet("group_secrets", ("digest",), columns=("group_id", "link"))
_DAY_MS = 86_400_000
_SPARE_MS = LINK_SPARE_S * 1000


def group(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """A group, but its messages."""
    unit = Unit(scopes=[(_STATE, key), (_LINK, key)])
    head = connection.execute(
        "SELECT version, name, picture, admins_write, admins_add, open, created_ms, closed_ms FROM group_states "
        "WHERE group_id = ?",
        key,
    ).fetchone()
    if head is not None:
        version, name, picture, admins_write, admins_add, is_open, created_ms, closed_ms = head
        flags = {"admins_write": bool(admins_write), "admins_add": bool(admins_add), "open": bool(is_open)}
        told = {"version": version, "name": name, "picture": picture, "created_ms": created_ms, "closed_ms": closed_ms}
        unit.want(_HEAD, key, told | flags)
        if closed_ms is not None:
            unit.want(_END, (closed_ms // _DAY_MS, *key), {})
    else:
        # Its static columns go with all of it.
        unit.scopes.append((_HEAD, key))
    _add_members(unit, connection, key)
    _add_changes(unit, connection, key)
    _add_intervals(unit, connection, key, at)
    _add_links(unit, connection, key)
    return unit


def _add_members(unit: Unit, connection: sqlite3.Connection, key: Key) -> None:
    members = connection.execute("SELECT user, role, since FROM group_members WHERE group_id = ?", key)
    for user, role, since in members.fetchall():
        unit.want(_STATE, (*key, MEMBER_PART, user), {"role": role, "since": since})


def _add_changes(unit: Unit, connection: sqlite3.Connection, key: Key) -> None:
    former = set()
    changes = connection.execute(
        "SELECT version, ms, actor, kind, user, value FROM group_changes WHERE group_id = ?", key
    )
    for version, *change in changes.fetchall():
        unit.want(_STATE, (*key, CHANGE, version_key(version)), {"told": json.dumps(change, ensure_ascii=False)})
        if change[2] in ("left", "removed"):
            former.add(change[3])
    for user in former:
        unit.want(_STATE, (*key, FORMER, user), {})


def _add_intervals(unit: Unit, connection: sqlite3.Connection, key: Key, at: Moment) -> None:
    newest: dict[str, tuple[int, int, int]] = {}
    intervals = connection.execute(
        "SELECT user, since, until, left_ms FROM group_intervals WHERE group_id = ? ORDER BY since", key
    )
    for user, since, until, left_ms in intervals.fetchall():
        newest[user] = since, until, left_ms
        values = {"since": since, "until": until or None, "left_ms": left_ms if until else None}
        ends_ms = left_ms + at.lives.group if until else None
        unit.want(_STATE, (*key, INTERVAL, interval_key(user, since)), values, ends_ms)
    for user, (since, until, left_ms) in newest.items():
        # The engine's own write times: what a later version brings stays.
        cells = Cells({"left_ms": None}, since)
        if until:
            cells = Cells({"left_ms": left_ms}, until, left_ms + at.lives.group)
        unit.wants.append(Want(_LISTED, (user, *key), (cells,)))


def _add_links(unit: Unit, connection: sqlite3.Connection, key: Key) -> None:
    query = "SELECT link, digest, ends_ms, uses_left, made_by FROM group_links WHERE group_id = ?"
    for link, digest, ends_ms, uses_left, made_by in connection.execute(query, key).fetchall():
        values = {"digest": digest, "ends_ms": ends_ms, "uses_left": uses_left, "made_by": made_by}
        unit.want(_LINK, (*key, link), values, ends_ms + _SPARE_MS)
        unit.want(_SECRET, (digest,), {"group_id": key[0], "link": link}, ends_ms + _SPARE_MS)
