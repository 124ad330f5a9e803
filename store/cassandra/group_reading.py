"""What is read of groups' timelines over HTTP: pages, lists, counts, marks, files.

Owns who sees what of them. A present member sees what `store.cassandra.group_rows` says; one's own words everybody
sees as long as they stand (P7). `floor` is the lowest stamp that is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from store.cassandra.group_rows import GroupRows, first_seen, shown
from store.cassandra.group_states import GroupStates
from store.cassandra.timeline_keys import LAST_TIE
from store.cassandra.timeline_members import Member, TimelineMembers
from store.cassandra.timeline_rows import BOTH_VIEW, NEWEST, Row, TimelineRows, as_read
from store.groups import Membership
from store.timeline_rules import (
    EDIT,
    ERASE,
    MAX_PAGE_BYTES,
    counts_as_unread,
    day_of,
    position,
    position_of,
)
from store.timelines import MAX_PAGE, MAX_UNREAD, HistoryPage, HistoryQuery, KeptMessage, Listed, Marks, Name

ENGINE = b"c"
_AT_ONCE = 20
Blocked = Callable[[str, Collection[str]], Awaitable[Collection[str]]]
"""Which of these authors a user has blocked."""


class GroupReading:
    """The reading operations. `now_ms` is Unix time."""

    def __init__(
        self,
        rows: TimelineRows,
        group_rows: GroupRows,
        members: TimelineMembers,
        states: GroupStates,
        now_ms: Callable[[], int],
        edit_hours: float,
        blocked: Blocked,
    ) -> None:
        self._rows = rows
        self._group_rows = group_rows
        self._members = members
        self._states = states
        self._now_ms = now_ms
        self._edit_hours = edit_hours
        self._blocked = blocked

    async def _sees(self, user: str, group: str) -> Membership | None:
        """What a present member may see."""
        presence = await self._states.presence(group, user)
        return presence.membership if presence.is_in else None

    def _today(self) -> int:
        return self._now_ms() // 86_400_000

    async def page(self, query: HistoryQuery, floor: int) -> HistoryPage:
        """One page: rows that are visible to a present member; or what the reader wrote, for whoever did."""
        before = NEWEST
        if query.before:
            stamp, tie = position_of(ENGINE, query.before)
            before = (stamp, tie if len(tie) == len(LAST_TIE) else LAST_TIE)
        sees = None if query.own else await self._sees(query.reader, query.conversation)
        if sees is None and not query.own:
            return HistoryPage((), b"")
        limit = min(max(query.limit, 1), MAX_PAGE)
        messages: list[KeptMessage] = []
        touched = size = 0
        wanted = MAX_PAGE if query.own else limit
        while True:
            guess = min(day_of(before[0]), self._today())
            found = await self._rows.rows(query.conversation, (BOTH_VIEW,), before, floor, wanted, guess)
            touched += len(found.rows)
            for row, message in await self._read(query.conversation, found.rows, query, sees, floor):
                if len(messages) == limit or (messages and size + row.size > MAX_PAGE_BYTES):
                    return HistoryPage(tuple(messages), position(ENGINE, *before))
                messages.append(message)
                size += row.size
                before = row.stamp, row.tie
            before, wanted = found.next, MAX_PAGE - touched
            if found.end:
                return HistoryPage(tuple(messages), b"")
            if len(messages) == limit or wanted <= 0:
                return HistoryPage(tuple(messages), position(ENGINE, *before))

    async def _read(
        self, group: str, rows: Sequence[Row], query: HistoryQuery, sees: Membership | None, floor: int
    ) -> list[tuple[Row, KeptMessage]]:
        if query.own:
            rows = [row for row in rows if row.name.author == query.reader]
        return await self._shown(group, query.reader, rows, sees, floor)

    async def _shown(
        self, group: str, reader: str, rows: Sequence[Row], sees: Membership | None, floor: int
    ) -> list[tuple[Row, KeptMessage]]:
        """Messages in these rows that pages show. Changes are for scans alone."""
        likely = [
            row for row in rows if row.kind not in (EDIT, ERASE) and (sees is None or sees.sees(row.version, row.open))
        ]
        bodies = await self._rows.bodies(group, {row.name for row in likely})
        return [
            (row, as_read(row.name, row.stamp, bodies[row.name], reader, self._edit_hours))
            for row in shown(likely, bodies, sees, floor)
        ]

    async def message(self, group: str, name: Name, reader: str, floor: int) -> KeptMessage | None:
        """One message: of a row that is visible to a present member, or of one's own."""
        sees = None if reader == name.author else await self._sees(reader, group)
        if sees is None and reader != name.author:
            return None
        body = (await self._rows.bodies(group, [name])).get(name)
        if body is None or body.stamp is None or body.kind in (EDIT, ERASE):
            return None
        first = first_seen(name, body, sees, floor)
        return None if first is None else as_read(name, first.stamp, body, reader, self._edit_hours)

    async def may_see(self, group: str, user: str, names: Collection[Name], floor: int) -> bool:
        """Whether the user sees one of these messages, and it is not erased."""
        sees = await self._sees(user, group)
        if sees is None:
            return False
        for name, body in (await self._rows.bodies(group, names)).items():
            if body.stamp is not None and not body.erased_by and first_seen(name, body, sees, floor) is not None:
                return True
        return False

    # Lists.

    async def conversations(self, user: str, after: str, limit: int, hidden: bool, floor: int) -> list[Listed]:
        """Some of the groups that a user is in, by id."""
        found: list[Listed] = []
        while len(found) < limit:
            groups = await self._states.candidates(user, after, limit)
            for start in range(0, len(groups), _AT_ONCE):
                found += await self._some(user, groups[start : start + _AT_ONCE], hidden, floor)
            if len(groups) < limit:
                break
            after = groups[-1]
        return found[:limit]

    async def _some(self, user: str, groups: Sequence[str], hidden: bool, floor: int) -> list[Listed]:
        there = await self._states.presences([(group, user) for group in groups])
        inside = [group for group in groups if there[group, user].is_in]
        members = await self._members.ones([(user, group) for group in inside])
        found = await asyncio.gather(
            *[self._listed(user, member, there[member.other, user].membership, floor) for member in members]
        )
        return [
            listed
            for member, listed in zip(members, found, strict=True)
            if hidden or not member.hidden or (listed.newest is not None and listed.newest.stamp > member.hidden)
        ]

    async def listed(self, user: str, group: str, floor: int) -> Listed | None:
        """One of them, hidden or not; None unless the user is in it."""
        sees = await self._sees(user, group)
        if sees is None:
            return None
        (member,) = await self._members.ones([(user, group)])
        return await self._listed(user, member, sees, floor)

    async def _listed(self, user: str, member: Member, sees: Membership, floor: int) -> Listed:
        group = member.other
        return Listed(group, group, await self._newest(user, group, sees, floor), member.marks, Marks())

    async def _newest(self, user: str, group: str, sees: Membership, floor: int) -> KeptMessage | None:
        """The newest visible message, among the newest `MAX_PAGE` rows."""
        end = (await self._group_rows.ends([group]))[group]
        before, wanted, read = NEWEST, 2, 0
        while end > floor and read < MAX_PAGE:
            guess = min(day_of(before[0]), day_of(end - 1))
            found = await self._rows.rows(group, (BOTH_VIEW,), before, floor, wanted, guess)
            for _, message in await self._shown(group, user, found.rows, sees, floor):
                return message
            if found.end:
                return None
            read += max(1, len(found.rows))
            before, wanted = found.next, 100
        return None

    async def hide(self, user: str, group: str, stamp: int) -> None:
        """For a group that the user is in."""
        if await self._sees(user, group) is not None:
            await self._members.hide(user, group, stamp)

    async def unread(self, user: str, groups: Collection[str], floor: int) -> dict[str, int]:
        """How much others wrote behind the user's mark in each group, but for whom the user has blocked (P3)."""
        there = await self._states.presences([(group, user) for group in groups])
        inside = [group for group in groups if there[group, user].is_in]
        members = await self._members.ones([(user, group) for group in inside])
        counts = await asyncio.gather(
            *[self._unread(user, member, there[member.other, user].membership, floor) for member in members]
        )
        return dict.fromkeys(groups, 0) | dict(zip(inside, counts, strict=True))

    async def _unread(self, user: str, member: Member, sees: Membership, floor: int) -> int:
        group, lowest = member.other, max(floor, member.marks.private + 1)
        end = (await self._group_rows.ends([group]))[group]
        if end <= lowest:
            return 0
        found = await self._rows.rows(group, (BOTH_VIEW,), NEWEST, lowest, MAX_PAGE, day_of(end - 1))
        theirs = [
            row
            for row in found.rows
            if row.name.author != user and counts_as_unread(row.kind) and sees.sees(row.version, row.open)
        ]
        if not theirs:
            return 0
        blocked = await self._blocked(user, {row.name.author for row in theirs})
        # Twice as many: some were erased, or are further attempts.
        some = [row for row in theirs if row.name.author not in blocked][: 2 * MAX_UNREAD]
        bodies = await self._rows.bodies(group, {row.name for row in some})
        standing = [row for row in shown(some, bodies, sees, lowest) if not bodies[row.name].erased_by]
        return min(len(standing), MAX_UNREAD)

    async def marks(self, group: str) -> Mapping[str, Marks]:
        """How far each present member has read."""
        found = (await self._states.groups([group]))[group]
        return {} if found is None else await self._members.marks_of(list(found.members), group)

    async def ever(self, user: str) -> list[str]:
        """Groups that the user is in, or was in for as long as their rows live."""
        found: list[str] = []
        while groups := await self._states.candidates(user, found[-1] if found else "", MAX_PAGE):
            found += groups
        return found

    async def insiders(self, wanted: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of (user, group) who are in it."""
        there = await self._states.presences([(group, user) for user, group in wanted])
        return {(user, group) for (group, user), presence in there.items() if presence.is_in}
