"""Which rows Cassandra is to have of messages: 256 ids of one stream, with edits, markers and groups' attempts.

Owns nothing but that; the write times are the engine's (`store.cassandra.timeline_keys`), so that a server's writes and
these may meet in any order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from store.cassandra.timeline_keys import (
    SPARE_S,
    attempt_key,
    edit_time,
    marker_time,
    message_time,
    newest_until,
    pack_edit,
    pack_value,
    tie_of,
    unpack_edit,
)
from store.cassandra.timeline_rows import ATTEMPT, BOTH_VIEW
from store.migration.people import MEMBER
from store.migration.rows import LEAVE, Cells, Facet, Key, Moment, Unit, Values, Want
from store.sqlite.timeline_streams import NO_VIEW
from store.timeline_rules import PART_IDS, day_of, marker_end, stamp_ms_of, unstored
from store.timelines import Audience, Edit, Name, is_group, members_of

_SPARE_MS = SPARE_S * 1000


def _gone(key: Key, values: Values) -> int | None:
    """The write time of a row is what its removal must reach; a marker ends by itself."""
    if values["erased_by"]:
        return LEAVE
    author, device, number, editor, edit_stream = key[1], key[2], key[5], key[6], key[8]
    if editor and values["value"]:
        edit = unpack_edit(values["value"])
        name = Name(author, editor, unstored(edit_stream), edit.id)
        return edit_time(Edit("", Name(author, device, 0, number), name, edit.stamp, edit.revision, b""))
    return message_time(values["stamp"]) if values["stamp"] and not values["version"] else None


BODY = Facet(
    "bodies",
    ("conversation", "author", "device", "stream", "part"),
    ("id", "editor", "audience", "edit_stream"),
    ("kind", "stamp", "both_stamp", "value", "erased_by", "version", "open"),
    gone=_gone,
)
ROW = Facet(
    "timeline",
    ("conversation", "viewers", "span"),
    ("stamp", "tie"),
    ("author", "device", "stream", "id", "kind", "size", "version", "open", "settled"),
)
SPAN = Facet("spans", ("conversation", "viewers"), ("span",))
NEWEST = Facet("group_newest", ("group_id",), columns=("until",), rises=frozenset({"until"}))


class _Attempt(NamedTuple):
    version: int
    stamp: int
    open: bool
    settled: int


class _Part:
    """One unit, while it is made."""

    def __init__(self, key: Key, at: Moment) -> None:
        self.key = key
        self.conversation, self.author, self.device, self.stream, _ = key
        self.group = is_group(self.conversation)
        self.life_ms = at.lives.group if self.group else at.lives.kept
        self.at = at
        self.unit = Unit(scopes=[(BODY, key)])
        self._spans: dict[tuple[int, int], int] = {}

    def ends_ms(self, stamp: int) -> int:
        return stamp_ms_of(stamp) + self.life_ms

    def name(self, number: int) -> Name:
        return Name(self.author, self.device, unstored(self.stream), number)

    def add_row(self, view: int, number: int, kind: int, size: int, attempt: _Attempt) -> None:
        """In the timeline, and the day in the index of days."""
        stamp = attempt.stamp
        values: dict[str, Any] = {
            "author": self.author,
            "device": self.device,
            "stream": self.stream,
            "id": number,
            "kind": kind,
            "size": size,
        }
        if self.group:
            values |= {"version": attempt.version, "open": attempt.open, "settled": attempt.settled}
        tie = tie_of(self.name(number), attempt.version)
        self.unit.want(ROW, (self.conversation, view, day_of(stamp), stamp, tie), values, self.ends_ms(stamp))
        span = view, day_of(stamp)
        self._spans[span] = max(self._spans.get(span, 0), stamp)

    def finish(self, listed: Iterable[tuple[str, str, int]]) -> Unit:
        """With the index of days, and what brings the conversation into the `listed` ones' lists: user, other, view."""
        for (view, day), stamp in self._spans.items():
            self.unit.want(SPAN, (self.conversation, view, day), {}, self.ends_ms(stamp) + _SPARE_MS)
        newest = max(self._spans.values(), default=0)
        if self.group and newest:
            until = newest_until(newest)
            cells = Cells({"until": until}, until, self.ends_ms(newest) + _SPARE_MS)
            self.unit.wants.append(Want(NEWEST, (self.conversation,), (cells,)))
        for user, other, mine in listed:
            days = [day for view, day in self._spans if view in (BOTH_VIEW, mine)]
            if days:
                self.unit.wants.append(Want(MEMBER, (user, other), (Cells({"span": max(days)}, max(days) + 1),)))
        return self.unit


def part(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """The messages of a part of a stream, and their edits."""
    made = _Part(key, at)
    found = connection.execute(
        "SELECT s.id FROM streams AS s JOIN conversations AS c ON c.id = s.conversation "
        "WHERE c.name = ? AND s.user = ? AND s.device = ? AND s.stream = ?",
        key[:4],
    ).fetchone()
    if found is None:
        return made.unit
    ids = (found[0], key[4] * PART_IDS, (key[4] + 1) * PART_IDS)
    attempts: dict[int, list[_Attempt]] = {}
    later = connection.execute(
        "SELECT m.id, a.version, a.stamp, a.open, a.settled FROM messages AS m JOIN attempts AS a "
        "ON a.position = m.position WHERE m.stream = ? AND m.id >= ? AND m.id < ?",
        ids,
    )
    for number, version, stamp, is_open, settled in later.fetchall():
        attempts.setdefault(number, []).append(_Attempt(version, stamp, bool(is_open), settled))
    files = dict(
        connection.execute("SELECT id, file FROM kept_files WHERE stream = ? AND id >= ? AND id < ?", ids).fetchall()
    )
    rows = connection.execute(
        "SELECT id, view, kind, body, about, erased_by, ends, version, stamp, open, settled FROM messages "
        "WHERE stream = ? AND id >= ? AND id < ?",
        ids,
    )
    for number, view, kind, body, about, erased_by, ends, *rest in rows.fetchall():
        version, stamp, is_open, settled = rest
        all_of_it = [_Attempt(version, stamp, bool(is_open), settled), *attempts.get(number, [])]
        cells = []
        if view != NO_VIEW:
            value = None if erased_by else pack_value(body, about or b"", files.get(number, ""))
            cells.append(_add_message(made, number, view, kind, value, len(body), all_of_it))
        if erased_by:
            marker = {"value": b"", "erased_by": erased_by}
            cells.append(Cells(marker, marker_time(ends - marker_end(0)), stamp_ms_of(ends)))
        made.unit.wants.append(Want(BODY, (*key, number, "", 0, 0), tuple(cells)))
    _add_edits(made, connection, ids)
    return made.finish(_listed(connection, made.conversation))


def _add_message(
    made: _Part, number: int, view: int, kind: int, value: bytes | None, size: int, attempts: list[_Attempt]
) -> Cells:
    """Its rows; returns its body, which is `value`, or nothing where it was erased. `size`: of the body."""
    for_both = made.group or view == BOTH_VIEW
    for attempt in attempts:
        made.add_row(BOTH_VIEW if for_both else view, number, kind, size, attempt)
        if made.group:
            of_attempt = {"stamp": attempt.stamp, "version": attempt.version, "open": attempt.open}
            where = (*made.key, number, "", ATTEMPT, attempt_key(attempt.version, attempt.stamp))
            made.unit.want(BODY, where, of_attempt, made.ends_ms(attempt.stamp))
    first = min(attempt.stamp for attempt in attempts)
    values: dict[str, Any] = {"kind": kind, "stamp": first, "both_stamp": first if for_both else None}
    if value is not None:
        values["value"] = value
    return Cells(values, message_time(first), made.ends_ms(max(attempt.stamp for attempt in attempts)))


def _add_edits(made: _Part, connection: sqlite3.Connection, ids: tuple[int, int, int]) -> None:
    rows = connection.execute(
        "SELECT id, device, audience, revision, edit_stream, edit_id, stamp, checked, body FROM edits "
        "WHERE stream = ? AND id >= ? AND id < ?",
        ids,
    )
    for number, device, audience, revision, edit_stream, edit_id, stamp, checked, body in rows.fetchall():
        name = Name(made.author, device, unstored(edit_stream), edit_id)
        edit = Edit(made.conversation, made.name(number), name, stamp, revision, body, Audience(audience))
        cells = Cells({"value": pack_edit(edit, bool(checked))}, edit_time(edit), made.ends_ms(stamp))
        made.unit.wants.append(Want(BODY, (*made.key, number, device, audience, edit_stream), (cells,)))


def _listed(connection: sqlite3.Connection, conversation: str) -> list[tuple[str, str, int]]:
    """In whose lists a conversation of two is: user, other, the user's view."""
    if is_group(conversation):
        return []
    one, other = members_of(conversation)
    both = [(one, other, 1), (other, one, 2)][: 1 if one == other else 2]
    query = (
        "SELECT 1 FROM members WHERE user = ? AND other = ? AND listed = 1 "
        "AND user NOT IN (SELECT user FROM accounts WHERE user = ?1 AND deleted_ms IS NOT NULL)"
    )
    return [who for who in both if connection.execute(query, who[:2]).fetchone() is not None]
