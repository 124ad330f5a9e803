"""Cassandra's own snapshots, as docs/operations.md ("Data") tells it: taken, everything lost, and read again."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparrow.config.settings import Settings
from sparrow.ops import snapshots
from sparrow.ops.backup_notes import newest_good
from store import StoreSettings
from store.cassandra import CassandraStore, apply
from store.cassandra.connecting import connect
from store.contacts import Change
from store.groups import GroupChange, Invitation, Link
from store.interface import COMMON, File
from store.membership import after
from store.sessions import NoSession, SessionStart
from store.timelines import Erasure, Mark
from tests.ports import free_port
from tests.services.cassandra import Node
from tests.store.group_helpers import G, circle, gname, scan
from tests.store.helpers import bodies, make_user, read_all, remove, row
from tests.store.timeline_helpers import keep, stamp

pytestmark = pytest.mark.full  # two nodes of Cassandra, for a recipe that changes with its release
NOW_MS = int(time.time() * 1000)
FILE = File("f1", "alice", "cat.jpg", "image/jpeg", 6, NOW_MS, NOW_MS + 10**9, frozenset({"bob"}))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", jmx_port=free_port())
    try:
        made.start()
        yield made
    finally:
        made.crash()


@pytest.fixture
def settings(node: Node) -> StoreSettings:
    made = StoreSettings(engine="cassandra", cassandra_contact_points=(node.point,), cassandra_request_timeout_s=25.0)
    apply(made, lambda _: None, keep_days=365)
    return made


async def fill(settings: StoreSettings) -> None:
    async with CassandraStore(settings) as store:
        await make_user(store, "alice", "a1", "a2")
        await make_user(store, "bob", "b1")
        await store.change_profile("alice", display_name="Alice")
        await store.begin_sessions([SessionStart("alice", "a1", 7)])
        await store.begin_login("alice", "a1", "login")
        await store.change_contact("alice", "bob", Change.BLOCK)
        await store.saw({"alice": NOW_MS})
        await store.create_file(FILE)
        await store.append_file(FILE, 0, b"abc")
        await store.append_file(FILE, 3, b"def")
        await store.append([row("alice", "a1", b"%d" % number) for number in range(60)])
        await store.append([row("alice", COMMON, b"for anybody"), row("bob", "b1", b"acked"), row("bob", "b1", b"new")])
        acked, _ = await read_all(store, "bob", "b1")
        await remove(store, "bob", "b1", acked)
        await store.remove_device("alice", "a2")
        there = await circle(store, "bob", "carol")
        await there.remove("carol")
        await keep(store, there.text(1), there.text(2), Erasure(G, gname(2), stamp(3), "alice"))
        await store.timelines.raise_marks([Mark("bob", G, stamp(1), True)])
        await store.groups.invite(Invitation(G, "carol", "alice", NOW_MS))
        await store.groups.add_link(Link(G, "one", "ab" * 32, NOW_MS + 10**9, 2, "alice"))
        await store.groups.raise_checkpoints({("bob", "b1"): NOW_MS - 1000})


async def everything(settings: StoreSettings) -> list[object]:
    async with CassandraStore(settings) as store:
        return [
            await store.account("alice"),
            await store.profiles(["alice", "bob"]),
            await store.list_devices("alice"),
            await store.login("alice", "a1"),
            await store.contacts("alice", "", 10),
            await store.last_seen(["alice"]),
            await store.groups.groups([G]),
            await store.groups.changes(G, 0, 9),
            [await store.groups.of_user(user) for user in ("alice", "bob", "carol")],
            await store.groups.invitations("carol"),
            await store.groups.find_link("ab" * 32),
            await store.groups.marks(G),
            await scan(store, "bob", "b1"),
            [await store.groups.was_member(G, user) for user in ("bob", "carol")],
            await store.search("al", "", 10),
            await store.files_of("alice"),
            [await store.read_file("f1", offset) for offset in (0, 3, 6)],
            await bodies(store, "alice", "a1"),
            await bodies(store, "bob", "b1"),
        ]


def taken(node: Node, settings: StoreSettings, folder: Path) -> list[Path]:
    """A folder for each table: what a backup of this node is."""
    folder.mkdir()
    parser = argparse.ArgumentParser()
    snapshots.add_arguments(parser)
    options = [
        "--into",
        str(folder),
        "--data",
        str(node.folder / "data"),
        "--nodetool",
        shlex.join(node.nodetool_line()),
        "--others-s",
        "0",
    ]
    assert snapshots.run(Settings(store=settings), parser.parse_args(options)) == 0
    good = newest_good(folder)
    assert good is not None
    about = json.loads((folder / good.file / snapshots.MANIFEST).read_text())
    assert about["tokens"]
    return [path for path in (folder / good.file).iterdir() if path.is_dir()]


def restore(node: Node, tables: list[Path]) -> None:
    for table in tables:
        node.nodetool("import", "--copy-data", "sparrow", table.name, str(table))


def test_a_snapshot_and_the_way_back(node: Node, settings: StoreSettings, tmp_path: Path) -> None:
    asyncio.run(fill(settings))
    before = asyncio.run(everything(settings))
    assert before[-2:] == [[*(b"%d" % number for number in range(60)), b"for anybody"], [b"new"]]
    tables = taken(node, settings, tmp_path / "backup")
    assert {"users", "inbox", "piece_data", "schema_version", "group_states"} < {table.name for table in tables}
    assert "sparrow_" not in node.nodetool("listsnapshots"), "its disk would fill"
    files = sorted(path for table in tables for path in table.iterdir())

    async def go_on() -> None:
        async with CassandraStore(settings) as store:
            await store.append([row("bob", "b1", b"lost")])
            group = (await store.groups.groups([G]))[G]
            assert group is not None
            change = GroupChange(group.version + 1, NOW_MS, "alice", "closed")
            assert await store.groups.change(after(group, change), change)
            await remove(store, "alice", "a1", *(await read_all(store, "alice", "a1")))
            await store.delete_account("bob")

    asyncio.run(go_on())

    # Everything is lost, as with the disk; so nothing is left that is newer than the backup and would win over it.
    with connect(settings) as connection:
        connection.execute("DROP KEYSPACE sparrow")
    apply(settings, lambda _: None)
    assert asyncio.run(everything(settings))[0] is None
    restore(node, tables)
    assert asyncio.run(everything(settings)) == before
    assert sorted(path for table in tables for path in table.iterdir()) == files, "the backup has been used up"

    async def chain() -> None:
        async with CassandraStore(settings) as store:
            starts = [SessionStart("alice", "a1", 8), SessionStart("alice", "a2", 9), SessionStart("bob", "b1", 10)]
            assert list(await store.begin_sessions(starts)) == [7, NoSession.NO_DEVICE, 0]
            await store.append([row("bob", "b1", b"after")])
            assert await bodies(store, "bob", "b1") == [b"new", b"after"]

    asyncio.run(chain())
    # It is on the disk like all else.
    node.crash()
    node.start()
    patient = dataclasses.replace(settings, cassandra_start_timeout_s=240.0)
    assert asyncio.run(everything(patient))[-3][:2] == [b"abc", b"def"]
