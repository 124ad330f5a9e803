"""What every release has left behind, read by the present code: it finds the same meaning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from broker.core.state import Location
from broker.etcd import Mirror
from broker.etcd import api_pb2 as api
from broker.members import Members
from broker.presence.etcd import EtcdPresence
from broker.presence.swaps import decode_location, encode_location
from client import Client
from client.core import ClientCore
from client.journal import SqliteJournal
from fabric import records
from fabric.tokens import Identity, TokenVerifier
from protocol.inbound import Shown
from protocol.sparrow_pb2 import Frame, LoggedIn, Message
from store import StoreSettings, open_store
from store.interface import PageQuery
from store.logins import Refresh
from tests.broker.bench import Bench as BrokerBench
from tests.cluster.devices import Device
from tests.cluster.ledger import Ledger
from tests.cluster.processes import GUARD_S, Deployment
from tests.cluster.story import start
from tests.connector.bench import Bench as ConnectorBench
from tests.releases.__main__ import main
from tests.releases.batches import Json, agrees
from tests.releases.making import NOW_S, VECTORS, digests, make, minter
from userapi.tokens import RefreshClaims

HERE = Path(__file__).parent
FOLDERS = sorted(
    (path for path in HERE.iterdir() if path.name[0].isdigit()),
    key=lambda path: [int(part) for part in path.name.split(".")],
)

every_release = pytest.mark.parametrize("folder", FOLDERS, ids=[path.name for path in FOLDERS])


def load(folder: Path, name: str) -> Json:
    """What a file of a release says."""
    return json.loads((folder / f"{name}.json").read_text())


def restore(text: Path, database: Path) -> None:
    """Make a database of its text."""
    connection = sqlite3.connect(database)
    connection.executescript(text.read_text())
    connection.close()


def test_there_is_a_release() -> None:
    assert "0.1" in [folder.name for folder in FOLDERS]


# Between the processes.


@every_release
def test_batches_mean_what_they_meant(folder: Path) -> None:
    kinds = set()
    for batch in load(folder, "batches"):
        found = records.parse(bytes.fromhex(batch["hex"]))
        assert len(found) == len(batch["records"])
        for rec, meaning in zip(found, batch["records"], strict=True):
            agrees(rec, meaning)
            kinds.add(rec[0])
    assert kinds >= set(range(1, 22))


@every_release
def test_brokers_and_connectors_take_every_record(folder: Path) -> None:
    broker, connector = BrokerBench(), ConnectorBench()
    answers: list[bytes] = []
    connector.ports.logs.clear()
    for batch in load(folder, "batches"):
        data = bytes.fromhex(batch["hex"])
        if batch["from"] == "connector":
            broker.core.batch(0xC1, data)
            broker.core.flush()
        elif batch["from"] == "userapi":
            broker.core.ask(data, answers.append)
        elif batch["from"] == "broker":
            connector.core.batch("tcp://broker-1", data)
            connector.turn()
    for name in ("begin_sessions", "page", "remove", "append", "devices"):
        assert broker.asked(name), name
    assert len(broker.presence.offlines) == len(broker.presence.onlines) == 1
    while broker.presence.barriers:
        broker.pass_barrier()
    for _, done in broker.presence.told:
        done(True)
    assert len(answers) == 5
    assert {rec.kind for rec in connector.sent()} >= {records.STORE, records.NOTIFIED, records.EVICTED}
    assert not [line for line in (*broker.ports.logs, *connector.ports.logs) if "passed over" in line]


@every_release
async def test_presence_in_etcd(folder: Path) -> None:
    entries = load(folder, "presence")
    nowhere, changed = cast(Any, None), list[Collection[str] | None]()
    mirror = Mirror(nowhere, b"sparrow/", lambda call: call())
    presence = EtcdPresence(
        nowhere, mirror, b"sparrow/", 9.0, 1.0, lambda call: call(), lambda *_: None, changed.append, b"m"
    )
    members = Members(nowhere, mirror, b"sparrow/", 9.0, 1, "tcp://here")
    values = [
        api.KeyValue(key=f"sparrow/{entry['key']}".encode(), value=entry["value"].encode(), mod_revision=5)
        for entry in entries
    ]
    mirror._loaded([], 4)
    changed.clear()
    mirror._changed([api.Event(type=api.Event.PUT, kv=kv) for kv in values])
    assert mirror.revision == 5
    for entry in entries:
        if "place" in entry:
            user, device, *place = entry["place"]
            assert presence.where(user) == {device: Location(*place)}
            # Brokers of that release compare by value.
            assert encode_location(Location(*place)) == entry["value"].encode()
            assert decode_location(entry["value"].encode()) == Location(*place)
        elif "broker" in entry:
            incarnation, endpoint = entry["broker"]
            assert members.all()[incarnation] == endpoint
        elif "changed" in entry:
            assert changed == [(entry["changed"],)]
    await presence.close()


@every_release
def test_tokens(folder: Path, tmp_path: Path) -> None:
    tokens = load(folder, "tokens")
    means = tokens["means"]
    verifier = TokenVerifier(tokens["public_key"].encode())
    assert verifier.verify(tokens["access"], NOW_S) == Identity(
        means["user"], means["device"], means["expires"], means["login"]
    )
    assert tokens["seed"] == "07" * 32
    assert minter(tmp_path).read_refresh_token(tokens["refresh"]) == RefreshClaims(**tokens["refresh_means"])


WITHDRAWN = {
    # Final Failed{NOT_ALLOWED} since 0.2: no client of 0.1 writes them by itself, and one that does settles them.
    "frames": {
        "message: a kind that is not known yet",
        "message: a negative kind",
        "message: of no kind",
        "message: the largest numbers",
    },
    # Since 0.2 a client passes over a message that cannot be (docs/protocol.md, R10). One of 0.1 hangs up as before.
    "bad_frames": {
        "a message of stream 0",
        "a message whose settled is beyond its id",
        "a message whose settled is 0",
        "a message 65,536 ahead of settled",
    },
}
"""Vectors that are no more, on purpose."""


@every_release
@pytest.mark.parametrize("name", VECTORS)
def test_conformance_vectors_are_there_as_they_were(folder: Path, name: str) -> None:
    now = digests(name)
    for vector, digest in load(folder, "vectors")[name].items():
        if vector in WITHDRAWN.get(name, ()):
            assert vector not in now
            continue
        assert now.get(vector) == digest, f"{vector!r} is not what clients of {folder.name} were tested with"


# What is kept.


@every_release
async def test_a_store(folder: Path, tmp_path: Path) -> None:
    means = load(folder, "store")
    restore(folder / "store.sql", tmp_path / "store.db")
    async with open_store(StoreSettings(path=str(tmp_path / "store.db"))) as store:
        for user, created_ms in means["created_ms"].items():
            account = await store.account(user)
            assert account is not None
            assert account.created_ms == created_ms
        assert {user: list(found or ()) for user, found in (await store.devices(means["devices"])).items()} == means[
            "devices"
        ]
        user, name = means["display_name"]
        assert (await store.profiles([user]))[user].display_name == name
        user, other = means["friends"]
        assert (await store.contact(user, other)).friend
        user, other = means["blocks"]
        assert (await store.contact(user, other)).blocks
        user, seen_ms = means["seen_ms"]
        assert await store.last_seen([user]) == {user: seen_ms}
        user, device, login, generation = means["login"]
        assert await store.refresh_login(user, device, login, generation, 1, 2**50) is Refresh.DONE
        file = await store.file(means["file"]["file"])
        assert file is not None
        assert file.complete
        assert (file.owner, sorted(file.readers), file.sha256) == (
            means["file"]["owner"],
            means["file"]["readers"],
            means["file"]["sha256"],
        )
        assert (await store.read_file(file.file, 0)).decode() == means["file"]["content"]
        for name, bodies in means["waiting"].items():
            user, _, device = name.partition("/")
            (page,) = await store.page([PageQuery(user, device, b"", True, 100)])
            assert [Message.FromString(row.body).body.decode() for row in page.rows] == bodies


@every_release
@pytest.mark.slow
async def test_who_has_waited_for_the_upgrade_logs_in_and_gets_everything(folder: Path, tmp_path: Path) -> None:
    means = load(folder, "store")
    restore(folder / "store.sql", tmp_path / "sparrow.db")
    with Deployment(tmp_path) as deployment:
        node = deployment.node()
        await start(node)
        ledger = Ledger()
        names = [*means["waiting"], *means["receipts"]]
        devices = [Device(name, deployment.token(name), [node.address], ledger, 1) for name in names]
        shown = {name: [body.encode() for body in bodies] for name, bodies in means["waiting"].items()}
        receipts = {(*name.split("/"), *told) for name, told in means["receipts"].items() for told in told}
        await ledger.until(lambda: {name: [*ledger.shown.get(name, ())] for name in shown} == shown, "what waited")
        await ledger.until(lambda: ledger._delivered >= receipts, "receipts that waited")
        assert (ledger.twice, ledger.out_of_order, ledger.broken) == (0, 0, [])
        await until_empty(tmp_path / "sparrow.db")
        user, device, session = means["session"]
        (place,) = (one for one in devices if one.name == f"{user}/{device}")
        assert place.core._known_session != session
        for one in devices:
            await one.close()
        api_port = node._environment["SPARROW_USERAPI__LISTEN_PORT"]
        async with Client(
            user,
            password=means["password"],
            device=means["devices"][user][-1],
            api=f"http://127.0.0.1:{api_port}",
            connectors=[f"127.0.0.1:{node.port}"],
        ):
            pass  # logged in
        assert "Traceback" not in deployment.logs


async def until_empty(database: Path) -> None:
    """Return when no row is left in any inbox."""
    async with asyncio.timeout(GUARD_S):
        while True:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                if connection.execute("SELECT count(*) FROM inbox").fetchone() == (0,):
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
def journal(folder: Path, tmp_path: Path) -> Iterator[SqliteJournal]:
    """The release's, opened by the present code."""
    restore(folder / "journal.sql", tmp_path / "journal.db")
    opened = SqliteJournal(tmp_path / "journal.db", history=100)
    yield opened
    opened.close()


@every_release
def test_a_clients_journal(folder: Path, journal: SqliteJournal) -> None:
    means = load(folder, "journal")
    kept = journal.load()
    assert (kept.session, kept.session_open) == (means["session"], means["session_open"])
    assert [[s.number, s.dest, s.next_id, s.retired] for s in kept.outbound] == means["outbound"]
    assert [
        [s.number, m.id, m.kind, m.body.decode(), list(m.about.ids) if m.about else None]
        for s in kept.outbound
        for m in s.messages.values()
    ] == means["outgoing"]
    assert [[d.draft, d.dest, d.kind, d.body.decode()] for d in kept.drafts] == means["drafts"]
    assert [[*key, s.next, s.settled, sorted(s.gaps)] for key, s in kept.inbound.items()] == means["inbound"]
    assert [message.body.decode() for message in kept.parked] == means["parked"]
    assert [[one.message.body.decode(), one.late] for one in journal.untaken()] == means["untaken"]
    assert {key: journal.value(key) for key in means["values"]} == means["values"]
    assert journal.history is not None
    assert [entry.body.decode() for entry in journal.history.entries()] == means["history"]


@every_release
def test_a_device_goes_on_from_its_journal(folder: Path, journal: SqliteJournal) -> None:
    means = load(folder, "journal")
    core = ClientCore(journal, lambda: 123)
    core.connected("token", "tests")
    core.flush()
    welcome = LoggedIn(
        session=1, previous_session=means["session"], max_unsettled_per_stream=9, max_unsettled_per_connection=9
    )
    core.data(delimited(Frame(logged_in=welcome)))
    core.flush()
    # Everything that was not settled is under way, and the gaps are still gaps: what fills one comes late.
    assert core.unsettled == len(means["outgoing"]) + len(means["drafts"])
    from_id, device, stream, *_, gaps = means["inbound"][0]
    late = Message(from_id=from_id, from_device=device, stream=stream, id=gaps[0], settled=1, body=b"late")
    core.data(delimited(Frame(message=late)))
    _, events = core.flush()
    assert [event for event in events if isinstance(event, Shown)] == [Shown(late, True)]


def delimited(frame: Frame) -> bytes:
    """As on the wire; short ones."""
    payload = frame.SerializeToString()
    assert len(payload) < 128
    return bytes((len(payload),)) + payload


# Making one.


def test_the_present_tree_makes_a_release_that_says_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / name)
    assert {path.name for path in (tmp_path / "one").iterdir()} >= {path.name for path in FOLDERS[-1].iterdir()}
    for path in (tmp_path / "one").iterdir():
        assert path.read_text() == (tmp_path / "two" / path.name).read_text(), path.name


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path) == 0
    (folder,) = tmp_path.iterdir()
    (folder / "presence.json").write_text("as it was")
    assert main([], tmp_path) == 1
    assert "--again" in capsys.readouterr().out
    assert (folder / "presence.json").read_text() == "as it was"
    assert main(["--again"], tmp_path) == 0
    assert load(folder, "presence")
