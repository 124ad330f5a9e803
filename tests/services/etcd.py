"""A real etcd for tests: one member or three, on free ports, in a folder of its own.

Owns its processes. Members can be killed, paused, stopped and started again; nothing outlives the `with` block.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.settings import EtcdSettings
from tests.cluster.processes import GUARD_S
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def ensure_etcd() -> None:
    """Have an etcd on PATH. Fails the test under CI, else installs it, or fails with what to do."""
    if shutil.which("etcd") is not None:
        return
    if os.environ.get("CI"):
        pytest.fail("there is no etcd; run scripts/install-etcd before the tests")
    done = subprocess.run([ROOT / "scripts" / "install-etcd"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr)


class Member:
    """One member, which may have many lives."""

    def __init__(self, folder: Path, number: int, arguments: Sequence[str], scheme: str) -> None:
        self.name = f"etcd-{number}"
        self.port, self.peer_port = free_port(), free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.peer_url = f"http://127.0.0.1:{self.peer_port}"
        self._metrics = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str) -> None:
        """Begin a life with the data of the one before."""
        command = [
            "etcd", "--name", self.name, "--data-dir", str(self._folder / self.name),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster, "--listen-metrics-urls", self._metrics,
            "--heartbeat-interval", "100", "--election-timeout", "1000", *self._arguments,
        ]  # fmt: skip
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    @property
    def running(self) -> bool:
        """Whether it has a life now."""
        return self._process is not None and self._process.poll() is None

    @property
    def cpu_s(self) -> float:
        """CPU time of the present life, in seconds."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_healthy(self) -> bool:
        """Whether it serves, which takes a leader."""
        try:
            with urllib.request.urlopen(f"{self._metrics}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False

    def is_leader(self) -> bool:
        """Whether it leads now."""
        try:
            with urllib.request.urlopen(f"{self._metrics}/metrics", timeout=1) as answer:
                return b"\netcd_server_is_leader 1" in answer.read()
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(GUARD_S)

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, and gone when it returns."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait(GUARD_S)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.running:
            self.resume()
            self.kill()


class EtcdCluster:
    """Members that belong together. `with EtcdCluster(folder) as etcd: await etcd.healthy()`."""

    def __init__(self, folder: Path, members: int = 1, arguments: Sequence[str] = (), scheme: str = "http") -> None:
        ensure_etcd()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.members = [Member(folder, number, arguments, scheme) for number in range(members)]
        self._cluster = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def __enter__(self) -> EtcdCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.close()

    def start(self) -> None:
        """Start all that do not run."""
        for member in self.members:
            if not member.running:
                member.start(self._cluster)

    def stop(self) -> None:
        """Stop all."""
        for member in self.members:
            member.stop()

    def wipe(self) -> None:
        """Forget all data; while stopped."""
        for member in self.members:
            shutil.rmtree(self._folder / member.name)

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all members."""
        return tuple(member.url for member in self.members)

    @property
    def leader(self) -> Member:
        """Who leads; some member must."""
        return next(member for member in self.members if member.running and member.is_leader())

    def settings(self, **settings: object) -> EtcdSettings:
        """How to reach it."""
        return EtcdSettings(endpoints=self.urls, **settings)  # type: ignore[arg-type]

    async def healthy(self) -> None:
        """Return when all running members serve."""
        await asyncio.to_thread(self.wait_healthy)

    def wait_healthy(self) -> None:
        """The same, for who is not in a loop."""
        deadline = time.monotonic() + GUARD_S
        while not all(member.is_healthy() for member in self.members if member.running):
            assert time.monotonic() < deadline, (self._folder / f"{self.members[0].name}.log").read_text()[-3000:]
            time.sleep(0.05)
