"""What a device has to catch up with in its groups, as functions of a connection.

Owns the scan (docs/design/groups.md, G2 and G3) and checkpoints. A page touches at most `MAX_PAGE` rows, and looks only
into groups that were written to. Reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from store.group_rules import Cursor, pack_cursor, since_of, unpack_cursor
from store.groups import GroupPage, GroupQuery, GroupRow, Membership
from store.sqlite.group_rows import Place, Row, back, memberships, on, visible
from store.sqlite.timeline_reading import cells_of, messages_of, names_of
from store.sqlite.timeline_streams import BOTH_VIEW, CHANGES_VIEW, find, key_of
from store.timeline_rules import EDIT, MAX_PAGE_BYTES, edit_as_scanned, target_of
from store.timelines import MAX_PAGE, KeptMessage

ENGINE = b"s"
_GROUPS_AT_ONCE = 64
_SKIPPED_ROWS = 20
"""So many rows of a group are looked at behind a cut; if all are hidden there may be others."""
# Each EXISTS is one step down an index.
_WRITTEN = (
    "SELECT json_group_array(json_array(group_id, conversation)) FROM (SELECT i.group_id AS group_id, "
    "c.id AS conversation FROM group_intervals AS i CROSS JOIN conversations AS c ON c.name = i.group_id "
    "WHERE i.user = ?1 AND i.until = 0 AND i.group_id >= ?2 AND (?3 = '' OR i.group_id = ?3) AND ("
    + " OR ".join(
        f"EXISTS (SELECT 1 FROM messages WHERE conversation = c.id AND view = {view} AND stamp >= ?4)"
        for view in (BOTH_VIEW, CHANGES_VIEW)
    )
    + " OR EXISTS (SELECT 1 FROM attempts WHERE conversation = c.id AND stamp >= ?4)) "
    "ORDER BY i.group_id LIMIT ?5)"
)


@dataclass(slots=True)
class _Page:
    """One that is being filled."""

    limit: int
    rows: list[tuple[str, Row]] = field(default_factory=list)
    touched: int = 0
    size: int = 0

    def is_full(self) -> bool:
        return len(self.rows) >= self.limit or self.touched >= MAX_PAGE or self.size >= MAX_PAGE_BYTES


def scan(
    connection: sqlite3.Connection, query: GroupQuery, now_ms: int, keeps: bool, floor: int, edit_hours: float
) -> GroupPage:
    """One page. `keeps`: history is kept; `floor`: the lowest stamp that rows of groups have."""
    cursor = unpack_cursor(ENGINE, query.after)
    skipped: tuple[str, ...] = ()
    if cursor is None:
        since, cut_from = _since(connection, query, now_ms, keeps)
        since = max(since, floor)
        if cut_from is not None:
            skipped = _skipped(connection, query, max(cut_from, floor), since)
        cursor = Cursor(since, "", _before(since))
    page = _Page(min(max(query.limit, 1), MAX_PAGE))
    end = _fill(connection, query, cursor, page)
    found = tuple(_messages(connection, query.user, page.rows, edit_hours))
    return GroupPage(found, b"" if end is None else pack_cursor(ENGINE, end), end is None, skipped)


def _before(since: int) -> Place:
    return since, -1, -1


def _since(connection: sqlite3.Connection, query: GroupQuery, now_ms: int, keeps: bool) -> tuple[int, int | None]:
    """From which stamp on; and from which it would have been, had it not been cut."""
    if query.since:
        return query.since, None
    row = connection.execute(
        "SELECT max(checkpoint, created_ms) FROM devices WHERE user = ? AND device = ?", (query.user, query.device)
    ).fetchone()
    return since_of(row[0] if row else 0, query.began_ms or now_ms, keeps)


def _written(
    connection: sqlite3.Connection, query: GroupQuery, first: str, since: int, limit: int
) -> list[tuple[str, int]]:
    """Groups of the user that were written to since, by id from `first` on, and their conversations."""
    (found,) = connection.execute(_WRITTEN, (query.user, first, query.group, since, limit)).fetchone()
    return [(group, conversation) for group, conversation in json.loads(found)]


def _fill(connection: sqlite3.Connection, query: GroupQuery, cursor: Cursor, page: _Page) -> Cursor | None:
    """Fill it; returns where it goes on."""
    since, first = cursor.since, cursor.group
    while True:
        groups = _written(connection, query, first, since, _GROUPS_AT_ONCE)
        sees = memberships(connection, query.user, [group for group, _ in groups])
        for group, conversation in groups:
            after = cursor.after if group == cursor.group else _before(since)
            goes_on = _fill_from(connection, query, (group, conversation), sees[group], since, after, page)
            if goes_on is not None:
                return Cursor(since, group, goes_on)
        if len(groups) < _GROUPS_AT_ONCE:
            return None
        # Behind the last one: no id has this character.
        first = groups[-1][0] + " "


def _fill_from(
    connection: sqlite3.Connection,
    query: GroupQuery,
    group: tuple[str, int],
    sees: Membership,
    since: int,
    after: Place,
    page: _Page,
) -> Place | None:
    """Rows of one group; returns where it goes on, None at its end."""
    end = after
    while not page.is_full():
        asked = min(MAX_PAGE - page.touched, page.limit - len(page.rows))
        rows = on(connection, group[1], after, asked)
        page.touched += len(rows)
        names = names_of(connection, {row.stream for row in rows})
        own = (query.user, query.device)
        for row in visible(connection, [row for row in rows if names[row.stream][:2] != own], sees, since):
            if page.rows and page.size + row.size > MAX_PAGE_BYTES:
                page.size = MAX_PAGE_BYTES
                return end
            page.rows.append((group[0], row))
            page.size += row.size
            end = row.place
        if len(rows) < asked:
            return None
        after = end = rows[-1].place
    return end


def _messages(
    connection: sqlite3.Connection, user: str, rows: Sequence[tuple[str, Row]], edit_hours: float
) -> list[GroupRow]:
    names = names_of(connection, {row.stream for _, row in rows})
    messages = messages_of(connection, [row.as_message() for _, row in rows], names, user, edit_hours)
    edits = [number for number, message in enumerate(messages) if message.kind == EDIT]
    if edits:
        told = _edits(connection, [(rows[number][0], messages[number]) for number in edits], edit_hours)
        for number, message in zip(edits, told, strict=True):
            messages[number] = message
    return [
        GroupRow(group, row.version, row.settled, message) for (group, row), message in zip(rows, messages, strict=True)
    ]


def _edits(
    connection: sqlite3.Connection, edits: Sequence[tuple[str, KeptMessage]], edit_hours: float
) -> list[KeptMessage]:
    """Each with its body, if it counts."""
    targets = [target_of(message) for _, message in edits]
    keys = [
        None if target is None else key_of(group, target) for (group, _), target in zip(edits, targets, strict=True)
    ]
    streams = find(connection, {key for key in keys if key is not None})
    places: list[tuple[int, int] | None] = [
        (streams[key].id, target.id) if key is not None and target is not None and key in streams else None
        for key, target in zip(keys, targets, strict=True)
    ]
    wanted = [place for place in places if place is not None]
    names = names_of(connection, {stream for stream, _ in wanted})
    cells = cells_of(connection, wanted, names)
    standing = _standing(connection, wanted)
    told = []
    for (_, message), target, place in zip(edits, targets, places, strict=True):
        found = None
        if place is not None and target is not None and place in standing:
            stamp, kind, erased_by = standing[place]
            found = KeptMessage(target, stamp, kind, b"", erased_by=erased_by)
        told.append(edit_as_scanned(message, found, cells.get(place, ()) if place else (), edit_hours))
    return told


def _standing(
    connection: sqlite3.Connection, places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, int, str]]:
    """Stamp, kind and by whom it was erased, of the messages that are there."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(m.stream, m.id, m.stamp, m.kind, coalesce(m.erased_by, ''))) "
        "FROM json_each(?) AS w CROSS JOIN messages AS m ON m.stream = json_extract(w.value, '$[0]') "
        "AND m.id = json_extract(w.value, '$[1]')",
        (json.dumps(places),),
    ).fetchone()
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in json.loads(found)}


def _skipped(connection: sqlite3.Connection, query: GroupQuery, lowest: int, since: int) -> tuple[str, ...]:
    """Groups with rows from `lowest` up to, without, `since` that the user may see."""
    skipped = []
    first = ""
    while True:
        groups = _written(connection, query, first, lowest, _GROUPS_AT_ONCE)
        sees = memberships(connection, query.user, [group for group, _ in groups])
        for group, conversation in groups:
            for limit in (1, _SKIPPED_ROWS):
                rows = back(connection, conversation, (since, -1, -1), lowest, limit)
                if len(rows) == _SKIPPED_ROWS or visible(connection, rows, sees[group], lowest):
                    skipped.append(group)
                    break
        if len(groups) < _GROUPS_AT_ONCE:
            return tuple(skipped)
        first = groups[-1][0] + " "


def raise_checkpoints(connection: sqlite3.Connection, checkpoints: Mapping[tuple[str, str], int], now_ms: int) -> None:
    """They only rise, and not beyond now: a clock that was ahead must hide nothing."""
    rows = [(user, device, min(at_ms, now_ms)) for (user, device), at_ms in checkpoints.items()]
    connection.execute(
        "UPDATE devices SET checkpoint = json_extract(w.value, '$[2]') FROM json_each(?) AS w "
        "WHERE devices.user = json_extract(w.value, '$[0]') AND devices.device = json_extract(w.value, '$[1]') "
        "AND devices.removed_ms IS NULL AND devices.checkpoint < json_extract(w.value, '$[2]')",
        (json.dumps(rows),),
    )
