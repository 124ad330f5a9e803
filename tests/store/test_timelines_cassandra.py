"""What is Cassandra's own of timelines: write times decide, statements fail alone, spans, and what others see."""

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from store import HistorySettings
from store.cassandra import timeline_writing, timelines
from store.cassandra.engine import CassandraStore
from store.cassandra.timeline_keys import (
    FOREVER,
    MARKER_TTL_S,
    EditValue,
    Value,
    edit_time,
    marker_time,
    message_time,
    pack_edit,
    pack_value,
    unpack_edit,
    unpack_value,
)
from store.cassandra.timeline_usage import Usage
from store.timeline_rules import MAX_STAMP
from store.timelines import MAX_REVISION, HistoryQuery, KeptMessage, Mark, Name, Result, conversation_of
from tests.store.conftest import shared_cassandra
from tests.store.helpers import bodies, make_user
from tests.store.test_timelines_sqlite import copy
from tests.store.timeline_helpers import (
    AB,
    AUTHOR,
    HOUR,
    STREAM,
    bodies_of,
    body_of,
    edit,
    entry,
    erasure,
    keep,
    name,
    read,
    results,
    stamp,
)

DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> CassandraStore:
    cassandra = shared_cassandra()
    cassandra.keeps = True
    cassandra.begin(tmp_path)
    return other_store()


def other_store() -> CassandraStore:
    return CassandraStore(shared_cassandra().settings, history=HistorySettings(ledger=""))


def test_write_times() -> None:
    """A marker is above every message and edit; of two, the first."""
    stamps = [1, 2, stamp(), MAX_STAMP]
    assert all(0 < message_time(one) <= MAX_STAMP < marker_time(other) for one in stamps for other in stamps)
    assert sorted(stamps, key=message_time) == stamps[::-1] == sorted(stamps, key=marker_time)
    assert marker_time(1) < FOREVER
    edits = [edit(1, revision, b"", name=name(number)) for revision in (1, 2, MAX_REVISION) for number in (1, 2, 2**53)]
    times = [edit_time(one) for one in edits]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] <= MAX_STAMP
    assert MARKER_TTL_S < 630_720_000  # what Cassandra takes


def test_values() -> None:
    for value in (Value(b"", b"", ""), Value(bytes(range(256)), b"about", "file"), Value(b"x", b"", "f")):
        assert unpack_value(pack_value(*value)) == value
    one = edit(1, 5, b"text")
    assert unpack_edit(pack_edit(one, True)) == EditValue(5, one.name.id, one.stamp, True, b"text")


async def test_a_late_insert_undoes_no_marker(store: CassandraStore) -> None:
    """Each order of the writes themselves, whichever engine they come from."""
    async with store, other_store() as other:
        writings = [one._parts().timelines.archive._writing for one in (store, other)]
        for number, order in enumerate(itertools.permutations(range(4)), 1):
            steps = [
                lambda number=number: writings[0].entries([entry(number)], 365),
                lambda number=number: writings[1].entries([entry(number, b"otherwise", stamp=stamp(900))], 365),
                lambda number=number: writings[1].markers([erasure(number)]),
                lambda number=number: writings[0].edits([(edit(number, MAX_REVISION, b"edited"), True)], 365),
            ]
            for at in order:
                assert await steps[at]() == [True]
            found = await store.timelines.message(AB, name(number), "bob")
            assert found == KeptMessage(name(number), stamp(number), 1, b"", erased_by="alice")
        assert {one.body for one in await read(store)} == {b""}


async def test_the_first_body_stays_whoever_is_late(store: CassandraStore) -> None:
    async with store, other_store() as other:
        await keep(other, entry(1, b"second", stamp=stamp(500), about=b"b", kind=2))
        await keep(store, entry(1, b"first", about=b"a"))
        assert await read(other) == [KeptMessage(name(1), stamp(1), 1, b"first", b"a")]


@pytest.mark.parametrize("statement", ["_row", "_body_for_both", "_span", "_list"])
async def test_what_fails_fails_alone(store: CassandraStore, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    async with store:
        carol = conversation_of("alice", "carol")
        writing = store._parts().timelines.archive._writing
        prepared, join = getattr(writing, statement), timeline_writing._statement
        refused: list[object] = []

        class Refusing:
            def bind(self, values: tuple[object, ...]) -> object:
                bound = prepared.bind(values)
                if "carol" in str(values):
                    refused.append(bound)
                return bound

        def broken(statements: list[object]) -> object:
            # What the driver does not take is an error like any other.
            return object() if any(one is other for one in statements for other in refused) else join(statements)

        monkeypatch.setattr(writing, statement, Refusing())
        monkeypatch.setattr(timeline_writing, "_statement", broken)
        pair = entry(1), entry(1, conversation=carol)
        # Her list is one partition: what fails there fails for both.
        well = Result.FAILED if statement == "_list" else Result.KEPT
        assert await results(store, *pair) == [well, Result.FAILED]
        monkeypatch.undo()
        assert await results(store, *pair) == [Result.KEPT] * 2
        for user, conversation in (("bob", AB), ("carol", carol)):
            assert await bodies_of(store, user, conversation=conversation) == [b"1"]
            assert [one.other for one in await store.timelines.conversations(user, "", 9)] == ["alice"]


async def test_pages_over_many_days(store: CassandraStore) -> None:
    """Days with one message, with many, and days without."""
    async with store:
        days = [0, 0, 1, 2, 3, 40, 41, 41, 90, *range(100, 190), 300]
        await keep(store, *[entry(number, stamp=stamp(number) - day * DAY) for number, day in enumerate(days, 1)])
        expected = [b"%d" % number for number in sorted(range(1, len(days) + 1), key=lambda at: (days[at - 1], -at))]
        for limit in (1, 3, 50, 500):
            assert await bodies_of(store, limit=limit) == expected
        assert await store.timelines.unread("bob", [AB]) == {AB: 100}
        await store.timelines.raise_marks([Mark("bob", AB, stamp() - 45 * DAY, False)])
        assert await store.timelines.unread("bob", [AB]) == {AB: 8}


async def test_pages_of_a_busy_day(store: CassandraStore) -> None:
    """Found where many days are read at once."""
    async with store:
        busy = [
            entry(number, stamp=stamp(number) - 30 * DAY, author=("alice", "bob")[number % 2])
            for number in range(1, 200)
        ]
        quiet = [entry(number, stamp=stamp(number) - (number % 40) * DAY) for number in range(500, 520)]
        mine = [entry(number, stamp=stamp(number) - 30 * DAY, audience=AUTHOR) for number in range(600, 700)]
        await keep(store, *busy, *quiet, *mine)
        for user, batch in (("bob", [*busy, *quiet]), ("alice", [*busy, *quiet, *mine])):
            expected = [one.body for one in sorted(batch, key=lambda one: one.stamp, reverse=True)]
            for limit in (7, 50, 500):
                assert await bodies_of(store, user, limit=limit) == expected


async def test_a_clock_that_is_ahead(store: CassandraStore) -> None:
    """What stands on the next day already is read first."""
    async with store:
        await keep(store, entry(1), entry(2, stamp=stamp() + DAY), entry(3))
        assert await bodies_of(store, limit=1) == [b"2", b"3", b"1"]
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert listed.newest is not None
        assert listed.newest.body == b"2"


async def test_rows_of_attempts_that_failed_are_nothing(store: CassandraStore) -> None:
    async with store:
        await keep(store, entry(1))
        writing = store._parts().timelines.archive._writing
        _, writes = writing._first_round([entry(number) for number in range(2, 9)], 365)
        assert all((await writing._run(writes)).values())
        for limit in (1, 3, 50):
            assert await bodies_of(store, limit=limit) == [b"1"]
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert listed.newest is not None
        assert listed.newest.body == b"1"
        assert await store.timelines.unread("bob", [AB]) == {AB: 1}


async def test_others_follow_the_terms(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store, other_store() as other:
        await keep(store, entry(1))
        assert await bodies_of(other) == [b"1"]
        await store.timelines.set_keep_days(0, 0)
        monkeypatch.setattr(timelines, "TERMS_FRESH_S", 0.0)
        assert await bodies_of(other) == []
        assert (await other.timelines.terms()).keep_days == 0


async def test_what_is_kept_has_its_end(store: CassandraStore) -> None:
    async with store:
        await keep(store, entry(1), erasure(1), entry(2), edit(2, 1, b"x"))
        keyspace, connection = shared_cassandra().settings.cassandra_keyspace, shared_cassandra().connection
        year = 365 * 86_400
        for row in connection.execute(f"SELECT ttl(kind), ttl(size) FROM {keyspace}.timeline"):
            assert all(year - 86_400 < ttl <= year for ttl in row)
        found = connection.execute(f"SELECT editor, ttl(value), ttl(erased_by), ttl(stamp) FROM {keyspace}.bodies")
        ends = {(row[0], row[2] is not None): row for row in found}
        assert ends["", True][1] > MARKER_TTL_S - 1000 < ends["", True][2]
        assert year - 86_400 < ends["", False][1] <= year
        assert year - 86_400 < ends["phone", False][1] <= year


async def test_copies_that_wait_go(store: CassandraStore) -> None:
    async with store:
        await make_user(store, "alice", "d")
        await make_user(store, "bob", "d")
        stay = [copy(2, b"another"), copy(1, b"of another author", from_id="carol")]
        await store.append([copy(1, b"erased"), *stay, copy(1, b"erased", user="alice")])
        now = int(time.time() * 1000) << 20  # what waits is sought around it
        await keep(store, entry(1, stamp=now), erasure(1))
        assert await bodies(store, "alice", "d") == []
        assert await bodies(store, "bob", "d") == [row.body for row in stay]


async def test_counts_outlive_an_engine(store: CassandraStore) -> None:
    limits = HistorySettings(max_rows_per_day_of_author=3, ledger="")
    async with store:
        await keep(store, entry(1), entry(2))
    async with CassandraStore(shared_cassandra().settings, history=limits) as other:
        assert await results(other, entry(3), entry(4)) == [Result.KEPT, Result.FULL]


async def test_many_authors_are_not_remembered_for_ever(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.cassandra.timeline_usage._MAX_AUTHORS", 2)
    monkeypatch.setattr("store.cassandra.timeline_usage._MAX_NAMES", 2)
    monkeypatch.setattr("store.cassandra.timeline_usage.FLUSH_S", 0.0)
    monkeypatch.setattr("store.cassandra.timeline_writing._REMEMBERED", 2)
    async with store:
        for number in range(6):
            author = f"a{number}"
            one = entry(1, conversation=conversation_of(author, "bob"), name=Name(author, "d", STREAM, 1))
            await keep(store, one)
        usage: Usage = store._parts().timelines.usage
        assert len(usage._authors) <= 3
        assert len(usage._names) == 2
        assert len(await store.timelines.conversations("bob", "", 50)) == 6


async def test_nothing_can_be_read(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then changes and entries fail, each for itself, and may be tried again."""
    from protocol.errors import StoreError

    async with store:
        await keep(store, entry(1))
        archive = store._parts().timelines.archive

        async def fails(*_: object) -> None:
            raise StoreError("away")

        monkeypatch.setattr(archive._rows, "bodies", fails)
        assert await results(store, edit(1, 1, b"x"), erasure(1), erasure(1, by="")) == [
            Result.FAILED,
            Result.FAILED,
            Result.NOT_ALLOWED,
        ]
        monkeypatch.undo()
        monkeypatch.setattr(archive._usage, "load", fails)
        assert await results(store, entry(2), edit(1, 1, b"x"), entry(1, kind=-1)) == [
            Result.FAILED,
            Result.FAILED,
            Result.NOT_ALLOWED,
        ]
        monkeypatch.undo()
        monkeypatch.setattr(archive, "_drop_copies", fails)
        monkeypatch.setattr(archive._files, "one", fails)
        assert await results(store, erasure(1), entry(3, kind=2, file="f")) == [Result.KEPT, Result.FAILED]
        assert await body_of(store, 1) == b""


async def test_side_by_side(store: CassandraStore) -> None:
    async with store:
        await keep(store, *[entry(number) for number in range(1, 101)], entry(101, audience=AUTHOR))
        pages = await asyncio.gather(
            *[store.timelines.page(HistoryQuery(AB, user, limit=60)) for user in ("alice", "bob") * 5]
        )
        assert [len(page.messages) for page in pages] == [60] * 10
