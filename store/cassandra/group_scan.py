"""What a device has to catch up with in its groups.

Owns the scan (docs/design/groups.md, G2 and G3) and checkpoints, with the statements on them in `users`. A scan asks
first which of the user's groups were written to, in few statements that all scans of the moment share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from store.cassandra.connecting import Connection
from store.cassandra.group_rows import Ask, GroupRows, Place, shown
from store.cassandra.group_states import GroupStates
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import FIRST_TIE, FOREVER
from store.cassandra.timeline_rows import BOTH_VIEW, Body, Row, TimelineRows, as_read
from store.group_rules import Cursor, pack_cursor, since_of, unpack_cursor
from store.groups import GroupPage, GroupQuery, GroupRow, Membership
from store.timeline_rules import EDIT, MAX_PAGE_BYTES, day_of, edit_as_scanned, target_of
from store.timelines import MAX_PAGE, KeptMessage, Name

ENGINE = b"c"
_GROUPS_AT_ONCE = 64
_SKIPPED_ROWS = 20
"""So many rows of a group are looked at behind a cut; if all are hidden there may be others."""
_USERS_AT_ONCE = 25
_BORN = "SELECT checkpoint, added_us, removed_us FROM users WHERE user = ? AND device = ?"
_DEVICES = "SELECT user, device, checkpoint, added_us, removed_us, deleted_us FROM users WHERE user IN ?"
# Its own value as the write time: it only rises. No conditional statement writes this column.
_RAISE = "UPDATE users USING TIMESTAMP ? SET checkpoint = ? WHERE user = ? AND device = ?"
_FORGET = "DELETE checkpoint FROM users USING TIMESTAMP ? WHERE user = ? AND device = ?"


class _Written(NamedTuple):
    """A group of the user's that was written to."""

    group: str
    sees: Membership
    end: int
    """All its rows are below this stamp."""


@dataclass(slots=True)
class _Page:
    """One that is being filled."""

    limit: int
    rows: list[tuple[str, Row, Body]] = field(default_factory=list)
    touched: int = 0
    size: int = 0

    def is_full(self) -> bool:
        return len(self.rows) >= self.limit or self.touched >= MAX_PAGE or self.size >= MAX_PAGE_BYTES


class GroupScan:
    """The operations of a scan."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        states: GroupStates,
        rows: TimelineRows,
        group_rows: GroupRows,
    ) -> None:
        self._requests = requests
        self._states = states
        self._rows = rows
        self._group_rows = group_rows
        self._born = connection.prepare(_BORN)
        self._devices = connection.prepare(_DEVICES)
        self._raise = connection.prepare(_RAISE)
        self._forget = connection.prepare(_FORGET)

    async def page(self, query: GroupQuery, now_ms: int, keeps: bool, floor: int, edit_hours: float) -> GroupPage:
        """One page. `keeps`: history is kept; `floor`: the lowest stamp that rows of groups have."""
        cursor = unpack_cursor(ENGINE, query.after)
        skipped: tuple[str, ...] = ()
        if cursor is None:
            since, cut_from = await self._since(query, now_ms, keeps)
            since = max(since, floor)
            if cut_from is not None:
                skipped = await self._skipped(query, max(cut_from, floor), since)
            cursor = Cursor(since, "", (since, *_MIDDLE))
        page = _Page(min(max(query.limit, 1), MAX_PAGE))
        end = await self._fill(query, cursor, page)
        found = tuple(await self._messages(query.user, page.rows, edit_hours))
        return GroupPage(found, b"" if end is None else pack_cursor(ENGINE, end), end is None, skipped)

    async def _since(self, query: GroupQuery, now_ms: int, keeps: bool) -> tuple[int, int | None]:
        """From which stamp on; and from which it would have been, had it not been cut."""
        if query.since:
            return query.since, None
        (rows,) = await self._requests.run([self._born.bind((query.user or " ", query.device))])
        begin = 0
        if rows and rows[0][2] is None:
            begin = max(rows[0][0] or 0, (rows[0][1] or 0) // 1000)
        return since_of(begin, query.began_ms or now_ms, keeps)

    async def _written(self, query: GroupQuery, first: str, since: int) -> list[_Written]:
        """Groups of the user that were written to since, by id from `first` on."""
        if query.group:
            groups = [query.group] if query.group >= first else []
        else:
            groups = await self._states.standing(query.user, first)
        ends = await self._group_rows.ends(groups)
        written = [group for group in groups if ends[group] > since]
        there = await self._states.presences([(group, query.user) for group in written])
        return [
            _Written(group, there[group, query.user].membership, ends[group])
            for group in written
            if there[group, query.user].is_in
        ]

    async def _fill(self, query: GroupQuery, cursor: Cursor, page: _Page) -> Cursor | None:
        """Fill it; returns where it goes on."""
        since = cursor.since
        written = await self._written(query, cursor.group, since)
        for start in range(0, len(written), _GROUPS_AT_ONCE):
            some = written[start : start + _GROUPS_AT_ONCE]
            # Most groups have few rows: those of many are read in one go, and the first may have many.
            left = max(1, min(page.limit - len(page.rows), MAX_PAGE - page.touched))
            limits = [left, *[max(2, left // len(some))] * (len(some) - 1)]
            begins = [(since, b"") for _ in some]
            if some[0].group == cursor.group:
                begins[0] = max(begins[0], _unpacked(cursor.after))
            asks = [
                Ask(one.group, begin, one.end, limit) for one, begin, limit in zip(some, begins, limits, strict=True)
            ]
            there = await self._group_rows.on(asks)
            found = [there[ask] for ask in asks]
            own = query.user, query.device
            likely = [
                [row for row in rows.rows if row.name[:2] != own and one.sees.sees(row.version, row.open)]
                for one, rows in zip(some, found, strict=True)
            ]
            bodies = await self._group_rows.bodies(
                [(one.group, row.name) for one, rows in zip(some, likely, strict=True) for row in rows]
            )
            for one, begin, rows, chosen in zip(some, begins, found, likely, strict=True):
                if page.is_full():
                    return Cursor(since, one.group, _packed(begin))
                page.touched += len(rows.rows)
                of_group = {row.name: bodies[one.group, row.name] for row in chosen if (one.group, row.name) in bodies}
                goes_on = _take(page, one.group, shown(chosen, of_group, one.sees, since), of_group, begin)
                if goes_on is None and not rows.end:
                    goes_on = rows.next
                if goes_on is not None:
                    return Cursor(since, one.group, _packed(goes_on))
        return None

    async def _messages(self, user: str, rows: Sequence[tuple[str, Row, Body]], edit_hours: float) -> list[GroupRow]:
        messages = [as_read(row.name, row.stamp, body, user, edit_hours) for _, row, body in rows]
        edits = [number for number, message in enumerate(messages) if message.kind == EDIT]
        told = await self._edits([(rows[number][0], messages[number]) for number in edits], edit_hours)
        for number, message in zip(edits, told, strict=True):
            messages[number] = message
        return [
            GroupRow(group, row.version, row.settled, message)
            for (group, row, _), message in zip(rows, messages, strict=True)
        ]

    async def _edits(self, edits: Sequence[tuple[str, KeptMessage]], edit_hours: float) -> list[KeptMessage]:
        """Each with its body, if it counts."""
        targets = [target_of(message) for _, message in edits]
        wanted = [(group, target) for (group, _), target in zip(edits, targets, strict=True) if target is not None]
        bodies = await self._group_rows.bodies(wanted)
        told = []
        for (group, message), target in zip(edits, targets, strict=True):
            body = None if target is None else bodies.get((group, target))
            found = None if target is None or body is None else _as_target(target, body)
            told.append(edit_as_scanned(message, found, () if body is None else body.cells, edit_hours))
        return told

    async def _skipped(self, query: GroupQuery, lowest: int, since: int) -> tuple[str, ...]:
        """Groups with rows from `lowest` up to, without, `since` that the user may see."""
        written = await self._written(query, "", lowest)
        skipped: list[str] = []
        for start in range(0, len(written), _GROUPS_AT_ONCE):
            some = written[start : start + _GROUPS_AT_ONCE]
            found = await asyncio.gather(*[self._has_rows(one, lowest, since) for one in some])
            skipped += [one.group for one, has in zip(some, found, strict=True) if has]
        return tuple(skipped)

    async def _has_rows(self, one: _Written, lowest: int, since: int) -> bool:
        before = since, FIRST_TIE
        found = await self._rows.rows(one.group, (BOTH_VIEW,), before, lowest, _SKIPPED_ROWS, day_of(since))
        return not found.end or any(one.sees.sees(row.version, row.open) for row in found.rows)

    # Checkpoints.

    async def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int], now_ms: int) -> None:
        """They only rise, and not beyond now: a clock that was ahead must hide nothing. A row of `users` never goes,
        so who is seen there is written to."""
        users = sorted({user or " " for user, _ in checkpoints})
        chunks = [users[start : start + _USERS_AT_ONCE] for start in range(0, len(users), _USERS_AT_ONCE)]
        answers = await self._requests.run([self._devices.bind((chunk,)) for chunk in chunks])
        statements = []
        for user, device, there, added_us, removed_us, deleted_us in (row for rows in answers for row in rows):
            at_ms = min(checkpoints.get((user, device), 0), now_ms)
            if added_us is not None and removed_us is None and deleted_us is None and at_ms > (there or 0):
                statements.append(self._raise.bind((at_ms, at_ms, user, device)))
        await self._requests.run(statements)

    async def forget(self, user: str) -> None:
        """Those of a user."""
        (rows,) = await self._requests.run([self._devices.bind(([user or " "],))])
        await self._requests.run([self._forget.bind((FOREVER, user, row[1])) for row in rows if row[2] is not None])


def _as_target(target: Name, body: Body) -> KeptMessage | None:
    if body.stamp is None and not body.erased_by:
        return None
    return KeptMessage(target, body.stamp or 0, body.kind, b"", erased_by=body.erased_by)


def _take(page: _Page, group: str, rows: Sequence[Row], bodies: Mapping[Name, Body], begin: Place) -> Place | None:
    """Put rows on the page; where it goes on if not all have room."""
    end = begin
    for row in rows:
        if len(page.rows) >= page.limit or (page.rows and page.size + row.size > MAX_PAGE_BYTES):
            return end
        page.rows.append((group, row, bodies[row.name]))
        page.size += row.size
        end = row.stamp, row.tie
    return None


# A place in a cursor: the stamp, and the tie as two numbers.
_HALF = 1 << 63
_MIDDLE = (-_HALF, -_HALF)


def _packed(place: Place) -> tuple[int, int, int]:
    tie = place[1] or FIRST_TIE
    return place[0], int.from_bytes(tie[:8], "big") - _HALF, int.from_bytes(tie[8:], "big") - _HALF


def _unpacked(after: tuple[int, int, int]) -> Place:
    stamp, one, other = after
    return stamp, (one + _HALF).to_bytes(8, "big") + (other + _HALF).to_bytes(8, "big")
