"""`Groups` over one SQLite file.

Owns no thread: it works through those of `store.sqlite.engine`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from store.group_rules import lives_of
from store.groups import (
    MAX_GROUPS_OF_USER,
    TRAIL_MS,
    Group,
    GroupChange,
    GroupCounts,
    GroupPage,
    GroupQuery,
    Groups,
    Invitation,
    Link,
    MyGroup,
)
from store.settings import HistorySettings, StoreSettings
from store.sqlite import group_entrance as entrance
from store.sqlite import group_reading as reading
from store.sqlite import group_scan as scanning
from store.sqlite import group_writing as writing
from store.sqlite import timeline_upkeep as upkeep
from store.sqlite.worker import Worker
from store.timelines import Marks


class SqliteGroups(Groups):
    """The groups of the embedded engine."""

    def __init__(
        self,
        settings: StoreSettings,
        history: HistorySettings,
        writer: Worker,
        reader: Worker,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._history = history
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms

    async def make(self, group: Group, change: GroupChange) -> None:
        await self._writer.call(partial(writing.make, group=group, change=change))

    async def change(self, group: Group, change: GroupChange) -> bool:
        return await self._writer.call(partial(writing.change, group=group, change=change))

    async def groups(self, groups: Collection[str]) -> Mapping[str, Group | None]:
        if not groups:
            return {}
        return await self._reader.call(partial(writing.groups, wanted=groups), rows=len(groups))

    async def changes(self, group: str, since: int, limit: int) -> Sequence[GroupChange]:
        return await self._reader.call(partial(writing.changes, group=group, since=since, limit=limit))

    async def of_user(self, user: str, after: str = "", limit: int = MAX_GROUPS_OF_USER) -> Sequence[MyGroup]:
        return await self._reader.call(partial(writing.of_user, user=user, after=after, limit=limit))

    async def all_groups(self, after: str, limit: int) -> Sequence[str]:
        return await self._reader.call(partial(writing.all_groups, after=after, limit=limit))

    async def invite(self, invitation: Invitation) -> bool:
        return await self._writer.call(partial(entrance.invite, invitation=invitation))

    async def invitations(self, user: str) -> Sequence[Invitation]:
        return await self._reader.call(partial(entrance.invitations, user=user))

    async def drop_invitation(self, user: str, group: str) -> bool:
        return await self._writer.call(partial(entrance.drop_invitation, user=user, group=group))

    async def add_link(self, link: Link) -> None:
        await self._writer.call(partial(entrance.add_link, link=link))

    async def links(self, group: str) -> Sequence[Link]:
        return await self._reader.call(partial(entrance.links, group=group))

    async def find_link(self, digest: str) -> Link | None:
        return await self._reader.call(partial(entrance.find_link, digest=digest))

    async def use_link(self, group: str, link: str, now_ms: int) -> bool:
        return await self._writer.call(partial(entrance.use_link, group=group, link=link, now_ms=now_ms))

    async def drop_link(self, group: str, link: str) -> None:
        await self._writer.call(partial(entrance.drop_link, group=group, link=link))

    async def marks(self, group: str) -> Mapping[str, Marks]:
        return await self._reader.call(partial(reading.marks, group=group))

    async def was_member(self, group: str, user: str) -> bool:
        return await self._reader.call(partial(writing.was_member, group=group, user=user))

    async def scan(self, queries: Sequence[GroupQuery]) -> Sequence[GroupPage]:
        if not queries:
            return []
        work = partial(self._scan, queries=queries, now_ms=self._now_ms())
        return await self._reader.call(work, rows=sum([query.limit for query in queries]))

    def _scan(self, connection: sqlite3.Connection, queries: Sequence[GroupQuery], now_ms: int) -> list[GroupPage]:
        keeps = upkeep.terms(connection).keep_days > 0
        floor = upkeep.group_floor(connection, now_ms, self._settings.inbox_ttl_ms)
        hours = self._history.edit_hours
        return [scanning.scan(connection, query, now_ms, keeps, floor, hours) for query in queries]

    async def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        if checkpoints:
            work = partial(scanning.raise_checkpoints, checkpoints=checkpoints, now_ms=self._now_ms())
            await self._writer.call(work, rows=len(checkpoints))

    async def forget_user(self, user: str) -> None:
        await self._writer.call(partial(writing.forget_user, user=user))

    async def purge(self) -> int:
        keep_days = (await self._reader.call(upkeep.terms)).keep_days
        before_ms = self._now_ms() - lives_of(keep_days, self._settings).group - TRAIL_MS
        limit = self._settings.chunk_rows
        total = 0
        for some in (writing.purge, entrance.purge):
            while gone := await self._writer.call(partial(some, before_ms=before_ms, limit=limit), rows=limit):
                total += gone
        return total

    async def counts(self) -> GroupCounts:
        return await self._reader.call(writing.counts)
