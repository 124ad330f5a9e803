"""What is Cassandra's own of groups: answers that are lost, statements that fail alone, reads that many share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import SparrowError, StoreError
from protocol.ids import new_group_id
from store import HistorySettings
from store.cassandra import group_archive, timeline_writing
from store.cassandra.engine import CassandraStore
from store.cassandra.gathering import Gathering
from store.groups import GroupChange, GroupQuery, Invitation, Link, MyGroup
from store.membership import after, made
from store.timelines import Erasure, Result
from tests.store.conftest import shared_cassandra
from tests.store.group_helpers import G, H, circle, edit_row, gname, ids, scan, scanned
from tests.store.helpers import make_user
from tests.store.timeline_helpers import NOW_MS, keep, results, stamp

DAY_MS = 86_400_000
DAY = DAY_MS << 20


@pytest.fixture
def store(tmp_path: Path) -> CassandraStore:
    cassandra = shared_cassandra()
    cassandra.keeps = True
    cassandra.begin(tmp_path)
    return other_store()


def other_store() -> CassandraStore:
    return CassandraStore(shared_cassandra().settings, history=HistorySettings(ledger=""))


def keyspace() -> str:
    return shared_cassandra().settings.cassandra_keyspace


def select(what: str) -> list[Any]:
    return shared_cassandra().connection.execute(what.format(k=keyspace()))


class Losing:
    """A store whose conditional statements go wrong, one by one, as `plan` says: "done": done, and the answer is lost;
    "again": the driver repeats what was done, as after a timeout; "late": not done before `catch_up`; "": well."""

    def __init__(self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch, *plan: str) -> None:
        self._requests = store._parts().groups.states._requests
        self._real = self._requests.conditional
        self._plan = list(plan)
        self._late: list[Any] = []
        monkeypatch.setattr(self._requests, "conditional", self._conditional)

    async def _conditional(self, statement: Any) -> dict[str, Any]:
        step = self._plan.pop(0) if self._plan else ""
        if step == "late":
            self._late.append(statement)
        elif step:
            answer = await self._real(statement)
            if step == "again":
                answer = await self._real(statement)
                assert not answer["[applied]"]
                return answer
        if step:
            raise StoreError("no answer within 5 s")
        return await self._real(statement)

    async def catch_up(self) -> None:
        """What nobody waits for any more is done."""
        for statement in self._late:
            await self._real(statement)


# Changes of a group whose answers are lost.


@pytest.mark.parametrize("how", ["done", "again"])
async def test_a_change_whose_answer_was_lost_is_done_once(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with store:
        there = await circle(store, "bob")
        for change in (
            GroupChange(3, NOW_MS, "alice", "added", "carol"),
            GroupChange(4, NOW_MS, "alice", "removed", "bob"),
            GroupChange(5, NOW_MS, "alice", "closed"),
        ):
            Losing(store, monkeypatch, how)
            group = after(there.now, change)
            assert await store.groups.change(group, change)
            monkeypatch.undo()
            there.now = group
            assert (await store.groups.groups([G]))[G] == group
            assert await store.groups.changes(G, change.version - 1, 9) == [change]
        assert await store.groups.of_user("bob") == [MyGroup(G, NOW_MS)]


@pytest.mark.parametrize("how", ["done", "again"])
async def test_a_group_is_made_once_whose_answer_was_lost(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with store:
        Losing(store, monkeypatch, how)
        group, change = made(G, "alice", "friends", NOW_MS)
        await store.groups.make(group, change)
        assert await store.groups.groups([G]) == {G: group}
        assert await store.groups.changes(G, 0, 9) == [change]


async def test_a_change_that_may_be_done_yet_is_neither_done_nor_not(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be said before it was repeated; and then it is done once, whichever of the two was first."""
    async with store, other_store() as other:
        there = await circle(store, "bob")
        change = GroupChange(3, NOW_MS, "alice", "added", "carol")
        group = after(there.now, change)
        losing = Losing(store, monkeypatch, "late")
        with pytest.raises(StoreError):
            await store.groups.change(group, change)
        assert (await other.groups.groups([G]))[G] == there.now
        await losing.catch_up()
        assert (await other.groups.groups([G]))[G] == group
        assert await store.groups.change(group, change)
        await losing.catch_up()
        assert await store.groups.changes(G, 2, 9) == [change]
        assert (await store.groups.groups([G]))[G] == group


async def test_a_change_that_is_done_too_late_is_not_done(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else made the version meanwhile: the late one changes nothing, and its repeat says so."""
    async with store, other_store() as other:
        there = await circle(store, "bob")
        mine, theirs = [GroupChange(3, NOW_MS, actor, "added", "carol") for actor in ("alice", "bob")]
        losing = Losing(store, monkeypatch, "late")
        with pytest.raises(StoreError):
            await store.groups.change(after(there.now, mine), mine)
        assert await other.groups.change(after(there.now, theirs), theirs)
        await losing.catch_up()
        assert not await store.groups.change(after(there.now, mine), mine)
        assert await store.groups.changes(G, 0, 9) == [*(await other.groups.changes(G, 0, 2)), theirs]


async def test_who_was_not_added_in_the_end_is_in_no_list(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store:
        there = await circle(store)
        await keep(store, there.text(1))
        Losing(store, monkeypatch, "late")
        change = GroupChange(2, NOW_MS, "alice", "added", "bob")
        with pytest.raises(StoreError):
            await store.groups.change(after(there.now, change), change)
        assert await store.groups.of_user("bob") == []
        assert await store.timelines.conversations("bob", "", 9) == []
        assert await scanned(store, "bob") == []


async def test_lists_that_could_not_be_written(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the change: nothing is done. Behind it: it is done, and whoever reads the list mends it."""
    async with store:
        there = await circle(store, "bob")
        states = store._parts().groups.states
        for statement, change in (
            ("_list", GroupChange(3, NOW_MS, "alice", "added", "carol")),
            ("_unlist", GroupChange(3, NOW_MS, "alice", "removed", "bob")),
        ):
            monkeypatch.setattr(states, statement, Refusing(getattr(states, statement)))
            group = after(there.now, change)
            if statement == "_list":
                with pytest.raises(StoreError):
                    await store.groups.change(group, change)
                assert (await store.groups.groups([G]))[G] == there.now
            else:
                assert await store.groups.change(group, change)
            monkeypatch.undo()
        for _ in range(2):
            assert await store.groups.of_user("bob") == [MyGroup(G, NOW_MS)]
        assert select("SELECT left_ms FROM {k}.group_lists WHERE user = 'bob'") == [(NOW_MS,)]


class Refusing:
    """A statement that the driver does not take, for values that hold this text."""

    def __init__(self, prepared: Any, text: str = "") -> None:
        self._prepared = prepared
        self._text = text

    def bind(self, values: tuple[object, ...]) -> object:
        return object() if self._text in str(values) else self._prepared.bind(values)


# Invitations and links.


async def test_invitations_whose_answers_were_lost(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store:
        first = Invitation(G, "bob", "alice", 5)
        Losing(store, monkeypatch, "again")
        assert await store.groups.invite(first)
        assert await store.groups.invitations("bob") == [first]
        monkeypatch.undo()
        for how in ("done", "again"):
            Losing(store, monkeypatch, how)
            assert await store.groups.drop_invitation("bob", G)
            assert not await store.groups.drop_invitation("bob", G)
            monkeypatch.undo()
            assert await store.groups.invite(first)
        Losing(store, monkeypatch, "late")
        with pytest.raises(StoreError):
            await store.groups.drop_invitation("bob", G)
        assert await store.groups.invitations("bob") == [first]


async def test_many_who_invite_at_once_do_not_bury_anybody(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.cassandra.group_entrance.MAX_INVITATIONS", 3)
    async with store, other_store() as other:
        groups = [f"~{number:024d}" for number in range(8)]
        asked = [
            (store, other)[number % 2].groups.invite(Invitation(group, "bob", "mallory", number))
            for number, group in enumerate(groups)
        ]
        assert sum(await asyncio.gather(*asked)) == 3
        assert len(await store.groups.invitations("bob")) == 3


@pytest.mark.parametrize("how", ["done", "again"])
async def test_a_use_of_a_link_whose_answer_was_lost_is_taken_once(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with store:
        link = Link(G, "one", "ab" * 32, NOW_MS + DAY_MS, 2, "alice")
        await store.groups.add_link(link)
        for left in (1, 0):
            Losing(store, monkeypatch, how)
            assert await store.groups.use_link(G, "one", NOW_MS)
            monkeypatch.undo()
            assert await store.groups.find_link(link.digest) == link._replace(uses_left=left)
        assert not await store.groups.use_link(G, "one", NOW_MS)


async def test_a_use_that_comes_late_is_not_another_one(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store:
        link = Link(G, "one", "ab" * 32, NOW_MS + DAY_MS, 3, "alice")
        await store.groups.add_link(link)
        losing = Losing(store, monkeypatch, "late")
        with pytest.raises(StoreError):
            await store.groups.use_link(G, "one", NOW_MS)
        assert await store.groups.use_link(G, "one", NOW_MS)
        await losing.catch_up()
        assert await store.groups.find_link(link.digest) == link._replace(uses_left=2)


# Entries.


@pytest.mark.parametrize("statement", ["_group_row", "_span", "_newest", "_attempt", "_body_for_both"])
async def test_what_fails_fails_alone_and_may_be_repeated(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    async with store:
        good, bad = await circle(store, "bob"), await circle(store, "bob", group=H)
        writing = store._parts().timelines.archive._writing
        join, refusing = timeline_writing._statement, Refusing(getattr(writing, statement), H)
        monkeypatch.setattr(writing, statement, refusing)
        # What the driver does not take, fails as a whole.
        monkeypatch.setattr(
            timeline_writing,
            "_statement",
            lambda some: object() if any(type(one) is object for one in some) else join(some),
        )
        pair = good.text(1), bad.text(1)
        assert await results(store, *pair) == [Result.KEPT, Result.FAILED]
        assert [row.group for row in await scan(store, "bob")] == [G]
        assert await ids(store, "bob", group=H) == []
        assert await results(store, *pair) == [Result.KEPT, Result.FAILED]
        monkeypatch.undo()
        assert await results(store, *pair) == [Result.KEPT] * 2
        assert [row.group for row in await scan(store, "bob")] == sorted([G, H])
        for limit in (1, 50):
            assert await ids(store, "bob", group=H, limit=limit) == [1]
        assert await store.timelines.unread("bob", [G, H]) == {G: 1, H: 1}


async def test_nothing_can_be_read(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands there is not known: nothing is kept, and nothing is refused for ever."""
    async with store:
        there = await circle(store, "bob")
        rows = store._parts().timelines.rows

        async def fails(*_: object) -> None:
            raise StoreError("away")

        monkeypatch.setattr(rows, "each_body", fails)
        assert await results(store, there.text(1), there.text(2, kind=-1)) == [Result.FAILED, Result.NOT_ALLOWED]
        monkeypatch.undo()
        assert await results(store, there.text(1)) == [Result.KEPT]


async def test_of_two_bodies_at_once_one_is_kept(store: CassandraStore) -> None:
    """P6: nobody shows one thing to some and another to others, in whatever batches and order it comes."""
    async with store:
        there = await circle(store, "bob")
        for number in range(1, 9):
            mine = [
                there.text(number, b"yes", stamp=stamp(2 * number + number % 2)),
                there.text(number, b"no", stamp=stamp(2 * number + 1 - number % 2)),
            ]
            some = await asyncio.gather(*[store.timelines.archive([one]) for one in mine])
            assert sorted(answer[0].result for answer in some) == [Result.KEPT, Result.NOT_ALLOWED]
            kept = mine[[answer[0].result for answer in some].index(Result.KEPT)]
            assert await results(store, *mine) == [Result.KEPT if one is kept else Result.NOT_ALLOWED for one in mine]
        told = {row.message.name.id: row.message.body for row in await scan(store, "bob")}
        assert len(told) == 8
        assert await results(store, there.text(20, b"a"), there.text(20, b"b")) == [Result.KEPT, Result.NOT_ALLOWED]


async def test_another_body_is_refused_by_another_engine(store: CassandraStore) -> None:
    """Also if it has never seen the stream, or has seen a lower id of it."""
    async with store, other_store() as other:
        there = await circle(store, "bob")
        await keep(store, *[there.text(number) for number in (1, 2, 300)])
        await keep(store, Erasure(G, gname(300), stamp(301), "alice"))
        await keep(other, there.text(1))
        assert await results(other, there.text(2, b"otherwise")) == [Result.NOT_ALLOWED]
        assert await results(other, there.text(300, b"otherwise")) == [Result.KEPT]
        told = {row.message.name.id: row.message.body for row in await scan(store, "bob")}
        assert told == {1: b"1", 2: b"2", 300: b""}


async def test_streams_are_not_remembered_for_ever(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_archive, "_STREAMS", 2)
    async with store:
        there = await circle(store, "bob")
        for _ in range(2):
            await keep(store, *[there.text(1, name=gname(1, stream=number)) for number in range(1, 5)])
        assert len(store._parts().timelines.archive._groups._newest) == 2
        assert store._parts().timelines.archive._groups._under_way == {}
        assert len(await scanned(store, "bob")) == 4


async def test_rows_of_attempts_that_failed_are_nothing(store: CassandraStore) -> None:
    async with store:
        there = await circle(store, "bob")
        await keep(store, there.text(1))
        writing = store._parts().timelines.archive._writing
        _, writes = writing._first_round([there.text(number) for number in range(2, 9)], 365)
        # One more row of what stands already, too.
        _, more = writing._first_round([there.text(1, stamp=stamp(5)), there.text(1, version=7)], 365)
        assert all((await writing._run([*writes, *more])).values())
        for limit in (1, 3, 50):
            assert await ids(store, "bob", limit=limit) == [1]
            assert await scanned(store, "bob", limit=limit) == [1]
        assert await store.timelines.unread("bob", [G]) == {G: 1}


async def test_a_body_lives_as_long_as_its_last_row(store: CassandraStore) -> None:
    """The first attempt was not SENT; the second comes weeks later, and its row would lead to nothing."""
    async with store:
        there = await circle(store, "bob")
        first = there.text(1, stamp=stamp() - 20 * DAY)
        await keep(store, first, there.text(2, stamp=stamp() - 20 * DAY))
        await keep(store, first._replace(stamp=stamp(9)), there.text(2, version=1, stamp=stamp() - 19 * DAY))
        days = dict(select("SELECT id, ttl(value) FROM {k}.bodies WHERE audience = 0 ALLOW FILTERING"))
        assert [round(days[number] / 86_400) for number in (1, 2)] == [365, 346]
        (row,) = await scan(store, "bob", since=stamp(0))
        assert (row.message.body, row.message.stamp) == (b"1", stamp(9))


async def test_what_is_kept_has_its_end(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store:
        await store.timelines.set_keep_days(0, 1)
        there = await circle(store, "bob", "carol")
        await keep(store, there.text(1), edit_row(there, 2, gname(1)))
        month = 30 * 86_400
        for column, table in (("kind", "timeline"), ("open", "timeline"), ("stamp", "bodies")):
            lives = [row[0] for row in select(f"SELECT ttl({column}) FROM {{k}}.{table}")]
            assert lives
            assert all(month - 3600 < ttl <= month for ttl in lives)
        ((until,),) = select("SELECT ttl(until) FROM {k}.group_newest")
        assert until > month
        await there.remove("bob")
        parts = select("SELECT part, key, ttl(since), ttl(until), ttl(told) FROM {k}.group_states")
        ends = {(part, key.partition("/")[0]): (since, until) for part, key, since, until, _ in parts if part == 2}
        assert ends[2, "alice"] == (None, None)
        assert min(ends[2, "bob"]) > month
        assert all(told is None for *_, told in parts)
        ((left,),) = select("SELECT ttl(left_ms) FROM {k}.group_lists WHERE user = 'bob'")
        assert left > month


# Scans.


async def test_a_scan_over_many_days(store: CassandraStore) -> None:
    async with store:
        there = await circle(store, "bob")
        days = [300, 90, 41, 41, 40, 3, 2, 1, 0, 0, *range(100, 180)]
        await keep(store, *[there.text(n, stamp=stamp(n) - day * DAY) for n, day in enumerate(days, 1)])
        expected = sorted(range(1, len(days) + 1), key=lambda n: (-days[n - 1], n))
        for limit in (1, 3, 50, 500):
            assert await scanned(store, "bob", limit=limit) == expected
        assert await scanned(store, "bob", since=stamp() - 4 * DAY) == [6, 7, 8, 9, 10]
        # A clock that is a day ahead.
        await keep(store, there.text(500, stamp=stamp() + DAY))
        assert await scanned(store, "bob", since=stamp()) == [9, 10, 500]


async def test_a_scan_reads_only_what_was_written_to(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store, other_store() as other:
        groups = [await circle(store, "bob", group=new_group_id(bytes([8 * number] * 15))) for number in range(8)]
        minutes = 60_000 << 20
        await keep(store, *[one.text(n, stamp=stamp() - n * 5 * minutes) for n, one in enumerate(groups, 1)])
        read: list[str] = []
        rows = other._parts().groups.scan._group_rows
        real = rows._try

        async def seen(ask: Any) -> Any:
            read.append(ask.group)
            return await real(ask)

        monkeypatch.setattr(rows, "_try", seen)
        assert sorted(await scanned(other, "bob", since=stamp() - 22 * minutes)) == [1, 2, 3, 4]
        assert sorted(read) == sorted([one.id for one in groups[:4]])
        # In the last minute of a row and behind it.
        read.clear()
        assert await scanned(other, "bob", since=stamp() - 3 * minutes) == []
        assert read == []


async def test_many_who_come_back_at_once_share_their_reads(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"user{number}" for number in range(12)]
    async with store:
        first, second = await circle(store, *users), await circle(store, *users, group=H)
        await keep(store, *[first.text(n) for n in range(1, 6)], *[second.text(n) for n in range(1, 80)])
        sent = 0
        requests = store._parts().groups.states._requests
        real = requests.outcomes

        async def counted(statements: Sequence[Any], *more: Any) -> Any:
            nonlocal sent
            sent += len(statements)
            return await real(statements, *more)

        monkeypatch.setattr(requests, "outcomes", counted)
        queries = [GroupQuery(user, "d", since=stamp(at % 3), limit=500) for at, user in enumerate(users)]
        for at, page in enumerate(await store.groups.scan(queries)):
            expected = [(group, n) for group, last in ((G, 6), (H, 80)) for n in range(max(1, at % 3), last)]
            assert [(row.group, row.message.name.id) for row in page.rows] == sorted(expected)
            assert page.end
        # Alone, each would read its list and what was written to; and members, rows and bodies of both groups.
        assert sent < len(users) * (2 + 2 * 3) / 2
        # Where not all has room, each goes its own way.
        scans = [scanned(store, user, limit=4 + at, since=stamp(at % 3), group=H) for at, user in enumerate(users)]
        for at, found in enumerate(await asyncio.gather(*scans)):
            assert found == list(range(max(1, at % 3), 80))


async def test_a_group_that_cannot_be_read_holds_up_no_other(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store:
        good, bad = await circle(store, "bob"), await circle(store, "carol", group=H)
        await keep(store, good.text(1), bad.text(1))
        rows = store._parts().groups.scan._group_rows
        monkeypatch.setattr(rows, "_rows_on", Refusing(rows._rows_on, H))
        one, other = await asyncio.gather(scanned(store, "bob"), scanned(store, "carol"), return_exceptions=True)
        assert one == [1]
        assert isinstance(other, StoreError)


async def test_reads_are_put_together() -> None:
    asked: list[list[int]] = []
    go_on = asyncio.Event()

    async def read(keys: Sequence[int]) -> Mapping[int, str | SparrowError]:
        asked.append(list(keys))
        await go_on.wait()
        if 9 in keys:
            raise ValueError("a bug")
        return {key: StoreError("away") if key == 7 else str(key) for key in keys}

    gathering = Gathering(read)
    assert await gathering.get([]) == {}
    first = asyncio.create_task(gathering.get([1]))
    await asyncio.sleep(0.01)
    more: list[asyncio.Task[dict[int, str]]] = [
        asyncio.create_task(gathering.get(keys)) for keys in ([1, 2], [2, 3], [7])
    ]
    await asyncio.sleep(0.01)
    # Who gives up ends nothing for the others.
    more[0].cancel()
    go_on.set()
    assert await first == {1: "1"}
    answers = await asyncio.gather(*more, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == {2: "2", 3: "3"}
    assert isinstance(answers[2], StoreError)
    # What had begun before somebody asked, was not for them.
    assert asked == [[1], [1, 2, 3, 7]]
    with pytest.raises(ValueError, match="a bug"):
        await gathering.get([9])
    assert await gathering.get([1]) == {1: "1"}


async def test_a_new_checkpoint_makes_no_device(store: CassandraStore) -> None:
    async with store:
        await make_user(store, "bob", "d", "e")
        await store.remove_device("bob", "e")
        wanted = {(user, device): NOW_MS - 5 for user in ("bob", "nobody") for device in ("d", "e", "f")}
        await store.groups.raise_checkpoints(wanted)
        assert select("SELECT user, device, checkpoint FROM {k}.users WHERE checkpoint > 0 ALLOW FILTERING") == [
            ("bob", "d", NOW_MS - 5)
        ]
        await store.groups.forget_user("bob")
        await store.groups.raise_checkpoints(wanted)
        assert select("SELECT user FROM {k}.users WHERE checkpoint > 0 ALLOW FILTERING") == []


# Ends.


async def test_closed_groups_are_swept_when_their_rows_are_gone(store: CassandraStore) -> None:
    async with store:
        await store.timelines.set_keep_days(0, 1)
        there, other = await circle(store, "bob"), await circle(store, "bob", group=H)
        await store.groups.add_link(Link(G, "one", "ab" * 32, NOW_MS + 90 * DAY_MS, 2, "alice"))
        await there.change("closed", ms=NOW_MS)
        for days, gone in ((0, 0), (29, 0), (33, 1), (33, 0)):
            now = NOW_MS / 1000 + days * 86_400
            store._clock = lambda now=now: now  # type: ignore[misc]
            assert await store.purge() == gone
        assert await store.groups.groups([G, H]) == {G: None, H: other.now}
        assert await store.groups.find_link("ab" * 32) is None
        assert select("SELECT group_id FROM {k}.group_ends") == []


async def test_a_full_group_is_closed(store: CassandraStore) -> None:
    """As one change, however many are in it."""
    async with store:
        users = [f"user{number:04d}" for number in range(1, 1000)]
        there = await circle(store)
        insert = (
            "INSERT INTO {k}.group_states (group_id, part, key, role, since) VALUES ('"
            + G
            + "', {part}, '{key}', 0, 1)"
        )
        batch = [
            insert.format(k=keyspace(), part=part, key=key)
            for user in users
            for part, key in ((0, user), (2, f"{user}/{1:019d}"))
        ]
        for start in range(0, len(batch), 100):
            statement = "BEGIN UNLOGGED BATCH " + "; ".join(batch[start : start + 100]) + "; APPLY BATCH"
            shared_cassandra().connection.execute(statement)
        group = (await store.groups.groups([G]))[G]
        assert group is not None
        assert len(group.members) == 1000
        there.now = group
        await keep(store, there.text(1))
        await there.change("closed", actor="alice", ms=NOW_MS)
        assert (await store.groups.groups([G]))[G] == there.now
        assert await scanned(store, "alice", "x", group=G) == []
        assert not (await store._parts().groups.states.presence(G, users[3])).is_in
