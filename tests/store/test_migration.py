"""From SQLite to Cassandra: what one store tells, the other tells, whatever was done before, meanwhile and after."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ConfigError, StoreError
from store import HistorySettings, Ownership, StoreSettings, open_store
from store.cassandra.requests import Requests
from store.group_rules import Lives
from store.interface import NewRow
from store.migration.back import put_all
from store.migration.keyspace import Keyspace, prepare
from store.migration.mover import READERS, Mover
from store.migration.people import MEMBER
from store.migration.rows import Moment
from store.migration.source import COMPARING, KEYS, NOT_COPIED, Due, Source
from store.migration.target import Target
from store.sqlite.backup import begin_anew, copy, making
from store.sqlite.schema import open_writer
from tests.store.conftest import shared_cassandra
from tests.store.town import USERS, Town


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    """A database, and the keyspace that it is to go to."""
    cassandra = shared_cassandra()
    cassandra.keeps = True
    cassandra.begin(tmp_path)
    kept = f"TRUNCATE {cassandra.settings.cassandra_keyspace}.history"
    cassandra.connection.execute(kept)
    path = str(tmp_path / "sparrow.db")
    return dataclasses.replace(cassandra.settings, engine="sqlite", path=path, purge_interval_s=0.0)


def history(settings: StoreSettings) -> HistorySettings:
    return HistorySettings(ledger=f"{settings.path}-ledger")


@asynccontextmanager
async def moving(settings: StoreSettings) -> AsyncIterator[Mover]:
    connection = shared_cassandra().connection
    connection.enter(settings.cassandra_keyspace)
    with Source(settings) as source:
        requests = Requests(settings, connection)
        yield Mover(settings, source, Target(settings, connection, requests), lambda _: None)


def keyspace(settings: StoreSettings) -> Keyspace:
    connection = shared_cassandra().connection
    return prepare(settings, connection)


async def tells_the_same(town: Town, settings: StoreSettings) -> None:
    async with open_store(settings, history=history(settings)) as store:
        before = await town.told(store)
    there = dataclasses.replace(settings, engine="cassandra")
    async with open_store(there, history=history(settings)) as store:
        after = await town.told(store)
    for path, one, other in differing(before, after):
        pytest.fail(f"{path}:\n  sqlite    {one!r}\n  cassandra {other!r}")


def differing(one: Any, other: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two are not the same, and what they are there."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differing(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for at, pair in pairs for found in differing(*pair, f"{path}/{at}")]
    return [] if one == other else [(path, one, other)]


SEEDS = [0, *[pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 12)]]


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_done_before_meanwhile_and_at_the_end_is_there(settings: StoreSettings, seed: int) -> None:
    town = Town(seed)
    async with open_store(settings, history=history(settings)) as store:
        await town.live(store, 700)
        async with moving(settings) as mover:
            copying = asyncio.create_task(mover.catch_up())
            while not copying.done():
                await town.live(store, 5)
                await asyncio.sleep(0.01)
            await copying
        await town.live(store, 300)
    async with moving(settings) as mover:
        await mover.finish()
    with Source(settings) as source:
        keyspace(settings).set_terms(*source.terms())
        assert source.count() == 0
    await tells_the_same(town, settings)
    there = dataclasses.replace(settings, engine="cassandra")
    async with open_store(there, history=history(settings)) as store:
        # Nothing that was copied stands above what is done from now on.
        await town.live(store, 100)
        (account, *_) = [found for user in USERS if (found := await store.account(user))]
        await store.change_password(account.user, account.password_hash, "another")
        assert (await store.account(account.user)).password_hash == "another"  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.full) for seed in range(20, 30)])
async def test_and_all_of_it_goes_back(settings: StoreSettings, seed: int) -> None:
    """What was done with Cassandra stands in a new database."""
    town = Town(seed, widens=False)
    keyspace(settings).set_terms(365, 1, 0)
    there = dataclasses.replace(settings, engine="cassandra")
    async with open_store(there, history=history(settings)) as store:
        await town.live(store, 500)
    with making(Path(settings.path)) as database:
        put_all(shared_cassandra().connection, database, lambda _: None)
    await tells_the_same(town, settings)


async def test_what_is_otherwise_is_found_and_mended(settings: StoreSettings) -> None:
    """Somebody writes into the keyspace while it is filled."""
    async with open_store(settings, history=history(settings)) as store:
        for user in ("alice", "bob"):
            await store.create_account(user, f"hash of {user}")
            await store.add_device(user, "d", "")
        await store.append([NewRow("alice", "d", 1, b"one", "bob")])
    connection, name = shared_cassandra().connection, settings.cassandra_keyspace
    async with moving(settings) as mover:
        mover._source.begin()
        mover._source.list_all()
        await mover._walk_often()
        mover._source.list_all()
        mover._source.set_phase(COMPARING)
        connection.execute(f"UPDATE {name}.users SET label = 'mine' WHERE user = 'alice' AND device = 'd'")
        connection.execute(f"INSERT INTO {name}.users (user, device, label) VALUES ('bob', 'e', 'more')")
        # The database's own time is behind what was just written: that wins, and is told.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("store.migration.mover._PATIENCE_S", 0.0)
            with pytest.raises(
                StoreError, match=r"users: the row \('alice', 'd'\) is not what was written a moment ago"
            ):
                await mover.catch_up()


# The source alone.


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    """Of a database that is being copied."""
    settings = StoreSettings(path=str(tmp_path / "sparrow.db"))
    open_writer(settings, keep_days=30).close()
    with Source(settings) as made:
        made.begin()
        yield made


def due(source: Source) -> list[tuple[str, tuple[object, ...], int]]:
    found: list[Due] = []
    while some := source.due((found[-1].kind, found[-1].text) if found else ("", ""), 2):
        found += some
    return [(one.kind, one.key, one.changes) for one in found]


def test_every_table_is_watched_or_known_to_be_none(tmp_path: Path) -> None:
    with closing(open_writer(StoreSettings(path=str(tmp_path / "s.db")))) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables - NOT_COPIED == set(KEYS)


def test_all_that_a_town_does_is_noted(tmp_path: Path) -> None:
    """Each unit that reads otherwise than before a step is due after it."""
    settings = StoreSettings(path=str(tmp_path / "sparrow.db"), purge_interval_s=0)
    at = Moment(0, 365, Lives(365 * 86_400_000, 365 * 86_400_000), 1)

    async def live() -> None:
        town = Town(5)
        async with open_store(settings, history=history(settings)) as store:
            with Source(settings) as source:
                source.begin()
                for _ in range(40):
                    source.list_all()
                    everything = [Due(kind, tuple(json.loads(key)), 0, key) for kind, key in _all(source)]
                    before = {(one.kind, one.key): _wanted(source, one, at) for one in everything}
                    source.connection.execute("DELETE FROM migration_due")
                    await town.live(store, 12)
                    noted = {(one.kind, one.key) for one in map(_as_due, _all(source))}
                    for one in everything:
                        if _wanted(source, one, at) != before[one.kind, one.key]:
                            assert (one.kind, one.key) in noted, one

    asyncio.run(live())


def _all(source: Source) -> list[tuple[str, str]]:
    return source.connection.execute("SELECT kind, key FROM migration_due").fetchall()


def _as_due(row: tuple[str, str]) -> Due:
    return Due(row[0], tuple(json.loads(row[1])), 0, row[1])


def _wanted(source: Source, one: Due, at: Moment) -> str:
    with source.snapshot() as connection:
        unit = READERS[one.kind](connection, one.key, at)
    # In whose lists a conversation is comes with the lists themselves; and of a file that lives longer, what was
    # written of it lives long enough.
    told = [want for want in unit.wants if want.facet is not MEMBER]
    return repr([(want.facet.table, want.key, [(one.values, one.time_us) for one in want.cells]) for want in told])


def test_what_changes_while_it_is_copied_is_due_still(source: Source) -> None:
    write = "INSERT INTO seen VALUES ('alice', 5) ON CONFLICT DO UPDATE SET seen_ms = seen_ms + 1"
    source.connection.execute(write)
    taken = source.due(("", ""), 9)
    assert due(source) == [("user", ("alice",), 1)]
    source.connection.execute(write)
    source.settle(taken)
    assert due(source) == [("user", ("alice",), 2)]
    source.settle(source.due(("", ""), 9))
    assert due(source) == []


def test_behind_the_fence_nothing_changes_whatever_is_open(source: Source, tmp_path: Path) -> None:
    settings = StoreSettings(path=str(tmp_path / "sparrow.db"))

    async def try_it() -> None:
        async with open_store(settings) as store:
            await store.create_account("alice", "hash")
            source.fence()
            source.fence()
            with pytest.raises(StoreError, match=r"it is being moved to Cassandra, or was: nothing changes here"):
                await store.create_account("bob", "hash")
            assert await store.account("alice") is not None

    asyncio.run(try_it())
    assert source.is_fenced
    source.forget()
    assert not source.is_fenced
    assert source.move() is None
    asyncio.run(_make(settings, "bob"))


async def _make(settings: StoreSettings, user: str) -> None:
    async with open_store(settings) as store:
        await store.create_account(user, "hash")


def test_whoever_owns_the_database_is_told(source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> bool:
        caplog.clear()
        async with open_store(StoreSettings(path=str(tmp_path / "sparrow.db")), Ownership.ALONE):
            return "is being moved to Cassandra: sparrow migrate" in caplog.text

    assert asyncio.run(look())
    source.forget()
    assert not asyncio.run(look())


def test_what_was_moved_is_opened_by_nobody_until_it_is_taken_back(source: Source, tmp_path: Path) -> None:
    settings = StoreSettings(path=str(tmp_path / "sparrow.db"))
    source.leave()
    with pytest.raises(ConfigError, match=r'was moved to Cassandra by sparrow migrate: set store.engine = "cassandra"'):
        asyncio.run(_make(settings, "bob"))
    with Source(settings) as again:
        assert again.moved
        again.forget()
    asyncio.run(_make(settings, "bob"))


def test_each_pass_has_a_later_time(source: Source) -> None:
    assert source.next_clock(1_000) == 1_000
    assert source.next_clock(500) == 1_001
    assert source.next_clock(5_000) == 5_000


def test_how_long_is_kept_may_not_change_on_the_way(source: Source) -> None:
    source.connection.execute("UPDATE history SET keep_days = 31")
    with pytest.raises(ConfigError, match="for 30 days when this began and are for 31 now"):
        source.begin()


def test_a_restored_database_knows_of_no_migration(source: Source, tmp_path: Path) -> None:
    copy(tmp_path / "sparrow.db", tmp_path / "copy.db")
    begin_anew(tmp_path / "copy.db")
    with Source(StoreSettings(path=str(tmp_path / "copy.db"))) as restored:
        assert restored.move() is None
        assert restored.connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name GLOB 'migration*'"
        ).fetchone() == (0,)


# The keyspace.


def test_nobody_goes_into_a_keyspace_that_is_being_filled(settings: StoreSettings) -> None:
    there = keyspace(settings)
    there.close_for("one")
    try:
        assert there.holder() == "one"
        there.close_for("one")
        with pytest.raises(ConfigError, match="has the begin of another migration"):
            there.close_for("two")
        with pytest.raises(ConfigError, match="sparrow migrate is filling the keyspace and has not finished"):
            asyncio.run(_make(dataclasses.replace(settings, engine="cassandra"), "alice"))
    finally:
        there.open()
    assert there.holder() is None
    asyncio.run(_make(dataclasses.replace(settings, engine="cassandra"), "alice"))
    with pytest.raises(ConfigError, match=r"is not empty \(users\)"):
        there.close_for("three")
