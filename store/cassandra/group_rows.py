"""Rows of groups' timelines: which groups were written to, what comes behind a place, and who may see which.

Owns the statements that read `group_newest`, and `timeline` and `spans` forwards. What is visible to whom says
docs/design/groups.md (G3, G4); a row counts if its attempt stands beside the body (`store.cassandra.timeline_keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from protocol.ids import STAMP_SHIFT
from store.cassandra.connecting import Connection
from store.cassandra.gathering import Gathering
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import LAST_TIE, tie_of
from store.cassandra.timeline_rows import BOTH_VIEW, ROW_COLUMNS, Body, Row, TimelineRows, row_of
from store.groups import Membership
from store.timeline_rules import MAX_STAMP, day_of, first_stamp_of
from store.timelines import Name

Place = tuple[int, bytes]
"""Stamp and tie: no two rows of a group have the same."""
_NEWEST = "SELECT group_id, until FROM group_newest WHERE group_id IN ?"
_ON = (
    f"SELECT {ROW_COLUMNS} FROM timeline WHERE conversation = ? AND viewers = {BOTH_VIEW} AND span = ? "
    "AND (stamp, tie) > (?, ?) ORDER BY stamp ASC, tie ASC LIMIT ?"
)
_SPANS = f"SELECT span FROM spans WHERE conversation = ? AND viewers = {BOTH_VIEW} AND span >= ? ORDER BY span LIMIT ?"
_GROUPS_AT_ONCE = 25
_SPANS_AT_ONCE = 64
_DAYS_AT_ONCE = 4


class Rows(NamedTuple):
    """By stamp; `end`: nothing comes behind. Else `next` is where to go on."""

    rows: Sequence[Row]
    end: bool
    next: Place


class GroupRows:
    """The reading operations on groups' timelines, beside those that all timelines have."""

    def __init__(self, connection: Connection, requests: Requests, rows: TimelineRows) -> None:
        self._requests = requests
        self._rows = rows
        self._newest = connection.prepare(_NEWEST)
        self._on = connection.prepare(_ON)
        self._spans = connection.prepare(_SPANS)
        self._gathered = Gathering(self._read_newest)

    async def ends(self, groups: Iterable[str]) -> dict[str, int]:
        """The stamp that all rows of a group are below; 0: there are none."""
        return await self._gathered.get(list(groups))

    async def _read_newest(self, groups: Sequence[str]) -> Mapping[str, int]:
        chunks = [groups[start : start + _GROUPS_AT_ONCE] for start in range(0, len(groups), _GROUPS_AT_ONCE)]
        answers = await self._requests.run([self._newest.bind((chunk,)) for chunk in chunks])
        found = {group: (until or 0) << STAMP_SHIFT for rows in answers for group, until in rows}
        return dict.fromkeys(groups, 0) | found

    async def on(self, group: str, after: Place, end: int, wanted: int) -> Rows:
        """Up to `wanted` rows, from behind a place on, where all are below the stamp `end`."""
        first, last = day_of(after[0]), day_of(max(end - 1, 0))
        spans, goes_on = list(range(first, last + 1)), False
        if len(spans) > 2:
            (index,) = await self._requests.run([self._spans.bind((group, first, _SPANS_AT_ONCE))])
            spans, goes_on = [row[0] for row in index], len(index) == _SPANS_AT_ONCE
        found: list[Row] = []
        for start in range(0, len(spans), _DAYS_AT_ONCE):
            some, left = spans[start : start + _DAYS_AT_ONCE], wanted - len(found)
            answers = await self._requests.run([self._on.bind((group, span, *after, left)) for span in some])
            for rows in answers:
                found += [row_of(columns) for columns in rows[: wanted - len(found)]]
            if len(found) >= wanted:
                return Rows(found, False, (found[-1].stamp, found[-1].tie))
        if goes_on:
            return Rows(found, False, (first_stamp_of(spans[-1] + 1) - 1, LAST_TIE))
        return Rows(found, True, (MAX_STAMP, LAST_TIE))

    async def bodies(self, rows: Iterable[tuple[str, Name]]) -> dict[tuple[str, Name], Body]:
        """What stands under these names of groups."""
        by_group: dict[str, set[Name]] = {}
        for group, name in rows:
            by_group.setdefault(group, set()).add(name)
        return await self._rows.all_bodies(by_group)


def first_seen(name: Name, body: Body, sees: Membership | None, since: int) -> Place | None:
    """The first row of a message that is visible and not below `since`. `sees` None: all are visible."""
    seen = [
        attempt
        for attempt in body.attempts
        if attempt.stamp >= since and (sees is None or sees.sees(attempt.version, attempt.open))
    ]
    if not seen:
        return None
    return min([(attempt.stamp, tie_of(name, attempt.version)) for attempt in seen])


def shown(rows: Sequence[Row], bodies: Mapping[Name, Body], sees: Membership | None, since: int) -> list[Row]:
    """Those of one group that are visible, and of these each message's first one that is not below `since` (G3)."""
    found = []
    for row in rows:
        body = bodies.get(row.name)
        if body is not None and body.stamp is not None and first_seen(row.name, body, sees, since) == row[:2]:
            found.append(row)
    return found
