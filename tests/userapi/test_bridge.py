"""The store, called from threads."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from protocol.errors import NotFoundError, StoreError
from store import StoreSettings, open_store
from userapi.bridge import StoreBridge


def test_calls_from_many_threads(tmp_path: Path) -> None:
    bridge = StoreBridge(open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))), 10)
    bridge.open()
    with ThreadPoolExecutor(8) as pool:
        users = [f"user{number}" for number in range(50)]
        made = list(pool.map(lambda user: bridge.call(bridge.store.create_account, user, "hash"), users))
    assert [account.user for account in made] == users
    bridge.close()


def test_several_calls_together(tmp_path: Path) -> None:
    bridge = StoreBridge(open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))), 10)
    bridge.open()
    store = bridge.store
    bridge.call(store.create_account, "alice", "hash")
    account, devices = bridge.together(partial(store.account, "alice"), partial(store.list_devices, "alice"))
    assert (account.user, devices) == ("alice", [])
    with pytest.raises(NotFoundError):
        bridge.together(partial(store.account, "alice"), partial(store.rename_device, "alice", "phone", ""))
    bridge.close()


def test_a_store_that_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "sparrow.db").write_bytes(b"no database" * 100)
    bridge = StoreBridge(open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))), 10)
    with pytest.raises(StoreError, match="not a SQLite database"):
        bridge.open()


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    bridge = StoreBridge(open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))), 0.1)
    bridge.open()
    other = sqlite3.connect(tmp_path / "sparrow.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"within 0\.1 s"):
        bridge.call(bridge.store.create_account, "alice", "hash")
    other.close()
    assert bridge.call(asyncio.sleep, 0) is None
    bridge.close()
