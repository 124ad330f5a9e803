"""The whole cluster of `scripts/cluster`, etcd, Cassandra, CURVE and TLS included, while its processes are killed.

Alice writes to Bob, who is online, and to Carol, who is not, all the while; afterwards every message that was
SENT is there, once and in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparrow.client import Client
from tests.cluster.whole import Whole


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    cluster = Whole(tmp_path / "cluster")
    try:
        yield cluster
    finally:
        cluster.call("clean")


async def test_kill_9_of_everything_by_turns(whole: Whole, tmp_path: Path) -> None:
    assert "To chat" in await whole.run("start")
    stop = asyncio.Event()
    written: list[int] = []
    received: list[int] = []

    async def write(alice: Client) -> None:
        while not stop.is_set():
            written.append(len(written))
            for dest in ("bob", "carol"):
                await alice.send(dest, str(written[-1]))
            await asyncio.sleep(0.02)

    async def read(bob: Client) -> None:
        async for message in bob:
            received.append(int(message.text))  # noqa: PERF401 - it is watched as it grows

    async def goes_on(seconds: float = 60.0) -> None:
        """What is written from now on arrives."""
        until = len(written) + 20
        async with asyncio.timeout(seconds):
            while not received or received[-1] < until:
                await asyncio.sleep(0.05)

    async with whole.client("carol", tmp_path / "carol.db"):
        pass
    async with (
        whole.client("alice", tmp_path / "alice.db") as alice,
        whole.client("bob", tmp_path / "bob.db") as bob,
    ):
        tasks = [asyncio.create_task(write(alice)), asyncio.create_task(read(bob))]
        await goes_on()
        for name in ("broker-1", "connector-1", "broker-2", "connector-2", "connector-3", "etcd-1", "etcd-2"):
            await whole.run("kill", name)
            await goes_on()
            await whole.run("start", name)
        await whole.run("kill", "cassandra-1")
        await whole.run("start", "cassandra-1")
        await goes_on(120)
        await whole.run("stop")
        await whole.run("start")
        await goes_on(120)
        stop.set()
        await tasks[0]
        async with asyncio.timeout(120):
            while alice.unsettled or len(received) < len(written):
                await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        kept: list[int] = []
        async with whole.client("carol", tmp_path / "carol.db") as carol, asyncio.timeout(120):
            async for message in carol:
                kept.append(int(message.text))
                if len(kept) == len(written):
                    break
    print(f"{2 * len(written)} written, {2 * len(written)} SENT, {len(received) + len(kept)} delivered")
    assert received == written
    assert kept == written


def test_mistakes_are_said_in_words(whole: Whole) -> None:
    for arguments, words in (
        (("kill", "nobody"), "there is no 'nobody'; there are etcd-1"),
        (("kill", "broker-1"), "broker-1 is not running"),
        (("logs", "broker-1"), "it was not started"),
    ):
        done = whole.call(*arguments)
        assert done.returncode == 1
        assert words in done.stderr
    done = whole.call("status")
    assert done.returncode == 1
    assert done.stdout.count("down") == 10
