"""What `sparrow userapi` tells systemd of itself, on a real datagram socket: it is ready, alive, and stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from gunicorn.app.base import BaseApplication

from tests.ports import free_port
from userapi.process.arbiter import Arbiter

WATCHDOG_S = 0.6
MANY = 5
"""So many times the watchdog's time, something that is told at all was told."""


class Service:
    """The user API as systemd starts it, and systemd's end of its socket."""

    def __init__(self, folder: Path, end: socket.socket) -> None:
        self.folder = folder
        self.end = end
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """With WATCHDOG_PID, if it is "ours", as the process that will be."""
        variables = os.environ | {
            "SPARROW_DATA_DIR": str(self.folder),
            "SPARROW_USERAPI__LISTEN_PORT": str(self.port),
            "NOTIFY_SOCKET": self.end.getsockname(),
            **environment,
        }
        command = [sys.executable, "-W", "error", "-m", "sparrow.cli", "userapi"]
        if environment.get("WATCHDOG_PID") == "ours":
            command = ["sh", "-c", 'export WATCHDOG_PID=$$; exec "$@"', "-", *command]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=variables, stderr=log, start_new_session=True)

    @property
    def log(self) -> str:
        """What it has said on standard error."""
        return (self.folder / "log").read_text()

    def workers(self) -> list[int]:
        """Their process ids."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def told(self, wait_s: float) -> str:
        """The next that it tells, empty if that is nothing for so long."""
        assert self.process is not None
        assert self.process.poll() is None, self.log
        self.end.settimeout(wait_s)
        try:
            return self.end.recv(1000).decode()
        except TimeoutError:
            return ""

    def told_in(self, seconds: float) -> set[str]:
        """All that it tells from now on until then."""
        self.end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.end.recv(1000):
                pass
        deadline = time.monotonic() + seconds
        found = set()
        while (left := deadline - time.monotonic()) > 0:
            found.add(self.told(left))
        return found - {""}

    def stop(self) -> list[str]:
        """Stop it; returns what it has told since `told`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log
        self.end.setblocking(False)
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.end.recv(1000).decode())
        return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        made = Service(tmp_path, end)
        yield made
        if made.process is not None and made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
            made.process.wait()


def test_ready_when_a_worker_serves_then_alive_then_stopping(service: Service) -> None:
    service.start(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}", WATCHDOG_PID="ours")
    assert service.told(60) == "READY=1"
    assert httpx.get(f"http://127.0.0.1:{service.port}/healthz", trust_env=False).status_code == 200
    begun = time.monotonic()
    assert [service.told(60) for _ in range(10)] == ["WATCHDOG=1"] * 10
    assert time.monotonic() - begun > 8 * WATCHDOG_S / 3  # not in every turn of a busy loop
    assert set(service.stop()) <= {"WATCHDOG=1", "STOPPING=1"}


def test_stopping_is_told_once_and_nothing_after_it(service: Service) -> None:
    service.start(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}")
    assert service.told(60) == "READY=1"
    assert [fact for fact in service.stop() if fact != "WATCHDOG=1"] == ["STOPPING=1"]


def test_an_arbiter_that_stands_still_says_nothing(service: Service) -> None:
    service.start(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}")
    assert service.told(60) == "READY=1"
    assert service.told(60) == "WATCHDOG=1"
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    assert service.told_in(MANY * WATCHDOG_S) == set()
    service.process.send_signal(signal.SIGCONT)
    assert service.told(60) == "WATCHDOG=1"


def test_workers_that_stand_still_are_for_gunicorn_to_replace(service: Service) -> None:
    """The arbiter is well meanwhile; and a killed one changes nothing."""
    service.start(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}")
    assert service.told(60) == "READY=1"
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in service.workers():
            os.kill(pid, number)
        assert service.told_in(MANY * WATCHDOG_S) == {"WATCHDOG=1"}


def test_a_reload_is_no_silence(service: Service) -> None:
    """Its end waits for requests in hand, for longer than the watchdog does."""
    service.start(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}")
    assert service.told(60) == "READY=1"
    before = service.workers()
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        time.sleep(0.5)
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert service.told(2 * WATCHDOG_S) == "WATCHDOG=1"
        assert set(before) < set(service.workers())  # so it was in the midst of it


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}", "WATCHDOG_PID": "1"}])
def test_without_a_watchdog_of_ours_it_is_ready_and_says_no_more(service: Service, environment: dict[str, str]) -> None:
    service.start(**environment)
    assert service.told(60) == "READY=1"
    assert service.told_in(MANY * WATCHDOG_S) == set()
    assert service.stop() == ["STOPPING=1"]


# When which worker counts.


@dataclass
class Recording:
    """A manager that keeps what it is told."""

    watchdog_s: float = 1e-9
    said: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.said.append("ready")

    def alive(self) -> None:
        self.said.append("alive")

    def stopping(self) -> None:
        self.said.append("stopping")


class App(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def load_config(self) -> None:
        """As gunicorn has it."""


@dataclass
class Worker:
    """One that was last heard at that time, and its file."""

    heard_at: float

    @property
    def tmp(self) -> Worker:
        return self

    def last_update(self) -> float:
        return self.heard_at


def test_which_worker_counts() -> None:
    manager = Recording()
    arbiter = Arbiter(App(), manager, start_s=60)
    limit_s = arbiter.timeout + 60
    arbiter.timeout = 0  # these are nobody's processes to kill

    def said_with(*heard_at: float) -> list[str]:
        manager.said.clear()
        arbiter.WORKERS = dict(enumerate(map(Worker, heard_at), start=10**8))
        arbiter.murder_workers()
        return manager.said.copy()

    booting = time.time()
    now = time.monotonic()
    assert said_with() == []
    assert said_with(booting) == []
    assert said_with(booting, now - limit_s - 1) == ["ready"]
    assert said_with(booting, now - limit_s - 1) == []
    assert said_with(now - limit_s + 10, now - limit_s - 1) == ["alive"]
    assert said_with(now) == ["alive"]
    assert said_with(booting) == ["alive"]  # one that answered is away, which is for gunicorn to mend
    arbiter.WORKERS = {}  # it would signal them, and their ids are made up
    arbiter.stop()
    assert manager.said[-1] == "stopping"
    manager.said.clear()
    arbiter.stop()
    arbiter.murder_workers()
    assert manager.said == []
