"""Connector and broker of a node, in one event loop with the pump between them, when one of them fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker.server import BrokerServer
from broker.settings import BrokerSettings
from connector.server import ConnectorServer
from connector.settings import ConnectorSettings
from fabric.pump import Pump
from store import StoreSettings, open_store
from userapi.keys import ensure_key_pair

GUARD_S = 30


@dataclass
class Node:
    """Both ends, and what they have raised."""

    connector: ConnectorServer
    broker: BrokerServer
    errors: list[Exception]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    public = tmp_path / "token.pub.pem"
    ensure_key_pair(tmp_path / "token.key.pem", public)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    errors: list[Exception] = []
    pump = Pump(errors.append)
    async with open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))) as store:
        listen = f"ipc://{tmp_path}/socket"
        broker = BrokerServer(BrokerSettings(listen=listen, lease_s=inf), store, context, pump=pump)
        settings = ConnectorSettings(
            brokers=("here",), link_timeout_s=inf, listen_port=0, token_public_key_file=str(public)
        )
        connector = ConnectorServer(settings, context, pump)
        await broker.start()
        await connector.start()
        async with asyncio.timeout(GUARD_S):
            await connector.ready()
        yield Node(connector, broker, errors)
        await connector.stop()
        await broker.stop()
    context.term()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.005)


def _fails(*_: object) -> None:
    raise LookupError("a fault of ours")


@pytest.mark.parametrize("end", ["connector", "broker"])
@pytest.mark.parametrize("what", ["batch", "flush"])
async def test_an_end_that_fails_is_a_lost_link_until_it_works(
    node: Node, end: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core: Any = getattr(node, end).core
    links = node.connector.core.links
    assert links.up == {"here": True}
    with monkeypatch.context() as patched:
        patched.setattr(core, what, _fails)
        await until(lambda: not links.ready)
        assert set(map(str, node.errors)) == {"a fault of ours"}
    await until(lambda: links.ready)


async def test_what_fails_again_and_again_is_tried_as_often_as_there_is_something_to_do(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.broker.core, "batch", _fails)
    await until(lambda: node.errors)
    seen, began = len(node.errors), time.monotonic()
    await asyncio.sleep(1.0)
    beats = (time.monotonic() - began) / ConnectorSettings().link_heartbeat_s
    assert len(node.errors) - seen < 2 * beats + 2, "the next heartbeat is not before its time"
    monkeypatch.undo()
