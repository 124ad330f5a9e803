"""What limits need of the store: what waits, by author, and its end; what an owner uploads; and the disk."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.errors import NoSpaceError, StoreError
from store.interface import COMMON, File, NewRow, RowKind, Store, Uploads
from store.sqlite import disk, engine
from tests.store.conftest import OpenEngine
from tests.store.helpers import bodies, make_user, read_all, remove

LATER_MS = int(time.time() * 1000) + 86_400_000
MESSAGE, RECEIPT = int(RowKind.MESSAGE), int(RowKind.RECEIPT)


def letter(user: str, device: str, body: bytes, author: str) -> NewRow:
    return NewRow(user, device, MESSAGE, body, author)


async def test_what_waits_by_author(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "a1", "a2")
        await store.append(
            [
                letter("alice", "a1", b"12345", "bob"),
                letter("alice", "a2", b"12345", "bob"),
                letter("alice", COMMON, b"1", "bob"),
                letter("alice", "a1", b"own", "alice"),
                letter("carol", "c1", b"not hers", "bob"),
                NewRow("alice", "a1", RECEIPT, b"receipt"),
            ]
        )
        found = await store.waiting(["alice", "nobody"])
        assert found == {"alice": {"bob": (3, 11), "alice": (1, 3), "": (1, 7)}, "nobody": {}}
        rows = await read_all(store, "alice", "a1")
        await remove(store, "alice", "a1", *[row for row in rows if row.body == b"12345"])
        assert (await store.waiting(["alice"]))["alice"]["bob"] == (2, 6)
        # Whose it was is known after a device is removed, too.
        await store.remove_device("alice", "a2")
        assert (await store.waiting(["alice"]))["alice"]["bob"] == (2, 6)
        assert await store.waiting([]) == {}


async def test_what_waits_from_one_is_dropped(open_engine: OpenEngine) -> None:
    """From all queues, by any number of rows, and nothing else: receipts, and rows of others, stay."""
    async with open_engine() as store:
        await make_user(store, "alice", "a1", "a2")
        await store.append(
            [
                *(letter("alice", device, b"%d" % n, "mallory") for n in range(20) for device in ("a1", "a2", COMMON)),
                letter("alice", "a1", b"friend", "bob"),
                letter("alice", "a2", b"malloryx", "malloryx"),
                letter("bob", "b1", b"to bob", "mallory"),
                NewRow("alice", "a1", RECEIPT, b"receipt"),
            ]
        )
        assert await store.drop_waiting("alice", "mallory") == 60
        assert sorted(await bodies(store, "alice", "a1")) == [b"friend", b"receipt"]
        assert await bodies(store, "alice", "a2") == [b"malloryx"]
        assert await bodies(store, "bob", "b1") == [b"to bob"]
        assert await store.drop_waiting("alice", "mallory") == 0
        assert await store.drop_waiting("nobody", "mallory") == 0
        # Receipts have no author, and cannot be dropped by one.
        assert await store.drop_waiting("alice", "") == 0


# Uploads.


def file(name: str, size: int, created_ms: int = 1_000_000, **more: Any) -> File:
    values: dict[str, Any] = {"expires_ms": LATER_MS, "upload_expires_ms": LATER_MS, **more}
    return File(name, "alice", "n", "a/b", size, created_ms, **values)


async def test_what_an_owner_has_begun(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        assert await store.uploads_of("alice", 0) == Uploads(0, 0, 0)
        for one in (file("f1", 10), file("f2", 20, created_ms=2_000_000), file("f3", 40), file("f4", 0)):
            await store.create_file(one)
            await store.create_file(one)
        await store.create_file(file("gone", 80, upload_expires_ms=1))
        await store.create_file(File("other", "bob", "n", "a/b", 99, 1, LATER_MS))
        assert await store.uploads_of("alice", 0) == Uploads(70, 4, 70)
        assert await store.uploads_of("alice", 1_500_000) == Uploads(20, 4, 70)
        await store.finish_file("f1", "0" * 64)
        assert await store.uploads_of("alice", 0) == Uploads(70, 3, 60)
        await store.remove_file("f2")
        await store.remove_file("f2")
        await store.finish_file("f2", "0" * 64)
        assert await store.uploads_of("alice", 0) == Uploads(50, 2, 40)


# The disk.


class Disks:
    """What `os.statvfs` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: int | None = 0
        self.now = 100.0
        monkeypatch.setattr(disk, "os", SimpleNamespace(statvfs=self.statvfs))
        monkeypatch.setattr(disk, "time", SimpleNamespace(monotonic=lambda: self.now))

    def statvfs(self, _: object) -> os.statvfs_result:
        if self.free is None:
            raise OSError
        return os.statvfs_result((4096, 1, 0, 0, self.free, 0, 0, 0, 0, 0))


async def adds(store: Store) -> None:
    """What may not be done on a disk that is nearly full."""
    for call in (
        store.create_account("new", "hash"),
        store.create_file(file("new", 5)),
        store.append_file(file("f1", 5), 0, b"12345"),
    ):
        with pytest.raises(NoSpaceError, match=r"store\.min_free_bytes"):
            await call


async def test_a_disk_that_is_nearly_full_lets_go_and_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store import StoreSettings, open_store

    disks = Disks(monkeypatch)
    disks.free = 500
    async with open_store(StoreSettings(path=str(tmp_path / "s.db"), min_free_bytes=500)) as store:
        await make_user(store, "alice", "a1")
        await store.create_file(file("f1", 5))
        await store.append([letter("alice", "a1", b"1", "bob")])
        assert (store.free_bytes(), store.no_space()) == (500, False)
        disks.free = 499
        assert not store.no_space()  # at most one look a second
        disks.now += 1
        assert store.no_space()
        await adds(store)
        await store.begin_login("alice", "a1", "login")
        rows = await read_all(store, "alice", "a1")
        await remove(store, "alice", "a1", *rows)
        await store.append([NewRow("alice", "a1", RECEIPT, b"it is for the caller to know what still matters")])
        await store.remove_file("f1")
        disks.free = None
        disks.now += 1
        assert (store.free_bytes(), store.no_space()) == (None, False)


async def test_what_the_disk_itself_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own word counts as well, for a few seconds: quotas of a file system are not in statvfs."""
    from store import StoreSettings, open_store

    real = engine.open_writer

    def small(settings: StoreSettings, *_: object) -> sqlite3.Connection:
        connection = real(settings)
        connection.execute("PRAGMA max_page_count = 200")
        return connection

    monkeypatch.setattr(engine, "open_writer", small)
    async with open_store(StoreSettings(path=str(tmp_path / "s.db"), min_free_bytes=0)) as store:
        assert not store.no_space()
        with pytest.raises(NoSpaceError, match="its disk is full"):
            for _ in range(100):
                await store.append([letter("alice", "a1", bytes(20_000), "bob")])
        assert store.no_space()
        with pytest.raises(StoreError):
            await store.create_account("new", "hash")
        monkeypatch.setattr(engine, "FULL_S", 0.0)
        assert not store.no_space()


async def test_what_waits_behind_very_many_that_are_gone(open_engine: OpenEngine) -> None:
    """Cassandra reads no queue past so many tombstones; what waits behind them is counted and dropped all the same."""
    async with open_engine() as store:
        await make_user(store, "alice", "a1")
        await store.append([letter("alice", "a1", b"gone", "bob") for _ in range(700)])
        await remove(store, "alice", "a1", *await read_all(store, "alice", "a1"))
        await store.append([letter("alice", "a1", b"there", "mallory") for _ in range(3)])
        assert await store.waiting(["alice"]) == {"alice": {"mallory": (3, 15)}}
        assert await store.drop_waiting("alice", "mallory") == 3
        assert await store.waiting(["alice"]) == {"alice": {}}
