"""Rows of groups' timelines: which groups were written to, what comes behind a place, and who may see which.

Owns the statements that read `group_newest`, and `timeline` and `spans` forwards. What is visible to whom says
docs/design/groups.md (G3, G4); a row counts if its attempt stands beside the body (`store.cassandra.timeline_keys`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from protocol.errors import SparrowError
from protocol.ids import STAMP_SHIFT
from store.cassandra.connecting import Connection
from store.cassandra.gathering import Gathering
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import LAST_TIE, tie_of
from store.cassandra.timeline_rows import BOTH_VIEW, ROW_COLUMNS, Attempt, Body, Row, TimelineRows, row_of
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


class Ask(NamedTuple):
    """Up to `limit` rows of a group, from behind a place on, where all are below the stamp `end`."""

    group: str
    after: Place
    end: int
    limit: int


class GroupRows:
    """The reading operations on groups' timelines, beside those that all timelines have."""

    def __init__(self, connection: Connection, requests: Requests, rows: TimelineRows) -> None:
        self._requests = requests
        self._rows = rows
        self._newest = connection.prepare(_NEWEST)
        self._rows_on = connection.prepare(_ON)
        self._spans = connection.prepare(_SPANS)
        self._ends = Gathering(self._read_ends)
        self._on = Gathering(self._read_on)
        self._bodies = Gathering(self._read_bodies)

    async def ends(self, groups: Iterable[str]) -> dict[str, int]:
        """The stamp that all rows of a group are below; 0: there are none."""
        return await self._ends.get(list(groups))

    async def _read_ends(self, groups: Sequence[str]) -> Mapping[str, int | SparrowError]:
        chunks = [groups[start : start + _GROUPS_AT_ONCE] for start in range(0, len(groups), _GROUPS_AT_ONCE)]
        answers = await self._requests.each([self._newest.bind((chunk,)) for chunk in chunks])
        found: dict[str, int | SparrowError] = dict.fromkeys(groups, 0)
        for chunk, rows in zip(chunks, answers, strict=True):
            if isinstance(rows, SparrowError):
                found |= dict.fromkeys(chunk, rows)
            else:
                found |= {group: (until or 0) << STAMP_SHIFT for group, until in rows}
        return found

    async def on(self, wanted: Iterable[Ask]) -> dict[Ask, Rows]:
        """What comes behind a place in each of these groups."""
        return await self._on.get(list(wanted))

    async def _read_on(self, asks: Sequence[Ask]) -> Mapping[Ask, Rows | SparrowError]:
        by_group: dict[str, list[Ask]] = {}
        for ask in asks:
            by_group.setdefault(ask.group, []).append(ask)
        answers = await asyncio.gather(*[self._of_group(some) for some in by_group.values()])
        return {ask: rows for answer in answers for ask, rows in answer.items()}

    async def _of_group(self, asks: Sequence[Ask]) -> dict[Ask, Rows | SparrowError]:
        """One read for all who come back to a group at about the same time, if it reaches the end."""
        lowest = min(asks, key=lambda ask: ask.after)
        widest = lowest._replace(end=max(ask.end for ask in asks), limit=max(ask.limit for ask in asks))
        found = await self._try(widest)
        if isinstance(found, SparrowError):
            return dict.fromkeys(asks, found)
        if not found.end:
            answers = await asyncio.gather(*[self._try(ask) for ask in asks])
            return dict(zip(asks, answers, strict=True))
        return {ask: _part(found.rows, ask) for ask in asks}

    async def _try(self, ask: Ask) -> Rows | SparrowError:
        try:
            return await self._behind(*ask)
        except SparrowError as error:
            return error

    async def _behind(self, group: str, after: Place, end: int, limit: int) -> Rows:
        first, last = day_of(after[0]), day_of(max(end - 1, 0))
        spans, goes_on = list(range(first, min(last, first + 1) + 1)), False
        if last > first + 1:
            (index,) = await self._requests.run([self._spans.bind((group, first, _SPANS_AT_ONCE))])
            spans, goes_on = [row[0] for row in index], len(index) == _SPANS_AT_ONCE
        found: list[Row] = []
        for start in range(0, len(spans), _DAYS_AT_ONCE):
            some, left = spans[start : start + _DAYS_AT_ONCE], limit - len(found)
            answers = await self._requests.run([self._rows_on.bind((group, span, *after, left)) for span in some])
            for rows in answers:
                found += [row_of(columns) for columns in rows[: limit - len(found)]]
            if len(found) >= limit:
                return Rows(found, False, (found[-1].stamp, found[-1].tie))
        if goes_on:
            return Rows(found, False, (first_stamp_of(spans[-1] + 1) - 1, LAST_TIE))
        return Rows(found, True, (MAX_STAMP, LAST_TIE))

    async def bodies(self, wanted: Collection[tuple[str, Name]]) -> dict[tuple[str, Name], Body]:
        """What stands under these names of groups."""
        found = await self._bodies.get(wanted)
        return {key: body for key, body in found.items() if body is not None}

    async def _read_bodies(
        self, wanted: Sequence[tuple[str, Name]]
    ) -> Mapping[tuple[str, Name], Body | SparrowError | None]:
        by_group: dict[str, list[Name]] = {}
        for group, name in wanted:
            by_group.setdefault(group, []).append(name)
        return await self._rows.each_body(by_group)


def _part(rows: Sequence[Row], ask: Ask) -> Rows:
    """Of all rows of a group, those that were asked for."""
    found = [row for row in rows if (row.stamp, row.tie) > ask.after]
    if len(found) < ask.limit:
        return Rows(found, True, (MAX_STAMP, LAST_TIE))
    found = found[: ask.limit]
    return Rows(found, False, (found[-1].stamp, found[-1].tie))


def first_seen(name: Name, body: Body, sees: Membership | None, since: int) -> Attempt | None:
    """The first row of a message that is visible and not below `since`. `sees` None: all are visible."""
    seen = [
        attempt
        for attempt in body.attempts
        if attempt.stamp >= since and (sees is None or sees.sees(attempt.version, attempt.open))
    ]
    if len(seen) < 2:
        return seen[0] if seen else None
    return min(seen, key=lambda attempt: (attempt.stamp, tie_of(name, attempt.version)))


def shown(rows: Sequence[Row], bodies: Mapping[Name, Body], sees: Membership | None, since: int) -> list[Row]:
    """Those of one group that are visible, and of these each message's first one that is not below `since` (G3)."""
    found = []
    for row in rows:
        body = bodies.get(row.name)
        if body is None or body.stamp is None:
            continue
        first = first_seen(row.name, body, sees, since)
        if first is not None and first[:2] == (row.stamp, row.version):
            found.append(row)
    return found
