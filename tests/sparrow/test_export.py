"""`sparrow export` and `sparrow remove`: all that is kept of one user, and its end, with either engine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from client import Client, DeviceRemovedError
from fabric import records
from protocol.ids import STAMP_SHIFT, new_group_id
from protocol.sparrow_pb2 import FILE, READ, TEXT, Goodbye, Message, Receipt
from sparrow.ops.export import collect, lines
from store import Store, StoreSettings, open_store
from store.contacts import Change
from store.groups import GroupChange, Invitation
from store.interface import COMMON, File, RowKind
from store.membership import after, made
from store.subjects import Subject
from store.timelines import FOR_EVER_MS, Audience, Edit, Entry, Erasure, Mark, Name, conversation_of
from tests.ports import free_port
from tests.sparrow.people import OPTIONS
from tests.sparrow.serving import PASSWORD, Node
from tests.store.helpers import bodies, row
from tests.userapi.engines import kept
from tests.userapi.running_broker import RunningBroker

NOW_MS = int(time.time() * 1000)
CONTENT = bytes(range(256)) * 300
SECRET = "$argon2id$the hash that nobody is told"


def run(store: StoreSettings, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    there = {
        "SPARROW_STORE__ENGINE": store.engine,
        "SPARROW_STORE__PATH": store.path,
        "SPARROW_STORE__CASSANDRA_CONTACT_POINTS": ",".join(store.cassandra_contact_points),
        "SPARROW_STORE__CASSANDRA_KEYSPACE": store.cassandra_keyspace,
        "SPARROW_STORE__CASSANDRA_REQUEST_TIMEOUT_S": str(store.cassandra_request_timeout_s),
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparrow.cli", *arguments],
        cwd=folder,
        env={**os.environ, **there, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def message(text: bytes, kind: int = TEXT, at_ms: int = NOW_MS) -> bytes:
    fields: dict[str, Any] = {"from_id": "bob", "from_device": "b1", "dest_id": "alice", "stream": 7, "id": 1}
    return Message(kind=kind, body=text, stamp=at_ms << STAMP_SHIFT, **fields).SerializeToString()


async def fill(store: Store) -> None:
    """Alice, with something of everything."""
    await store.create_account("alice", SECRET)
    await store.subjects.link(Subject("https://id.example.net", "4711"), "alice")
    await store.change_profile("alice", display_name="Alice\x1b[31m", hides_presence=True)
    for device in ("a1", "a2", "gone"):
        await store.add_device("alice", device, f"Alice's {device}")
    await store.remove_device("alice", "gone")
    await store.begin_login("alice", "a1", "login")
    await store.saw({"alice": NOW_MS})
    friends = [f"friend{number:03}" for number in range(230)]
    gate = asyncio.Semaphore(20)

    async def make(user: str) -> None:
        async with gate:
            await store.create_account(user, "hash")
            if user in friends:
                await store.change_contact("alice", user, Change.ASK)

    await asyncio.gather(*map(make, ["bob", "carol", "dave", *friends]))
    await store.change_contact("bob", "alice", Change.ASK)
    await store.change_contact("alice", "bob", Change.ACCEPT)
    await store.change_contact("alice", "carol", Change.BLOCK)
    await store.change_contact("dave", "alice", Change.BLOCK)
    for file, owner in (("f1", "alice"), ("f2", "alice"), ("f3", "bob")):
        one = File(file, owner, "../cat.jpg", "image/jpeg", len(CONTENT), NOW_MS, NOW_MS + 10**9, frozenset({"alice"}))
        await store.create_file(one)
        await store.append_file(one, 0, CONTENT[:50_000])
        if file != "f2":
            await store.append_file(one, 50_000, CONTENT[50_000:])
            await store.finish_file(file, hashlib.sha256(CONTENT).hexdigest())
    receipt = Receipt(stream=9, ids=[3, 4], delivered=True, from_device="a2").SerializeToString()
    await store.append(
        [
            row("alice", "a1", message(b"hello \x1b[31m")),
            row("alice", "a1", message(b"\xff\xfe", kind=99)),
            row("alice", COMMON, message(b"for anybody", kind=FILE)),
            row("alice", "a2", receipt, kind=RowKind.RECEIPT),
            row("alice", "a2", b"\xff", kind=RowKind.MESSAGE),
            row("bob", "b1", message(b"not hers")),
            *(row("alice", "a2", message(b"", kind=READ)) for _ in range(250)),
        ]
    )


def check(found: dict[str, Any]) -> None:
    """That all of it is there, and nothing of anybody else."""
    assert found["account"].pop("created_ms") == pytest.approx(time.time() * 1000, abs=600_000)
    assert found["account"] == {
        "disabled": False,
        "own_password": True,
        "invitation": None,
        "subjects": [{"issuer": "https://id.example.net", "subject": "4711"}],
        "last_seen_ms": NOW_MS,
    }
    assert found["profile"] == {
        "display_name": "Alice\x1b[31m",
        "hides_presence": True,
        "friends_may_add_me": False,
    }
    assert [(device["device"], device["label"], device["logged_in"]) for device in found["devices"]] == [
        ("a1", "Alice's a1", True),
        ("a2", "Alice's a2", False),
    ]
    contacts = {contact.pop("user"): contact for contact in found["contacts"]}
    assert set(contacts) == {"bob", "carol", *(f"friend{number:03}" for number in range(230))}
    assert contacts["bob"].pop("since_ms") == pytest.approx(time.time() * 1000, abs=600_000)
    assert contacts["bob"] == {"friend": True, "asked": False, "asks": False, "blocks": False}
    assert contacts["carol"]["blocks"]
    assert contacts["friend229"]["asked"]
    assert [(file["file"], file["complete"], file["readers"]) for file in found["files"]] == [
        ("f1", True, ["alice"]),
        ("f2", False, ["alice"]),
    ]
    assert found["files"][0]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    waiting = [one for one in found["waiting"] if one["kind"] != "READ"]
    assert len(found["waiting"]) == len(waiting) + 250
    common = {"from": "bob", "from_device": "b1", "to": "alice", "sent_ms": NOW_MS}
    assert waiting == [
        {"device": "a1", "kind": "TEXT", **common, "size": 11, "text": "hello \x1b[31m"},
        {"device": "a1", "kind": "99", **common, "size": 2, "base64": "//4="},
        {"device": "a2", "kind": "RECEIPT", "size": waiting[2]["size"], "stream": 9, "ids": [3, 4]},
        {"device": "a2", "kind": "row 1", "size": 1, "base64": "/w=="},
        {"device": "", "kind": "FILE", **common, "size": 11, "text": "for anybody"},
    ]


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("cassandra", marks=pytest.mark.full)])
def test_everything_of_one_user(engine: str, tmp_path: Path) -> None:
    store = kept(engine, tmp_path)

    async def work() -> None:
        async with open_store(store) as opened:
            await fill(opened)

    asyncio.run(work())
    read = run(store, tmp_path, "export", "alice")
    assert (read.returncode, read.stderr) == (0, "")
    assert "hello \ufffd[31m" in read.stdout
    assert "\x1b" not in read.stdout
    folder = tmp_path / "hers"
    done = run(store, tmp_path, "export", "alice", "--json", "alice.json", "--files", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.splitlines()
    assert listed[0].startswith("account alice: since 20")
    assert {"devices: 2", "contacts and blocks: 232", "files: 2", "waiting in inboxes: 255"} < set(listed)
    assert "hello" not in done.stdout
    assert listed[-1] == "all of it: alice.json"
    text = (tmp_path / "alice.json").read_text()
    assert SECRET not in text + read.stdout
    found = json.loads(text)
    saved = [Path(file["saved"]) for file in found["files"]]
    assert [path.read_bytes() for path in saved] == [CONTENT, CONTENT[:50_000]]
    assert sorted(folder.iterdir()) == saved
    check(found)
    for path in (tmp_path / "alice.json", *saved):
        assert path.stat().st_mode & 0o777 == 0o600
    for again in (("--json", "alice.json"), ("--files", str(folder))):
        answer = run(store, tmp_path, "export", "alice", *again)
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
        assert "not written over" in answer.stderr
    answer = run(store, tmp_path, "export", "nobody", "--json", "nobody.json")
    assert (answer.returncode, answer.stderr) == (2, 'sparrow: there is no user "nobody" (any more)\n')
    assert not (tmp_path / "nobody.json").exists()
    removes(store, tmp_path)


async def what_stays(store: StoreSettings) -> list[str]:
    async with open_store(store) as opened:
        assert await opened.profiles(["alice"]) == {}
        assert await opened.contacts("alice", "", 10) == []
        assert await opened.last_seen(["alice"]) == {}
        assert await bodies(opened, "alice", "a1") == []
        return [file.file for file in await opened.files_of("alice")]


def removes(store: StoreSettings, folder: Path) -> None:
    """The same user, beside a broker that has a session of hers."""
    only_told = run(store, folder, "remove", "alice")
    assert only_told.returncode == 1
    assert "contacts and blocks: 232" in only_told.stdout
    assert only_told.stdout.splitlines()[-1].startswith("nothing was removed: with --yes all of this goes")
    # Nobody keeps this connector's lease alive.
    with RunningBroker(store, lease_s=600.0) as broker:
        socket = broker.connector(5)
        socket.send(records.batch([records.record(records.HEARTBEAT, origin=5)]))
        (beat,) = records.parse(socket.recv())
        online = records.record(records.ONLINE, flags=records.AGAIN, to=b"alice/a1", session=7, attempt=beat[7])
        socket.send(records.batch([online]))
        socket.recv()
        done = run(store, folder, "remove", "alice", "--yes", SPARROW_USERAPI__BROKERS=broker.endpoint)
        assert done.returncode == 0, done.stderr
        closed, *_ = records.parse(socket.recv())  # it is told again until it is confirmed
        assert (closed[0], closed[1], closed[4]) == (records.CLOSE, Goodbye.DEVICE_REMOVED, b"alice/a1")
        context = socket.context
        socket.close()
        context.term()
    assert 'removed: the account "alice", profile, 2 devices, 232 contacts, 255 that waited' in done.stdout
    assert "2 files stay" in done.stdout
    assert asyncio.run(what_stays(store)) == ["f1", "f2"]
    assert "the brokers know" in done.stdout
    assert "event=account_deleted user=alice by=(administrator) from=-" in done.stderr.replace('"', "")
    gone = run(store, folder, "export", "alice")
    assert (gone.returncode, gone.stderr) == (2, 'sparrow: there is no user "alice" (any more)\n')
    away = f"tcp://127.0.0.1:{free_port()}"
    again = run(store, folder, "remove", "alice", "--yes", SPARROW_USERAPI__BROKERS=away)
    assert again.returncode == 1
    assert '"alice" was removed before; done once more' in again.stdout
    assert "no broker could be told" in again.stderr
    assert "event=" not in again.stderr
    never = run(store, folder, "remove", "nobody", "--yes")
    assert (never.returncode, never.stderr.splitlines()[-1]) == (2, 'sparrow: there is no user "nobody"')
    wrong = run(store, folder, "remove", "No Body", "--yes")
    assert (wrong.returncode, wrong.stderr.splitlines()[-1][:16]) == (2, "sparrow: user id")


async def test_a_user_of_a_node_that_runs(tmp_path: Path) -> None:
    node = Node(tmp_path).start()
    store = StoreSettings(path=str(tmp_path / "var" / "sparrow.db"))
    try:
        node.register("alice", "bob")
        async with Client("alice", password=PASSWORD, api=node.api, options=OPTIONS) as alice:
            await (await alice.send("bob", "hello")).sent
            done = await asyncio.to_thread(run, store, tmp_path, "remove", "alice", "--yes")
            assert done.returncode == 0, done.stderr
            with pytest.raises(DeviceRemovedError):
                async with asyncio.timeout(20):
                    async for _ in alice:
                        pass
        # What she has written stays with whom it was for.
        found = await asyncio.to_thread(run, store, tmp_path, "export", "bob")
        assert "TEXT  from alice, " in found.stdout
    finally:
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


def test_no_database_is_made_by_looking_for_one(tmp_path: Path) -> None:
    for command in ("export", "remove"):
        answer = run(StoreSettings(path=str(tmp_path / "sparrow.db")), tmp_path, command, "alice")
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
        assert "there is no database" in answer.stderr
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_not_there_is_found_out_before(tmp_path: Path) -> None:
    store = StoreSettings(path=str(tmp_path / "sparrow.db"))

    async def make() -> None:
        async with open_store(store) as opened:
            await opened.create_account("alice", "hash")

    asyncio.run(make())
    keys = {"CURVE_KEY_FILE": "nothing.key", "BROKER_PUBLIC_KEY_FILE": "nothing.pub"}
    environment = {f"SPARROW_USERAPI__{name}": value for name, value in keys.items()}
    answer = run(store, tmp_path, "remove", "alice", "--yes", **environment)
    assert answer.returncode == 2
    assert "nothing.key" in answer.stderr.splitlines()[-1]
    assert run(store, tmp_path, "export", "alice").returncode == 0


async def test_of_a_disabled_one_whose_password_another_system_keeps(tmp_path: Path) -> None:
    async with open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))) as store:
        await store.create_account("alice", "")
        await store.set_disabled("alice", True)
        first, *_ = lines(await collect(store, "alice"), bodies=True)
        assert first.endswith(", no password of ours, disabled")


async def talk(store: Store, at_ms: int) -> None:
    """What alice has with bob, with herself, and hides with carol; and what is not hers."""
    for user in ("alice", "bob", "carol"):
        await store.create_account(user, SECRET)
    kept, stamp = store.timelines, at_ms << STAMP_SHIFT
    await kept.set_keep_days(365, 0)
    hers = conversation_of("alice", "bob")
    names = [Name("bob", "b1", 2**63 + number % 4, number) for number in range(1, 701)]
    entries = [Entry(hers, name, stamp + name.id, TEXT, f"kept {name.id} \x1b".encode()) for name in names]
    notes = Entry(conversation_of("alice", "alice"), Name("alice", "a1", 1, 1), stamp, FILE, b'{"a note": "\xc3\xa4"}')
    hidden = Entry(conversation_of("alice", "carol"), Name("carol", "c1", 1, 1), stamp, TEXT, b"hidden")
    swallowed = Entry(hers, Name("bob", "b1", 7, 1), stamp, TEXT, b"not for her", audience=Audience.AUTHOR)
    others = Entry(conversation_of("bob", "carol"), Name("carol", "c1", 2, 1), stamp, TEXT, b"not hers")
    await kept.archive([*entries, notes, hidden, swallowed, others])
    erased = Erasure(hers, names[3], stamp + 1000, "bob")
    edit = Edit(hers, names[4], Name("bob", "b1", 2**63, 800), stamp + 2000, 1, b"corrected")
    assert not any(one.result for one in await kept.archive([erased, edit]))
    await kept.hide("alice", hidden.conversation, stamp + 10)
    await kept.raise_marks([Mark("alice", hers, stamp + 9, public=False)])
    assert await kept.mute("alice", "dave", FOR_EVER_MS, 9)
    assert await kept.mute("alice", "bob", at_ms + 3_600_000, 9)
    assert await kept.mute("bob", "alice", FOR_EVER_MS, 9)


@pytest.mark.parametrize(
    ("engine", "words"),
    [("sqlite", "keep"), ("sqlite", "erase"), pytest.param("cassandra", "erase", marks=pytest.mark.full)],
)
def test_what_is_kept_of_conversations(tmp_path: Path, engine: str, words: str) -> None:
    store = kept(engine, tmp_path)
    at_ms = int(time.time() * 1000) + 60_000  # of before it is kept nothing is shown

    async def work() -> None:
        async with open_store(store) as opened:
            await talk(opened, at_ms)

    asyncio.run(work())
    done = run(store, tmp_path, "export", "alice", "--json", "alice.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"conversations: 3", "waiting in inboxes: 0"} < set(done.stdout.splitlines())
    assert {"muted: 2", "  dave  for ever"} < set(done.stdout.splitlines())
    assert any(line.startswith("  bob  until 20") for line in done.stdout.splitlines())
    assert any(line.startswith("  carol  newest 20") for line in done.stdout.splitlines())
    text = (tmp_path / "alice.json").read_text()
    assert "not hers" not in text
    assert "not for her" not in text
    assert "kept 4 " not in text
    mutes = {one["conversation"]: one["until_ms"] for one in json.loads(text)["mutes"]}
    assert mutes == {"bob": at_ms + 3_600_000, "dave": FOR_EVER_MS}
    found = {one["user"]: one for one in json.loads(text)["conversations"]}
    assert list(found) == ["alice", "bob", "carol"]
    assert [one["id"] for one in found["bob"]["messages"]] == [str(number) for number in range(700, 0, -1)]
    assert found["bob"]["mark"] == str((at_ms << STAMP_SHIFT) + 9)
    fifth, fourth, third = found["bob"]["messages"][-5:-2]
    assert (fifth["text"], fifth["revision"], fifth["edit"]["id"]) == ("corrected", 1, "800")
    assert (fourth["text"], fourth["erased_by"]) == ("", "bob")
    assert (third["text"], third["sent_ms"], third["stream"]) == ("kept 3 \x1b", at_ms, str(2**63 + 3))
    assert [one["text"] for one in found["carol"]["messages"]] == ["hidden"]
    assert found["alice"]["messages"][0]["body"] == base64.b64encode(b'{"a note": "\xc3\xa4"}').decode()
    printed = run(store, tmp_path, "export", "bob")
    assert "conversations: 2" in printed.stdout

    away = f"tcp://127.0.0.1:{free_port()}"
    environment = {"SPARROW_USERAPI__BROKERS": away, "SPARROW_HISTORY__WORDS_OF_DELETED_ACCOUNTS": words}
    said = run(store, tmp_path, "remove", "bob")
    assert "conversations: 2" in said.stdout
    for _ in range(2):
        said = run(store, tmp_path, "remove", "bob", "--yes", **environment)
        stays = "what it wrote stays for the others" in said.stdout
        assert stays == (words == "keep")
        assert stays != ("and all that it wrote" in said.stdout)
    again = run(store, tmp_path, "export", "alice", "--json", "after.json")
    assert again.stderr == ""
    assert again.returncode == 0
    later = {one["user"]: one for one in json.loads((tmp_path / "after.json").read_text())["conversations"]}
    texts = {one.get("text") for one in later["bob"]["messages"]}
    assert ("kept 700 \x1b" in texts) == (words == "keep")
    assert (texts == {""}) == (words == "erase")


async def in_groups(store: Store, at_ms: int) -> None:
    """Alice owns Lunch, in which bob is, and dave was; and was in Tea, from which she has gone."""
    for user in ("alice", "bob", "dave"):
        await store.create_account(user, SECRET)
    ids = {}
    for name, owner, others in (("Lunch", "alice", ("bob", "dave")), ("Tea", "bob", ("alice",))):
        group, change = made(new_group_id(bytes([len(name)] * 15)), owner, name, at_ms)
        await store.groups.make(group, change)
        steps = [("added", owner, user) for user in others]
        steps += [("left", "dave", "dave")] if name == "Lunch" else []
        for kind, actor, user in steps:
            change = GroupChange(group.version + 1, at_ms, actor, kind, user)
            group = after(group, change)
            assert await store.groups.change(group, change)
        said = Name("bob", "b1", len(name), 1), Name("alice", "a1", len(name), 1)
        entries = [
            Entry(
                group.group, one, (at_ms << STAMP_SHIFT) + n, TEXT, f"{one.author} in {name}".encode(),
                version=group.version, settled=1,
            )
            for n, one in enumerate(said)
        ]  # fmt: skip
        assert not any(one.result for one in await store.timelines.archive(entries))
        ids[name] = group
    change = GroupChange(ids["Tea"].version + 1, at_ms, "bob", "removed", "alice")
    assert await store.groups.change(after(ids["Tea"], change), change)
    assert await store.groups.invite(Invitation(ids["Tea"].group, "alice", "bob", at_ms))


@pytest.mark.parametrize("engine", ["sqlite", "cassandra"])
@pytest.mark.parametrize("days", [365, 0])
def test_groups(tmp_path: Path, engine: str, days: int) -> None:
    store = kept(engine, tmp_path)
    at_ms = int(time.time() * 1000) + (60_000 if days else 0)

    async def work() -> None:
        async with open_store(store) as opened:
            await opened.timelines.set_keep_days(days, 0)
            await in_groups(opened, at_ms)

    asyncio.run(work())
    done = run(store, tmp_path, "export", "alice", "--json", "alice.json")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert {"conversations: 0", "groups: 2", "invitations: 1"} < set(said)
    assert [line.split("  ")[2] for line in said if "Lunch" in line] == ["Lunch, owner of 2 members"]
    assert sum("  left 20" in line for line in said) == 1
    found = json.loads((tmp_path / "alice.json").read_text())
    assert found["conversations"] == []
    groups = {one.get("name"): one for one in found["groups"]}
    assert groups["Lunch"]["role"] == "owner"
    assert [one["text"] for one in groups["Lunch"]["messages"]] == ["alice in Lunch", "bob in Lunch"]
    # Of a group that she is out of, what others wrote is not hers.
    assert [one["text"] for one in groups[None]["messages"]] == ["alice in Tea"]
    assert [one["by"] for one in found["invitations"]] == ["bob"]

    away = {"SPARROW_USERAPI__BROKERS": f"tcp://127.0.0.1:{free_port()}"}
    removed = run(store, tmp_path, "remove", "alice", "--yes", **away)
    assert "groups: 1 left" in removed.stdout
    bobs = run(store, tmp_path, "export", "bob")
    assert "Lunch, owner of 1 members" in bobs.stdout  # the last owner hands it over


def test_an_export_of_nothing_but_an_account_is_json_too(tmp_path: Path) -> None:
    store = StoreSettings(path=str(tmp_path / "sparrow.db"))

    async def work() -> None:
        async with open_store(store) as opened:
            await opened.create_account("alice", SECRET)

    asyncio.run(work())
    assert run(store, tmp_path, "export", "alice", "--json", "alice.json").returncode == 0
    found = json.loads((tmp_path / "alice.json").read_text())
    assert (found["conversations"], found["groups"], found["invitations"]) == ([], [], [])
