"""What is particular to the SQLite engine: group commit, crashes, failures, several processes."""

import asyncio
import dataclasses
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from protocol.errors import ConfigError, StoreError
from store import StoreSettings, open_store
from store.contacts import Change
from store.interface import COMMON, File, PageQuery
from store.sessions import SessionStart
from store.sqlite import SqliteStore, schema, writing
from tests.store.helpers import bodies, make_user, row


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    return StoreSettings(path=str(tmp_path / "deep" / "sparrow.db"), purge_interval_s=0.0, chunk_rows=7)


def with_(settings: StoreSettings, **changes: object) -> SqliteStore:
    return SqliteStore(dataclasses.replace(settings, **changes))  # type: ignore[arg-type]


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="oracle"):
        open_store(StoreSettings(engine="oracle"))


async def test_waiting_appends_share_a_commit(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        before = store.commits
        await asyncio.gather(*(store.append([row("alice", "d", b"%d" % number)]) for number in range(200)))
        assert 1 <= store.commits - before <= 20
        assert len(await bodies(store, "alice", "d")) == 200


async def test_a_batch_has_an_end(settings: StoreSettings) -> None:
    async with with_(settings, max_batch_rows=10) as store:
        before = store.commits
        await asyncio.gather(*(store.append([row("alice", "d", b"x")]) for _ in range(100)))
        assert store.commits - before >= 10


async def test_the_loop_goes_on_while_the_disk_is_busy(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        other = sqlite3.connect(settings.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.append([row("alice", "d", b"x")]))
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        assert await bodies(store, "alice", "d") == []
        other.execute("COMMIT")
        other.close()
        await asyncio.wait_for(waiting, 2)
        assert await bodies(store, "alice", "d") == [b"x"]


async def test_a_lock_that_stays_is_an_error_with_a_cure(
    settings: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with with_(settings, busy_timeout_s=0.1) as store:
        other = sqlite3.connect(settings.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(StoreError, match=r"sparrow\.db.*locked.*busy_timeout_s"):
                await store.append([row("alice", "d", b"x")])
        other.execute("COMMIT")
        other.close()
        await store.append([row("alice", "d", b"y")])
        assert await bodies(store, "alice", "d") == [b"y"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_call_without_an_answer_ends(settings: StoreSettings) -> None:
    async with with_(settings, call_timeout_s=0.1) as store:
        other = sqlite3.connect(settings.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(
            *(store.append([row("alice", "d", b"x")]) for _ in range(3)), return_exceptions=True
        )
        assert [str(result) for result in results if "within 0.1 s" in str(result)] == [str(results[0])] * 3
        other.execute("COMMIT")
        other.close()


async def test_what_waits_is_bounded(settings: StoreSettings) -> None:
    async with with_(settings, max_waiting_rows=100, max_waiting_bytes=1000) as store:
        results = await asyncio.gather(
            *(store.append([row("alice", "d", b"x")] * 40) for _ in range(3)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), type(None), StoreError]
        assert "max_waiting_rows" in str(results[2])
        results = await asyncio.gather(
            *(store.append([row("alice", "d", b"x" * 600)]) for _ in range(2)), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), StoreError]
        # One alone may be larger than the limit: it could never be written otherwise.
        await store.append([row("alice", "d", b"x" * 2000)])


async def test_a_job_that_fails_alone_fails_alone(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        results = await asyncio.gather(
            store.append([row("alice", "d", b"1")]),
            store.append([row("\ud800", "d", b"no such text")]),
            store.append([row("alice", "d", b"2")]),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), StoreError, type(None)]
        assert await bodies(store, "alice", "d") == [b"1", b"2"]


async def test_an_interrupted_move_goes_on(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore(settings) as store:
        await make_user(store, "alice", "old", "new")
        await store.append([row("alice", "old", b"%d" % number) for number in range(30)])
        calls = 0
        move = writing.move_to_common

        def break_down(connection: sqlite3.Connection, user: str, device: str, limit: int) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise sqlite3.OperationalError("disk I/O error")
            return move(connection, user, device, limit)

        monkeypatch.setattr(writing, "move_to_common", break_down)
        with pytest.raises(StoreError, match="disk I/O error"):
            await store.remove_device("alice", "old")
        assert await store.devices(["alice"]) == {"alice": ("new",)}
        assert len(await bodies(store, "alice", COMMON)) == 14
    async with SqliteStore(settings) as store:
        await store.remove_device("alice", "old")
        assert await bodies(store, "alice", COMMON) == [b"%d" % number for number in range(30)]
        assert await bodies(store, "alice", "new") == [b"%d" % number for number in range(30)]


async def test_expired_rows_go_by_themselves(settings: StoreSettings) -> None:
    now = 1_000_000.0
    store = SqliteStore(dataclasses.replace(settings, purge_interval_s=0.02), clock=lambda: now)
    async with store:
        await store.append([row("alice", "d", b"x")] * 20)
        now += 31 * 86400
        await store.append([row("alice", "d", b"y")])
        count = 21
        async with asyncio.timeout(5):
            while count > 1:
                await asyncio.sleep(0.02)
                with sqlite3.connect(settings.path) as connection:
                    (count,) = connection.execute("SELECT count(*) FROM inbox").fetchone()
                connection.close()
        assert await bodies(store, "alice", "d") == [b"y"]


async def test_a_purge_takes_the_bytes_of_uploads_that_nobody_ends(settings: StoreSettings) -> None:
    now = 1_000_000.0
    day_ms = 86_400_000
    async with SqliteStore(settings, clock=lambda: now) as store:
        for name, complete in (("begun", False), ("whole", True)):
            at_ms = int(now * 1000)
            file = File(name, "alice", "", "a/b", 4, at_ms, at_ms + 30 * day_ms, upload_expires_ms=at_ms + day_ms)
            await store.create_file(file)
            await store.append_file(file, 0, b"abcd")
            if complete:
                await store.finish_file(name, "00ff")
        assert await store.purge() == 0
        now += 86_401
        assert await store.purge() == 1
        assert [await store.file_length(name) for name in ("begun", "whole")] == [0, 4]
        now += 30 * 86_400
        assert await store.purge() == 1
        assert await store.file_length("whole") == 0


async def test_a_purge_says_how_many(settings: StoreSettings) -> None:
    now = 1_000_000.0
    async with SqliteStore(settings, clock=lambda: now) as store:
        await store.append([row("alice", "d", b"x")] * 30)
        now += 31 * 86400
        await store.append([row("alice", "d", b"y")])
        assert await store.purge() == 30
        assert await store.purge() == 0


async def test_a_full_disk_is_an_error_with_a_cure(settings: StoreSettings) -> None:
    def fill_up(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def free(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    async with SqliteStore(settings) as store:
        await store.append([row("alice", "d", b"1")])
        await store._writer.call(fill_up)
        with pytest.raises(StoreError, match=r"sparrow\.db.*disk is full"):
            await store.append([row("alice", "d", b"x" * 60_000)] * 10)
        assert await bodies(store, "alice", "d") == [b"1"]
        await store._writer.call(free)
        await store.append([row("alice", "d", b"2")])
        assert await bodies(store, "alice", "d") == [b"1", b"2"]


async def test_a_file_that_is_no_database(settings: StoreSettings) -> None:
    path = Path(settings.path)
    path.parent.mkdir()
    path.write_bytes(b"This is a letter to my aunt. " * 1000)
    with pytest.raises(StoreError, match=r"sparrow\.db.*not a SQLite database"):
        await SqliteStore(settings).__aenter__()


async def test_a_damaged_database(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        await store.append([row("alice", "d", b"x" * 1000) for _ in range(1000)])
    path = Path(settings.path)
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"sparrow\.db.*damaged"):
        async with SqliteStore(settings) as store:
            await bodies(store, "alice", "d")


async def test_a_newer_schema_is_left_alone(settings: StoreSettings) -> None:
    async with SqliteStore(settings):
        pass
    with sqlite3.connect(settings.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer Sparrow"):
        await SqliteStore(settings).__aenter__()


async def test_a_newer_schema_that_only_adds_is_worked_with_and_left_as_it_is(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = "".join(
        f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x';\n"
        for table in ("accounts", "devices", "inbox", "contacts", "seen", "files", "file_readers", "pieces")
    )

    def later(oldest: int) -> None:
        monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, added))
        monkeypatch.setattr(schema, "VERSION", len(schema.STEPS))
        monkeypatch.setattr(schema, "OLDEST", oldest)

    async with SqliteStore(settings) as here:  # goes on while the later release brings the file up to date
        later(schema.VERSION)
        async with SqliteStore(settings) as there:
            await make_user(there, "alice", "a1")
            await use(here, "bob")
        monkeypatch.undo()
        await use(here, "carol")
    async with SqliteStore(settings) as here:
        await use(here, "dave")
        assert (await here.account("alice")) is not None
    later(schema.VERSION)
    async with SqliteStore(settings) as there:
        assert (await there.account("dave")) is not None
    monkeypatch.undo()
    other = dataclasses.replace(settings, path=settings.path + ".other")
    later(schema.VERSION + 1)
    async with SqliteStore(other):
        pass
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="newer Sparrow"):
        await SqliteStore(other).__aenter__()


async def use(store: SqliteStore, user: str) -> None:
    """Everything that writes rows."""
    await make_user(store, user, "d")
    await store.append([row(user, "d", b"x"), row(user, COMMON, b"y")])
    assert await bodies(store, user, "d") == [b"x", b"y"]
    await store.change_contact(user, "alice", Change.ASK)
    await store.saw({user: 1})
    file = File(user, user, "name", "text/plain", 1, 1, 2**50, frozenset({"alice"}))
    await store.create_file(file)
    await store.add_reader(user, "zoe")
    assert await store.append_file(file, 0, b"z")
    await store.finish_file(user, "0")
    assert await store.read_file(user, 0) == b"z"
    await store.begin_sessions([SessionStart(user, "d", 5)])
    await store.begin_login(user, "d", "login")


async def test_another_programs_database_is_left_alone(settings: StoreSettings) -> None:
    Path(settings.path).parent.mkdir()
    with sqlite3.connect(settings.path) as connection:
        connection.execute("CREATE TABLE cookies (name TEXT)")
    connection.close()
    with pytest.raises(ConfigError, match="another program's"):
        await SqliteStore(settings).__aenter__()


async def test_a_place_that_cannot_be(settings: StoreSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        await with_(settings, path=str(tmp_path / "file" / "sparrow.db")).__aenter__()
    with pytest.raises(StoreError, match="directory"):
        await with_(settings, path=str(tmp_path)).__aenter__()


async def test_nobody_else_may_read_it(settings: StoreSettings) -> None:
    async with SqliteStore(settings):
        for path in Path(settings.path).parent.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


async def test_no_thread_stays(settings: StoreSettings) -> None:
    async with SqliteStore(settings):
        pass
    await asyncio.sleep(0.05)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("store-")] == []


WRITER = """
import asyncio, sys
from store import StoreSettings, open_store
from store.interface import NewRow

async def main():
    async with open_store(StoreSettings(path=sys.argv[1])) as store:
        number = 0
        while True:
            await store.append([NewRow("alice", "d", 1, b"%d" % (number + step)) for step in range(10)])
            number += 10
            print(number, flush=True)

asyncio.run(main())
"""


async def test_kill_9_loses_nothing_that_was_kept(settings: StoreSettings, tmp_path: Path) -> None:
    kept = 0
    process = subprocess.Popen([sys.executable, "-c", WRITER, settings.path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            kept = int(line)
            if kept >= 500:
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:
            kept = int(line)
    process.wait()
    # What a copy holds was handed to the operating system, companions included.
    shutil.copytree(Path(settings.path).parent, tmp_path / "copy")
    async with with_(settings, path=str(tmp_path / "copy" / "sparrow.db")) as store:
        found = await bodies(store, "alice", "d")
        assert found[:kept] == [b"%d" % number for number in range(kept)]


OPENER = """
import asyncio, sys
from store import StoreSettings, open_store
from store.interface import NewRow

async def main():
    async with open_store(StoreSettings(path=sys.argv[1])) as store:
        for number in range(50):
            await store.append([NewRow("alice", "d", 1, f"{sys.argv[2]} {number}".encode())])

asyncio.run(main())
"""


async def test_processes_may_open_it_at_once(settings: StoreSettings) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", OPENER, settings.path, str(name)]) for name in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    async with SqliteStore(settings) as store:
        assert sorted(await bodies(store, "alice", "d")) == sorted(
            f"{name} {number}".encode() for name in range(4) for number in range(50)
        )


async def test_a_small_writer_is_not_starved_by_a_busy_one(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as busy, with_(settings, busy_timeout_s=2.0) as small:
        over = False

        async def flood() -> None:
            while not over:
                await busy.append([row("alice", "d", b"x" * 100)] * 200)

        floods = [asyncio.create_task(flood()) for _ in range(4)]
        for number in range(10):
            await small.create_account(f"user{number}", "hash")
        over = True
        await asyncio.gather(*floods)


async def test_order_holds_over_long_queues(settings: StoreSettings) -> None:
    async with SqliteStore(settings) as store:
        await store.append([row("alice", "d" if number % 3 else COMMON, b"%d" % number) for number in range(3000)])
        (page,) = await store.page([PageQuery("alice", "d", b"", True, 3000)])
        assert [found.body for found in page.rows] == [b"%d" % number for number in range(3000)]
