"""A node and its child, the user API: it comes back when it is killed, and when it stands still. And its data, which
nobody else may work on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

GUARD_S = 90.0


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, monitor__listen_port=free_port()).start()
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


def until(condition: Callable[[], object], node: Node) -> None:
    deadline = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline, node.log
        time.sleep(0.1)


def told(node: Node, path: str = "/readyz") -> httpx.Response:
    """What its monitor says."""
    port = node.environment["SPARROW_MONITOR__LISTEN_PORT"]
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)


def disturb(node: Node, number: signal.Signals) -> None:
    """Send a signal to the user API, and wait for the next one, and that it answers."""
    before = user_api(node)
    assert before
    os.kill(before, number)
    until(lambda: user_api(node) not in (0, before) and is_well(node), node)


def test_a_user_api_that_is_killed_comes_back(own_node: Node) -> None:
    disturb(own_node, signal.SIGKILL)
    assert "the user API has ended (exit status -9); starting it again" in own_node.log


def test_another_program_at_its_port_is_not_taken_for_it(own_node: Node) -> None:
    own_node.register("alice")
    assert 'sparrow_userapi_requests_total{operation="register",status="2xx"} 1.0' in told(own_node, "/metrics").text
    os.kill(user_api(own_node), signal.SIGKILL)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: not is_well(own_node), own_node)
        other.bind(("127.0.0.1", own_node.api_port))
        other.listen()
        until(lambda: "the user API cannot listen on" in own_node.log, own_node)
        answer = told(own_node)
        assert answer.status_code == 503
        assert set(answer.json()) == {"status", "serve", "notify"}
        assert "the user API" in answer.json()["serve"]
        assert 'sparrow_able{to="serve"} 0.0' in told(own_node, "/metrics").text
        assert 'sparrow_able{to="deliver"} 1.0' in told(own_node, "/metrics").text
    until(lambda: told(own_node).status_code == 200, own_node)
    assert is_well(own_node)
    # What was counted before has not begun anew.
    assert 'sparrow_userapi_requests_total{operation="register",status="2xx"} 1.0' in told(own_node, "/metrics").text


@pytest.mark.slow
def test_a_user_api_that_stands_still_comes_back(own_node: Node) -> None:
    time.sleep(2)  # it is watched from when it has first been heard
    begun = time.monotonic()
    disturb(own_node, signal.SIGSTOP)
    assert time.monotonic() - begun > 10
    assert own_node.log.count("the user API has stood still for 15 s; ending it") == 1


# One database, one owner.


def second(node: Node, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Another process of ours with the same settings, but for `changes`."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparrow.cli", *command],
        env=node.environment | changes,
        cwd=node.folder,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )


def other_ports() -> dict[str, str]:
    ports = {name: str(free_port()) for name in ("SPARROW_CONNECTOR__LISTEN_PORT", "SPARROW_USERAPI__LISTEN_PORT")}
    return {**ports, "SPARROW_BROKER__LISTEN": f"tcp://127.0.0.1:{free_port()}"}


def log_in(node: Node, user: str) -> int:
    body = {"user": user, "password": PASSWORD, "label": "one more"}
    return httpx.post(f"{node.api}/v1/login", json=body, trust_env=False, timeout=30).status_code


def test_a_second_node_takes_nothing_of_the_first(own_node: Node) -> None:
    own_node.register("alice")
    assert log_in(own_node, "alice") == 200
    assert own_node.process is not None
    for command, changes in (("serve", {}), ("serve", other_ports()), ("broker", other_ports())):
        answer = second(own_node, command, **changes)
        assert answer.returncode == 2
        assert f"is in use already, by process {own_node.process.pid} on " in answer.stderr
        assert "UTC: stop that one first, or name another file in store.path" in answer.stderr
        assert "Traceback" not in answer.stderr
    # A further device: the broker must be told, through the socket that the second one would have taken.
    assert log_in(own_node, "alice") == 200


def test_a_socket_that_answers_is_not_replaced(own_node: Node, tmp_path: Path) -> None:
    own_node.register("alice")
    assert log_in(own_node, "alice") == 200
    socket = str(tmp_path / "var/sparrow.db-sock")
    changes = {
        **other_ports(),
        "SPARROW_STORE__PATH": str(tmp_path / "other.db"),
        "SPARROW_BROKER__NODE_SOCKET": socket,
    }
    answer = second(own_node, "serve", **changes)
    assert answer.returncode == 2
    assert "sparrow.db-sock (" in answer.stderr
    assert "another process listens there" in answer.stderr
    assert log_in(own_node, "alice") == 200


def test_what_a_dead_node_held_is_free(tmp_path: Path) -> None:
    node = Node(tmp_path).start()
    node.register("alice")
    node.kill()
    assert (tmp_path / "var/sparrow.db-sock").is_socket()
    node.start()
    assert [log_in(node, "alice"), log_in(node, "alice")] == [200, 200]
    assert node.stop() == 0
    # Something else in the socket's place is somebody's, too.
    (tmp_path / "var/sparrow.db-sock").unlink(missing_ok=True)
    (tmp_path / "var/sparrow.db-sock").write_text("a letter")
    answer = second(node, "serve")
    assert answer.returncode == 2
    assert "something that is no socket is there" in answer.stderr
    assert (tmp_path / "var/sparrow.db-sock").read_text() == "a letter"


def test_remove_finds_the_node_from_any_environment(own_node: Node, tmp_path: Path) -> None:
    own_node.register("alice")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = own_node.environment | {"XDG_RUNTIME_DIR": str(elsewhere), "TMPDIR": str(elsewhere), "HOME": "/"}
    answer = subprocess.run(
        [sys.executable, "-m", "sparrow.cli", "remove", "alice", "--yes"],
        env=environment,
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("the brokers know; its sessions are closed\n")


def test_a_restore_waits_for_the_end_of_a_node(own_node: Node, tmp_path: Path) -> None:
    assert second(own_node, "backup", "copy.tar").returncode == 0
    away = tmp_path / "away"
    away.mkdir()
    for path in (tmp_path / "var").glob("sparrow.db*"):
        if not path.name.endswith("-lock"):
            path.rename(away / path.name)
    answer = second(own_node, "restore", "copy.tar")
    assert answer.returncode == 2
    assert "is in use already, by process " in answer.stderr
    assert not (tmp_path / "var/sparrow.db").exists()
    for path in away.iterdir():
        path.rename(tmp_path / "var" / path.name)


def test_a_socket_with_too_long_a_path_is_refused_in_time(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    node = Node(tmp_path)
    answer = second(node, "serve", SPARROW_BROKER__NODE_SOCKET=str(folder / "node.sock"))
    assert answer.returncode == 2
    assert "broker.node_socket: " in answer.stderr
    # Its own folder is near: the name from there is short enough.
    deep = Node(folder)
    deep.start()
    assert deep.stop() == 0


async def test_the_page_of_a_node_as_it_comes(tmp_path: Path) -> None:
    """Nobody has said where clients connect: what its page needs is there, at the ports that it has."""
    websocket = free_port()
    node = Node(tmp_path, connector__websocket_listen_port=websocket)
    del node.environment["SPARROW_USERAPI__CONNECTORS"]
    node.start()
    try:
        async with httpx.AsyncClient(base_url=node.api, trust_env=False) as client:
            page = await client.get("/")
            body = {"user": "alice", "password": PASSWORD}
            assert (await client.post("/v1/accounts", json=body)).status_code == 201
            connectors = (await client.post("/v1/login", json=body)).json()["connectors"]
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert connectors == [f"127.0.0.1:{node.port}", f"ws://127.0.0.1:{websocket}"]
        assert f"connect-src 'self' {connectors[1]};" in page.headers["Content-Security-Policy"]
        assert f"to chat, open {node.api}/ in a browser" in node.log
        for origin in (node.api, node.api.replace("127.0.0.1", "localhost")):
            async with connect(connectors[1], origin=Origin(origin), proxy=None):
                pass
        for origin in ("null", "https://evil.example.net", "http://127.0.0.1:1", "http://localhost"):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(connectors[1], origin=Origin(origin), proxy=None)
    finally:
        assert node.stop() == 0, node.log
