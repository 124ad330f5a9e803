"""`Groups` over a Cassandra cluster.

Owns what the parts make together. `now_ms` is Unix time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from store.cassandra.connecting import Connection
from store.cassandra.group_entrance import GroupEntrance
from store.cassandra.group_reading import GroupReading
from store.cassandra.group_scan import GroupScan
from store.cassandra.group_states import GroupStates
from store.cassandra.requests import Requests
from store.cassandra.timelines import Parts
from store.group_rules import lives_of
from store.groups import (
    MAX_GROUPS_OF_USER,
    TRAIL_MS,
    Group,
    GroupChange,
    GroupPage,
    GroupQuery,
    Groups,
    Invitation,
    Link,
    MyGroup,
)
from store.settings import HistorySettings, StoreSettings
from store.timelines import Marks

_DAY_MS = 86_400_000
_SWEPT_DAYS = 14
"""So many days of groups that were closed one sweep looks at: it must run once in as many."""


class GroupParts(NamedTuple):
    """Of one connection."""

    states: GroupStates
    entrance: GroupEntrance
    reading: GroupReading
    scan: GroupScan


class CassandraGroups(Groups):
    """The groups of the engine for clusters. `parts` raises `StoreError` while it is not open; `keep_days` and `floor`
    are the timelines' own: how long history is kept, and the lowest stamp that is shown of groups."""

    def __init__(
        self,
        settings: StoreSettings,
        history: HistorySettings,
        parts: Callable[[], GroupParts],
        now_ms: Callable[[], int],
        keep_days: Callable[[], Awaitable[int]],
        floor: Callable[[], Awaitable[int]],
    ) -> None:
        self._settings = settings
        self._history = history
        self._parts = parts
        self._now_ms = now_ms
        self._keep_days = keep_days
        self._floor = floor

    async def _life_s(self) -> int:
        """How long intervals of who has left are kept: until no row is left that they may see."""
        return (lives_of(await self._keep_days(), self._settings).group + TRAIL_MS) // 1000

    async def make(self, group: Group, change: GroupChange) -> None:
        await self._parts().states.make(group, change, await self._life_s())

    async def change(self, group: Group, change: GroupChange) -> bool:
        return await self._parts().states.change(group, change, await self._life_s())

    async def groups(self, groups: Collection[str]) -> Mapping[str, Group | None]:
        return await self._parts().states.groups(groups)

    async def changes(self, group: str, since: int, limit: int) -> Sequence[GroupChange]:
        return await self._parts().states.changes(group, since, limit)

    async def of_user(self, user: str, after: str = "", limit: int = MAX_GROUPS_OF_USER) -> Sequence[MyGroup]:
        return await self._parts().states.of_user(user, after, limit, await self._life_s())

    async def all_groups(self, after: str, limit: int) -> Sequence[str]:
        return await self._parts().states.all_groups(after, limit)

    async def invite(self, invitation: Invitation) -> bool:
        return await self._parts().entrance.invite(invitation)

    async def invitations(self, user: str) -> Sequence[Invitation]:
        return await self._parts().entrance.invitations(user)

    async def drop_invitation(self, user: str, group: str) -> bool:
        return await self._parts().entrance.drop_invitation(user, group)

    async def add_link(self, link: Link) -> None:
        await self._parts().entrance.add_link(link)

    async def links(self, group: str) -> Sequence[Link]:
        return await self._parts().entrance.links(group)

    async def find_link(self, digest: str) -> Link | None:
        return await self._parts().entrance.find_link(digest)

    async def use_link(self, group: str, link: str, now_ms: int) -> bool:
        return await self._parts().entrance.use_link(group, link, now_ms)

    async def drop_link(self, group: str, link: str) -> None:
        await self._parts().entrance.drop_link(group, link)

    async def marks(self, group: str) -> Mapping[str, Marks]:
        return await self._parts().reading.marks(group)

    async def was_member(self, group: str, user: str) -> bool:
        return await self._parts().states.was_member(group, user)

    async def scan(self, queries: Sequence[GroupQuery]) -> Sequence[GroupPage]:
        if not queries:
            return []
        scan, now_ms, hours = self._parts().scan, self._now_ms(), self._history.edit_hours
        keeps, floor = await self._keep_days() > 0, await self._floor()
        return await asyncio.gather(*[scan.page(query, now_ms, keeps, floor, hours) for query in queries])

    async def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        if checkpoints:
            await self._parts().scan.raise_checkpoints(checkpoints, self._now_ms())

    async def forget_user(self, user: str) -> None:
        parts = self._parts()
        await parts.entrance.forget_user(user)
        await parts.scan.forget(user)
        await parts.states.forget_user(user)

    async def purge(self) -> int:
        """Closed groups alone: all else ends by itself."""
        parts, life_s = self._parts(), await self._life_s()
        last = (self._now_ms() - life_s * 1000) // _DAY_MS
        gone = 0
        for day, group in await parts.states.ended(range(last - _SWEPT_DAYS, last)):
            found = (await parts.states.groups([group]))[group]
            if found is None or found.closed:
                await parts.entrance.drop_links(group)
                await parts.states.drop(day, group)
                gone += 1
        return gone


def make_group_parts(
    connection: Connection, requests: Requests, states: GroupStates, timelines: Parts, now_ms: Callable[[], int]
) -> GroupParts:
    """Of one connection, beside its timelines."""
    scan = GroupScan(connection, requests, states, timelines.rows, timelines.group_rows)
    return GroupParts(states, GroupEntrance(connection, requests, now_ms), timelines.groups, scan)
