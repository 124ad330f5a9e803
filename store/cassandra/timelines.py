"""`Timelines` over a Cassandra cluster.

Owns what reads and writes make together: the answers to a batch, pages, lists. `now_ms` is Unix time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from store.cassandra.connecting import Connection
from store.cassandra.files import Files
from store.cassandra.group_reading import ENGINE, Blocked, GroupReading
from store.cassandra.group_rows import GroupRows
from store.cassandra.group_states import GroupStates
from store.cassandra.mutes import Mutes
from store.cassandra.requests import Requests
from store.cassandra.timeline_archive import Archive
from store.cassandra.timeline_keys import LAST_TIE
from store.cassandra.timeline_members import Member, Terms, TimelineMembers
from store.cassandra.timeline_rows import BOTH_VIEW, NEWEST, Row, TimelineRows, as_read, view_of
from store.cassandra.timeline_usage import Usage
from store.cassandra.timeline_writing import TimelineWriting
from store.group_rules import floor_of_group
from store.ledger import Ledger, kept_erasures
from store.settings import HistorySettings, StoreSettings
from store.timeline_rules import (
    MAX_PAGE_BYTES,
    MAX_STAMP,
    counts_as_unread,
    day_of,
    floor_of,
    next_floor,
    other_of,
    position,
    position_of,
)
from store.timelines import (
    MAX_PAGE,
    MAX_UNREAD,
    Archived,
    Edit,
    Entry,
    Erasure,
    HistoryPage,
    HistoryQuery,
    HistoryTerms,
    KeptMessage,
    Listed,
    Mark,
    Name,
    Report,
    Timelines,
    conversation_of,
    is_group,
)

TERMS_FRESH_S = 5.0
"""What another process has set is followed after so long."""
_LISTED_AT_ONCE = 20

DropWaiting = Callable[[str, str], Awaitable[int]]
"""Drops what waits for a user from an author."""


class Parts(NamedTuple):
    """Of one connection."""

    rows: TimelineRows
    group_rows: GroupRows
    members: TimelineMembers
    usage: Usage
    archive: Archive
    groups: GroupReading
    mutes: Mutes


class CassandraTimelines(Timelines):
    """The timelines of the engine for clusters. `parts` raises `StoreError` while it is not open."""

    def __init__(
        self,
        settings: StoreSettings,
        history: HistorySettings,
        parts: Callable[[], Parts],
        now_ms: Callable[[], int],
        drop_waiting: DropWaiting,
    ) -> None:
        self._settings = settings
        self._history = history
        self._ledger = Ledger(history.ledger)
        self._parts = parts
        self._now_ms = now_ms
        self._drop_waiting = drop_waiting
        self._terms = Terms(0, 0, 0)
        self._terms_at = float("-inf")

    async def _fresh_terms(self) -> Terms:
        if time.monotonic() - self._terms_at > TERMS_FRESH_S:
            await self._read_terms()
        return self._terms

    async def _read_terms(self) -> Terms:
        self._terms = await self._parts().members.terms()
        self._terms_at = time.monotonic()
        return self._terms

    async def _floor(self) -> int:
        terms = await self._fresh_terms()
        return floor_of(terms.keep_days, terms.floor, self._now_ms())

    async def group_floor(self) -> int:
        """The lowest stamp that is shown of groups."""
        return floor_of_group(await self._floor(), self._now_ms(), self._settings.inbox_ttl_ms)

    async def keep_days(self) -> int:
        """As it stood a few seconds ago."""
        return (await self._fresh_terms()).keep_days

    async def terms(self) -> HistoryTerms:
        terms = await self._read_terms()
        return HistoryTerms(terms.keep_days, terms.since_ms)

    async def set_keep_days(self, days: int, since_ms: int) -> HistoryTerms:
        before, now = await self._read_terms(), self._now_ms()
        floor = next_floor(before.keep_days, days, before.floor, now)
        self._terms = Terms(days, since_ms, floor)
        await self._parts().members.set_terms(self._terms)
        return HistoryTerms(days, since_ms)

    async def archive(self, batch: Sequence[Entry | Edit | Erasure]) -> Sequence[Archived]:
        if not batch:
            return []
        terms = await self._fresh_terms()
        answers = await self._parts().archive.archive(batch, terms.keep_days)
        await self._ledger.add(kept_erasures(batch, answers))
        return answers

    # Pages.

    async def page(self, query: HistoryQuery) -> HistoryPage:
        if is_group(query.conversation):
            return await self._parts().groups.page(query, await self.group_floor())
        before = NEWEST
        if query.before:
            stamp, tie = position_of(ENGINE, query.before)
            before = (stamp, tie if len(tie) == len(LAST_TIE) else LAST_TIE)
        mine = view_of(query.conversation, query.reader)
        if mine is None:
            return HistoryPage((), b"")
        parts, floor = self._parts(), await self._floor()
        limit = min(max(query.limit, 1), MAX_PAGE)
        # Nothing is newer than now but for clocks that differ.
        guess = min(day_of(before[0]), self._now_ms() // 86_400_000)
        found = await parts.rows.rows(
            query.conversation, (BOTH_VIEW, mine), before, floor, MAX_PAGE if query.own else limit, guess
        )
        chosen: list[Row] = []
        size, end, next_ = 0, found.end, found.next
        for row in found.rows:
            if query.own and row.name.author != query.reader:
                continue
            if len(chosen) == limit or (chosen and size + row.size > MAX_PAGE_BYTES):
                end, next_ = False, (chosen[-1].stamp, chosen[-1].tie)
                break
            chosen.append(row)
            size += row.size
        messages = await parts.rows.messages(query.conversation, chosen, query.reader, self._history.edit_hours)
        return HistoryPage(tuple(messages), b"" if end else position(ENGINE, *next_))

    async def message(self, conversation: str, name: Name, reader: str) -> KeptMessage | None:
        if is_group(conversation):
            return await self._parts().groups.message(conversation, name, reader, await self.group_floor())
        if view_of(conversation, reader) is None:
            return None
        floor = await self._floor()
        body = (await self._parts().rows.bodies(conversation, [name])).get(name)
        stamp = None if body is None else body.stamp_for(reader, name.author)
        if body is None or stamp is None or stamp < floor:
            return None
        return as_read(name, stamp, body, reader, self._history.edit_hours)

    # Lists.

    async def conversations(self, user: str, after: str, limit: int, hidden: bool = False) -> Sequence[Listed]:
        # No user's id comes behind a group's.
        found = [] if is_group(after) else await self._of_two(user, after, limit, hidden)
        if len(found) < limit:
            behind, floor = after if is_group(after) else "", await self.group_floor()
            found += await self._parts().groups.conversations(user, behind, limit - len(found), hidden, floor)
        return found

    async def _of_two(self, user: str, after: str, limit: int, hidden: bool) -> list[Listed]:
        found: list[Listed] = []
        while len(found) < limit:
            members = await self._parts().members.some(user, after, limit)
            shown = [member for member in members if member.span is not None]
            for start in range(0, len(shown), _LISTED_AT_ONCE):
                some = shown[start : start + _LISTED_AT_ONCE]
                for member, listed in zip(some, await self._listed(user, some), strict=True):
                    if (
                        hidden
                        or not member.hidden
                        or (listed.newest is not None and listed.newest.stamp > member.hidden)
                    ):
                        found.append(listed)
            if len(members) < limit:
                break
            after = members[-1].other
        return found[:limit]

    async def listed(self, user: str, conversation: str) -> Listed | None:
        if is_group(conversation):
            return await self._parts().groups.listed(user, conversation, await self.group_floor())
        other = other_of(conversation, user)
        if other is None:
            return None
        (member,) = await self._parts().members.ones([(user, other)])
        if member.span is None:
            return None
        (listed,) = await self._listed(user, [member])
        return listed

    async def _listed(self, user: str, members: Sequence[Member]) -> list[Listed]:
        parts = self._parts()
        others = await parts.members.ones([(member.other, user) for member in members])
        newest = await asyncio.gather(*[self._newest(user, member) for member in members])
        return [
            Listed(conversation_of(user, member.other), member.other, message, member.marks, other.marks)
            for member, other, message in zip(members, others, newest, strict=True)
        ]

    async def _newest(self, user: str, member: Member) -> KeptMessage | None:
        conversation = conversation_of(user, member.other)
        mine = view_of(conversation, user)
        assert mine is not None
        rows, floor = self._parts().rows, await self._floor()
        before, wanted = NEWEST, 2
        while True:
            found = await rows.rows(
                conversation, (BOTH_VIEW, mine), before, floor, wanted, member.span or day_of(floor)
            )
            messages = await rows.messages(conversation, found.rows, user, self._history.edit_hours)
            if messages or found.end:
                return messages[0] if messages else None
            # Rows of later attempts, or without a body.
            before, wanted = found.next, MAX_PAGE

    async def hide(self, user: str, conversation: str, stamp: int) -> None:
        other = other_of(conversation, user)
        if is_group(conversation):
            await self._parts().groups.hide(user, conversation, stamp)
        elif other is not None:
            await self._parts().members.hide(user, other, stamp)

    async def unread(self, user: str, conversations: Collection[str]) -> Mapping[str, int]:
        wanted = [(one, other) for one in conversations if (other := other_of(one, user)) is not None]
        members = await self._parts().members.ones([(user, other) for _, other in wanted])
        counts = await asyncio.gather(
            *[self._unread(user, one, member) for (one, _), member in zip(wanted, members, strict=True)]
        )
        answer = dict.fromkeys(conversations, 0) | dict(zip([one for one, _ in wanted], counts, strict=True))
        groups = [one for one in conversations if is_group(one)]
        if groups:
            answer |= await self._parts().groups.unread(user, groups, await self.group_floor())
        return answer

    async def _unread(self, user: str, conversation: str, member: Member) -> int:
        if member.span is None or member.span < day_of(member.marks.private):
            return 0
        rows = self._parts().rows
        floor = max(await self._floor(), member.marks.private + 1)
        before, guess = NEWEST, member.span
        count = read = 0
        while True:
            found = await rows.rows(conversation, (BOTH_VIEW,), before, floor, MAX_PAGE - read, guess)
            theirs = [row for row in found.rows if row.name.author != user and counts_as_unread(row.kind)]
            # Twice as many: some were erased, or are of later attempts.
            some = theirs[: 2 * MAX_UNREAD]
            bodies = await rows.bodies(conversation, [row.name for row in some])
            for row in some:
                body = bodies.get(row.name)
                if body is not None and not body.erased_by and body.stamp_for(user, row.name.author) == row.stamp:
                    count += 1
            read += len(found.rows)
            if found.end or count >= MAX_UNREAD or read >= MAX_PAGE:
                return min(count, MAX_UNREAD)
            before, guess = found.next, day_of(found.next[0] - 1)

    async def raise_marks(self, marks: Sequence[Mark]) -> Sequence[bool]:
        parts = self._parts()
        asked = {(mark.user, mark.conversation) for mark in marks if is_group(mark.conversation)}
        return await parts.members.raise_marks(marks, await parts.groups.insiders(asked) if asked else ())

    async def mute(self, user: str, other: str, until_ms: int, most: int) -> bool:
        return await self._parts().mutes.mute(user, other, until_ms, most)

    async def mutes(self, user: str) -> Mapping[str, int]:
        return await self._parts().mutes.of(user)

    # Reports, files, ends.

    async def report(self, report: Report) -> None:
        await self._parts().members.report(report)

    async def reports(self, after: str, limit: int) -> Sequence[Report]:
        return await self._parts().members.reports(after, limit)

    async def drop_report(self, report: str) -> None:
        await self._parts().members.drop_report(report)

    async def may_read_file(self, file: str, user: str) -> bool:
        parts, floor = self._parts(), await self._floor()
        keeps = (await self._fresh_terms()).keep_days > 0
        by_conversation: dict[str, list[Name]] = {}
        for conversation, name in await parts.members.named(file):
            if is_group(conversation) or (keeps and other_of(conversation, user) is not None):
                by_conversation.setdefault(conversation, []).append(name)
        for conversation, names in by_conversation.items():
            if is_group(conversation):
                if await parts.groups.may_see(conversation, user, names, await self.group_floor()):
                    return True
                continue
            for name, body in (await parts.rows.bodies(conversation, names)).items():
                stamp = body.stamp_for(user, name.author)
                if stamp is not None and stamp >= floor and not body.erased_by:
                    return True
        return False

    async def forget_author(self, user: str, keep_words: bool) -> None:
        parts = self._parts()
        if not keep_words:
            after = ""
            while members := await parts.members.some(user, after, MAX_PAGE):
                for member in members:
                    if not is_group(member.other):
                        await self._erase_words(user, conversation_of(user, member.other))
                        await self._drop_waiting(member.other, user)
                after = members[-1].other
            for group in await parts.groups.ever(user):
                await self._erase_words(user, group)
        await parts.usage.forget(user)
        await parts.members.forget(user)
        await parts.mutes.forget(user)

    async def _erase_words(self, user: str, conversation: str) -> None:
        before = b""
        stamp = min(self._now_ms() << 20, MAX_STAMP)
        while True:
            page = await self.page(HistoryQuery(conversation, user, before, MAX_PAGE, own=True))
            erasures = [Erasure(conversation, one.name, stamp, user) for one in page.messages if not one.erased_by]
            await self._ledger.add(erasures)
            await self._parts().archive.erase(erasures)
            if not page.next:
                return
            before = page.next

    async def purge(self) -> int:
        return 0


def make_parts(
    settings: StoreSettings,
    history: HistorySettings,
    connection: Connection,
    requests: Requests,
    files: Files,
    states: GroupStates,
    now_ms: Callable[[], int],
    drop_copies: Callable[[Erasure, Sequence[int]], Awaitable[None]],
    blocked: Blocked,
) -> Parts:
    """Of one connection. `drop_copies` drops what waits of an erased message, from around these stamps."""
    rows = TimelineRows(connection, requests)
    members = TimelineMembers(connection, requests)
    usage = Usage(connection, requests, history)
    writing = TimelineWriting(settings, connection, requests, now_ms)
    archive = Archive(settings, history, rows, members, usage, writing, files, now_ms, drop_copies)
    group_rows = GroupRows(connection, requests, rows)
    groups = GroupReading(rows, group_rows, members, states, now_ms, history.edit_hours, blocked)
    mutes = Mutes(connection, requests, now_ms)
    return Parts(rows, group_rows, members, usage, archive, groups, mutes)
