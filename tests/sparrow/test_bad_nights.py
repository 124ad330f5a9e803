"""What an operator sees of a node in a bad night (docs/reliability.md, "What an operator sees"): a disk that is full, a
clock that jumps. Nothing that was SENT is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import Client
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

GUARD_S = 60.0
CLOCK = Path(__file__).parent / "clock"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of 32 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(place)], capture_output=True)
    if mounted.returncode:
        assert not os.environ.get("CI"), mounted.stderr
        pytest.skip("a disk of its own can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def told(node: Node, path: str = "/readyz") -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']}{path}", trust_env=False)


async def until(node: Node, status: int) -> dict[str, str]:
    """What /readyz says, once that is its status."""
    async with asyncio.timeout(GUARD_S):
        while (answer := await asyncio.to_thread(told, node)).status_code != status:
            await asyncio.sleep(0.1)
    found: dict[str, str] = answer.json()
    return found


async def test_a_disk_that_is_full(tmp_path: Path, small_disk: Path) -> None:
    node = Node(
        tmp_path,
        monitor__listen_port=free_port(),
        store__path=str(small_disk / "sparrow.db"),
        store__min_free_bytes=0,
        connector__no_space_retry_s=0.5,
    ).start()
    try:
        async with Client("alice", password=PASSWORD, register=True, api=node.api) as alice:
            state = str(tmp_path / "bob")
            async with Client("bob", password=PASSWORD, register=True, api=node.api, state=state) as bob:
                await (await alice.send("bob", "before")).sent
                assert (await anext(aiter(bob))).text == "before"
            filler = small_disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            sending = [await alice.send("bob", f"while it was full {number} " + "x" * 4000) for number in range(9)]
            reasons = await until(node, 503)
            assert {"store", "log_in"} <= reasons.keys()
            # Whatever can still be read or deleted, it is not ready before there is room.
            for _ in range(20):
                answer = await asyncio.to_thread(told, node)
                assert answer.status_code == 503
                assert "store" in answer.json()
                await asyncio.sleep(0.1)
            assert told(node, "/healthz").status_code == 200  # to start it again would not help
            assert 'sparrow_able{to="store"} 0.0' in told(node, "/metrics").text
            assert "its disk is full" in node.log
            filler.unlink()
            assert await until(node, 200) == {"status": "ok"}
            for each in sending:
                await each.sent
            async with Client("bob", password=PASSWORD, api=node.api, state=state) as again:
                texts = aiter(again)
                found = [(await anext(texts)).text.partition(" x")[0] for _ in sending]
            assert found == [f"while it was full {number}" for number in range(9)]
    finally:
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """That of the node's processes, and no other."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    node = Node(tmp_path, monitor__listen_port=free_port())
    node.environment |= {"PYTHONPATH": str(CLOCK), "SPARROW_TEST_CLOCK": str(clock)}
    node.start()
    try:
        async with (
            Client("alice", password=PASSWORD, register=True, api=node.api) as alice,
            Client("bob", password=PASSWORD, register=True, api=node.api) as bob,
        ):
            texts = aiter(bob)
            for number, jump in enumerate(("+0", "+7200", "-7200", "+0")):
                # In one step: its readers never see an empty file.
                (new := tmp_path / "new").write_text(jump)
                new.replace(clock)
                for part in range(5):
                    await (await alice.send("bob", f"{number} {part}")).sent
                    assert (await anext(texts)).text == f"{number} {part}"
                    await asyncio.sleep(0.1)
        assert [float(one) for one in re.findall(r"clock has jumped by ([+-][\d.]+) s", node.log)] == pytest.approx(
            [7200, -14400, 7200], abs=1
        )
        assert "sparrow_clock_jumps_total 3.0" in told(node, "/metrics").text
    finally:
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log
