"""Servers of our own for a load test: processes, their data, their accounts and tokens.

Owns a temporary folder and everything started in it. Accounts go straight into the store, since passwords are
slow on purpose.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from client.tls import Trust
from load import founding
from load.accounts import LIFETIME_S, further_in_store, make_accounts
from load.measure import children
from load.spec import Account
from load.targets import Target
from protocol.errors import ConfigError, ServiceError
from sparrow.config.keys import make_broker_keys, make_link_key
from sparrow.config.rotation import ALLOWED, BROKER_KEY, BROKER_PUBLIC
from store import HistorySettings, StoreSettings
from store.sqlite.search_index import index_path
from userapi.keys import ensure_key_pair
from userapi.tokens import TokenMinter

START_TIMEOUT_S = 30.0
KEPT = ", conversations kept"
"""What the shape of servers says besides, where history is kept."""


_KEEP_DAYS = "SPARROW_HISTORY__KEEP_DAYS"


def kept_for(history: bool) -> dict[str, str]:
    """The environment of servers that keep conversations, or do not; unless somebody has chosen."""
    return {} if _KEEP_DAYS in os.environ else {_KEEP_DAYS: "365" if history else "0"}


def keeps(environment: dict[str, str]) -> bool:
    """Whether servers with this, and what is in the environment of ours, keep conversations."""
    return (environment | os.environ)[_KEEP_DAYS] != "0"


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Spawned(Target):
    """A node (`one`), or brokers and connectors (`cluster`). Several brokers get an etcd, which has to be installed."""

    def __init__(
        self,
        shape: str,
        *,
        curve: bool = False,
        connectors: int = 2,
        brokers: int = 1,
        history: bool = False,
        userapi: bool = False,
        websocket: bool = False,
    ) -> None:
        """`connectors` and `brokers` are for a cluster; `history`: conversations are kept; `userapi`: a cluster has
        one, as a node does. Raises `ConfigError`."""
        super().__init__(websocket)
        self._count = (1, 1) if shape == "one" else (connectors, brokers)
        if min(self._count) < 1:
            raise ConfigError("a cluster has at least one connector and one broker")
        self._is_node = shape == "one"
        self.shape = "one" if self._is_node else f"cluster of {connectors} connectors and {brokers} brokers"
        if self._count[1] > 1 and shutil.which("etcd") is None:
            raise ConfigError("more than one broker needs etcd, which is not on PATH: run scripts/install-etcd")
        self._folder = Path(tempfile.mkdtemp(prefix="sparrow-load-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._history = HistorySettings(keep_days=365 if history else 0, ledger="")
        self._store = StoreSettings(path=str(self._folder / "sparrow.db"))
        private, public = self._folder / "token.key.pem", self._folder / "token.pub.pem"
        ensure_key_pair(private, public)
        self.minter = TokenMinter(private, lifetime_s=LIFETIME_S)
        self._environment = (_curve(self._folder) if curve else {}) | kept_for(history)
        self.shape += KEPT if keeps(self._environment) else ""
        self._userapi = userapi and not self._is_node
        self._api_port = free_port()
        if userapi or self._is_node:
            self.api = f"http://127.0.0.1:{self._api_port}"
        self._ports = [free_port() for _ in range(self._count[0])]
        self.connectors: list[tuple[str, int]] = [("127.0.0.1", port) for port in self._ports]
        self._websockets = {port: free_port() for port in self._ports} if websocket else {}
        self.use([f"ws://127.0.0.1:{self._websockets[p]}" if websocket else f"127.0.0.1:{p}" for p in self._ports])

    def __enter__(self) -> Spawned:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        brokers = [f"tcp://127.0.0.1:{free_port()}" for _ in range(self._count[1])]
        if len(brokers) > 1:
            self._start_etcd()
        endpoints = ",".join(brokers)
        if self._is_node:
            self._serve("serve", self._ports[0], brokers[0], endpoints)
        else:
            for number, broker in enumerate(brokers, 1):
                self._serve("broker", number, broker, endpoints)
            if self._userapi:
                self._serve("userapi", self._api_port, brokers[0], endpoints)
            for port in self._ports:
                self._serve("connector", port, brokers[0], endpoints)
        deadline = time.monotonic() + START_TIMEOUT_S
        for port in (*self._ports, *((self._api_port,) if self.api else ())):
            self._wait(deadline, partial(listens, port))

    def _wait(self, deadline: float, done: Callable[[], bool]) -> None:
        while not done():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise ServiceError(f"the servers did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def _start_etcd(self) -> None:
        url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        command = (
            "etcd", "--name", "load", "--data-dir", str(self._folder / "etcd"), "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"load={peer}", "--auto-compaction-retention", "1m",
        )  # fmt: skip
        self._spawn("etcd", command, {})
        self._environment |= {"SPARROW_BROKER__PRESENCE": "etcd", "SPARROW_ETCD__ENDPOINTS": url}
        self._wait(time.monotonic() + START_TIMEOUT_S, lambda: _etcd_leads(url))

    def _serve(self, command: str, port: int, broker: str, brokers: str) -> None:
        name = f"{command}-{port}"
        environment = self._environment | {
            "SPARROW_CONNECTOR__NAME": name,
            "SPARROW_CONNECTOR__LISTEN_PORT": str(port if command in ("serve", "connector") else 0),
            "SPARROW_CONNECTOR__WEBSOCKET_LISTEN_PORT": str(self._websockets.get(port, 0)),
            "SPARROW_CONNECTOR__BROKERS": brokers,
            "SPARROW_CONNECTOR__TOKEN_PUBLIC_KEY_FILE": str(self._folder / "token.pub.pem"),
            "SPARROW_BROKER__NAME": name,
            "SPARROW_BROKER__LISTEN": broker,
            "SPARROW_STORE__PATH": self._store.path,
            "SPARROW_HISTORY__LEDGER": str(self._folder / "erased.log"),
            **{name: value for name, value in ROOM.items() if name not in os.environ},
            "SPARROW_USERAPI__BROKERS": brokers,
            "SPARROW_USERAPI__LISTEN_PORT": str(self._api_port if command in ("serve", "userapi") else free_port()),
            "SPARROW_USERAPI__TOKEN_PRIVATE_KEY_FILE": str(self._folder / "token.key.pem"),
            "SPARROW_USERAPI__TOKEN_PUBLIC_KEY_FILE": str(self._folder / "token.pub.pem"),
        }
        self._spawn(name, (sys.executable, "-m", "sparrow.cli", command), environment)

    def _spawn(self, name: str, command: tuple[str, ...], environment: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT)
            )

    def pids(self) -> list[int]:
        return [pid for process in self._processes for pid in (process.pid, *children(process.pid))]

    def log(self) -> str:
        """What all servers have logged so far."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def connector_pids(self) -> list[int]:
        return [process.pid for process in self._processes[-len(self._ports) :]]

    async def accounts(self, count: int) -> list[Account]:
        return await make_accounts(self._store, self.minter, [f"user{n}" for n in range(count)], self._history)

    async def further(self, users: Sequence[str]) -> list[Account]:
        return await further_in_store(self._store, self.api, Trust(), users)

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        return await founding.in_store(self._store, members)

    async def disband(self, groups: Mapping[str, Account]) -> None:
        await founding.close_in_store(self._store, groups)

    def disk_bytes(self) -> int | None:
        return sum(map(pages_bytes, (Path(self._store.path), index_path(self._store.path))))

    async def tokens(self, users: list[str]) -> list[str]:
        """Register users with a device each, if they are not there yet; returns their login tokens."""
        return [account.token for account in await make_accounts(self._store, self.minter, users, self._history)]

    def stop(self) -> None:
        """End everything and remove the folder."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


ROOM = {
    **{
        f"SPARROW_BROKER__INBOX_MAX_{name}": str(value)
        for what, value in (("ROWS", 10**9), ("BYTES", 10**12))
        for name in (what, f"{what}_OF_AUTHOR")
    },
    "SPARROW_BROKER__GROUP_AUTHOR_BYTES_PER_SECOND": "0",
    "SPARROW_BROKER__GROUP_BYTES_PER_SECOND": "0",
    "SPARROW_HISTORY__MAX_ROWS_PER_DAY_OF_AUTHOR": str(10**9),
    "SPARROW_HISTORY__MAX_BYTES_PER_DAY_OF_AUTHOR": str(10**12),
    "SPARROW_HISTORY__MAX_BYTES_OF_AUTHOR": str(10**12),
    "SPARROW_USERAPI__MAX_HISTORY_MESSAGES_PER_SECOND_OF_ACCOUNT": str(10**9),
    "SPARROW_USERAPI__ACCESS_TOKEN_LIFETIME_S": "86400",
    "SPARROW_USERAPI__MAX_REQUESTS_PER_SECOND_OF_ACCOUNT": "0",
    "SPARROW_CONNECTOR__MAX_MESSAGES_PER_SECOND": "0",
    "SPARROW_CONNECTOR__MAX_MESSAGES_PER_SECOND_OF_ACCOUNT": "0",
    "SPARROW_CONNECTOR__MAX_FRAMES_PER_SECOND": "0",
    "SPARROW_CONNECTOR__MAX_LOGINS_PER_MINUTE_OF_DEVICE": "0",
    "SPARROW_CONNECTOR__MAX_BEFORE_LOGIN_OF_ADDRESS": "1000000",
}
"""Limits for people would be all that is measured: the load comes from one address, and writes more than they do."""


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


def listens(port: int) -> bool:
    """Whether somebody takes connections there, on this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def pages_bytes(database: Path) -> int:
    """What the pages that are in use take, in the write-ahead log or copied back; 0 if there is no such database."""
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        size, count, free = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
    return size * (count - free)


def _etcd_leads(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
        return b'"true"' in answer.read()
    return False
