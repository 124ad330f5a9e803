"""The whole cluster of `scripts/cluster`, etcd, Cassandra, CURVE and TLS included, as a person tries it.

What happens when its processes are killed is the fault table's (`tests/cluster/faults/`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.whole import Whole


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    cluster = Whole(tmp_path / "cluster")
    try:
        yield cluster
    finally:
        cluster.call("clean")


async def test_started_tried_killed_stopped_and_started_again(whole: Whole, tmp_path: Path) -> None:
    async def received(user: str, count: int) -> list[str]:
        async with whole.client(user, tmp_path / f"{user}.db") as client, asyncio.timeout(120):
            found: list[str] = []
            async for message in client:
                found.append(message.text)
                if len(found) == count:
                    break
            return found

    async def writes(*texts: str) -> None:
        async with whole.client("alice", tmp_path / "alice.db") as alice, asyncio.timeout(120):
            for sending in [await alice.send(dest, text) for text in texts for dest in ("bob", "carol")]:
                await sending.sent

    assert "To chat" in await whole.run("start")
    assert "down" not in await whole.run("status")
    for user in ("bob", "carol"):
        async with whole.client(user, tmp_path / f"{user}.db"):
            pass
    hearing = asyncio.create_task(received("bob", 3))
    await writes("one")
    for name in ("broker-1", "connector-2"):
        await whole.run("kill", name)
    await writes("two")
    await whole.run("start")
    await writes("three")
    assert await hearing == ["one", "two", "three"]
    await whole.run("stop")
    assert whole.call("status").stdout.count("down") == 10
    await whole.run("start")
    assert await received("carol", 3) == ["one", "two", "three"]


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
