"""A third broker on a host of its own, for rows about links.

Owns the wire to it and its process. Everything that it says to connectors, etcd and Cassandra goes over the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sparrow.config.settings import load
from tests.cluster.faults.wire import Wire
from tests.cluster.whole import ROOT, Whole
from tests.ports import free_port

UP_S = 60.0

_numbers = itertools.count(1)


class FarBroker:
    """It joins the cluster at `up` and is gone after `close`."""

    def __init__(self, cluster: Whole) -> None:
        self.wire = Wire((os.getpid() * 7 + next(_numbers)) % 65_000)
        self.port = free_port()
        self.endpoint = f"tcp://{self.wire.address}:{self.port}"
        settings = load(cluster.folder / "broker-1.toml", {})
        self.etcd_ports = [int(url.rpartition(":")[2]) for url in settings.etcd.endpoints]
        self.cassandra_ports = [int(name.rpartition(":")[2]) for name in settings.store.cassandra_contact_points]
        self._log = cluster.folder / "broker-far.log"
        file = cluster.folder / "broker-far.toml"
        # Without the monitor, whose port and address are another host's.
        text = (cluster.folder / "broker-1.toml").read_text().partition("[monitor]")[0]
        file.write_text(text.replace(settings.broker.listen, self.endpoint).replace('"broker-1"', '"broker-far"'))
        command = self.wire.within(str(ROOT / ".venv" / "bin" / "sparrow"), "broker", "--config", str(file))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SPARROW_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=kept, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def up(self, logs: Sequence[Path]) -> None:
        """Return when all connectors, by their logs, have linked to it."""
        deadline = time.monotonic() + UP_S
        for path in logs:
            while f"broker up: {self.endpoint}" not in path.read_text():
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, f"{path} has no link to the far broker:\n{self.log}"
                await asyncio.sleep(0.1)

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def close(self) -> None:
        """Stop it, in order if it can be, and take its host away."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()
        self.wire.close()
