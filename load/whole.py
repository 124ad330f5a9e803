"""The cluster of `scripts/cluster` as the target of a load test: started in a folder of its own, and cleaned away.

Owns that folder. Needs a checkout, where the scripts are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from client.tls import Trust
from load import founding
from load.accounts import further_in_store, store_accounts
from load.spawn import KEPT, ROOM, keeps, kept_for
from load.spec import Account
from load.targets import Target, url_of
from protocol.errors import ConfigError, ServiceError
from sparrow.config.settings import load

ROOT = Path(__file__).resolve().parents[1]
PORTS = 40
_FIRST, _LAST = 20_000, 32_000


class WholeCluster(Target):
    """3 etcd, Cassandra, 2 brokers, 3 connectors; CURVE between them, TLS to the clients."""

    shape = "scripts/cluster"

    def __init__(self, history: bool = False, websocket: bool = False) -> None:
        """Raises `ConfigError` where the script is not."""
        super().__init__(websocket)
        self._environment = ROOM | kept_for(history)
        self.shape += KEPT if keeps(self._environment) else ""
        self._script = ROOT / "scripts" / "cluster"
        if not self._script.exists():
            raise ConfigError("--spawn scripts needs a checkout of Sparrow, with scripts/cluster: use --spawn cluster")
        self._folder = Path(tempfile.mkdtemp(prefix="sparrow-load-"))
        self.ca = str(self._folder / "cluster" / "keys" / "ca.pem")

    def __enter__(self) -> WholeCluster:
        try:
            self._call("start", "--environment")
            settings = load(self._folder / "cluster" / "userapi.toml", {})
        except BaseException:
            self._end()
            raise
        self._settings, self.api = settings, url_of(settings)
        self.use(settings.userapi.connectors)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _call(self, command: str, *options: str) -> None:
        own = {"SPARROW_CLUSTER_DIR": str(self._folder / "cluster"), "SPARROW_CLUSTER_PORTS": str(self._ports())}
        environment = self._environment | os.environ | own
        done = subprocess.run([self._script, command, *options], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ServiceError(f"scripts/cluster {command} failed: {done.stderr.strip()[-1000:]}")

    def _ports(self) -> int:
        """The first of enough that nobody listens on; the same for all calls."""
        kept = self._folder / "ports"
        if not kept.exists():
            kept.write_text(str(_free_ports(PORTS)))
        return int(kept.read_text())

    def _end(self) -> None:
        with contextlib.suppress(ServiceError):
            self._call("clean")
        shutil.rmtree(self._folder, ignore_errors=True)

    async def accounts(self, count: int) -> list[Account]:
        return await store_accounts(self._settings, [f"load-{n}" for n in range(count)])

    async def further(self, users: Sequence[str]) -> list[Account]:
        return await further_in_store(self._settings.store, self.api, Trust(self.ca or None), users)

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        return await founding.in_store(self._settings.store, members)

    async def disband(self, groups: Mapping[str, Account]) -> None:
        await founding.close_in_store(self._settings.store, groups)

    def pids(self) -> list[int]:
        mark = f"CLUSTER_PROCESS={self._folder / 'cluster'}:".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(word.startswith(mark) for word in (path / "environ").read_bytes().split(b"\0")):
                    found.append(int(path.name))
        return sorted(found)


def _free_ports(count: int) -> int:
    for first in range(_FIRST + os.getpid() * count % (_LAST - _FIRST - count), _LAST, count):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise ServiceError(f"there are no {count} neighbouring free ports between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
