"""What is SQLite's own of timelines: what is erased leaves its files, what is old goes, an upgrade keeps nothing."""

import dataclasses
import random
import sqlite3
from pathlib import Path

import pytest

from protocol.sparrow_pb2 import About, Kind, Message
from store import HistorySettings, StoreSettings, open_store
from store.interface import File, NewRow, RowKind
from store.settings import NOT_KEPT
from store.sqlite import backup, schema, timelines
from store.sqlite.engine import SqliteStore
from store.timelines import Name, Result
from tests.store.helpers import bodies
from tests.store.timeline_helpers import (
    HOUR,
    NOW_MS,
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


def settings(folder: Path, **changes: object) -> StoreSettings:
    values = {"path": str(folder / "sparrow.db"), "purge_interval_s": 0.0, "chunk_rows": 7, **changes}
    return StoreSettings(**values)  # type: ignore[arg-type]


def opened(folder: Path, history: HistorySettings | None = None, **changes: object) -> SqliteStore:
    history = dataclasses.replace(history or HistorySettings(), ledger=str(folder / "erased.log"))
    return SqliteStore(settings(folder, **changes), history=history)


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "sparrow.db") as connection:
        return connection.execute(query).fetchall()


def holding(folder: Path, word: bytes) -> list[str]:
    return [path.name for path in sorted(folder.iterdir()) if word in path.read_bytes()]


async def test_what_is_erased_leaves_the_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        numbers = list(range(1, 301))
        random.Random(3).shuffle(numbers)

        def secret(number: int) -> bytes:
            return b"secret %d;" % number * (1 if number % 3 else 700)

        for start in range(0, 300, 20):
            some = numbers[start : start + 20]
            await keep(store, *[entry(number, secret(number)) for number in some])
            await store.append([copy(number, secret(number)) for number in some])
        await keep(store, *[edit(number, 1, b"edited " + secret(number)) for number in range(1, 30)])
        timelines.scrub(store._settings.path)
        assert holding(tmp_path, b"secret 7;") == ["sparrow.db"]
        for number in range(1, 301, 2):
            await keep(store, erasure(number))
        assert timelines.scrub(store._settings.path)
        there = (tmp_path / "sparrow.db").read_bytes() + (tmp_path / "sparrow.db-wal").read_bytes()
        for number in range(1, 301):
            assert (b"secret %d;" % number in there) is (number % 2 == 0), number
        backup.copy(tmp_path / "sparrow.db", tmp_path / "copy.db")
        assert b"secret 7;" not in (tmp_path / "copy.db").read_bytes()
        assert len(await read(store, limit=500)) == 300


async def test_what_is_erased_leaves_the_log_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "SCRUB_S", 0.01)
    async with opened(tmp_path) as store:
        await keep(store, entry(1, b"a secret"))
        assert holding(tmp_path, b"a secret")
        await keep(store, erasure(1))
        assert store.timelines._scrubbing is not None
        await store.timelines._scrubbing
        assert not holding(tmp_path, b"a secret")


def copy(number: int, body: bytes, user: str = "bob", **changes: object) -> NewRow:
    """As it waits in an inbox."""
    values: dict[str, object] = {
        "stream": name(number).stream,
        "id": number,
        "from_id": "alice",
        "from_device": "phone",
        "dest_id": "bob",
        "kind": Kind.TEXT,
        "body": body,
        **changes,
    }
    message = Message(**values)  # type: ignore[arg-type]
    return NewRow(user, "d", RowKind.MESSAGE, message.SerializeToString(), "alice")


async def test_copies_that_wait_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        about = About(from_device="phone", stream=name(1).stream, ids=[1])
        go = [
            copy(1, b"erased"),
            copy(1, b"erased", user="alice"),
            copy(9, b"edited", kind=Kind.EDIT, about=about),
        ]
        stay = [
            copy(2, b"another"),
            copy(1, b"of another device", from_device="laptop"),
            copy(1, b"of another author", from_id="carol"),
            copy(1, b"of another conversation", dest_id="carol"),
            copy(3, name(1).stream.to_bytes(8, "little")),
            NewRow("bob", "d", RowKind.MESSAGE, b"\xff" + name(1).stream.to_bytes(8, "little"), "alice"),
            NewRow("bob", "d", RowKind.RECEIPT, go[0].body),
        ]
        await store.append([row for pair in zip(stay, [*go, *go, *go], strict=False) for row in pair] + stay)
        await keep(store, erasure(1))
        assert await bodies(store, "alice", "d") == []
        assert set(await bodies(store, "bob", "d")) == {row.body for row in stay}


async def test_what_is_old_goes(tmp_path: Path) -> None:
    history = HistorySettings(keep_days=10, max_bytes_of_author=10_000)
    async with opened(tmp_path, history) as store:
        old, young = stamp() - 11 * DAY, stamp() - 9 * DAY
        await keep(store, *[entry(number, bytes(90), stamp=old + number) for number in range(1, 51)])
        await keep(store, *[entry(100 + number, b"y", stamp=young + number) for number in range(20)])
        await keep(store, edit(1, 1, bytes(90), stamp=old + 100), edit(3000, 1, b"of nothing", stamp=old))
        await keep(store, erasure(2), erasure(101))
        assert len(await read(store)) == 20
        assert rows(tmp_path, "SELECT bytes FROM usage WHERE day = -1") == [(49 * 90 + 90 + 19 + 10,)]
        assert await store.purge() == 50
        assert await store.purge() == 0
        assert rows(tmp_path, "SELECT count(*) FROM messages WHERE erased_by IS NULL") == [(19,)]
        assert rows(tmp_path, "SELECT count(*) FROM edits") == [(0,)]
        assert rows(tmp_path, "SELECT bytes FROM usage WHERE day = -1") == [(19,)]
        # The marker is still there, so what was erased does not come back.
        await keep(store, entry(2, bytes(90)))
        assert await body_of(store, 2) is None
        assert rows(tmp_path, "SELECT count(*) FROM messages WHERE body = x''") == [(2,)]
    later = NOW_MS / 1000 + 5000 * 86_400
    async with SqliteStore(settings(tmp_path), clock=lambda: later, history=history) as store:
        assert await store.purge() > 0
        for table in ("messages", "edits", "streams"):
            assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
        assert await store.timelines.conversations("bob", "", 9) != []


def file(number: int, **changes: object) -> File:
    values: dict[str, object] = {
        "file": f"f{number}",
        "owner": "alice",
        "name": "n",
        "media_type": "m",
        "size": 3,
        "created_ms": NOW_MS,
        "expires_ms": NOW_MS + 1000,
        "readers": frozenset({"bob"}),
        **changes,
    }
    return File(**values)  # type: ignore[arg-type]


async def test_an_upgrade_keeps_nothing(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "sparrow.db") as connection:
        for step in schema.STEPS[:8]:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {8 | 6 << 16}")
    connection.close()
    async with opened(tmp_path) as store:
        terms = await store.timelines.terms()
        assert (terms.keep_days, terms.since_ms) == (0, 0)
        assert (await store.timelines.set_keep_days(30, 7)).since_ms == 7
        await keep(store, entry(1))
        assert await bodies_of(store) == [b"1"]


async def test_a_database_that_others_make_keeps_nothing(tmp_path: Path) -> None:
    async with open_store(settings(tmp_path)) as store:
        assert (await store.timelines.terms()).keep_days == 0
    async with opened(tmp_path) as store:
        assert (await store.timelines.terms()).keep_days == 0
    assert NOT_KEPT.keep_days == 0


async def test_one_that_sqlite_refuses_stops_no_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        good = [entry(number) for number in range(1, 20)]
        huge = entry(20)._replace(kind=2**31 - 1, body=memoryview(b"x"))  # type: ignore[arg-type]
        broken = entry(21)._replace(body=object())  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await store.timelines.archive([broken])
        del huge
        strange = entry(22, name=Name("alice", "\ud800", 1, 1))
        answers = await results(store, *good[:10], strange, *good[10:])
        assert answers == [Result.KEPT] * 10 + [Result.FAILED] + [Result.KEPT] * 9


async def test_who_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    history = HistorySettings(max_rows_per_day_of_author=1)
    async with opened(tmp_path, history) as store:
        await keep(store, entry(1))
        for number in range(2, 5):
            strange = Name("alice", "phone", number, number)
            assert (
                await results(
                    store,
                    entry(number, name=strange),
                    edit(number, 1, b"x", target=strange),
                    erasure(number, target=strange),
                )
                == [Result.FULL] * 3
            )
        assert rows(tmp_path, "SELECT count(*) FROM streams") == [(1,)]
        # What is there may be erased, however much is kept.
        await keep(store, erasure(1))


async def test_how_pages_are_read(tmp_path: Path) -> None:
    """From the index, without sorting."""
    from store.sqlite import timeline_reading

    async with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "sparrow.db") as connection:
        plan = str(
            connection.execute(
                "EXPLAIN QUERY PLAN " + timeline_reading._PAGE, (1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 50)
            ).fetchall()
        )
    assert plan.count("messages_by_stamp (conversation=? AND view=? AND stamp>? AND stamp<?)") == 2, plan
    assert "TEMP B-TREE" not in plan
    connection.close()


async def test_nothing_of_another_time_is_taken_for_a_repeat(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await keep(store, entry(1, b"", about=b"a"))
        others = [entry(1, b"", about=b"b"), entry(1, b"", about=b"a", kind=2), entry(1, b"x", about=b"a")]
        assert await results(store, *others) == [Result.NOT_ALLOWED] * 3
        # And the same within one batch.
        batch = [entry(2), entry(2, b"x"), entry(2, stamp=stamp(0))]
        assert await results(store, *batch) == [Result.KEPT, Result.NOT_ALLOWED, Result.KEPT]
        assert [one.stamp for one in await read(store)] == [stamp(1), stamp(0)]
