"""What is particular to the Cassandra engine: positions, clocks apart, tombstones, races, settings, schema."""

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from cassandra import ReadFailure
from cassandra.connection import DefaultEndPoint
from cassandra.metadata import KeyspaceMetadata, Metadata
from cassandra.policies import SimpleConvictionPolicy
from cassandra.pool import Host
from cassandra.query import BatchStatement, BoundStatement, PreparedStatement

from protocol.errors import ConfigError, StoreError
from sparrow.config.settings import Settings, check
from store import StoreSettings
from store.cassandra import CassandraStore, apply, inbox
from store.cassandra.addresses import parse_contact_points, parse_replication, read_credentials
from store.cassandra.batches import Queue, Write, batches
from store.cassandra.connecting import Connection, connect
from store.cassandra.keys import Cursor, Positions, begin_pass, parse_cursor, position_at, time_us
from store.cassandra.schema import STEPS, VERSION
from store.interface import COMMON, File, PageQuery, Removal
from store.sessions import NoSession, SessionStart
from tests.ports import free_port
from tests.store.conftest import shared_cassandra
from tests.store.helpers import bodies, make_user, read_all, remove, row

DAY_S = 86_400
MANY = 1_500
"""Three times what the shared node reads past (`tests.services.cassandra.SHARED_YAML`)."""


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    cassandra = shared_cassandra()
    cassandra.begin(tmp_path)
    return cassandra.settings


def with_(settings: StoreSettings, **changes: object) -> StoreSettings:
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def shifted(by_s: float) -> Callable[[], float]:
    return lambda: time.time() + by_s


# Positions and cursors.


def test_positions_rise_and_are_unique() -> None:
    now = 1000.0
    one, two = Positions(lambda: now), Positions(lambda: now)
    drawn = [one.draw() for _ in range(1000)]
    assert drawn == sorted(set(drawn))
    assert not set(drawn) & {two.draw() for _ in range(1000)}
    assert time_us(drawn[0]) == 1_000_000_000
    now = 999.5
    drawn.append(one.draw())
    assert drawn[-1] > drawn[-2]  # a small step back is waited out
    now = 500.0
    drawn.append(one.draw())
    assert time_us(drawn[-1]) == 500_000_000  # a large one is followed
    assert len(set(drawn)) == len(drawn)


def test_a_fresh_pass_goes_back_behind_the_begin_of_the_last() -> None:
    trail = 600_000_000
    first = begin_pass(None, 5_000_000_000, trail)
    assert first == Cursor(bytes(16), 5_000_000_000, ended=False)
    assert parse_cursor(first.pack()) == first
    assert parse_cursor(b"12345678") is None
    assert parse_cursor(b"\7" + first.pack()[1:]) is None
    assert len(first.pack()) <= 64
    # It took a day: what came in the beginning may lie far behind the newest position.
    ended = first._replace(at=position_at(90_000_000_000), ended=True)
    assert begin_pass(ended, 90_000_000_000, trail).at == position_at(4_400_000_000)
    # Broken off early: what it did not come to is still to be read.
    broken_off = first._replace(at=position_at(77))
    assert begin_pass(broken_off, 90_000_000_000, trail).at == position_at(77)


def batched(*writes: Write, replicas: Callable[[Queue], Hashable] = lambda _: None) -> list[list[Queue]]:
    """The partitions that the writes of each statement are in."""
    statements = list(batches(writes, max_rows=20, max_bytes=4096, replicas=replicas))
    told = [
        [values[0] for _, _, values in statement._statements_and_parameters]
        if isinstance(statement, BatchStatement)
        else [statement.values[0]]
        for statement in statements
    ]
    assert sorted(queue for queues in told for queue in queues) == sorted(write.queue for write in writes)
    return told


def write(user: int, size: int = 10) -> Write:
    prepared = PreparedStatement(None, b"id", None, "INSERT", "keyspace", 4, None, None)
    statement = BoundStatement(prepared)
    statement.values = [(f"u{user}", "d")]
    return Write((f"u{user}", "d"), size, statement)


def test_batches_are_bounded() -> None:
    def sizes(*writes: Write) -> list[int]:
        return [len(queues) for queues in batched(*writes)]

    assert sizes(*(write(1) for _ in range(45))) == [20, 20, 5]
    assert sizes(*(write(1, 3000) for _ in range(3))) == [1, 1, 1]
    assert sizes(write(1, 50_000), write(1)) == [1, 1]
    assert sizes(*(write(number) for number in range(45))) == [20, 20, 5]
    # A partition is not split without need.
    assert sizes(write(0), *(write(1) for _ in range(20)), write(2)) == [1, 20, 1]
    assert sizes(*(write(number) for number in [0] * 15 + [1] * 15 + [2] * 5)) == [15, 20]
    assert sizes() == []


def test_batches_are_for_one_set_of_nodes() -> None:
    told = batched(*(write(number % 10) for number in range(40)), replicas=lambda queue: int(queue[0][1:]) % 3)
    assert [{int(queue[0][1:]) for queue in queues} for queues in told] == [{0, 3, 6, 9}, {1, 4, 7}, {2, 5, 8}]


def test_replicas_are_those_of_the_key() -> None:
    metadata = Metadata()
    hosts = [Host(DefaultEndPoint(f"10.0.0.{number}"), SimpleConvictionPolicy, host_id=uuid4()) for number in (1, 2)]
    for host in hosts:
        metadata.add_or_return_host(host)
    metadata.keyspaces["ours"] = KeyspaceMetadata("ours", True, "SimpleStrategy", {"replication_factor": "1"})
    metadata.rebuild_token_map("Murmur3Partitioner", {hosts[0]: ["0"], hosts[1]: [str(2**62)]})
    connection = Connection(StoreSettings(), SimpleNamespace(metadata=metadata), None)
    connection._keyspace, connection._copies = "ours", 1
    packed = b"".join(BoundStatement._key_parts_packed(None, [b"u1", b"d"]))
    assert connection.replicas(("u1", "d")) == frozenset(metadata.get_replicas("ours", packed))
    found = {connection.replicas((f"u{number}", "d")) for number in range(100)}
    assert found == {frozenset([hosts[0]]), frozenset([hosts[1]])}
    connection._copies = 2
    assert connection.replicas(("u1", "d")) is None


# Clocks, late writes.


async def test_rows_of_brokers_with_clocks_apart(settings: StoreSettings) -> None:
    async with (
        CassandraStore(settings, clock=shifted(60)) as fast,
        CassandraStore(settings, clock=shifted(-60)) as slow,
        CassandraStore(settings) as reader,
    ):
        await fast.append([row("alice", "d", b"fast")])
        (page,) = await reader.page([PageQuery("alice", "d", b"", True, 100)])
        assert [found.body for found in page.rows] == [b"fast"]
        assert page.end
        await slow.append([row("alice", "d", b"slow"), row("alice", COMMON, b"common")])
        (page,) = await fast.page([PageQuery("alice", "d", page.next, True, 100)])
        assert {found.body for found in page.rows} == {b"fast", b"slow", b"common"}
        # And whoever removes, the row goes.
        await slow.remove([Removal("alice", "d", tuple(found.key for found in page.rows))])
        assert await bodies(reader, "alice", "d") == []


async def test_a_pass_that_takes_long_misses_nothing(settings: StoreSettings) -> None:
    now = time.time() - DAY_S
    async with CassandraStore(settings, clock=lambda: now) as store:
        for number in range(10):
            await store.append([row("alice", "d", b"%d" % number)])
            now += 60
        (page,) = await store.page([PageQuery("alice", "d", b"", True, 9)])
        now -= 200
        await store.append([row("alice", "d", b"from a slow clock")])  # behind where the scan is
        now += 3600
        await store.append([row("alice", "d", b"much later")])
        (page,) = await store.page([PageQuery("alice", "d", page.next, False, 100)])
        assert page.end
        assert page.rows[-1].body == b"much later"
        (page,) = await store.page([PageQuery("alice", "d", page.next, True, 100)])
        assert b"from a slow clock" in [found.body for found in page.rows]


async def test_a_write_that_happens_late_does_not_undo_a_removal(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with CassandraStore(settings, clock=shifted(-60)) as store:
        written: list[object] = []
        write = inbox.Inbox._write

        async def keep(self: inbox.Inbox, writes: list[Write]) -> None:
            written.append((self, writes))
            await write(self, writes)

        monkeypatch.setattr(inbox.Inbox, "_write", keep)
        await store.append([row("alice", "d", b"once"), row("alice", "d", b"twice")])
        (where, writes) = written[0]  # type: ignore[misc]
        await write(where, writes)
        rows = await read_all(store, "alice", "d")
        assert [found.body for found in rows] == [b"once", b"twice"]
        await remove(store, "alice", "d", rows[0])
        await write(where, writes)
        assert await bodies(store, "alice", "d") == [b"twice"]


# Tombstones.


def read_plainly(settings: StoreSettings, user: str, device: str) -> int:
    """Rows of a queue, read in one go."""
    session = shared_cassandra().connection.session
    return len(
        list(
            session.execute(
                f"SELECT kind FROM {settings.cassandra_keyspace}.inbox WHERE user = %s AND device = %s LIMIT 10000",
                (user, device),
            )
        )
    )


async def append_and_remove(store: CassandraStore, device: str = "d") -> None:
    for _ in range(MANY // 250):
        await store.append([row("alice", device, b"x")] * 250)
    rows = await read_all(store, "alice", device, limit=250)
    assert len(rows) == MANY
    await remove(store, "alice", device, *rows)


@pytest.mark.parametrize("queue", ["d", COMMON])
async def test_a_page_past_many_removed_rows(settings: StoreSettings, queue: str) -> None:
    async with CassandraStore(settings) as store:
        await append_and_remove(store, queue)
        with pytest.raises(ReadFailure):
            read_plainly(settings, "alice", queue)
        assert await bodies(store, "alice", "d") == []
        await store.append([row("alice", "d", b"new"), row("alice", COMMON, b"common")])
        assert await bodies(store, "alice", "d") == [b"new", b"common"]
        # Rows are too young to be forgotten as a whole: one from a slow clock may still come among them.
        async with CassandraStore(settings, clock=shifted(-1)) as slow:
            await slow.append([row("alice", "d", b"slow")])
        assert set(await bodies(store, "alice", "d")) == {b"slow", b"new", b"common"}


async def test_a_device_that_comes_back_after_twenty_days(settings: StoreSettings) -> None:
    async with CassandraStore(settings, clock=shifted(-20 * DAY_S)) as then:
        await append_and_remove(then)
        await then.append([row("alice", "d", b"old")])
    async with CassandraStore(settings) as now:
        await now.append([row("alice", "d", b"new")])
        with pytest.raises(ReadFailure):
            read_plainly(settings, "alice", "d")
        # A reader leaves one range tombstone for all of them; where that write fails, the next reader does.
        for left in reversed(range(10)):
            assert await bodies(now, "alice", "d") == [b"old", b"new"]
            try:
                assert read_plainly(settings, "alice", "d") == 2
                break
            except ReadFailure:
                assert left, "no reader has made it easier for the next"
        assert await bodies(now, "alice", "d") == [b"old", b"new"]


async def test_a_page_past_many_expired_rows(settings: StoreSettings) -> None:
    async with CassandraStore(with_(settings, inbox_ttl_days=1 / DAY_S)) as store:
        for _ in range(MANY // 250):
            await store.append([row("alice", "d", b"x")] * 250)
    async with CassandraStore(settings) as store:
        await asyncio.sleep(2.1)
        with pytest.raises(ReadFailure):
            read_plainly(settings, "alice", "d")
        await store.append([row("alice", "d", b"new")])
        assert await bodies(store, "alice", "d") == [b"new"]


async def test_a_file_that_is_complete_outlives_the_time_of_its_upload(settings: StoreSettings) -> None:
    now_ms = int(time.time() * 1000)
    day_ms = DAY_S * 1000
    async with CassandraStore(settings) as store:
        for name in ("begun", "whole"):
            file = File(name, "alice", "", "a/b", 4, now_ms, now_ms + 30 * day_ms, upload_expires_ms=now_ms + day_ms)
            await store.create_file(file)
            await store.append_file(file, 0, b"abcd")
        await store.finish_file("whole", "00ff")
        assert [file.file for file in await store.files_of("alice")] == ["begun", "whole"]
    async with CassandraStore(settings, clock=shifted(2 * DAY_S)) as store:
        assert [file.file for file in await store.files_of("alice")] == ["whole"]
        assert await store.file("begun") is None
        assert await store.read_file("whole", 0) == b"abcd"


async def test_a_removed_device_whose_queue_is_full_of_tombstones(settings: StoreSettings) -> None:
    async with CassandraStore(settings) as store:
        await make_user(store, "alice", "d")
        await append_and_remove(store)
        await store.append([row("alice", "d", b"%d" % number) for number in range(20)])
        await store.remove_device("alice", "d")
        assert await bodies(store, "alice", COMMON) == [b"%d" % number for number in range(20)]


# Devices and sessions.


async def test_an_interrupted_move_goes_on(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with CassandraStore(settings) as store:
        await make_user(store, "alice", "old", "new")
        sent = [b"%d" % number for number in range(30)]
        await store.append([row("alice", "old", body) for body in sent])
        moves = 0
        removing = inbox.Inbox._removing

        def break_down(self: inbox.Inbox, queues: dict[tuple[str, str], list[bytes]]) -> list[object]:
            nonlocal moves
            moves += 1
            if moves == 3:
                raise StoreError("gone")  # behind the insert, before the removal
            return removing(self, queues)

        monkeypatch.setattr(inbox.Inbox, "_removing", break_down)
        with pytest.raises(StoreError, match="gone"):
            await store.remove_device("alice", "old")
        assert await store.devices(["alice"]) == {"alice": ("new",)}
        assert list(await store.begin_sessions([SessionStart("alice", "old", 4)])) == [NoSession.NO_DEVICE]
        assert set(await bodies(store, "alice", COMMON)) == set(sent[:21])
        await store.remove_device("alice", "old")
        assert set(await bodies(store, "alice", "new")) == set(sent)
        assert await bodies(store, "alice", "old") == await bodies(store, "alice", COMMON)


async def test_sessions_begun_at_once_form_one_chain(settings: StoreSettings) -> None:
    async with CassandraStore(settings) as one, CassandraStore(settings) as two:
        await make_user(one, "alice", "d")
        numbers = range(1, 13)
        answers = await asyncio.gather(
            *((one, two)[number % 2].begin_sessions([SessionStart("alice", "d", number)]) for number in numbers)
        )
        before = {number: answer[0] for number, answer in zip(numbers, answers, strict=True)}
        assert sorted(before.values()) == [0, *sorted(set(numbers) - {newest(before)})]
        assert list(await one.begin_sessions([SessionStart("alice", "d", 99)])) == [newest(before)]


def newest(before: dict[int, int | None]) -> int:
    (last,) = set(before) - set(before.values())
    return last


async def test_many_users_in_one_go(settings: StoreSettings) -> None:
    async with CassandraStore(settings) as store:
        users = [f"u{number}" for number in range(120)]
        await asyncio.gather(*(make_user(store, user, "d") for user in users[::2]))
        found = await store.devices(users)
        assert found == {user: ("d",) if number % 2 == 0 else None for number, user in enumerate(users)}


# Limits.


async def test_what_waits_is_bounded(settings: StoreSettings) -> None:
    async with CassandraStore(with_(settings, max_waiting_rows=100, max_waiting_bytes=1000)) as store:
        results = await asyncio.gather(
            *(store.append([row("alice", "d", b"x")] * 40) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), type(None), StoreError]
        assert "max_waiting_rows" in str(results[2])
        # One alone may be larger than the limit: it could never be written otherwise.
        await store.append([row("alice", "d", b"x" * 2000)])


async def test_more_statements_than_may_be_on_their_way(settings: StoreSettings) -> None:
    async with CassandraStore(with_(settings, cassandra_max_requests=2, cassandra_batch_rows=1)) as store:
        sent = [b"%d" % number for number in range(100)]
        await asyncio.gather(*(store.append([row("alice", "d", body)]) for body in sent))
        assert await bodies(store, "alice", "d") == sent


async def test_a_page_of_the_largest_bodies(settings: StoreSettings) -> None:
    async with CassandraStore(settings) as store:
        body = os.urandom(64 * 1024)
        for _ in range(8):
            await store.append([row("alice", "d", body)] * 32)
        (page,) = await store.page([PageQuery("alice", "d", b"", True, 256)])
        assert [found.body for found in page.rows] == [body] * 256


# Settings.


def test_contact_points() -> None:
    points = ("10.0.0.1", "db.example:9142", "[::1]:9042")
    parsed = parse_contact_points(StoreSettings(cassandra_contact_points=points))
    assert parsed == [("10.0.0.1", 9042), ("db.example", 9142), ("::1", 9042)]
    for text in ("a:b", "a:70000", "a b", ":9042"):
        with pytest.raises(ConfigError, match="host:port"):
            parse_contact_points(StoreSettings(cassandra_contact_points=(text,)))


def test_replication() -> None:
    def parsed(text: str) -> dict[str, str | int]:
        return parse_replication(StoreSettings(cassandra_replication=text))

    assert parsed("SimpleStrategy:3") == {"class": "SimpleStrategy", "replication_factor": 3}
    assert parsed("NetworkTopologyStrategy:dc1=3, dc2=2") == {"class": "NetworkTopologyStrategy", "dc1": 3, "dc2": 2}
    for text in ("3", "SimpleStrategy:0", "NetworkTopologyStrategy:", "NetworkTopologyStrategy:dc1=x"):
        with pytest.raises(ConfigError, match="SimpleStrategy:3"):
            parsed(text)


def test_credentials(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    settings = StoreSettings(cassandra_credentials_file=str(path))
    assert read_credentials(StoreSettings()) is None
    with pytest.raises(ConfigError, match="No such file"):
        read_credentials(settings)
    path.write_text("sparrow\nsecret word\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_credentials(settings)
    path.chmod(0o600)
    assert read_credentials(settings) == ("sparrow", "secret word")
    path.write_text("sparrow\n")
    with pytest.raises(ConfigError, match="second"):
        read_credentials(settings)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"cassandra_contact_points": ("a:b",)}, "store.cassandra_contact_points"),
        ({"cassandra_replication": "3"}, "store.cassandra_replication"),
        ({"cassandra_keyspace": "a-b"}, "store.cassandra_keyspace"),
        ({"cassandra_tls_cert_file": "x"}, "store.cassandra_tls_cert_file"),
        ({"cassandra_tls_cert_file": "x", "cassandra_tls_key_file": "y"}, "store.cassandra_tls_ca_file"),
        ({"cassandra_trail_s": 500.0}, "store.cassandra_trail_s"),
        ({"cassandra_request_timeout_s": 31.0}, "store.call_timeout_s"),
        ({"cassandra_credentials_file": "nowhere"}, "store.cassandra_credentials_file"),
    ],
)
def test_wrong_settings_are_found(changes: dict[str, object], key: str) -> None:
    store = dataclasses.replace(StoreSettings(engine="cassandra"), **changes)  # type: ignore[arg-type]
    assert key in [finding.key for finding in check(dataclasses.replace(Settings(), store=store))]
    other = dataclasses.replace(store, engine="sqlite")
    assert not [f for f in check(dataclasses.replace(Settings(), store=other)) if "cassandra" in f.key]


# Start and schema.


async def test_nobody_answers(settings: StoreSettings, caplog: pytest.LogCaptureFixture) -> None:
    point = f"127.0.0.1:{free_port()}"
    store = CassandraStore(with_(settings, cassandra_contact_points=(point,), cassandra_start_timeout_s=1.5))
    with pytest.raises(StoreError, match=rf"{point}: no node answers: is it running"):
        await store.__aenter__()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert point in said[0]
    assert "trying again" in said[0]


async def test_a_start_that_is_given_up(settings: StoreSettings) -> None:
    store = CassandraStore(with_(settings, cassandra_contact_points=(f"127.0.0.1:{free_port()}",)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.__aenter__(), 0.2)


def test_a_server_that_waits_for_cassandra_can_be_stopped(tmp_path: Path) -> None:
    environment = {
        "SPARROW_STORE__ENGINE": "cassandra",
        "SPARROW_STORE__CASSANDRA_CONTACT_POINTS": f"127.0.0.1:{free_port()}",
        "SPARROW_BROKER__LISTEN": f"tcp://127.0.0.1:{free_port()}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "sparrow.cli", "broker"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        process.terminate()
        said = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in said


async def test_the_schema_is_not_there_or_of_another_version(settings: StoreSettings) -> None:
    other = with_(settings, cassandra_keyspace=settings.cassandra_keyspace + "_other")
    with pytest.raises(ConfigError, match="sparrow schema apply"):
        await CassandraStore(other).__aenter__()
    said: list[str] = []
    set_version = f"UPDATE {other.cassandra_keyspace}.schema_version SET version = %s WHERE id = 0"
    with connect(other) as connection:
        try:
            apply(other, said.append)
            assert said[-1].endswith(f"schema {VERSION} was made")
            apply(other, said.append)
            assert "nothing to do" in said[-1]
            apply(with_(other, cassandra_replication="SimpleStrategy:3"), said.append)
            assert "ALTER KEYSPACE" in said[-2]
            for version, says in ((99, "newer Sparrow"), (0, "sparrow schema apply")):
                connection.execute(
                    f"UPDATE {other.cassandra_keyspace}.schema_version "
                    f"SET version = {version}, oldest = {version} WHERE id = 0"
                )
                with pytest.raises(ConfigError, match=says):
                    await CassandraStore(other).__aenter__()
            only_adds = f"UPDATE {other.cassandra_keyspace}.schema_version SET version = 99, oldest = %s WHERE id = 0"
            connection.execute(only_adds, (VERSION,))
            async with CassandraStore(other):
                pass
            apply(other, said.append)
            assert "schema 99 was there already" in said[-1]
            connection.execute(only_adds, (VERSION + 1,))
            with pytest.raises(ConfigError, match="newer Sparrow"):
                await CassandraStore(other).__aenter__()
            connection.execute(f"UPDATE {other.cassandra_keyspace}.schema_version SET oldest = null WHERE id = 0")
            connection.execute(set_version, (99,))
            with pytest.raises(ConfigError, match="newer Sparrow"):
                apply(other, said.append)
        finally:
            connection.execute(f"DROP KEYSPACE IF EXISTS {other.cassandra_keyspace}")


async def test_a_keyspace_of_an_older_version_is_brought_up_to_date(settings: StoreSettings) -> None:
    other = with_(settings, cassandra_keyspace=settings.cassandra_keyspace + "_old")
    with connect(other) as connection:
        try:
            connection.execute(
                f"CREATE KEYSPACE {other.cassandra_keyspace} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            connection.execute(f"USE {other.cassandra_keyspace}")
            connection.execute("CREATE TABLE schema_version (id int PRIMARY KEY, version int)")
            for statement in STEPS[0]:
                assert isinstance(statement, str)
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version (id, version) VALUES (0, 1)")
            connection.execute("INSERT INTO users (user, password_hash, created_us) VALUES ('alice', 'h', 5000)")
            for _ in range(2):  # as after a crash on the way
                apply(other, lambda _: None)
                connection.execute("INSERT INTO schema_version (id, version) VALUES (0, 1)")
            apply(other, lambda _: None)
            async with CassandraStore(other) as store:
                assert [profile.user for profile in await store.search("al", "", 9)] == ["alice"]
                assert (await store.profiles(["alice"]))["alice"].created_ms == 5
        finally:
            connection.execute(f"DROP KEYSPACE IF EXISTS {other.cassandra_keyspace}")


def test_the_command(settings: StoreSettings, tmp_path: Path) -> None:
    def run(**environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "sparrow.cli", "schema", "apply"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert "there are no settings" in run().stderr
    assert "nothing to do" in run(SPARROW_DATA_DIR=".").stdout
    point = settings.cassandra_contact_points[0]
    there = {
        "SPARROW_STORE__ENGINE": "cassandra",
        "SPARROW_STORE__CASSANDRA_CONTACT_POINTS": point,
        "SPARROW_STORE__CASSANDRA_KEYSPACE": settings.cassandra_keyspace,
    }
    done = run(**there)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout
    away = run(**{**there, "SPARROW_STORE__CASSANDRA_CONTACT_POINTS": f"127.0.0.1:{free_port()}"})
    assert away.returncode == 2
    assert "no node answers" in away.stderr
    assert away.stderr.count("\n") == 1
