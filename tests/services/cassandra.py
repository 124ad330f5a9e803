"""Cassandra for tests: one node for all workers of pytest, or nodes of one's own.

`shared()` starts a node under a supervisor, a process that ends it when no process uses it any more (each holds a
lock on a file, which the operating system lets go however it ends). `Node` is one node of one's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
START_S = 240.0
LINGER_S = 3.0


def answers(address: str, port: int) -> bool:
    """Whether it speaks CQL: asks for its options."""
    try:
        with socket.create_connection((address, port), 2) as one:
            one.settimeout(10)
            one.sendall(b"\x04\x00\x00\x00\x05\x00\x00\x00\x00")
            head = one.recv(9)
    except OSError:
        return False
    return len(head) > 4 and head[4] == 6


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Raises `AssertionError` if `condition` has not come true by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Node:
    """One node; `crash` and `start` it as you like. `yaml`: lines for cassandra.yaml; `sync`: of its commit log."""

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        seeds: Sequence[str] = (),
        port: int | None = None,
        storage_port: int | None = None,
        yaml: Sequence[str] = (),
        sync: str = "group",
        jmx_port: int | None = None,
    ) -> None:
        self.folder = folder
        self.address = address
        self.port = port or free_port(address)
        self._seeds = seeds or [address]
        self._storage_port = storage_port or free_port(address)
        self._yaml = yaml
        self._sync = sync
        self._jmx_port = jmx_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def point(self) -> str:
        """host:port for clients."""
        return f"{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running node."""
        assert self._process is not None
        return self._process.pid

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers (which a node that wants TLS does not do here)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = [ROOT / "scripts" / "run-cassandra", self.folder, self.address, "--seeds", ",".join(self._seeds)]
        line += ["--port", str(self.port), "--storage-port", str(self._storage_port)]
        line += ["--sync", self._sync]
        if self._jmx_port is not None:
            line += ["--jmx-port", str(self._jmx_port)]
        for entry in self._yaml:
            line += ["--yaml", entry]
        with (self.folder / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        process = self._process
        assert process is not None

        def ready() -> bool:
            assert process.poll() is None, f"Cassandra ended: {(self.folder / 'out.log').read_text()[-2000:]}"
            return answers(self.address, self.port)

        wait_until(ready, f"Cassandra does not answer; see {self.folder}/system.log")

    def nodetool_line(self) -> list[str]:
        """The command, for this node."""
        return [str(ROOT / "scripts" / "nodetool"), "-p", str(self._jmx_port)]

    def nodetool(self, *arguments: str) -> str:
        """What it says; for a node with a JMX port."""
        done = subprocess.run([*self.nodetool_line(), *arguments], capture_output=True, text=True, timeout=START_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def crash(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield file


def _places() -> tuple[Path, Path, Path]:
    folder = ROOT / "var" / "cassandra"
    return folder / "start.lock", folder / "use.lock", folder / "shared.address"


def shared() -> tuple[str, IO[str]]:
    """host:port of the node that all tests share, started if need be, and what to keep open while using it."""
    starting, using, address = _places()
    with _locked(starting, fcntl.LOCK_EX):
        use = using.open("a")
        fcntl.flock(use, fcntl.LOCK_SH)
        if address.exists():
            host, _, port = address.read_text().partition(":")
            if answers(host, int(port)):
                return address.read_text(), use
        address.unlink(missing_ok=True)
        with (starting.parent / "supervisor.log").open("wb") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "tests.services.cassandra"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def ready() -> bool:
            said = (starting.parent / "supervisor.log").read_text()
            assert supervisor.poll() is None, f"no Cassandra: {said}"
            return address.exists()

        wait_until(ready, "Cassandra did not start; see var/cassandra/supervisor.log", START_S + 30)
        # It outlives us on purpose.
        supervisor.returncode = 0
        return address.read_text(), use


SHARED_YAML = ("tombstone_warn_threshold: 400", "tombstone_failure_threshold: 500")
"""Low, so that a few rows are as bad as very many."""


def supervise() -> None:
    """Run a node until nobody has used it for a while."""
    starting, using, address = _places()
    folder = starting.parent / f"shared-{os.getpid()}"
    node = Node(folder, yaml=SHARED_YAML)
    try:
        node.start()
        written = address.with_suffix(".new")
        written.write_text(node.point)
        written.rename(address)
        unused_since = time.monotonic()
        while True:
            time.sleep(0.5)
            with contextlib.suppress(BlockingIOError), _locked(starting, fcntl.LOCK_EX | fcntl.LOCK_NB):
                try:
                    with _locked(using, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        if time.monotonic() - unused_since < LINGER_S:
                            continue
                        address.unlink(missing_ok=True)
                        return
                except BlockingIOError:
                    pass
            unused_since = time.monotonic()
    finally:
        node.crash()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    supervise()
