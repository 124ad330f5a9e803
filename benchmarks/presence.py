"""What presence in etcd carries: logins a second through one broker, CPU of each, and how late a second broker knows.

`python -m benchmarks.presence` starts an etcd of its own. Not a test.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import uvloop

from broker.core.state import Location, Registered
from tests.broker.presences import A, Presences, presence, reads
from tests.services.etcd import EtcdCluster


class _Load:
    """Logins of many users, counted."""

    def __init__(self, node: Presences) -> None:
        self.node = node
        self.done = 0
        self.failed = 0
        self.asked: dict[str, float] = {}
        self.took: dict[str, float] = {}

    def login(self, number: int) -> None:
        """One, without waiting for it."""
        user = f"user{number}"
        self.asked[user] = time.perf_counter()
        lease = self.node.leases[A]
        self.node.presence.online(
            user, "d1", Location(A, number + 1), lease, False, lambda found: self._answered(user, found)
        )

    def _answered(self, user: str, found: Registered | None) -> None:
        self.done += 1
        self.failed += found is None
        self.took[user] = time.perf_counter() - self.asked[user]

    async def all(self, count: int) -> None:
        """Return when so many are answered."""
        while self.done < count:
            await asyncio.sleep(0.005)


async def burst(node: Presences, etcd: EtcdCluster, count: int) -> None:
    """As fast as it goes, a few thousand waiting at a time."""
    load = _Load(node)
    began, cpu, etcd_cpu = time.perf_counter(), time.process_time(), etcd.members[0].cpu_s
    for number in range(count):
        load.login(number)
        while number - load.done > 4_000:
            await asyncio.sleep(0.001)
    await load.all(count)
    took = time.perf_counter() - began
    print(
        f"burst: {count / took:,.0f} logins/s, {load.failed} failed; CPU per login: "
        f"broker {(time.process_time() - cpu) / count * 1e6:.0f} us (with its own map's watch), "
        f"etcd {(etcd.members[0].cpu_s - etcd_cpu) / count * 1e6:.0f} us"
    )


async def paced(node: Presences, other: Presences, per_second: int, seconds: float) -> None:
    """At a rate; how long from asking until a second broker's map shows it."""
    load = _Load(node)
    delays: dict[str, float] = {}
    put = other.presence.put  # type: ignore[attr-defined]

    def seen(name: bytes, kv: object) -> None:
        put(name, kv)
        user = name.decode().partition("/")[0]
        delays[user] = time.perf_counter() - load.asked[user]

    other.presence.put = seen  # type: ignore[attr-defined]
    base, count = 1_000_000, int(per_second * seconds)
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        load.login(base + number)
        ahead = number / per_second - (time.perf_counter() - began)
        if ahead > 0.001:
            await asyncio.sleep(ahead)
    await load.all(count)
    while len(delays) < count:
        await asyncio.sleep(0.01)
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    print(
        f"paced: {per_second:,} logins/s, {load.failed} failed; asked until answered {_spread(load.took.values())}; "
        f"asked until in another broker's map {_spread(delays.values())}; "
        f"from answer to map {_spread(delays[user] - took for user, took in load.took.items())}; "
        f"both brokers {share * 100:.0f} % of a core; {reads(other)} reads"
    )


def _spread(seconds: Iterable[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2] * 1e3:.1f} ms, p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms"


async def barriers(node: Presences, seconds: float = 2.0) -> None:
    """One after the other, with nothing else going on."""
    taken = []
    end = time.perf_counter() + seconds
    cpu = time.process_time()
    while time.perf_counter() < end:
        began = time.perf_counter()
        assert await node.barrier()
        taken.append(time.perf_counter() - began)
    taken.sort()
    print(
        f"barrier: p50 {taken[len(taken) // 2] * 1e3:.2f} ms, p99 {taken[int(len(taken) * 0.99)] * 1e3:.2f} ms, "
        f"broker CPU {(time.process_time() - cpu) / len(taken) * 1e6:.0f} us"
    )


async def main() -> None:
    """All of it."""
    gc.set_threshold(50_000, 20, 100)  # as `sparrow broker` does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logins", type=int, default=50_000)
    parser.add_argument("--rate", type=int, default=2_000, help="logins a second for the watch's delay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EtcdCluster(Path(folder)) as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(), A) as one:
            await burst(one, etcd, options.logins)
            async with presence(etcd.settings()) as two:
                await paced(one, two, options.rate, 5.0)
            await barriers(one)
            cpu = time.process_time()
            await asyncio.sleep(5)
            print(f"idle, one connector beating every 50 ms: {(time.process_time() - cpu) / 5 * 100:.1f} % of a core")


if __name__ == "__main__":
    uvloop.run(main())
