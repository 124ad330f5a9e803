"""A node and its child, the user API: it comes back when it is killed, and when it stands still."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sparrow.serving import Node

GUARD_S = 90.0


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def user_api(node: Node) -> int:
    """The process id of its arbiter; 0 if there is none, or none with workers."""
    assert node.process is not None
    return next((child for child in children(node.process.pid) if children(child)), 0)


def is_well(node: Node) -> bool:
    try:
        return httpx.get(f"{node.api}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def disturb(node: Node, number: signal.Signals) -> None:
    """Send a signal to the user API, and wait for the next one, and that it answers."""
    before = user_api(node)
    assert before
    os.kill(before, number)
    deadline = time.monotonic() + GUARD_S
    while user_api(node) in (0, before) or not is_well(node):
        assert time.monotonic() < deadline, node.log
        time.sleep(0.1)


def test_a_user_api_that_is_killed_comes_back(own_node: Node) -> None:
    disturb(own_node, signal.SIGKILL)
    assert "the user API has ended (exit status -9); starting it again" in own_node.log


@pytest.mark.slow
def test_a_user_api_that_stands_still_comes_back(own_node: Node) -> None:
    time.sleep(2)  # it is watched from when it has first been heard
    begun = time.monotonic()
    disturb(own_node, signal.SIGSTOP)
    assert time.monotonic() - begun > 10
    assert own_node.log.count("the user API has stood still for 15 s; ending it") == 1
