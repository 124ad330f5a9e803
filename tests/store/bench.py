"""What the Cassandra engine costs: `.venv/bin/python -m tests.store.bench`. Starts a node of its own.

CPU is that of all processes, Cassandra's with its compaction and collector included, read from /proc, per message.
A fresh JVM is several times as slow; so all is run warm, and the median of several runs is shown.
"""

import argparse
import asyncio
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from store import Store, StoreSettings, open_store
from store.cassandra import apply
from store.interface import NewRow, PageQuery, Removal, SessionStart
from tests.services.cassandra import ROOT, Node

USERS = 100
"""Whom messages are for."""
PEOPLE = 5000
"""Who logs in."""
BODY = b"x" * 100
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(*pids: int) -> float:
    """CPU time of processes so far, in seconds."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


async def store_many(store: Store, messages: int, per_append: int, in_flight: int) -> None:
    """Appends as a broker makes them, each followed by a look at the users' devices."""
    free = asyncio.Semaphore(in_flight)

    async def one(first: int) -> None:
        rows = [NewRow(f"u{number % USERS}", "phone", 1, BODY) for number in range(first, first + per_append)]
        await store.append(rows)
        await store.devices({row.user for row in rows})
        free.release()

    tasks = []
    for first in range(0, messages, per_append):
        await free.acquire()
        tasks.append(asyncio.create_task(one(first)))
    await asyncio.gather(*tasks)


async def pull(store: Store, remove: bool = True) -> int:
    """All users read their inbox to the end, in pages of 256, and remove what they have read."""

    async def one(user: str) -> int:
        count, after, fresh = 0, b"", True
        while True:
            (page,) = await store.page([PageQuery(user, "phone", after, fresh, 256)])
            count += len(page.rows)
            if remove and page.rows:
                await store.remove([Removal(user, "phone", tuple(row.key for row in page.rows))])
            if page.end:
                return count
            after, fresh = page.next, False

    return sum(await asyncio.gather(*(one(f"u{number}") for number in range(USERS))))


async def log_in(store: Store, session: int, at_once: int) -> None:
    """Session starts of all users, so many at once, as the turns of a busy broker make them."""
    for first in range(0, PEOPLE, at_once):
        starts = [SessionStart(f"u{number}", "phone", session) for number in range(first, first + at_once)]
        await store.begin_sessions(starts)


async def measure(name: str, runs: int, count: int, pid: int, work: Callable[[], Awaitable[object]]) -> None:
    """Print the medians of several runs of `work`, which does `count` things."""
    rates, costs, times = [], [], []
    for _ in range(runs):
        cpu, began = cpu_s(pid, os.getpid()), time.perf_counter()
        await work()
        took = time.perf_counter() - began
        costs.append((cpu_s(pid, os.getpid()) - cpu) / count * 1e6)
        rates.append(count / took)
        times.append(took)
    print(
        f"{name:40} {statistics.median(rates):9,.0f}/s  {statistics.median(costs):6.0f} µs CPU each"
        f"  {statistics.median(times):6.2f} s  (of {runs}: {min(costs):.0f}-{max(costs):.0f} µs)"
    )


async def bench(settings: StoreSettings, pid: int, runs: int, warm_ups: int) -> None:
    session = 1
    async with open_store(settings) as store:
        print("making accounts", flush=True)
        for first in range(0, PEOPLE, 50):
            users = [f"u{number}" for number in range(first, first + 50)]
            await asyncio.gather(*(store.create_account(user, "hash") for user in users))
            await asyncio.gather(*(store.add_device(user, "phone", "") for user in users))
        print("warming up", flush=True)
        for _ in range(warm_ups):
            await store_many(store, 20_000, 2000, 4)
            await store_many(store, 2_000, 1, 64)
            await pull(store)

        async def store_and_clear(per_append: int, in_flight: int) -> None:
            await store_many(store, 10_000, per_append, in_flight)

        await measure("store, 2,000 rows in an append", runs, 10_000, pid, lambda: store_and_clear(2000, 4))
        await pull(store)
        await measure("store, 100 rows in an append", runs, 10_000, pid, lambda: store_and_clear(100, 4))
        await pull(store)
        await measure("store, one row in an append, 64 at once", runs, 10_000, pid, lambda: store_and_clear(1, 64))
        await pull(store)
        for _ in range(runs):
            await store_many(store, 10_000, 2000, 4)
            await measure("pull", 1, 10_000, pid, lambda: pull(store, remove=False))
            await measure("pull and remove", 1, 10_000, pid, lambda: pull(store))

        for at_once in (10, 100):

            async def log_in_anew(at_once: int = at_once) -> None:
                nonlocal session
                session += 1
                await log_in(store, session, at_once)

            await log_in_anew()
            await measure(f"begin sessions, {at_once} at once", runs, PEOPLE, pid, log_in_anew)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm-ups", type=int, default=15, help="of 22,000 messages each")
    parser.add_argument("--yaml", action="append", default=[], metavar="LINE", help="for cassandra.yaml")
    options = parser.parse_args()
    (ROOT / "var").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "var"))
    node = Node(folder, yaml=options.yaml)
    try:
        node.start()
        settings = dataclasses.replace(
            StoreSettings(engine="cassandra", cassandra_contact_points=(node.point,)), cassandra_request_timeout_s=20.0
        )
        apply(settings)
        asyncio.run(bench(settings, node.pid, options.runs, options.warm_ups))
    finally:
        node.crash()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
