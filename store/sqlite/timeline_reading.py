"""What is read of conversations, as functions of a connection.

Owns its SQL. Writes nothing; reads no clock. `floor` is the lowest stamp that is shown. Each query returns one row
that holds all (`store.sqlite.writing`).
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Collection, Sequence
from typing import Any

from store.sqlite.timeline_streams import NO_VIEW, conversation_id, find, key_of, view_of
from store.timeline_rules import (
    FILE,
    MAX_PAGE_BYTES,
    MAX_STAMP,
    OWN_KINDS,
    TEXT,
    Cell,
    edited,
    position,
    position_of,
    unstored,
)
from store.timelines import (
    MAX_PAGE,
    MAX_UNREAD,
    Audience,
    HistoryPage,
    HistoryQuery,
    KeptMessage,
    Listed,
    Marks,
    Name,
    conversation_of,
)

ENGINE = b"s"
_TIE = struct.Struct(">q")
_LAST = 2**63 - 1
_PART = (
    "SELECT position, stamp, stream, id, kind, erased_by, length(body) AS size, hex(coalesce(about, x'')) AS about "
    "FROM messages WHERE conversation = ? AND view = ? AND stamp >= ? AND (stamp, position) < (?, ?)"
)
# The LIMIT keeps the order; both parts come in it from the index.
_PAGE = (
    "SELECT json_group_array(json_array(m.position, m.stamp, m.stream, m.id, m.kind, m.erased_by, m.size, m.about)) "
    f"FROM ({_PART} UNION ALL {_PART} ORDER BY stamp DESC, position DESC LIMIT ?) AS m"
)
_STREAMS = (
    "SELECT json_group_array(json_array(s.id, s.user, s.device, s.stream)) "
    "FROM json_each(?) AS w CROSS JOIN streams AS s ON s.id = w.value"
)


def page(connection: sqlite3.Connection, query: HistoryQuery, floor: int, edit_hours: float) -> HistoryPage:
    """One page."""
    stamp, tie = (MAX_STAMP, b"") if not query.before else position_of(ENGINE, query.before)
    conversation = conversation_id(connection, query.conversation)
    mine = view_of(query.conversation, query.reader)
    if conversation is None or mine == NO_VIEW:
        return HistoryPage((), b"")
    limit = min(max(query.limit, 1), MAX_PAGE)
    scanned = MAX_PAGE if query.own else limit
    before = (stamp, _TIE.unpack(tie)[0] if len(tie) == _TIE.size else _LAST)
    (found,) = connection.execute(
        _PAGE, (conversation, 0, floor, *before, conversation, mine, floor, *before, scanned)
    ).fetchone()
    rows = json.loads(found)
    names = names_of(connection, {row[2] for row in rows})
    chosen: list[list[Any]] = []
    size = 0
    end = len(rows) < scanned
    last = rows[-1] if rows else None
    for row in rows:
        if query.own and names[row[2]][0] != query.reader:
            continue
        if len(chosen) == limit or (chosen and size + row[6] > MAX_PAGE_BYTES):
            end, last = False, chosen[-1]
            break
        chosen.append(row)
        size += row[6]
    messages = messages_of(connection, chosen, names, query.reader, edit_hours)
    return HistoryPage(tuple(messages), b"" if end or last is None else position(ENGINE, last[1], _TIE.pack(last[0])))


def names_of(connection: sqlite3.Connection, streams: Collection[int]) -> dict[int, tuple[str, str, int]]:
    """Author, device and stream of each."""
    (found,) = connection.execute(_STREAMS, (json.dumps(list(streams)),)).fetchone()
    return {number: (user, device, unstored(stream)) for number, user, device, stream in json.loads(found)}


def messages_of(
    connection: sqlite3.Connection,
    rows: Sequence[Sequence[Any]],
    names: dict[int, tuple[str, str, int]],
    reader: str | None,
    edit_hours: float,
) -> list[KeptMessage]:
    """As the reader sees them; None: each as its author does. Of a row: position, stamp, stream, id, kind, erased_by,
    length, about."""
    if not rows:
        return []
    (text,) = connection.execute(
        "SELECT group_concat(hex(m.body), '') FROM json_each(?) AS w CROSS JOIN messages AS m ON m.position = w.value",
        (json.dumps([row[0] for row in rows]),),
    ).fetchone()
    bodies = bytes.fromhex(text)
    cells = cells_of(connection, [(row[2], row[3]) for row in rows if row[4] == TEXT], names)
    messages = []
    start = 0
    for _, stamp, stream, number, kind, erased_by, size, about in rows:
        name = Name(*names[stream], number)
        body = bodies[start : start + size]
        start += size
        message = KeptMessage(name, stamp, kind, body, bytes.fromhex(about), erased_by=erased_by or "")
        if edits := cells.get((stream, number)):
            message = edited(message, edits, name.author if reader is None else reader, edit_hours)
        messages.append(message)
    return messages


def cells_of(
    connection: sqlite3.Connection, places: Sequence[tuple[int, int]], names: dict[int, tuple[str, str, int]]
) -> dict[tuple[int, int], list[Cell]]:
    """The edits of the messages in these places; `names`: of their streams."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(e.stream, e.id, e.revision, e.device, e.edit_stream, e.edit_id, e.stamp, "
        "e.audience, e.checked, hex(e.body))) FROM json_each(?) AS w CROSS JOIN edits AS e "
        "ON e.stream = json_extract(w.value, '$[0]') AND e.id = json_extract(w.value, '$[1]')",
        (json.dumps(places),),
    ).fetchone()
    cells: dict[tuple[int, int], list[Cell]] = {}
    for stream, number, revision, device, edit_stream, edit_id, stamp, audience, checked, body in json.loads(found):
        name = Name(names[stream][0], device, unstored(edit_stream), edit_id)
        cell = Cell(revision, name, stamp, Audience(audience), bool(checked), bytes.fromhex(body))
        cells.setdefault((stream, number), []).append(cell)
    return cells


def message(
    connection: sqlite3.Connection, conversation: str, name: Name, reader: str, floor: int, edit_hours: float
) -> KeptMessage | None:
    """One message."""
    mine = view_of(conversation, reader)
    key = key_of(conversation, name)
    stream = find(connection, [key]).get(key)
    if stream is None or mine == NO_VIEW:
        return None
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(position, stamp, stream, id, kind, erased_by, length(body), "
        "hex(coalesce(about, x'')))) FROM messages "
        "WHERE stream = ? AND id = ? AND view IN (0, ?) AND stamp >= ?",
        (stream.id, name.id, mine, floor),
    ).fetchone()
    messages = messages_of(
        connection, json.loads(found), {stream.id: (name.author, name.device, name.stream)}, reader, edit_hours
    )
    return messages[0] if messages else None


# Lists of conversations.

_OTHER = "CASE WHEN m.user <= m.other THEN m.user || '+' || m.other ELSE m.other || '+' || m.user END"
_MINE = "CASE WHEN m.user <= m.other THEN 1 ELSE 2 END"
_NEWEST = (
    "max(coalesce((SELECT max(stamp) FROM messages WHERE conversation = c.id AND view = 0), 0), "
    f"coalesce((SELECT max(stamp) FROM messages WHERE conversation = c.id AND view = {_MINE}), 0))"
)
_LISTED = (
    "SELECT json_group_array(json_array(other, conversation, mine, newest, private, public, "
    "other_private, other_public)) FROM (SELECT * FROM ("
    f"SELECT m.other AS other, c.id AS conversation, {_MINE} AS mine, {_NEWEST} AS newest, m.hidden AS hidden, "
    "m.private AS private, m.public AS public, coalesce(o.private, 0) AS other_private, "
    "coalesce(o.public, 0) AS other_public "
    f"FROM members AS m LEFT JOIN conversations AS c ON c.name = {_OTHER} "
    "LEFT JOIN members AS o ON o.user = m.other AND o.other = m.user "
    "WHERE m.user = ?1 AND %s AND m.listed = 1 ORDER BY m.other) WHERE %s LIMIT ?3)"
)
_SOME = _LISTED % ("m.other > ?2", "(?4 OR hidden = 0 OR newest > hidden)")
_ONE = _LISTED % ("m.other = ?2", "true")


def conversations(
    connection: sqlite3.Connection, user: str, after: str, limit: int, hidden: bool, floor: int, edit_hours: float
) -> list[Listed]:
    """Some of a user's list."""
    (found,) = connection.execute(_SOME, (user, after, limit, hidden)).fetchone()
    return _listed(connection, user, json.loads(found), floor, edit_hours)


def listed(connection: sqlite3.Connection, user: str, other: str, floor: int, edit_hours: float) -> Listed | None:
    """One of a user's list, hidden or not."""
    (found,) = connection.execute(_ONE, (user, other, 1)).fetchone()
    all_of_it = _listed(connection, user, json.loads(found), floor, edit_hours)
    return all_of_it[0] if all_of_it else None


def _listed(
    connection: sqlite3.Connection, user: str, rows: list[list[Any]], floor: int, edit_hours: float
) -> list[Listed]:
    wanted = [(row[1], row[2], row[3]) for row in rows if row[1] is not None and row[3] >= floor]
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(m.position, m.stamp, m.stream, m.id, m.kind, m.erased_by, "
        "length(m.body), hex(coalesce(m.about, x'')), m.conversation)) FROM json_each(?) AS w "
        "CROSS JOIN messages AS m ON m.conversation = json_extract(w.value, '$[0]') "
        "AND m.view IN (0, json_extract(w.value, '$[1]')) AND m.stamp = json_extract(w.value, '$[2]')",
        (json.dumps(wanted),),
    ).fetchone()
    newest: dict[int, list[Any]] = {}
    for *row, conversation in json.loads(found):
        if conversation not in newest or newest[conversation][0] < row[0]:
            newest[conversation] = row
    names = names_of(connection, {row[2] for row in newest.values()})
    messages = dict(zip(newest, messages_of(connection, list(newest.values()), names, user, edit_hours), strict=True))
    return [
        Listed(
            conversation_of(user, other),
            other,
            messages.get(conversation),
            Marks(private, public),
            Marks(other_private, other_public),
        )
        for other, conversation, _, _, private, public, other_private, other_public in rows
    ]


_UNREAD = (
    "SELECT json_group_array(json_array(w.key, (SELECT count(*) FROM (SELECT 1 FROM ("
    "SELECT m.stream, m.kind, m.erased_by FROM messages AS m WHERE m.conversation = c.id AND m.view = 0 "
    "AND m.stamp > max(coalesce((SELECT private FROM members WHERE user = ?2 "
    "AND other = json_extract(w.value, '$[1]')), 0), ?3 - 1) "
    f"ORDER BY m.stamp DESC LIMIT {MAX_PAGE}) AS m CROSS JOIN streams AS s ON s.id = m.stream "
    f"WHERE s.user <> ?2 AND m.erased_by IS NULL AND (m.kind IN ({TEXT}, {FILE}) OR m.kind >= {OWN_KINDS}) "
    f"LIMIT {MAX_UNREAD})))) FROM json_each(?1) AS w "
    "CROSS JOIN conversations AS c ON c.name = json_extract(w.value, '$[0]')"
)


def unread(connection: sqlite3.Connection, user: str, wanted: Sequence[tuple[str, str]], floor: int) -> dict[str, int]:
    """How much is unread in each of (conversation, the other)."""
    answer = {conversation: 0 for conversation, _ in wanted}
    (found,) = connection.execute(_UNREAD, (json.dumps(wanted), user, floor)).fetchone()
    for number, count in json.loads(found):
        answer[wanted[number][0]] = count
    return answer
