"""`sparrow check --try`: real servers that are there, and each way in which they are not."""

from __future__ import annotations

import dataclasses
import socket
import time
from pathlib import Path

import pytest

from broker.settings import EtcdSettings
from fabric.curve import read_link_keys
from sparrow.config.checks import Finding
from sparrow.config.keys import ALLOWED, BROKER_KEY, BROKER_PUBLIC, make_broker_keys, make_link_key
from sparrow.config.preflight import judge_clock, shake_hands, try_out
from sparrow.config.settings import Settings
from sparrow.config.tree import MonitorSettings
from store import StoreSettings
from tests.ports import free_port
from tests.services.etcd import EtcdCluster, ensure_etcd
from tests.sparrow.serving import Node
from tests.sparrow.test_cli import run
from tests.store.conftest import shared_cassandra
from tests.userapi.running_broker import RunningBroker


def settings(**sections: dict[str, object]) -> Settings:
    """The defaults, but for these; with ports that nobody has."""
    found = Settings()
    sections.setdefault("connector", {}).setdefault("listen_port", free_port())
    sections.setdefault("userapi", {}).setdefault("listen_port", free_port())
    for name, changes in sections.items():
        found = dataclasses.replace(found, **{name: dataclasses.replace(getattr(found, name), **changes)})  # type: ignore[arg-type]
    return found


async def findings(of: Settings, *roles: str, without: str = "connector.max_sessions") -> list[Finding]:
    """All, but those about this machine's limit of open files, which is not ours to know."""
    return [finding async for finding in try_out(of, roles) if finding.key != without]


async def texts(of: Settings, *roles: str) -> dict[str, str]:
    return {finding.key: finding.text for finding in await findings(of, *roles)}


# This machine.


async def test_ports_that_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        of = settings(
            connector={"listen_port": port, "brokers": ()},
            broker={"listen": f"tcp://127.0.0.1:{port}"},
            monitor={"listen_port": port},
        )
        found = await findings(of, "connector", "broker")
    keys = {finding.key for finding in found if "in use" in finding.text}
    assert keys == {"connector.listen_port", "broker.listen", "monitor.listen_port"}
    assert not any(finding.serious for finding in found)


async def test_too_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    found = await findings(settings(connector={"brokers": ()}), "connector", without="")
    assert "LimitNOFILE" in found[0].text


async def test_a_node(tmp_path: Path) -> None:
    """What it listens at, and no broker, since nobody reaches its own."""
    of = settings(store={"path": str(tmp_path / "sparrow.db")}, broker={"listen": "tcp://127.0.0.1:1"})
    of = dataclasses.replace(of, written=frozenset({"userapi.connectors"}))
    assert await findings(of, "node") == []
    with socket.create_server(("127.0.0.1", 0)) as other:
        for section in ("connector", "userapi", "monitor"):
            changed = dataclasses.replace(getattr(of, section), listen_port=other.getsockname()[1])
            found = await findings(dataclasses.replace(of, **{section: changed}), "node")
            assert [finding.key for finding in found] == [f"{section}.listen_port"]
    (tmp_path / "broken.db").write_bytes(b"no database " * 100)
    broken = settings(store={"path": str(tmp_path / "broken.db")})
    assert "not a SQLite database" in (await texts(broken, "node"))["store"]
    far = settings(store={"path": str(tmp_path / ("x" * 200) / "sparrow.db")})
    assert "name a shorter one" in (await texts(far, "node"))["broker.node_socket"]


# Brokers.


async def test_a_broker_that_is_there_and_one_that_is_not(tmp_path: Path) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with RunningBroker(StoreSettings(path=str(tmp_path / "sparrow.db"))) as broker:
        of = settings(connector={"brokers": (broker.endpoint,)}, userapi={"brokers": (broker.endpoint,)})
        assert await findings(of, "connector", "userapi") == []
    assert "nothing that speaks ZeroMQ" in shake_hands(nobody, None, patience_s=0.3)


def test_handshakes(tmp_path: Path) -> None:
    make_broker_keys(tmp_path)
    (tmp_path / ALLOWED).write_text(make_link_key("known", tmp_path))
    make_link_key("stranger", tmp_path)
    make_broker_keys(tmp_path / "other")
    public = str(tmp_path / BROKER_PUBLIC)
    known = read_link_keys(str(tmp_path / "known.key"), public)
    stranger = read_link_keys(str(tmp_path / "stranger.key"), public)
    elsewhere = read_link_keys(str(tmp_path / "known.key"), str(tmp_path / "other" / BROKER_PUBLIC))
    curve = {"curve_key_file": str(tmp_path / BROKER_KEY), "allowed_keys_file": str(tmp_path / ALLOWED)}
    with RunningBroker(StoreSettings(path=str(tmp_path / "sparrow.db")), **curve) as broker:
        assert shake_hands(broker.endpoint, known) == ""
        assert "does not allow our key" in shake_hands(broker.endpoint, stranger)
        assert "CURVE" in shake_hands(broker.endpoint, None)
        assert shake_hands(broker.endpoint, elsewhere, patience_s=1.0) != ""


async def test_keys_that_cannot_be_read(tmp_path: Path) -> None:
    of = settings(connector={"curve_key_file": str(tmp_path / "no"), "broker_public_key_file": str(tmp_path / "no")})
    assert "connector.curve_key_file" in await texts(of, "connector")


# Stores.


async def test_etcd(tmp_path: Path) -> None:
    ensure_etcd()
    gone = f"http://127.0.0.1:{free_port()}"
    with EtcdCluster(tmp_path) as etcd:
        of = settings(broker={"presence": "etcd", "listen": "inproc://x"}, etcd={"endpoints": etcd.urls})
        of = dataclasses.replace(of, store=dataclasses.replace(of.store, path=str(tmp_path / "none.db")))
        assert await findings(of, "broker") == []
        of = dataclasses.replace(of, etcd=dataclasses.replace(of.etcd, endpoints=(*etcd.urls, gone)))
        (found,) = await findings(of, "broker")
    assert found.key == "etcd.endpoints"
    assert found.text.startswith(f"{gone}: ")
    of = dataclasses.replace(of, etcd=EtcdSettings(endpoints=("http://127.0.0.1:1",), password_file="/none", user="x"))
    assert "etcd" in await texts(of, "broker")


async def test_cassandra_and_sqlite(tmp_path: Path) -> None:
    good = shared_cassandra().settings
    of = dataclasses.replace(settings(broker={"listen": "inproc://x"}), store=good)
    assert await findings(of, "broker") == []
    of = dataclasses.replace(of, store=dataclasses.replace(good, cassandra_keyspace="nobody_made_it"))
    assert "sparrow schema apply" in (await texts(of, "broker"))["store"]
    away = dataclasses.replace(good, cassandra_contact_points=(f"127.0.0.1:{free_port()}",))
    assert "store" in await texts(dataclasses.replace(of, store=away), "broker")
    (tmp_path / "broken.db").write_bytes(b"no database " * 100)
    of = settings(broker={"listen": "inproc://x"}, store={"path": str(tmp_path / "broken.db")})
    assert "not a SQLite database" in (await texts(of, "broker"))["store"]


# Clocks.


@pytest.mark.parametrize(
    ("there", "serious"), [(999.9, None), (1000.4, None), (990.0, False), (1010.0, False), (900.0, True)]
)
def test_how_far_clocks_may_be_apart(there: float, serious: bool | None) -> None:
    found = judge_clock("10.0.0.5:7490", there, lambda: 1000.9)
    assert (None if found is None else found.serious) == serious


async def test_clocks_of_monitors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monitor__listen_port=free_port()).start()
    try:
        there, gone = f"127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']}", f"127.0.0.1:{free_port()}"
        of = dataclasses.replace(settings(), monitor=MonitorSettings(processes=(there, gone)))
        (found,) = await findings(of)
        assert found.text.startswith(f"{gone} tells nothing")
        monkeypatch.setattr("sparrow.config.preflight.time.time", lambda now=time.time: now() + 3600)
        apart = [finding for finding in await findings(of) if there in finding.text]
        assert [finding.serious for finding in apart] == [True]
    finally:
        node.stop()


def test_on_the_command_line(tmp_path: Path) -> None:
    environment = {"SPARROW_CONNECTOR__BROKERS": f"tcp://127.0.0.1:{free_port()}"}
    answer = run("check", "--try", "connector", folder=tmp_path, **environment)
    assert answer.returncode == 1
    assert "error: connector.brokers: tcp://127.0.0.1" in answer.stdout
    assert run("check", "--try", "everything", folder=tmp_path).returncode == 2
    # As the settings look.
    assert run("check", "--try", folder=tmp_path, **environment).stdout == answer.stdout
