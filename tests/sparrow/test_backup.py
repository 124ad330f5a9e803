"""`sparrow backup` and `sparrow restore`: a node under traffic goes back in time, and what its clients see of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import Client
from protocol.errors import DeviceRemovedError, LocalFileError, SparrowError
from sparrow.config.settings import Settings, load
from sparrow.ops import backup, backups
from sparrow.ops.backup_notes import NOTE, newest_good
from sparrow.ops.overview import status_lines
from sparrow.ops.seen import ask_all
from store.interface import Counts
from store.sqlite.backup import companions, look_at
from tests.ports import free_port
from tests.sparrow.people import OPTIONS
from tests.sparrow.serving import PASSWORD, Node, run


def refused(node: Node, *arguments: str, **environment: str) -> str:
    """The one line that it says."""
    answer = run(node, *arguments, **environment)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1), answer
    return answer.stderr


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def lose(node: Node) -> None:
    """The disk with the database breaks."""
    node.kill()
    database = node.folder / "var" / "sparrow.db"
    for path in (database, *companions(database)):
        path.unlink(missing_ok=True)


class Reader:
    """A client, and all texts that it was ever shown."""

    def __init__(self, node: Node, user: str) -> None:
        self.texts: list[str] = []
        self._user, self._node = user, node

    async def __aenter__(self) -> Reader:
        state = self._node.folder / f"{self._user}.db"
        values = {"password": PASSWORD, "api": self._node.api, "state": state, "options": OPTIONS}
        self.client = await Client(self._user, **values).__aenter__()  # type: ignore[arg-type]
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        async for message in self.client:
            self.texts.append(message.text)
            message.taken()

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.client.__aexit__(None, None, None)

    async def until(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.texts:
                assert not self._reading.done(), self._reading
                await asyncio.sleep(0.01)


async def test_a_node_goes_back_in_time_under_traffic(node: Node) -> None:
    node.start()
    node.register("alice", "bob", "carol", "dave")
    archive = node.folder / "monday.tar"
    for user in ("carol", "dave"):
        async with Reader(node, user):
            pass  # each has a device now
    async with Reader(node, "alice") as alice, Reader(node, "bob") as bob:
        send = alice.client.send
        sent: list[str] = []
        stopping = asyncio.Event()

        async def write() -> None:
            while not stopping.is_set():
                sent.append(str(len(sent)))
                await (await send("bob", sent[-1])).delivered

        async with asyncio.timeout(120):
            for number in range(20):
                await (await send("carol", f"waits {number}")).sent
            before = await send("dave", "before")
            await before.sent

            writing = asyncio.create_task(write())
            await bob.until("20")
            done = await asyncio.to_thread(run, node, "backup", str(archive))
            assert (done.returncode, done.stderr) == (0, "")
            assert "accounts 4, devices 4" in done.stdout
            await bob.until(str(len(sent) + 20))
            stopping.set()
            await writing

            # What the restored inbox has forgotten that it has delivered, and what it never heard of.
            async with Reader(node, "carol") as carol:
                await carol.until("waits 19")
            shown = carol.texts
            assert shown == [f"waits {number}" for number in range(20)]
            await (await send("dave", "lost")).sent
            await asyncio.to_thread(node.register, "erin")
            async with Reader(node, "erin"):
                pass

            await asyncio.to_thread(lose, node)
            done = await asyncio.to_thread(run, node, "restore", str(archive))
            assert (done.returncode, done.stderr) == (0, "")
            assert "what was sent since may be lost" in done.stdout
            _, counts = look_at(node.folder / "var" / "sparrow.db")
            assert (counts.inbox_rows or 0) >= 21
            await asyncio.to_thread(node.start)

            after = await send("dave", "after")
            await after.sent
            for user in ("carol", "bob"):
                await (await send(user, "after")).sent
            await bob.until("after")
            async with Reader(node, "carol") as carol, Reader(node, "dave") as dave:
                await carol.until("after")
                await dave.until("after")
                await settled(node, "carol", "dave")
    # Of what came since, nothing is known.
    with pytest.raises(DeviceRemovedError):
        await Reader(node, "erin").__aenter__()
    # Repeats came, and were dropped: they are acked and gone, and nobody was shown them.
    assert carol.texts == ["after"]
    # SENT was said of it, and the backup is older: this is what a restore costs.
    assert dave.texts == ["before", "after"]
    assert bob.texts == [*sent, "after"]
    assert after.stream != before.stream
    assert node.stop() == 0
    assert "Traceback" not in node.log


async def settled(node: Node, *users: str) -> None:
    """Until nothing waits for these."""
    import sqlite3

    connection = sqlite3.connect(node.folder / "var" / "sparrow.db")
    places = ", ".join("?" * len(users))
    while connection.execute(f"SELECT count(*) FROM inbox WHERE user IN ({places})", users).fetchone() != (0,):
        await asyncio.sleep(0.05)
    connection.close()


def test_into_an_empty_place_with_keys(node: Node, tmp_path: Path) -> None:
    curve = tmp_path / "curve"
    keys = {"SPARROW_BROKER__CURVE_KEY_FILE": str(curve / "broker.key")}
    assert run(node, "keys", "broker", str(curve)).returncode == 0
    node.start()
    node.register("alice")
    assert node.stop() == 0
    bare, full = tmp_path / "bare.tar", tmp_path / "full.tar"
    # Nobody has it open.
    said = run(node, "backup", str(bare)).stdout
    assert "not in it: userapi.token_private_key_file, " in said
    said = run(node, "backup", "--with-keys", str(full), **keys).stdout
    assert "in it: userapi.token_private_key_file, " in said
    assert f"in it: broker.curve_key_file, {curve}/broker.key" in said
    for archive in (bare, full):
        assert mode(archive) == 0o600
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    away = Node(tmp_path / "away")
    away.folder.mkdir()
    said = run(away, "restore", str(bare)).stdout
    assert "not there, and not in the backup: userapi.token_private_key_file, " in said
    assert "is there already" in refused(away, "restore", str(full))
    (away.folder / "var" / "sparrow.db").unlink()
    moved = {"SPARROW_BROKER__CURVE_KEY_FILE": str(away.folder / "var" / "b.key")}
    said = run(away, "restore", str(full), **moved).stdout
    assert f"restored: {away.folder}/var/b.key" in said
    for name, copy in (("var/token.key.pem", "var/token.key.pem"), ("curve/broker.key", "var/b.key")):
        assert (away.folder / copy).read_bytes() == (node.folder / name).read_bytes()
        assert mode(away.folder / copy) == 0o600
    assert mode(away.folder / "var" / "sparrow.db") == 0o600
    away.start()
    try:
        # 200, not 201: she was registered before, with this password.
        again = httpx.post(f"{away.api}/v1/accounts", json={"user": "alice", "password": PASSWORD}, trust_env=False)
        assert again.status_code == 200
    finally:
        assert away.stop() == 0

    # Again, over the same keys, and over others.
    lost = away.folder / "var" / "sparrow.db"
    lost.unlink()
    assert run(away, "restore", str(full)).returncode == 0
    lost.unlink()
    (away.folder / "var" / "token.pub.pem").write_text("another")
    assert "is another key than the backup's" in refused(away, "restore", str(full))
    assert not lost.exists()


@pytest.fixture
def kept(node: Node) -> Path:
    """An archive, with keys, of a node that ran."""
    node.start()
    node.register("alice")
    archive = node.folder / "kept.tar"
    assert run(node, "backup", "--with-keys", str(archive)).returncode == 0
    lose(node)
    return archive


def test_what_is_refused(node: Node, kept: Path) -> None:
    database = node.folder / "var" / "sparrow.db"
    assert f"there is no database {database}" in refused(node, "backup", "new.tar")
    assert not database.exists()
    for command in ("backup", "restore"):
        assert "how Cassandra is backed up" in refused(node, command, "new.tar", SPARROW_STORE__ENGINE="cassandra")
    assert "there is no file nothing.tar" in refused(node, "restore", "nothing.tar")
    for companion in companions(database):
        companion.touch()
        assert "a restore needs an empty place" in refused(node, "restore", str(kept))
        companion.unlink()
    assert run(node, "restore", str(kept)).returncode == 0
    content = kept.read_bytes()
    assert "not written over" in refused(node, "backup", str(kept))
    assert kept.read_bytes() == content
    assert "No such file" in refused(node, "backup", "nowhere/new.tar")


def test_archives_that_are_no_good(node: Node, kept: Path) -> None:
    content = kept.read_bytes()
    database = node.folder / "var" / "sparrow.db"
    bad = node.folder / "bad.tar"
    (node.folder / "var" / "token.key.pem").unlink()
    with tarfile.open(kept) as tar:
        offset, key = (
            tar.getmember("sparrow.db").offset_data + 30_000,
            tar.getmember("keys/userapi.token_private_key_file"),
        )
    flipped, other_key = bytearray(content), bytearray(content)
    flipped[offset] ^= 1
    other_key[key.offset_data + 40] ^= 1
    for damaged in (b"", b"no archive", content[:20_000], content[: len(content) // 2], flipped, other_key):
        bad.write_bytes(damaged)
        assert "is no backup of Sparrow, or is damaged" in refused(node, "restore", str(bad))
    for manifest, says in (({"format": 2}, "format 2"), ({"format": 1}, "damaged"), ([], "damaged")):
        with tarfile.open(bad, "w") as tar:
            backup._add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        assert says in refused(node, "restore", str(bad))
    assert not database.exists()
    assert not (node.folder / "var" / "token.key.pem").exists()
    assert run(node, "restore", str(kept)).returncode == 0


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_disk_that_takes_no_more(node: Node, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(node, "restore", str(kept)).returncode == 0
    folder = node.folder / "backups"
    folder.mkdir()
    failed = subprocess.run(
        [sys.executable, "-m", "sparrow.cli", "backup", str(folder / "new.tar")],
        env=node.environment,
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
    )
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1), failed
    assert not list(folder.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings: Settings = load(None, {"SPARROW_DATA_DIR": str(node.folder)})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalFileError, match=r"new\.tar: its disk is full: free some space there"):
        backup.make(settings, folder / "new.tar", with_keys=False)
    assert not list(folder.iterdir())


# By themselves.


def test_a_series_of_backups(node: Node) -> None:
    node.environment |= {"SPARROW_MONITOR__LISTEN_PORT": str(free_port()), "SPARROW_MONITOR__BACKUP_FOLDER": "backups"}
    node.start()
    node.register("alice")
    assert "there is no folder" in refused(node, "backup", "--into", "nowhere")
    folder = node.folder / "backups"
    folder.mkdir(mode=0o700)
    (told,) = asyncio.run(ask_all([f"127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']}"]))
    assert "NO BACKUP YET" in status_lines([told])[1]
    for name in ("sparrow-20200101T000000Z.tar", "sparrow-20200102T000000Z.tar", "mine.tar"):
        (folder / name).write_text("an old one")
    assert "--keep must be" in refused(node, "backup", "--into", "backups", "--keep", "0")
    answer = run(node, "backup", "--into", "backups", "--keep", "2")
    assert answer.returncode == 0, answer.stderr
    assert "tried out, in a scratch database: accounts 1, devices 0" in answer.stdout
    assert "removed: backups/sparrow-20200101T000000Z.tar" in answer.stdout
    good = newest_good(folder)
    assert good is not None
    assert {path.name for path in folder.iterdir()} == {"sparrow-20200102T000000Z.tar", "mine.tar", good.file, NOTE}
    assert mode(folder / good.file) == mode(folder / NOTE) == 0o600
    (told,) = asyncio.run(ask_all([f"127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']}"]))
    assert told.value("backup_timestamp_seconds") == good.made_s
    assert "backup 0s old" in status_lines([told])[1] or "backup " in status_lines([told])[1]


def test_an_archive_that_cannot_be_restored_is_not_good(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And removes none of those before it."""
    node.start()
    node.register("alice")
    node.stop()
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "sparrow-20200101T000000Z.tar").write_text("an old one")
    settings = load(None, node.environment | {"SPARROW_DATA_DIR": str(node.folder / "var")})
    real = backup.database.copy

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        with sqlite3.connect(target) as connection:
            connection.execute("DROP TABLE inbox")

    monkeypatch.setattr(backup.database, "copy", copy)
    monkeypatch.setattr(backup.database, "_counts", lambda *_: Counts())
    with pytest.raises(SparrowError):
        backups.one_more(settings, folder, 1, with_keys=False)
    assert (folder / "sparrow-20200101T000000Z.tar").exists()
    assert newest_good(folder) is None


def test_a_snapshot_that_cannot_be(node: Node) -> None:
    """The real ones: tests/store/test_cassandra_backup.py."""
    assert "there is `sparrow backup`" in refused(node, "snapshot", "--into", ".")
    cassandra = {"SPARROW_STORE__ENGINE": "cassandra"}
    (node.folder / "data" / "sparrow").mkdir(parents=True)
    there = ("snapshot", "--into", ".", "--data", "data", "--others-s", "0")
    assert "--keep must be" in refused(node, *there, "--keep", "0", **cassandra)
    assert "there is no folder nowhere" in refused(node, *there[:2], "nowhere", *there[3:], **cassandra)
    assert "name Cassandra's nodetool" in refused(node, *there, "--nodetool", "./nothing", **cassandra)
    assert "nodetool snapshot:" in refused(node, *there, "--nodetool", "false", **cassandra)
    assert not list(node.folder.glob("*sparrow_*"))
