"""The Cassandra engine and a node of its own: passwords, TLS, a node that is killed, frozen, and comes back."""

import asyncio
import dataclasses
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ConfigError, StoreError
from store import StoreSettings
from store.cassandra import CassandraStore, apply
from store.groups import GroupChange, MyGroup
from store.interface import PageQuery
from store.membership import after, made
from tests.certificates import Authority
from tests.services.cassandra import Node
from tests.store.group_helpers import G
from tests.store.helpers import bodies, make_user, row
from tests.store.timeline_helpers import NOW_MS


def yaml(certificate: Path, key: Path) -> list[str]:
    indented = ["\n".join("          " + line for line in path.read_text().splitlines()) for path in (certificate, key)]
    return [
        "authenticator: {class_name: PasswordAuthenticator}",
        "authorizer: {class_name: CassandraAuthorizer}",
        "client_encryption_options:\n"
        "  enabled: true\n"
        "  optional: false\n"
        "  ssl_context_factory:\n"
        "    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n"
        "    parameters:\n"
        "      private_key: |\n" + indented[1] + "\n" + indented[0],
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[Node]:
    node = Node(folder / "node", yaml=yaml(*Authority(folder).issue("node")))
    try:
        node.start(wait=False)
        yield node
    finally:
        node.crash()


@pytest.fixture(scope="module")
def settings(folder: Path, node: Node) -> StoreSettings:
    """While the node is still starting: whoever waits long enough gets in."""
    credentials = folder / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text("cassandra\ncassandra\n")
    settings = StoreSettings(
        engine="cassandra",
        cassandra_contact_points=(node.point,),
        cassandra_credentials_file=str(credentials),
        cassandra_tls_ca_file=str(folder / "ca.pem"),
        cassandra_start_timeout_s=240.0,
    )

    async def wait() -> None:
        # The keyspace is not there yet, which only a node that answers can tell.
        with pytest.raises(ConfigError, match="sparrow schema apply"):
            await CassandraStore(settings).__aenter__()

    asyncio.run(wait())
    apply(settings, lambda _: None)
    return settings


async def test_passwords(settings: StoreSettings, folder: Path) -> None:
    wrong = folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("cassandra\nwrong\n")
    refused = dataclasses.replace(settings, cassandra_credentials_file=str(wrong))
    with pytest.raises(ConfigError, match=r"refuses our login: .*cassandra_credentials_file"):
        await CassandraStore(refused).__aenter__()
    with pytest.raises(ConfigError, match="not set"):
        await CassandraStore(dataclasses.replace(settings, cassandra_credentials_file="")).__aenter__()


async def test_tls(settings: StoreSettings, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    for ca, error in ((str(Authority(other).file), StoreError), ("", StoreError), ("nowhere", ConfigError)):
        changed = dataclasses.replace(settings, cassandra_tls_ca_file=ca, cassandra_start_timeout_s=0.1)
        with pytest.raises(error, match=settings.cassandra_contact_points[0]):
            await CassandraStore(changed).__aenter__()


async def test_a_user_without_permission(settings: StoreSettings, folder: Path) -> None:
    from store.cassandra.connecting import connect

    with connect(settings) as connection:
        connection.execute("CREATE ROLE IF NOT EXISTS reader WITH PASSWORD = 'secret' AND LOGIN = true")
        connection.execute(f"GRANT SELECT ON KEYSPACE {settings.cassandra_keyspace} TO reader")
    credentials = folder / "reader"
    credentials.touch(mode=0o600)
    credentials.write_text("reader\nsecret\n")
    async with CassandraStore(dataclasses.replace(settings, cassandra_credentials_file=str(credentials))) as store:
        with pytest.raises(StoreError, match="grant it MODIFY"):
            await store.append([row("alice", "d", b"x")])


async def test_a_node_that_is_killed_and_comes_back(
    settings: StoreSettings, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with CassandraStore(dataclasses.replace(settings, cassandra_request_timeout_s=10.0)) as store:
        await make_user(store, "bob", "d")
        kept: list[bytes] = []

        async def write() -> None:
            while True:
                body = b"%d" % len(kept)
                await store.append([row("bob", "d", body)])
                kept.append(body)

        writing = asyncio.create_task(write())
        while len(kept) < 200:
            await asyncio.sleep(0.01)
        node.crash()
        with pytest.raises(StoreError, match=node.point):
            await writing
        for call in (
            store.append([row("bob", "d", b"lost")]),
            store.page([PageQuery("bob", "d", b"", True, 10)]),
            store.account("bob"),
            store.devices(["bob"]),
        ):
            with pytest.raises(StoreError, match=rf"{node.point}: .*is it running"):
                await call
        assert "node answers" in caplog.text
        await asyncio.to_thread(node.start, wait=False)
        async with asyncio.timeout(240):
            while True:
                try:
                    await store.append([row("bob", "d", b"after")])
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
        assert "works again" in caplog.text
        found = await bodies(store, "bob", "d", limit=100)
        # All that was kept, in order; the one that was on its way may be there as well.
        assert found[: len(kept)] == kept
        assert found[-1] == b"after"


async def test_a_node_that_is_frozen(settings: StoreSettings, node: Node) -> None:
    async with CassandraStore(dataclasses.replace(settings, cassandra_request_timeout_s=1.0)) as store:
        await make_user(store, "carol", "d")
        node.signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match=rf"{node.point}: no answer within 1 s"):
                await store.append([row("carol", "d", b"late")])
        finally:
            node.signal(signal.SIGCONT)
        async with asyncio.timeout(240):
            while True:
                try:
                    await store.append([row("carol", "d", b"after")])
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
        assert set(await bodies(store, "carol", "d")) <= {b"late", b"after"}


async def test_changes_of_a_group_while_a_node_is_frozen(settings: StoreSettings, node: Node) -> None:
    """Answers are lost, and what was given up is done later: each change is made once, and in the end all know."""
    impatient = dataclasses.replace(settings, cassandra_request_timeout_s=1.0)
    async with CassandraStore(impatient) as store, CassandraStore(impatient) as other:
        await _until_done(store.groups.make, *made(G, "alice", "friends", NOW_MS))
        users = [f"user{number}" for number in range(60)]
        given = iter(users)

        async def add(engine: CassandraStore) -> None:
            for user in given:
                while True:
                    group = (await _until_done(engine.groups.groups, [G]))[G]
                    if user in group.members:
                        raise AssertionError(f"{user} was added, and that was not said")
                    change = GroupChange(group.version + 1, NOW_MS, "alice", "added", user)
                    if await _until_done(engine.groups.change, after(group, change), change):
                        break

        working = asyncio.gather(*[add(engine) for engine in (store, other) * 3])
        for _ in range(3):
            await asyncio.sleep(0.3)
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(1.5)
            node.signal(signal.SIGCONT)
        async with asyncio.timeout(120):
            await working
        found = await store.groups.changes(G, 0, 100)
        assert [one.version for one in found] == list(range(1, 62))
        assert sorted(one.user for one in found[1:]) == sorted(users)
        group = (await store.groups.groups([G]))[G]
        assert group is not None
        assert set(group.members) == {"alice", *users}
        for user in users:
            assert await store.groups.of_user(user) == [MyGroup(G)]


async def _until_done(call: Callable[..., Awaitable[Any]], *values: Any) -> Any:
    """As whoever repeats what has failed."""
    while True:
        try:
            return await call(*values)
        except StoreError:
            await asyncio.sleep(0.05)
