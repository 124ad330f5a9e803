"""Traces: kept in order and told once, of one message through a real node, and only where it is allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client import Client
from protocol.errors import ConfigError, InvalidIdError, ServiceError
from sparrow.config.settings import Settings
from sparrow.config.tree import MonitorSettings
from sparrow.ops.traces import MAX_KEPT, Traces
from sparrow.ops.tracing import run_trace
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node


def test_lines_are_told_in_order_and_the_oldest_go() -> None:
    traces = Traces()
    traces.add([(1, 2, "a"), (1, 2, "b")], now=10.0)
    traces.add([(1, 3, "c")], now=9.0)  # a clock that was set back
    found = traces.since(0.0)
    assert [trace.text for trace in found] == ["a", "b", "c"]
    assert [trace.at for trace in found] == sorted({trace.at for trace in found})
    assert found[0].attempt == "0000000000000001/2"
    assert [trace.text for trace in traces.since(found[1].at)] == ["c"]
    traces.add([(1, 4, str(number)) for number in range(MAX_KEPT)], now=20.0)
    assert traces.since(0.0)[0].text == "0"


def settings_of(node: Node) -> Settings:
    return Settings(monitor=MonitorSettings(listen_port=int(node.environment["SPARROW_MONITOR__LISTEN_PORT"])))


async def test_a_message_through_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = Node(tmp_path, monitor__listen_port=free_port(), monitor__allow_trace="true").start()
    try:
        async with (
            Client("alice", password=PASSWORD, register=True, api=node.api) as alice,
            Client("bob", password=PASSWORD, register=True, api=node.api) as bob,
            Client("carol", password=PASSWORD, register=True, api=node.api),
        ):
            lunch = await alice.groups.make("Lunch")
            following = asyncio.create_task(asyncio.to_thread(run_trace, settings_of(node), "alice", 6.0))
            for number in range(60):  # until the trace has begun, and to its end
                await (await alice.send("bob", f"secret words {number}")).delivered
                await (await bob.send("alice", "not followed")).delivered
                await (await alice.send(lunch.group, f"secret, too, {number}")).sent
                await asyncio.sleep(0.1)
            await following
        said = capsys.readouterr().out
        attempts: dict[str, list[str]] = {}
        for line in said.splitlines():
            _, _, attempt, text = line.split(maxsplit=3)
            attempts.setdefault(attempt, []).append(text)
        assert attempts
        whole = max(attempts.values(), key=len)
        # When it comes to stand in the timeline is the store's affair.
        whole = [text for text in whole if text != "stands in the timeline"]
        assert [text.split()[0] for text in whole] == ["stream", "a", "written", "acked", "its"]
        assert f"from alice/{alice.device} to bob" in whole[0]
        assert whole[1].startswith(f"a copy for bob/{bob.device} goes to connector ")
        assert whole[4] == "its author is told SENT and DELIVERED"
        (grouped,) = {tuple(texts[1:]) for texts in attempts.values() if f"to {lunch.group}" in texts[0] and texts[3:]}
        assert grouped == ("stands in the timeline", "handed out to all of the group", "its author is told SENT")
        assert "secret" not in said
        assert "from bob" not in said
    finally:
        node.stop()


async def test_where_it_is_not_allowed(tmp_path: Path) -> None:
    node = Node(tmp_path, monitor__listen_port=free_port()).start()
    try:
        with pytest.raises(ServiceError, match=r"set monitor\.allow_trace"):
            await asyncio.to_thread(run_trace, settings_of(node), "alice", 1.0)
    finally:
        node.stop()


def test_wrong_use() -> None:
    of = Settings(monitor=MonitorSettings(listen_port=free_port()))
    with pytest.raises(ServiceError, match="is it up"):
        run_trace(of, "alice", 1.0)
    with pytest.raises(ConfigError, match="--seconds"):
        run_trace(of, "alice", 0.0)
    with pytest.raises(InvalidIdError):
        run_trace(of, "Alice!", 1.0)
