"""What the user API asks, over real links to a real broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabric import records
from protocol.errors import ConfigError, UnavailableError
from protocol.sparrow_pb2 import Goodbye, Hint
from sparrow.config.keys import make_broker_keys, make_link_key
from store import open_store
from tests.ports import free_port
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import sqlite
from userapi.asks import BrokerFabric
from userapi.bridge import StoreBridge
from userapi.brokers import Brokers
from userapi.settings import UserApiSettings


@contextmanager
def fabric(folder: Path, *brokers: str, **settings: object) -> Iterator[BrokerFabric]:
    """One process's fabric."""
    bridge = StoreBridge(open_store(sqlite(folder)), 30)
    bridge.open()
    links = Brokers(UserApiSettings(brokers=brokers, **settings))  # type: ignore[arg-type]
    try:
        yield BrokerFabric(bridge, links)
    finally:
        bridge.call(links.close)
        bridge.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with RunningBroker(sqlite(tmp_path), lease_s=60.0) as running:
        yield running


def nobody() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def test_every_question(tmp_path: Path, broker: RunningBroker) -> None:
    broker.makes("bob", "b1", "b2")
    socket = broker.connector(5)
    socket.send(records.batch([records.record(records.HEARTBEAT, origin=5)]))
    (beat,) = records.parse(socket.recv())
    socket.send(
        records.batch([records.record(records.ONLINE, flags=records.AGAIN, to=b"bob/b1", session=7, attempt=beat[7])])
    )
    socket.recv()
    with fabric(tmp_path, broker.endpoint) as asked:
        assert asked.online(["ann", "bob"]) == {"ann": False, "bob": True}
        asked.changed(["ann", "bob"])
        asked.hint(["bob"], Hint.FRIEND_ASKED, ["ann"])
        (hint,) = records.parse(socket.recv())
        assert (hint[0], hint[4], hint[8]) == (records.HINT, b"bob/b1", 7)
        assert Hint.FromString(hint[9]) == Hint(kind=Hint.FRIEND_ASKED, user_id="ann")
        asked.hint(["bob"], Hint.MARK_RAISED, ["ann"], 2**63)
        (hint,) = records.parse(socket.recv())
        assert Hint.FromString(hint[9]) == Hint(kind=Hint.MARK_RAISED, user_id="ann", stamp=2**63)
        for code in (Goodbye.LOGGED_OUT, Goodbye.DEVICE_REMOVED):
            assert asked.close("bob", "b2", code=code)
            # Nobody confirms it: whoever asks hears that it goes on.
            assert not asked.close("bob", code=code, spare="login")
            codes = set()
            while socket.poll(0):
                for closed in records.parse(socket.recv()):
                    assert (closed[0], closed[4], closed[8], closed[9]) == (
                        records.CLOSE,
                        b"bob/b1",
                        7,
                        records.pack_spared("login"),
                    )
                    codes.add(closed[1])  # the one before may have been told again meanwhile
                    told = records.record(records.CLOSED, to=closed[4], session=7, attempt=closed[7])
                    socket.send(records.batch([told]))
            assert code in codes
        many = [f"user{number}" for number in range(2500)]
        asked.changed(many)
        assert asked.online(many) == dict.fromkeys(many, False)
    context = socket.context
    socket.close()
    context.term()


def test_the_next_broker_is_asked_and_then_first(tmp_path: Path, broker: RunningBroker) -> None:
    with fabric(tmp_path, nobody(), broker.endpoint, broker_timeout_s=0.5) as asked:
        asked.changed(["bob"])
        assert asked._brokers._order[0] == broker.endpoint
        asked.changed(["bob"])


def test_nobody_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = nobody()
    with caplog.at_level(logging.INFO, "sparrow.userapi"), fabric(tmp_path, endpoint, broker_timeout_s=0.2) as asked:
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(asked.changed, ["bob"]) for _ in range(40)]
            for answer in answers:
                with pytest.raises(UnavailableError, match="no broker answers"):
                    answer.result()
        with RunningBroker(sqlite(tmp_path)) as broker:
            asked._brokers._order[:] = [broker.endpoint]
            asked.changed(["bob"])
    assert caplog.messages.count(f"no broker answers, of {endpoint}") == 1
    assert "brokers answer again" in caplog.messages


def test_a_broker_that_comes_later(tmp_path: Path) -> None:
    with RunningBroker(sqlite(tmp_path)) as broker:
        endpoint = broker.endpoint
    with fabric(tmp_path, endpoint, broker_timeout_s=0.2) as asked:
        with pytest.raises(UnavailableError):
            asked.changed(["bob"])
        late = RunningBroker(sqlite(tmp_path), listen=endpoint)
        with late:
            deadline = time.monotonic() + 30
            while True:
                try:
                    asked.changed(["bob"])
                    break
                except UnavailableError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)


def test_curve(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_broker_keys(keys)
    allowed = make_link_key("userapi", keys)
    make_link_key("stranger", keys)
    with (keys / "allowed.keys").open("a") as file:
        file.write(allowed)
    secured = {"curve_key_file": str(keys / "broker.key"), "allowed_keys_file": str(keys / "allowed.keys")}
    with RunningBroker(sqlite(tmp_path), **secured) as broker:
        public = {"broker_public_key_file": str(keys / "broker.pub"), "broker_timeout_s": 1.0}
        with fabric(tmp_path, broker.endpoint, curve_key_file=str(keys / "userapi.key"), **public) as asked:
            asked.changed(["bob"])
        for refused in ({**public, "curve_key_file": str(keys / "stranger.key")}, {"broker_timeout_s": 0.5}):
            with fabric(tmp_path, broker.endpoint, **refused) as asked, pytest.raises(UnavailableError):
                asked.changed(["bob"])


def test_a_broker_with_the_second_of_two_keys(tmp_path: Path) -> None:
    """It is found within the time of one question."""
    keys = tmp_path / "keys"
    make_broker_keys(keys)
    make_broker_keys(tmp_path / "next")
    (keys / "allowed.keys").write_text(make_link_key("userapi", keys))
    both = tmp_path / "both.pub"
    both.write_text((keys / "broker.pub").read_text() + (tmp_path / "next" / "broker.pub").read_text())
    secured = {
        "curve_key_file": str(tmp_path / "next" / "broker.key"),
        "allowed_keys_file": str(keys / "allowed.keys"),
    }
    with RunningBroker(sqlite(tmp_path), **secured) as broker:
        ours = {"broker_public_key_file": str(both), "curve_key_file": str(keys / "userapi.key")}
        with fabric(tmp_path, broker.endpoint, **ours) as asked:
            asked.changed(["bob"])


def test_half_of_the_keys() -> None:
    with pytest.raises(ConfigError, match="CURVE needs both"):
        Brokers(UserApiSettings(curve_key_file="somewhere"))
