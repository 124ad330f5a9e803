"""Membership of groups: one partition each, changed by compare-and-set on its version.

Owns the tables `group_states`, `group_lists` and `group_ends`. The parts of a partition, by key:

- MEMBER: user; who is in it.
- CHANGE: version; each change.
- INTERVAL: user/version; since when somebody was in it, and until when. Of who has left it lives as long as rows do.
- FORMER: user; who has left once, for ever.

`group_lists` names the groups that a user may be in, and is no truth: it is written before who is added is in it, and
after who has left is out of it; whoever reads it asks the group's partition. `group_ends` is written before a group is
closed, and for the sweep alone. What a compare-and-set came to that nobody answered, a serial read tells.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cassandra.query import BatchStatement, BatchType

from protocol.errors import SparrowError, StoreError
from store.cassandra.connecting import Connection
from store.cassandra.gathering import Gathering
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import FOREVER
from store.groups import Group, GroupChange, Interval, Member, Membership, MyGroup, Role

_log = logging.getLogger("sparrow.store")
MEMBER_PART, CHANGE, INTERVAL, FORMER = range(4)
_STATE = "version, name, created_ms, picture, admins_write, admins_add, open, closed_ms"
_READ = f"SELECT {_STATE}, key, role, since FROM group_states WHERE group_id = ? AND part = {MEMBER_PART}"
_HEADS = "SELECT group_id, version FROM group_states WHERE group_id IN ? PER PARTITION LIMIT 1"
_HEADS_AT_ONCE = 25
_ALONE = f"SELECT {_STATE} FROM group_states WHERE group_id = ? LIMIT 1"
_WRITE = (
    "UPDATE group_states SET version = ?, name = ?, created_ms = ?, picture = ?, admins_write = ?, admins_add = ?, "
    "open = ?, closed_ms = ? WHERE group_id = ? IF version = ?"
)
_PUT_MEMBER = f"INSERT INTO group_states (group_id, part, key, role, since) VALUES (?, {MEMBER_PART}, ?, ?, ?)"
_DROP_MEMBER = f"DELETE FROM group_states WHERE group_id = ? AND part = {MEMBER_PART} AND key = ?"
_DROP = "DELETE FROM group_states WHERE group_id = ?"
_PUT_END = "INSERT INTO group_ends (day, group_id) VALUES (?, ?)"
_ENDS = "SELECT group_id FROM group_ends WHERE day = ?"
_DROP_END = "DELETE FROM group_ends WHERE day = ? AND group_id = ?"
_PUT_CHANGE = f"INSERT INTO group_states (group_id, part, key, told) VALUES (?, {CHANGE}, ?, ?)"
_CHANGES = f"SELECT key, told FROM group_states WHERE group_id = ? AND part = {CHANGE} AND key > ? LIMIT ?"
_ENTER = f"INSERT INTO group_states (group_id, part, key, since) VALUES (?, {INTERVAL}, ?, ?)"
_LEAVE = (
    "INSERT INTO group_states (group_id, part, key, since, until, left_ms) "
    f"VALUES (?, {INTERVAL}, ?, ?, ?, ?) USING TTL ?"
)
_ALL_INTERVALS = (
    f"SELECT version, closed_ms, key, since, until, left_ms FROM group_states WHERE group_id = ? AND part = {INTERVAL}"
)
_INTERVALS = f"{_ALL_INTERVALS} AND key > ? AND key < ?"
_WHOLE = 4
"""So many at once, and all intervals of a group are read."""
_PUT_FORMER = f"INSERT INTO group_states (group_id, part, key) VALUES (?, {FORMER}, ?)"
_FORMER_ONE = f"SELECT key FROM group_states WHERE group_id = ? AND part = {FORMER} AND key = ?"
_FIRST_GROUPS = "SELECT DISTINCT group_id FROM group_states LIMIT ?"
_GROUPS = "SELECT DISTINCT group_id FROM group_states WHERE token(group_id) > token(?) LIMIT ?"
_LIST = "INSERT INTO group_lists (user, group_id, left_ms) VALUES (?, ?, NULL) USING TIMESTAMP ?"
_UNLIST = "INSERT INTO group_lists (user, group_id, left_ms) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?"
_LISTED = "SELECT group_id, left_ms FROM group_lists WHERE user = ? AND group_id > ? LIMIT ?"
_LISTED_AT_ONCE = 1_000
_DAY_MS = 86_400_000
_FORGET = "DELETE FROM group_lists USING TIMESTAMP ? WHERE user = ?"


class Presence(NamedTuple):
    """What a group's partition says of one user."""

    membership: Membership
    left_ms: int
    """When they left last; 0: they are in it, or never were."""

    @property
    def is_in(self) -> bool:
        """Whether the user is a member now."""
        intervals = self.membership.intervals
        return bool(intervals) and not intervals[-1].until


class GroupStates:
    """The operations on these tables. `life_s`: how long rows of groups live."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._requests = requests
        self._read = connection.prepare(_READ)
        self._heads = connection.prepare(_HEADS)
        self._alone = connection.prepare(_ALONE)
        self._write = connection.prepare(_WRITE)
        self._put_member = connection.prepare(_PUT_MEMBER)
        self._drop_member = connection.prepare(_DROP_MEMBER)
        self._drop = connection.prepare(_DROP)
        self._put_end = connection.prepare(_PUT_END)
        self._ends = connection.prepare(_ENDS)
        self._drop_end = connection.prepare(_DROP_END)
        self._put_change = connection.prepare(_PUT_CHANGE)
        self._changes = connection.prepare(_CHANGES)
        self._enter = connection.prepare(_ENTER)
        self._leave = connection.prepare(_LEAVE)
        self._intervals = connection.prepare(_INTERVALS)
        self._all_intervals = connection.prepare(_ALL_INTERVALS)
        self._presences = Gathering(self._read_presences)
        self._put_former = connection.prepare(_PUT_FORMER)
        self._former_one = connection.prepare(_FORMER_ONE)
        self._first_groups = connection.prepare(_FIRST_GROUPS)
        self._groups = connection.prepare(_GROUPS)
        self._list = connection.prepare(_LIST)
        self._unlist = connection.prepare(_UNLIST)
        self._listed = connection.prepare(_LISTED)
        self._forget = connection.prepare(_FORGET)

    # Reading.

    async def groups(self, wanted: Collection[str]) -> dict[str, Group | None]:
        """As they are now. Serial: what is seen here once is never undone, however an unanswered change ends."""
        names = [group or " " for group in dict.fromkeys(wanted)]
        chunks = [names[start : start + _HEADS_AT_ONCE] for start in range(0, len(names), _HEADS_AT_ONCE)]
        heads = await self._requests.run([self._heads.bind((chunk,)) for chunk in chunks])
        # Only of what is there: a serial read leaves traces in Cassandra, and anybody may ask for any name.
        there = [group for rows in heads for group, version in rows if version is not None]
        answers = await self._requests.run([self._read.bind((group,)) for group in there], serially=True)
        found: dict[str, Group | None] = dict.fromkeys(wanted)
        found |= {group: _group(group, rows) for group, rows in zip(there, answers, strict=True) if rows}
        # Without members, as who has left last leaves it, a partition's head is read with any other row.
        bare = [group for group, rows in zip(there, answers, strict=True) if not rows]
        heads = await self._requests.run([self._alone.bind((group,)) for group in bare], serially=True)
        return found | {group: _group(group, rows) for group, rows in zip(bare, heads, strict=True)}

    async def changes(self, group: str, since: int, limit: int, *, serially: bool = False) -> list[GroupChange]:
        """Some, by version."""
        read = self._changes.bind((group or " ", version_key(max(since, 0)), limit))
        (rows,) = await self._requests.run([read], serially=serially)
        return [GroupChange(int(key), *json.loads(told)) for key, told in rows]

    async def presences(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Presence]:
        """Of each (group, user)."""
        return await self._presences.get(list(wanted))

    async def _read_presences(
        self, wanted: Sequence[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Presence | SparrowError]:
        by_group: dict[str, list[str]] = {}
        for group, user in wanted:
            by_group.setdefault(group, []).append(user)
        # A group that many ask for at once is read as a whole.
        reads = [
            (group, part)
            for group, users in by_group.items()
            for part in ([[user] for user in users] if len(users) < _WHOLE else [users])
        ]
        answers = await self._requests.each([self._read_of(*read) for read in reads])
        found: dict[tuple[str, str], Presence | SparrowError] = {}
        for (group, users), rows in zip(reads, answers, strict=True):
            if isinstance(rows, SparrowError):
                found |= dict.fromkeys([(group, user) for user in users], rows)
                continue
            by_user: dict[str, list[Any]] = {user: [] for user in users}
            for row in rows:
                user = row[2].rpartition("/")[0]
                if user in by_user:
                    by_user[user].append(row)
            found |= {(group, user): _presence(some) for user, some in by_user.items()}
        return found

    def _read_of(self, group: str, users: Sequence[str]) -> Any:
        if len(users) > 1:
            return self._all_intervals.bind((group or " ",))
        # All keys of a user: a slash, and what comes behind it.
        return self._intervals.bind((group or " ", f"{users[0]}/", f"{users[0]}0"))

    async def presence(self, group: str, user: str) -> Presence:
        """Of one user in one group."""
        return (await self.presences([(group, user)]))[group, user]

    async def standing(self, user: str, first: str) -> list[str]:
        """All groups that the user may be in, by id from `first` on."""
        found: list[str] = []
        after = first[:-1]
        while True:
            (rows,) = await self._requests.run([self._listed.bind((user or " ", after, _LISTED_AT_ONCE))])
            found += [group for group, left_ms in rows if left_ms is None and group >= first]
            if len(rows) < _LISTED_AT_ONCE:
                return found
            after = rows[-1][0]

    async def candidates(self, user: str, after: str, limit: int) -> list[str]:
        """Groups that the user may be, or have been, in, by id."""
        (rows,) = await self._requests.run([self._listed.bind((user or " ", after, limit))])
        return [row[0] for row in rows]

    async def of_user(self, user: str, after: str, limit: int, life_s: int) -> list[MyGroup]:
        """Those that the user is or was in; what the list has wrong is mended."""
        found: list[MyGroup] = []
        while True:
            (rows,) = await self._requests.run([self._listed.bind((user or " ", after, limit))])
            asked = [(group, user) for group, left_ms in rows if left_ms is None]
            there = await self.presences(asked)
            mends = []
            for group, left_ms in rows:
                presence = there.get((group, user))
                if presence is None:
                    found.append(MyGroup(group, left_ms))
                elif presence.is_in:
                    found.append(MyGroup(group))
                elif presence.left_ms:
                    found.append(MyGroup(group, presence.left_ms))
                    until = presence.membership.intervals[-1].until
                    mends.append(self._unlist.bind((user, group, presence.left_ms, until, life_s)))
            await self._requests.run(mends)
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = rows[-1][0]

    async def was_member(self, group: str, user: str) -> bool:
        """Whether the user was in it, ever, and is not now."""
        (rows,) = await self._requests.run([self._former_one.bind((group or " ", user))])
        return bool(rows) and not (await self.presence(group, user)).is_in

    async def all_groups(self, after: str, limit: int) -> list[str]:
        """Ids, in the order of their tokens."""
        query = self._groups.bind((after, limit)) if after else self._first_groups.bind((limit,))
        (rows,) = await self._requests.run([query])
        return [row[0] for row in rows]

    # Writing.

    async def make(self, group: Group, change: GroupChange, life_s: int) -> None:
        """A new group; once more it is a repeat."""
        await self._swap(group, change, None, {}, life_s)

    async def change(self, group: Group, change: GroupChange, life_s: int) -> bool:
        """Keep the group as the change has made it; False if it was made for another version."""
        before = (await self.groups([group.group]))[group.group]
        if before is None or before.version < change.version - 1:
            return False
        if before.version >= change.version:
            return await self._is_made(group, change)
        return await self._swap(group, change, before.version, before.members, life_s)

    async def _is_made(self, group: Group, change: GroupChange) -> bool:
        """Whether it was this change that made its version."""
        return await self.changes(group.group, change.version - 1, 1, serially=True) == [change]

    async def _swap(
        self, group: Group, change: GroupChange, version: int | None, before: Mapping[str, Member], life_s: int
    ) -> bool:
        new = [member for user, member in group.members.items() if _since(member) != _since(before.get(user))]
        gone = [user for user in before if user not in group.members]
        first = [self._list.bind((member.user, group.group, change.version)) for member in new]
        if group.closed:
            first.append(self._put_end.bind((change.ms // _DAY_MS, group.group)))
        await self._requests.run(first)
        # Closed, its head says so for all members: so many would be too much for one statement.
        batch = self._batch(group, change, version, before, new, [] if group.closed else gone, life_s)
        try:
            applied = bool((await self._requests.conditional(batch))["[applied]"])
        except StoreError:
            # It may have been done all the same. If not, it may be done yet: then only a repeat can tell.
            if not await self._is_made(group, change):
                raise
            applied = True
        # The driver repeats what was not answered: then its own first try stands there.
        if not applied and not await self._is_made(group, change):
            return False
        await self._unlist_all(group, change, gone, life_s)
        return True

    def _batch(
        self,
        group: Group,
        change: GroupChange,
        version: int | None,
        before: Mapping[str, Member],
        new: Sequence[Member],
        gone: Sequence[str],
        life_s: int,
    ) -> BatchStatement:
        """All of one partition, and of one condition."""
        name = group.group
        flags = (group.picture, group.admins_write, group.admins_add, group.open)
        closed_ms = change.ms if group.closed else None
        batch = BatchStatement(BatchType.UNLOGGED)
        state = (group.version, group.name, group.created_ms, *flags, closed_ms)
        batch.add(self._write.bind((*state, name, version)))
        told = json.dumps(change[1:], ensure_ascii=False)
        batch.add(self._put_change.bind((name, version_key(change.version), told)))
        for user in gone:
            since = before[user].since
            batch.add(self._drop_member.bind((name, user)))
            batch.add(self._leave.bind((name, interval_key(user, since), since, change.version, change.ms, life_s)))
            batch.add(self._put_former.bind((name, user)))
        for member in group.members.values():
            if member != before.get(member.user):
                batch.add(self._put_member.bind((name, member.user, int(member.role), member.since)))
        for member in new:
            batch.add(self._enter.bind((name, interval_key(member.user, member.since), member.since)))
        return batch

    async def _unlist_all(self, group: Group, change: GroupChange, gone: Sequence[str], life_s: int) -> None:
        """They have left. What fails here, `of_user` mends."""
        unlist = [self._unlist.bind((user, group.group, change.ms, change.version, life_s)) for user in gone]
        try:
            await self._requests.run(unlist)
        except StoreError as error:
            _log.warning("lists of groups: %s", error)

    # Ends.

    async def ended(self, days: Sequence[int]) -> list[tuple[int, str]]:
        """Day and id of groups that were to be closed on one of these days."""
        answers = await self._requests.run([self._ends.bind((day,)) for day in days])
        return [(day, row[0]) for day, rows in zip(days, answers, strict=True) for row in rows]

    async def drop(self, day: int, group: str) -> None:
        """Forget a closed group."""
        await self._requests.run([self._drop.bind((group,))])
        await self._requests.run([self._drop_end.bind((day, group))])

    async def forget_user(self, user: str) -> None:
        """An account ends."""
        await self._requests.run([self._forget.bind((FOREVER, user))])


def _since(member: Member | None) -> int | None:
    return None if member is None else member.since


def version_key(version: int) -> str:
    """The key of a change."""
    return f"{version:019d}"


def interval_key(user: str, since: int) -> str:
    """The key of an interval."""
    return f"{user}/{version_key(since)}"


def _group(group: str, rows: Sequence[Any]) -> Group | None:
    if not rows or rows[0][0] is None:
        return None
    version, name, created_ms, picture, admins_write, admins_add, is_open, closed_ms = rows[0][:8]
    members = {row[8]: Member(row[8], Role(row[9]), row[10]) for row in rows if len(row) > 8 and row[10] is not None}
    if closed_ms is not None:
        members = {}
    flags = (bool(admins_write), bool(admins_add), bool(is_open), closed_ms is not None)
    return Group(group, version, name, created_ms, members, picture or "", *flags)


def _presence(rows: Sequence[Any]) -> Presence:
    intervals = []
    left = 0
    for version, closed_ms, _, since, until, left_ms in rows:
        if until is None and closed_ms is not None:
            until, left_ms = version, closed_ms
        intervals.append(Interval(since, until or 0))
        left = 0 if not until else left_ms
    return Presence(Membership(intervals), left)
