"""The ledger of what was erased: durable before it happens, readable whatever a crash has left of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ConfigError
from store import HistorySettings, Ownership, StoreSettings, open_store
from store.ledger import Ledger, read_ledger
from store.sqlite.search_index import open_index
from store.timelines import Erasure, Name

ONE = Erasure("alice+bob", Name("alice", "a1", 2**64 - 1, 2**53 - 1), 2**63 - 1, "alice")
OTHER = Erasure("alice+bob", Name("bob", "b1", 1, 1), 5, "operator")


async def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "var" / "erased.log"
    first, second = Ledger(str(path)), Ledger(str(path))
    await first.add([ONE])
    await second.add([OTHER, ONE])
    await first.add([])
    assert list(read_ledger(path)) == [ONE, OTHER, ONE]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_line_that_a_crash_has_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "erased.log"
    ledger = Ledger(str(path))
    await ledger.add([ONE])
    with path.open("ab") as file:
        file.write(b'{"conversation":"alice+bob","aut')
    await ledger.add([OTHER])
    assert list(read_ledger(path)) == [ONE, OTHER]


@given(st.binary(max_size=200))
def test_whatever_stands_in_it(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("ledger") / "erased.log"
    path.write_bytes(noise)
    assert list(read_ledger(path)) == []


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"history\.ledger"):
        list(read_ledger(tmp_path / "none"))


async def test_one_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(str(tmp_path))
    with caplog.at_level(logging.ERROR):
        await ledger.add([ONE])
        await ledger.add([ONE])
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a restore may bring back" in caplog.text


async def test_none_is_kept_where_none_is_named() -> None:
    await Ledger("").add([ONE])


async def test_the_store_notes_what_it_erases_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "erased.log"
    history = HistorySettings(ledger=str(path))
    async with open_store(StoreSettings(path=str(tmp_path / "sparrow.db")), history=history) as store:
        await store.timelines.archive([ONE._replace(stamp=5), OTHER])
    assert list(read_ledger(path)) == [ONE._replace(stamp=5), OTHER]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
async def test_what_root_makes_beside_a_server_is_the_servers(tmp_path: Path) -> None:
    """Ledger, lock, database and index alike."""
    os.chown(tmp_path, 1234, 5678)
    settings = StoreSettings(path=str(tmp_path / "var" / "sparrow.db"))
    await Ledger(str(tmp_path / "log" / "erased.log")).add([ONE])
    async with open_store(settings, Ownership.ALONE):
        open_index(settings.path, 1.0).close()
        made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert {"var", "sparrow.db", "sparrow.db-lock", "sparrow.db-search", "sparrow.db-wal", "erased.log"} <= made.keys()
    assert set(made.values()) == {(1234, 5678)}
