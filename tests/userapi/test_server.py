"""The real process: gunicorn, its workers and their end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import Server, command, serving, sqlite, wait_until_up

GOOD = {"user": "alice", "password": "correct horse"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """With a broker."""
    with RunningBroker(sqlite(tmp_path)) as broker, serving(tmp_path, broker.endpoint) as made:
        yield made


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Server]:
    """Without one."""
    with serving(tmp_path, f"tcp://127.0.0.1:{free_port()}") as made:
        yield made


def gone(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_register_log_in_stop_and_start_again(server: Server, tmp_path: Path) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/v1/accounts", json=GOOD).status_code == 201
        assert client.post("/v1/accounts", json={**GOOD, "password": "another one"}).status_code == 409
        first = client.post("/v1/login", json=GOOD).json()
        begun = time.monotonic()
        assert client.post("/v1/login", json=GOOD).json()["device"] != first["device"]
        assert time.monotonic() - begun >= 0.5
    code, log = server.stop()
    assert code == 0, log
    assert log.count("user API listens on") == 1
    assert "Traceback" not in log
    again = Server(tmp_path)
    answer = httpx.post(f"{again.url}/v1/login", json={**GOOD, "device": first["device"]})
    assert answer.json()["user"] == "alice"
    assert again.stop()[0] == 0


def test_a_request_in_hand_is_finished_at_a_stop(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        client.post("/v1/accounts", json=GOOD)
        client.post("/v1/login", json=GOOD)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        body = b'{"user": "alice", "password": "correct horse"}'
        connection.sendall(
            b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        time.sleep(0.2)  # it is held back for half a second
        server.process.send_signal(signal.SIGTERM)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(15) == 0


def test_without_a_broker_a_first_device_logs_in_and_a_further_one_is_told_to_try_again(lonely: Server) -> None:
    with httpx.Client(base_url=lonely.url, timeout=30) as client:
        client.post("/v1/accounts", json=GOOD)
        assert client.post("/v1/login", json=GOOD).status_code == 200
        answer = client.post("/v1/login", json=GOOD)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "Retry-After" in answer.headers


def test_large_and_broken_requests(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/v1/accounts", content=b"x" * 20_000).status_code in (413, 415)
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/accounts", headers=headers, content=b"x" * 20_000).status_code == 413
        chunks = (b"x" * 1000 for _ in range(100))
        with contextlib.suppress(httpx.TransportError):  # it may close before all is sent
            assert client.post("/v1/accounts", headers=headers, content=chunks).status_code == 413
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(os.urandom(1000) + b"\r\n\r\n")
        assert b"Traceback" not in connection.recv(65536)
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}


def test_many_at_once(server: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=server.url, timeout=30) as client:
        users = [{"user": f"user{number}", "password": "correct horse"} for number in range(40)]
        codes = list(pool.map(lambda body: client.post("/v1/accounts", json=body).status_code, users * 2))
        assert sorted(codes) == [200] * 40 + [201] * 40
        logins = list(pool.map(lambda body: client.post("/v1/login", json=body).status_code, users))
        assert logins == [200] * 40


def test_a_killed_worker_is_replaced(server: Server) -> None:
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=True
    )
    for pid in children.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    wait_until_up(server.port)
    assert httpx.post(f"{server.url}/v1/accounts", json=GOOD).status_code == 201


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    port = free_port()
    script = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    with subprocess.Popen([sys.executable, "-c", script, *command(tmp_path, port)]) as parent:
        wait_until_up(port)
        parent.kill()
    deadline = time.monotonic() + 10
    while not gone(port):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.1)


def test_a_start_that_fails_says_why(server: Server, tmp_path: Path) -> None:
    taken = subprocess.run(command(tmp_path, server.port), capture_output=True, text=True, timeout=30)
    assert taken.returncode == 1
    assert f"cannot listen on 127.0.0.1:{server.port}" in taken.stderr
    assert "userapi.listen_port" in taken.stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sparrow.db").write_bytes(b"no database " * 100)
    broken = subprocess.run(command(tmp_path / "other", free_port()), capture_output=True, text=True, timeout=30)
    assert broken.returncode == 1
    assert "not a SQLite database" in broken.stderr
    assert "Traceback" not in taken.stderr + broken.stderr
