"""Servers of our own for a load test: processes, their data, their accounts and tokens.

Owns a temporary folder and everything started in it. Accounts go straight into the store, since passwords are
slow on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from protocol.errors import ServiceError
from sparrow.keys import ALLOWED, BROKER_KEY, BROKER_PUBLIC, make_broker_keys, make_link_key
from store import StoreSettings, open_store
from userapi.keys import ensure_key_pair
from userapi.tokens import TokenMinter

START_TIMEOUT_S = 30.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Spawned:
    """A node (`one`), or a broker and two connectors (`cluster`). A context manager."""

    def __init__(self, shape: str, *, curve: bool = False) -> None:
        self._shape = shape
        self._folder = Path(tempfile.mkdtemp(prefix="sparrow-load-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._store = StoreSettings(path=str(self._folder / "sparrow.db"))
        private, public = self._folder / "token.key.pem", self._folder / "token.pub.pem"
        ensure_key_pair(private, public)
        self.minter = TokenMinter(private, lifetime_s=86400.0)
        self._curve = _curve(self._folder) if curve else {}
        self._ports = [_free_port() for _ in range(1 if shape == "one" else 2)]
        self.connectors: list[tuple[str, int]] = [("127.0.0.1", port) for port in self._ports]

    def __enter__(self) -> Spawned:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        broker = f"tcp://127.0.0.1:{_free_port()}"
        if self._shape == "one":
            self._spawn("serve", self._ports[0], broker)
        else:
            self._spawn("broker", 0, broker)
            for port in self._ports:
                self._spawn("connector", port, broker)
        deadline = time.monotonic() + START_TIMEOUT_S
        for port in self._ports:
            while not _listens(port):
                if time.monotonic() > deadline:
                    raise ServiceError(f"the servers did not start; see {self._folder}/*.log")
                time.sleep(0.05)

    def _spawn(self, command: str, port: int, broker: str) -> None:
        name = f"{command}-{port}"
        environment = (
            os.environ
            | self._curve
            | {
                "SPARROW_CONNECTOR__NAME": name,
                "SPARROW_CONNECTOR__LISTEN_PORT": str(port),
                "SPARROW_CONNECTOR__BROKERS": broker,
                "SPARROW_CONNECTOR__TOKEN_PUBLIC_KEY_FILE": str(self._folder / "token.pub.pem"),
                "SPARROW_BROKER__LISTEN": broker,
                "SPARROW_STORE__PATH": self._store.path,
                "SPARROW_USERAPI__LISTEN_PORT": str(_free_port()),
                "SPARROW_USERAPI__TOKEN_PRIVATE_KEY_FILE": str(self._folder / "token.key.pem"),
                "SPARROW_USERAPI__TOKEN_PUBLIC_KEY_FILE": str(self._folder / "token.pub.pem"),
            }
        )
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "sparrow.cli", command],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def pids(self) -> list[int]:
        """All server processes."""
        found = [process.pid for process in self._processes]
        for pid in found:
            found.extend(_children(pid))
        return found

    def log(self) -> str:
        """What all servers have logged so far."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def connector_pids(self) -> list[int]:
        """The processes that hold sessions."""
        return [process.pid for process in self._processes[-len(self._ports) :]]

    async def tokens(self, users: list[str]) -> list[str]:
        """Register users with a device each; returns their login tokens."""
        async with open_store(self._store) as store:
            for user in users:
                await store.create_account(user, "!")
            await asyncio.gather(*(store.add_device(user, "load", "load") for user in users))
        return [self.minter.mint(user, "load", time.time())[0] for user in users]

    def stop(self) -> None:
        """End everything and remove the folder."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _curve(folder: Path) -> dict[str, str]:
    """Keys for everybody; the connectors share one, which costs nothing else."""
    make_broker_keys(folder)
    (folder / ALLOWED).write_text(make_link_key("load", folder))
    return {
        "SPARROW_BROKER__CURVE_KEY_FILE": str(folder / BROKER_KEY),
        "SPARROW_BROKER__ALLOWED_KEYS_FILE": str(folder / ALLOWED),
        "SPARROW_CONNECTOR__CURVE_KEY_FILE": str(folder / "load.key"),
        "SPARROW_CONNECTOR__BROKER_PUBLIC_KEY_FILE": str(folder / BROKER_PUBLIC),
    }


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
