"""What is read of groups' timelines over HTTP, as functions of a connection.

Owns pages, lists and counts of groups. Writes nothing; reads no clock. `floor` is the lowest stamp that is shown. A
present member sees what `store.sqlite.group_rows` says; one's own words everybody sees as long as they stand (P7).
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Collection, Mapping

from store.groups import Membership
from store.sqlite import contacts
from store.sqlite.group_rows import NEWEST, Place, Row, back, membership, memberships, visible
from store.sqlite.timeline_reading import ENGINE, messages_of, names_of
from store.sqlite.timeline_streams import BOTH_VIEW, conversation_id, find, key_of
from store.timeline_rules import (
    FILE,
    MAX_PAGE_BYTES,
    OWN_KINDS,
    TEXT,
    position,
    position_of,
)
from store.timelines import MAX_PAGE, MAX_UNREAD, HistoryPage, HistoryQuery, KeptMessage, Listed, Marks, Name

_TIE = struct.Struct(">qq")
_STEP = 100
"""Rows that are read at once to find the newest visible one."""


def page(connection: sqlite3.Connection, query: HistoryQuery, floor: int, edit_hours: float) -> HistoryPage:
    """One page: rows that are visible to a present member; or what the reader wrote, for whoever did."""
    before = _before(query.before)
    conversation = conversation_id(connection, query.conversation)
    sees = None if query.own else membership(connection, query.reader, query.conversation)
    if conversation is None or (sees is None and not query.own):
        return HistoryPage((), b"")
    limit = min(max(query.limit, 1), MAX_PAGE)
    chosen: list[Row] = []
    touched = size = 0
    asked = MAX_PAGE if query.own else limit
    while True:
        rows = back(connection, conversation, before, floor, asked)
        touched += len(rows)
        names = names_of(connection, {row.stream for row in rows})
        theirs = [row for row in rows if not query.own or names[row.stream][0] == query.reader]
        for row in visible(connection, theirs, sees, floor):
            if len(chosen) == limit or (chosen and size + row.size > MAX_PAGE_BYTES):
                return _page(connection, query, chosen, chosen[-1].place, edit_hours)
            chosen.append(row)
            size += row.size
        if len(rows) < asked:
            return _page(connection, query, chosen, None, edit_hours)
        before = rows[-1].place
        asked = MAX_PAGE - touched
        if len(chosen) == limit or asked <= 0:
            return _page(connection, query, chosen, before, edit_hours)


def _before(cursor: bytes) -> Place:
    if not cursor:
        return NEWEST
    stamp, tie = position_of(ENGINE, cursor)
    at, version = _TIE.unpack(tie) if len(tie) == _TIE.size else NEWEST[1:]
    return stamp, at, version


def _page(
    connection: sqlite3.Connection, query: HistoryQuery, chosen: list[Row], end: Place | None, edit_hours: float
) -> HistoryPage:
    """`end`: where it goes on."""
    names = names_of(connection, {row.stream for row in chosen})
    messages = messages_of(connection, [row.as_message() for row in chosen], names, query.reader, edit_hours)
    return HistoryPage(tuple(messages), b"" if end is None else position(ENGINE, end[0], _TIE.pack(*end[1:])))


def message(
    connection: sqlite3.Connection, conversation: str, name: Name, reader: str, floor: int, edit_hours: float
) -> KeptMessage | None:
    """One message: of a row that is visible to a present member, or of one's own."""
    sees = membership(connection, reader, conversation)
    key = key_of(conversation, name)
    stream = find(connection, [key]).get(key)
    if stream is None or (sees is None and reader != name.author):
        return None
    rows = _rows_of(connection, stream.id, name.id, floor)
    shown = visible(connection, rows, None if reader == name.author else sees, floor)
    if not shown:
        return None
    names = {stream.id: (name.author, name.device, name.stream)}
    return messages_of(connection, [min(shown).as_message()], names, reader, edit_hours)[0]


def _rows_of(connection: sqlite3.Connection, stream: int, number: int, floor: int) -> list[Row]:
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(r.stamp, m.position, r.version, r.open, r.settled, m.stream, m.id, m.kind, "
        "m.erased_by, length(m.body), hex(coalesce(m.about, x'')))) FROM messages AS m CROSS JOIN ("
        "SELECT position, stamp, version, open, settled FROM messages WHERE stream = ?1 AND id = ?2 UNION ALL "
        "SELECT a.position, a.stamp, a.version, a.open, a.settled FROM attempts AS a "
        "WHERE a.position = (SELECT position FROM messages WHERE stream = ?1 AND id = ?2)) AS r "
        f"WHERE m.stream = ?1 AND m.id = ?2 AND m.view = {BOTH_VIEW} AND r.stamp >= ?3",
        (stream, number, floor),
    ).fetchone()
    return [Row(*row) for row in json.loads(found)]


# Lists of conversations.


def conversations(
    connection: sqlite3.Connection, user: str, after: str, limit: int, hidden: bool, floor: int, edit_hours: float
) -> list[Listed]:
    """Some of the groups that a user is in, by id."""
    found: list[Listed] = []
    while len(found) < limit:
        (rows,) = connection.execute(
            "SELECT json_group_array(json_array(group_id, private, public, hidden)) FROM (SELECT i.group_id, "
            "coalesce(m.private, 0) AS private, coalesce(m.public, 0) AS public, coalesce(m.hidden, 0) AS hidden "
            "FROM group_intervals AS i LEFT JOIN members AS m ON m.user = i.user AND m.other = i.group_id "
            "WHERE i.user = ? AND i.group_id > ? AND i.until = 0 ORDER BY i.group_id LIMIT ?)",
            (user, after, limit),
        ).fetchone()
        groups = json.loads(rows)
        sees = memberships(connection, user, [row[0] for row in groups])
        for group, private, public, below in groups:
            newest = _newest(connection, user, group, sees[group], floor, edit_hours)
            if hidden or not below or (newest is not None and newest.stamp > below):
                found.append(Listed(group, group, newest, Marks(private, public), Marks()))
        if len(groups) < limit:
            break
        after = groups[-1][0]
    return found[:limit]


def listed(connection: sqlite3.Connection, user: str, group: str, floor: int, edit_hours: float) -> Listed | None:
    """One of them, hidden or not; None unless the user is in it."""
    sees = membership(connection, user, group)
    if sees is None:
        return None
    row = connection.execute(
        "SELECT private, public FROM members WHERE user = ? AND other = ?", (user, group)
    ).fetchone()
    newest = _newest(connection, user, group, sees, floor, edit_hours)
    return Listed(group, group, newest, Marks(*row) if row else Marks(), Marks())


def _newest(
    connection: sqlite3.Connection, user: str, group: str, sees: Membership, floor: int, edit_hours: float
) -> KeptMessage | None:
    """The newest visible message, among the newest `MAX_PAGE` rows."""
    conversation = conversation_id(connection, group)
    if conversation is None:
        return None
    before, asked = NEWEST, 1
    for _ in range(1 + MAX_PAGE // _STEP):
        rows = back(connection, conversation, before, floor, asked)
        for row in visible(connection, rows, sees, floor):
            names = names_of(connection, [row.stream])
            return messages_of(connection, [row.as_message()], names, user, edit_hours)[0]
        if len(rows) < asked:
            return None
        before, asked = rows[-1].place, _STEP
    return None


def unread(connection: sqlite3.Connection, user: str, groups: Collection[str], floor: int) -> dict[str, int]:
    """How much others wrote behind the user's mark in each group, but for whom the user has blocked (P3)."""
    sees = memberships(connection, user, groups)
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(w.value, c.id, coalesce(m.private, 0))) FROM json_each(?) AS w "
        "CROSS JOIN conversations AS c ON c.name = w.value LEFT JOIN members AS m ON m.user = ? AND m.other = w.value",
        (json.dumps(list(sees)), user),
    ).fetchone()
    answer = dict.fromkeys(groups, 0)
    wanted = json.loads(found)
    blocked = contacts.blocked_by(connection, user) if wanted else frozenset()
    for group, conversation, private in wanted:
        answer[group] = _unread(connection, user, conversation, sees[group], max(floor, private + 1), blocked)
    return answer


# As `back`, without what only pages need.
_BEHIND = (
    "SELECT json_group_array(json_array(r.stamp, r.position, r.version, r.open, s.user)) FROM ("
    "SELECT stamp, position, version, open, stream, kind, erased_by FROM messages WHERE conversation = ?1 "
    f"AND view = {BOTH_VIEW} AND stamp >= ?2 UNION ALL SELECT a.stamp, a.position, a.version, a.open, x.stream, "
    "x.kind, x.erased_by FROM attempts AS a CROSS JOIN messages AS x ON x.position = a.position "
    f"AND x.view = {BOTH_VIEW} WHERE a.conversation = ?1 AND a.stamp >= ?2 "
    f"ORDER BY stamp DESC, position DESC, version DESC LIMIT {MAX_PAGE}) AS r "
    "CROSS JOIN streams AS s ON s.id = r.stream "
    f"WHERE r.erased_by IS NULL AND (r.kind IN ({TEXT}, {FILE}) OR r.kind >= {OWN_KINDS}) AND s.user <> ?3"
)


def _unread(
    connection: sqlite3.Connection, user: str, conversation: int, sees: Membership, since: int, blocked: Collection[str]
) -> int:
    (found,) = connection.execute(_BEHIND, (conversation, since, user)).fetchone()
    positions = set()
    for _, at, version, is_open, author in json.loads(found):
        if author not in blocked and sees.sees(version, bool(is_open)):
            positions.add(at)
            if len(positions) == MAX_UNREAD:
                break
    return len(positions)


def numbers_of(connection: sqlite3.Connection, user: str) -> list[int]:
    """Of the conversations of all groups that the user is in."""
    (found,) = connection.execute(
        "SELECT json_group_array(c.id) FROM group_intervals AS i CROSS JOIN conversations AS c ON c.name = i.group_id "
        "WHERE i.user = ? AND i.until = 0",
        (user,),
    ).fetchone()
    numbers: list[int] = json.loads(found)
    return numbers


def marks(connection: sqlite3.Connection, group: str) -> Mapping[str, Marks]:
    """How far each present member has read."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(g.user, coalesce(m.private, 0), coalesce(m.public, 0))) "
        "FROM group_members AS g LEFT JOIN members AS m ON m.user = g.user AND m.other = g.group_id "
        "WHERE g.group_id = ?",
        (group,),
    ).fetchone()
    return {user: Marks(private, public) for user, private, public in json.loads(found)}


def may_see(connection: sqlite3.Connection, group: str, user: str, position: int, floor: int) -> bool:
    """Whether a row of this message is visible to the user."""
    sees = membership(connection, user, group)
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(version, open)) FROM (SELECT version, open, stamp FROM messages "
        f"WHERE position = ?1 AND view = {BOTH_VIEW} UNION ALL SELECT a.version, a.open, a.stamp FROM attempts AS a "
        f"CROSS JOIN messages AS m ON m.position = a.position AND m.view = {BOTH_VIEW} WHERE a.position = ?1) "
        "WHERE stamp >= ?2",
        (position, floor),
    ).fetchone()
    return sees is not None and any(sees.sees(version, bool(is_open)) for version, is_open in json.loads(found))
