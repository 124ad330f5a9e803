"""Copies of a SQLite database: made beside writers, looked at, and fit to be gone on from."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from pathlib import Path

import pytest

from protocol.errors import ConfigError, StoreError
from store import StoreSettings
from store.codes import Invitation, ResetCode
from store.interface import Counts, PageQuery
from store.sessions import SessionStart
from store.sqlite import SqliteStore, backup
from store.sqlite.schema import VERSION
from tests.store.helpers import bodies, make_user, read_all, row


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    return StoreSettings(path=str(tmp_path / "sparrow.db"), purge_interval_s=0.0)


@pytest.fixture
def copied(tmp_path: Path) -> StoreSettings:
    return StoreSettings(path=str(tmp_path / "copy.db"), purge_interval_s=0.0)


def copy(settings: StoreSettings, copied: StoreSettings) -> Path:
    backup.copy(Path(settings.path), Path(copied.path))
    return Path(copied.path)


async def test_a_copy_beside_writers_is_of_one_moment(settings: StoreSettings, copied: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        await make_user(store, "alice", "a1")
        done = 0

        async def write() -> None:
            nonlocal done
            while True:
                # Of each pair both or none: they share a commit.
                await store.append([row("alice", "a1", b"%d" % done), row("alice", "", b"%d" % done)])
                done += 1

        writing = asyncio.create_task(write())
        while done < 50:
            await asyncio.sleep(0.01)
        before = done
        path = await asyncio.to_thread(copy, settings, copied)
        while done < before + 50:
            await asyncio.sleep(0.01)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    version, counts = backup.look_at(path)
    assert (version, counts.accounts, counts.devices) == (VERSION, 1, 1)
    async with SqliteStore(copied) as store:
        found = await bodies(store, "alice", "a1")
        common = await bodies(store, "alice", "")
        assert before <= len(common) <= done
        assert found == [body for body in common for _ in range(2)]
        assert common == [b"%d" % number for number in range(len(common))]


async def test_nothing_is_given_twice_after_a_restore(settings: StoreSettings, copied: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        await make_user(store, "alice", "a1", "a2")
        await store.begin_sessions([SessionStart("alice", "a1", 7)])
        await store.append([row("alice", "a1", b"kept")])
        copy(settings, copied)
        await store.append([row("alice", "a1", b"lost %d" % number) for number in range(20)])
        (end,) = await store.page([PageQuery("alice", "a1", b"", True, 100)])
        lost = {found.key for found in end.rows[1:]}
    backup.begin_anew(Path(copied.path))
    async with SqliteStore(copied) as store:
        await store.append([row("alice", "a1", b"new %d" % number) for number in range(20)])
        rows = await read_all(store, "alice", "a1")
        assert [found.body for found in rows] == [b"kept", *(b"new %d" % number for number in range(20))]
        assert not lost & {found.key for found in rows}
        # Also for whoever had read further than there was.
        (page,) = await store.page([PageQuery("alice", "a1", end.next, True, 100)])
        assert [found.body for found in page.rows] == [b"new %d" % number for number in range(20)]
        # 7 again is the repeat of a start of before, told that it comes late.
        starts = [SessionStart("alice", "a1", 7), SessionStart("alice", "a1", 8), SessionStart("alice", "a2", 9)]
        late, first, other = await store.begin_sessions(starts)
        assert late == 0
        assert isinstance(first, int)
        assert first not in (0, 7)
        assert isinstance(other, int)
        assert other


async def test_no_code_is_good_twice_after_a_restore(settings: StoreSettings, copied: StoreSettings) -> None:
    ends_ms = int(time.time() * 1000) + 3_600_000
    async with SqliteStore(settings) as store:
        await make_user(store, "alice", "a1")
        await store.codes.put_reset_code("alice", ResetCode("reset", ends_ms))
        await store.codes.add_invitation(Invitation("i1", "digest", 0, ends_ms, 2))
        assert await store.codes.use_invitation("digest", "bob") == "i1"
        copy(settings, copied)
    backup.begin_anew(Path(copied.path))
    async with SqliteStore(copied) as store:
        assert not await store.codes.reset_password("alice", "reset", "new")
        assert await store.codes.use_invitation("digest", "carol") is None
        assert await store.codes.invitations("", 10) == []


async def test_positions_begin_anew_where_there_were_none(settings: StoreSettings, copied: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        copy(settings, copied)
        await store.append([row("alice", "a1", b"lost")])
        (lost,) = await read_all(store, "alice", "a1")
    backup.begin_anew(Path(copied.path))
    async with SqliteStore(copied) as store:
        await store.append([row("alice", "a1", b"new")])
        (new,) = await read_all(store, "alice", "a1")
        assert new.key > lost.key


async def test_what_is_no_copy(settings: StoreSettings, copied: StoreSettings, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"sparrow\.db.*cannot be opened"):
        copy(settings, copied)
    assert not Path(settings.path).exists()
    async with SqliteStore(settings) as store:
        await make_user(store, "alice", "a1")
        await store.append([row("alice", "a1", bytes(500_000))])
    path = copy(settings, copied)
    assert backup.look_at(path) == (VERSION, Counts(1, 1, 1))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer Sparrow"):
        backup.look_at(path)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(path.read_bytes()[:300_000])
    with pytest.raises(StoreError, match="damaged"):
        backup.look_at(damaged)
    text = tmp_path / "text.db"
    text.write_text("nothing of the kind " * 100)
    for look in (backup.look_at, backup.begin_anew):
        with pytest.raises(StoreError, match="not a SQLite database"):
            look(text)


async def test_an_older_schema_is_looked_at_and_brought_up_to_date(settings: StoreSettings) -> None:
    from store.sqlite.schema_steps import STEPS

    connection = sqlite3.connect(settings.path)
    connection.executescript(STEPS[0] + "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
    connection.execute("INSERT INTO accounts VALUES ('alice', 'hash', 1)")
    connection.commit()
    connection.close()
    assert backup.look_at(Path(settings.path)) == (1, Counts())
    backup.begin_anew(Path(settings.path))
    async with SqliteStore(settings) as store:
        assert await store.account("alice") is not None


async def test_a_full_disk_is_told_from_a_bad_one(
    settings: StoreSettings, copied: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteStore(settings):
        pass

    class Full(sqlite3.Connection):
        code = sqlite3.SQLITE_FULL

        def backup(self, *_: object, **__: object) -> None:  # type: ignore[override]
            error = sqlite3.OperationalError("told by SQLite")
            error.sqlite_errorcode = Full.code
            raise error

    connect = sqlite3.connect

    def connect_full(*arguments: object, **options: object) -> sqlite3.Connection:
        return connect(*arguments, **options, factory=Full)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", connect_full)
    with pytest.raises(OSError, match=r"copy\.db") as raised:
        copy(settings, copied)
    assert raised.value.errno == errno.ENOSPC
    Full.code = sqlite3.SQLITE_IOERR
    with pytest.raises(StoreError, match=r"sparrow\.db.*errors"):
        copy(settings, copied)
