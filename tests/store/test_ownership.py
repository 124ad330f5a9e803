"""One owner of the data: who comes second is told who has it; what a dead one held is free again."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ConfigError, StoreError
from store import Ownership, Store, StoreSettings, open_store
from store.cassandra import lease
from tests.store.conftest import shared_cassandra
from tests.store.helpers import row

ALONE, SHARED, NONE = Ownership.ALONE, Ownership.SHARED, Ownership.NONE
SAID = re.compile(rf"is in use already, by process {os.getpid()} on \S+, since 20\d\d-.* UTC: stop that one first, or ")


def opener(engine: str, folder: Path) -> Any:
    if engine == "sqlite":
        settings = StoreSettings(path=str(folder / "sparrow.db"), purge_interval_s=0.0)
    else:
        cassandra = shared_cassandra()
        cassandra.begin(folder)
        settings = cassandra.settings
    return lambda ownership: open_store(settings, ownership)


@pytest.fixture(params=["sqlite", "cassandra"])
def opening(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)
    monkeypatch.setattr(lease, "_PATIENCE_S", 0.2)
    return opener(request.param, tmp_path)


async def refused(store: Store) -> str:
    with pytest.raises(ConfigError) as caught:
        await store.__aenter__()
    return str(caught.value)


async def test_one_alone_and_visitors(opening: Any) -> None:
    async with opening(ALONE):
        for other in (ALONE, SHARED):
            assert SAID.search(await refused(opening(other)))
        async with opening(NONE) as visitor:
            assert await visitor.account("alice") is None
    async with opening(ALONE) as store:
        await store.append([row("alice", "a1", b"1")])


async def test_many_share(opening: Any) -> None:
    async with opening(SHARED), opening(SHARED), opening(NONE):
        pass


def test_a_link_is_no_other_database(tmp_path: Path) -> None:
    async def work() -> None:
        async with opener("sqlite", tmp_path)(ALONE):
            (tmp_path / "other.db").symlink_to(tmp_path / "sparrow.db")
            other = open_store(StoreSettings(path=str(tmp_path / "other.db")), ALONE)
            assert SAID.search(await refused(other))

    asyncio.run(work())


async def test_those_who_share_keep_one_alone_away(tmp_path: Path) -> None:
    opening = opener("sqlite", tmp_path)
    async with opening(SHARED):
        assert "is in use already" in await refused(opening(ALONE))


async def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "sparrow.db-lock").mkdir()
    with pytest.raises(StoreError, match=r"sparrow\.db-lock: Is a directory"):
        await opener("sqlite", tmp_path)(ALONE).__aenter__()


async def test_a_lock_that_says_nothing(tmp_path: Path) -> None:
    opening = opener("sqlite", tmp_path)
    async with opening(ALONE):
        (tmp_path / "sparrow.db-lock").write_text("{")
        assert "is in use already, by another process" in await refused(opening(ALONE))


# Cassandra's lease.


@pytest.fixture
def cassandra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)
    return opener("cassandra", tmp_path)


def owner(statement: str, *values: object) -> Any:
    shared = shared_cassandra()
    return shared.connection.execute(
        statement.replace("owners", f"{shared.settings.cassandra_keyspace}.owners"), values
    )


async def test_what_a_dead_process_held_is_taken_at_once(cassandra: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = lease._started
    first = cassandra(ALONE)
    await first.__aenter__()
    await first._open.lease._stop()  # as if it had been killed
    monkeypatch.setattr(lease, "_started", lambda pid: "another" if pid == os.getpid() else mine(pid))
    async with cassandra(SHARED):
        pass
    async with cassandra(ALONE):
        assert owner("SELECT claim FROM owners")
    await first.__aexit__()


async def test_what_died_elsewhere_is_waited_for(cassandra: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_machine", lambda: "")
    first = cassandra(ALONE)
    await first.__aenter__()
    await first._open.lease._stop()
    second = asyncio.create_task(cassandra(ALONE).__aenter__())
    await asyncio.sleep(0.3)
    assert not second.done()
    owner("DELETE FROM owners WHERE id = 0 IF EXISTS")  # as its time to live does
    store = await second
    await store.__aexit__()
    await first.__aexit__()


async def test_a_lease_that_is_lost(cassandra: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Whoever has lost it keeps nothing, and takes it back when nobody else has it."""
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    store = cassandra(ALONE)
    await store.__aenter__()
    await asyncio.sleep(0.3)
    await store.append([row("alice", "a1", b"1")])
    owner("UPDATE owners SET claim = 'x', holder = '[1, \"elsewhere\", 0]' WHERE id = 0 IF EXISTS")
    monkeypatch.setattr(lease, "TTL_S", -1)
    for _ in range(100):
        if "was taken by process 1 on elsewhere" in caplog.text:
            break
        await asyncio.sleep(0.05)
    assert "was taken by process 1 on elsewhere" in caplog.text
    store._open.lease._until = 0.0  # its time is over
    with pytest.raises(StoreError, match="our lease on it has run out"):
        await store.append([row("alice", "a1", b"2")])
    monkeypatch.undo()
    owner("DELETE FROM owners WHERE id = 0 IF EXISTS")
    for _ in range(100):
        try:
            await store.append([row("alice", "a1", b"3")])
            break
        except StoreError:
            await asyncio.sleep(0.05)
    else:
        pytest.fail("it was not taken back")
    await store.__aexit__()
    assert not [one for one in owner("SELECT claim FROM owners WHERE id = 0") if one[0]]


def test_a_row_that_says_nothing() -> None:
    assert lease._holder("{") is None
    assert not lease._is_dead("{")
    assert lease._started(2**22 + 1) == ""
