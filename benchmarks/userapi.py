"""What the user API costs: `.venv/bin/python -m benchmarks.userapi`. Starts Cassandra, a broker and gunicorn.

All on this machine, the load generator (raw sockets with keep-alive) included. CPU is per request, read from /proc: of
gunicorn with its workers, of Cassandra, of the broker, and of the load generator. All is run warm, and the median of
several runs is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import httpx
import uvloop

from benchmarks.store import cpu_s
from store import Store, StoreSettings, open_store
from store.cassandra import apply
from store.contacts import Change
from tests.ports import free_port
from tests.services.cassandra import ROOT, Node
from tests.userapi.running_server import Server, serving
from tests.userapi.test_files import TUS, goes_up_and_down, resident_kib
from userapi.tokens import TokenMinter

FRIENDS = 20
"""Of each user, on the page that GET /v1/friends answers."""
Steps = Sequence[bytes]
"""Encoded requests of one connection, sent one after the other, over and over."""


def request(method: str, path: str, token: str) -> bytes:
    """Encoded."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
    return (head + ("Content-Length: 0\r\n" if method == "PUT" else "") + "\r\n").encode()


class Connection(asyncio.Protocol):
    """Sends its steps, each when the answer to the last has come whole, until `stop`."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._buffer = b""
        self.answered = 0
        self.stop = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.write(self._steps[0])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, there, body = self._buffer.partition(b"\r\n\r\n")
        if not there or len(body) < int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.ended.set_exception(AssertionError(self._buffer.decode()))
            self._transport.close()
            return
        self._buffer = b""
        self.answered += 1
        if self.stop:
            self._transport.close()
            self.ended.set_result(None)
        else:
            self._transport.write(self._steps[self.answered % len(self._steps)])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or AssertionError("the server has closed the connection"))


async def load(port: int, steps: Sequence[Steps], seconds: float) -> int:
    """All connections at once for so long; returns how many requests were answered."""
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda one=one: Connection(one), "127.0.0.1", port))[1]  # type: ignore[misc]
        for one in steps
    ]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(asyncio.shield(one.ended) for one in made))
    for one in made:
        one.stop = True
    await asyncio.gather(*(one.ended for one in made))
    return sum(one.answered for one in made)


def group_cpu_s(group: int) -> float:
    """Of all processes of a process group."""
    found = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) == group:
                found += cpu_s(int(entry.name))
    return found


@dataclasses.dataclass
class Bench:
    """The running processes, and people with tokens and friends."""

    server: Server
    cassandra: int
    broker: int
    users: list[str]
    tokens: dict[str, str]
    runs: int
    seconds: float
    warm_up: float

    def _cpu(self) -> list[float]:
        group = os.getpgid(self.server.process.pid)
        return [group_cpu_s(group), cpu_s(self.cassandra), cpu_s(self.broker), cpu_s(os.getpid())]

    async def measure(self, name: str, steps: Sequence[Steps]) -> None:
        """Print the medians of several runs."""
        await load(self.server.port, steps, self.warm_up)
        rates: list[float] = []
        costs: list[list[float]] = []
        for _ in range(self.runs):
            before, began = self._cpu(), time.perf_counter()
            count = await load(self.server.port, steps, self.seconds)
            rates.append(count / (time.perf_counter() - began))
            costs.append([(now - then) / count * 1e6 for now, then in zip(self._cpu(), before, strict=True)])
        ours, its, brokers, loads = (statistics.median(one) for one in zip(*costs, strict=True))
        print(
            f"{name:20} {statistics.median(rates):6,.0f}/s ({min(rates):,.0f}-{max(rates):,.0f} of {self.runs})  "
            f"CPU each: gunicorn {ours:.0f} µs, Cassandra {its:.0f} µs, broker {brokers:.0f} µs, load {loads:.0f} µs  "
            f"(load average {os.getloadavg()[0]:.1f})",
            flush=True,
        )

    def reads(self, path: str, connections: int) -> list[Steps]:
        """Each connection reads for one user after another."""
        return [
            [request("GET", path, self.tokens[user]) for user in self.users[at::connections]]
            for at in range(connections)
        ]

    def changes(self, connections: int) -> list[Steps]:
        """Each connection has two users of its own, who become friends and cease to be."""
        one, other = self.users[:connections], self.users[connections : 2 * connections]
        return [
            [
                request("PUT", f"/v1/requests/{b}", self.tokens[a]),
                request("PUT", f"/v1/friends/{a}", self.tokens[b]),
                request("DELETE", f"/v1/friends/{b}", self.tokens[a]),
            ]
            for a, b in zip(one, other, strict=True)
        ]

    def memory(self) -> None:
        """Print what 100 MiB up and down leave behind."""
        block = random.Random(1).randbytes(1024 * 1024)
        headers = {**TUS, "Authorization": f"Bearer {self.tokens[self.users[0]]}"}
        with httpx.Client(base_url=self.server.url, timeout=300, headers=headers) as client:
            goes_up_and_down(client, block, 8)
            grown = []
            for _ in range(self.runs):
                before = resident_kib(self.server)
                goes_up_and_down(client, block, 100)
                grown.append((resident_kib(self.server) - before) / 1024)
        print(f"100 MiB up and down: {', '.join(f'{one:+.1f}' for one in grown)} MiB of memory", flush=True)


async def people(store: Store, count: int, minter: TokenMinter) -> dict[str, str]:
    """Users with access tokens, each a friend of `FRIENDS` others; the last of them of nobody among the first."""
    users = [f"user{number:04}" for number in range(count)]

    async def make(user: str) -> None:
        await store.create_account(user, "hash")
        await store.add_device(user, "phone", "")
        await store.begin_login(user, "phone", "login")

    for at in range(0, count, 20):
        await asyncio.gather(*(make(user) for user in users[at : at + 20]))
    for number, user in enumerate(users):
        others = [users[(number + distance) % count] for distance in range(count // 2 - FRIENDS // 2, count // 2)]
        await asyncio.gather(*(store.change_contact(user, other, Change.ASK) for other in others))
        await asyncio.gather(*(store.change_contact(other, user, Change.ACCEPT) for other in others))
    return {user: minter.mint(user, "phone", time.time(), "login")[0] for user in users}


@contextlib.contextmanager
def running_broker(folder: Path, store: StoreSettings) -> Iterator[tuple[str, int]]:
    """The real process; its endpoint and process id."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    values = {
        "BROKER__LISTEN": endpoint,
        "STORE__ENGINE": store.engine,
        "STORE__CASSANDRA_CONTACT_POINTS": ",".join(store.cassandra_contact_points),
        "DATA_DIR": str(folder),
    }
    environment = os.environ | {f"SPARROW_{name}": value for name, value in values.items()}
    line = [Path(sys.executable).with_name("sparrow"), "broker"]
    with (folder / "broker.log").open("w") as log:
        process = subprocess.Popen(line, cwd=folder, env=environment, stderr=log)
    try:
        yield endpoint, process.pid
    finally:
        process.terminate()
        process.wait()


async def prepare(settings: StoreSettings, count: int, folder: Path) -> dict[str, str]:
    """See `people`."""
    async with open_store(settings) as store:
        return await people(store, count, TokenMinter(folder / "key.pem", 86_400.0))


async def bench(made: Bench, connections: int) -> None:
    """All measurements."""
    await made.measure("GET /v1/me", made.reads("/v1/me", connections))
    await made.measure("GET /v1/friends", made.reads("/v1/friends", connections))
    await made.measure("friend changes", made.changes(connections))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--warm-up", type=float, default=15.0, help="seconds, before each kind of request")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--sync", choices=("periodic", "group"), default="periodic", help="of Cassandra's commit log")
    options = parser.parse_args()
    (ROOT / "var").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "var"))
    node = Node(folder / "cassandra", sync=options.sync)
    try:
        node.start()
        settings = dataclasses.replace(
            StoreSettings(engine="cassandra", cassandra_contact_points=(node.point,)), cassandra_request_timeout_s=20.0
        )
        apply(settings)
        with (
            running_broker(folder, settings) as (endpoint, broker),
            serving(folder, endpoint, settings, workers=options.workers) as server,
        ):
            tokens = uvloop.run(prepare(settings, options.users, folder))
            made = Bench(server, node.pid, broker, list(tokens), tokens, options.runs, options.seconds, options.warm_up)
            uvloop.run(bench(made, options.connections))
            made.memory()
    finally:
        node.crash()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
