"""What the Cassandra engine costs: `.venv/bin/python -m benchmarks.store`. Starts a node of its own.

CPU is that of both processes, ours with the driver and Cassandra's with its compaction and collector, read from /proc,
per message.
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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from store import Store, StoreSettings, open_store
from store.cassandra import apply
from store.interface import NewRow, PageQuery, Removal
from store.sessions import SessionStart
from tests.services.cassandra import ROOT, Node

USERS = 100
"""Whom messages are for."""
PEOPLE = 5000
"""Who logs in."""
BODY = b"x" * 100
MESSAGES = 10_000
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def store_many(store: Store, messages: int, per_append: int, in_flight: int) -> None:
    """Appends as a broker makes them, each followed by a look at the users' devices."""
    firsts = iter(range(0, messages, per_append))

    async def work() -> None:
        for first in firsts:
            rows = [NewRow(f"u{number % USERS}", "phone", 1, BODY) for number in range(first, first + per_append)]
            await store.append(rows)
            await store.devices({row.user for row in rows})

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def remove_some(store: Store, keys: Sequence[Sequence[bytes]]) -> None:
    """Acks of a turn: each removes one row of each user. `keys` are those of each turn, in the users' order."""
    turns = iter(keys)

    async def work() -> None:
        for turn in turns:
            await store.remove([Removal(f"u{number}", "phone", (key,)) for number, key in enumerate(turn)])

    await asyncio.gather(*(work() for _ in range(4)))


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
    rates, costs, ours, its = [], [], [], []
    for _ in range(runs):
        before, began = (cpu_s(os.getpid()), cpu_s(pid)), time.perf_counter()
        await work()
        took = time.perf_counter() - began
        ours.append((cpu_s(os.getpid()) - before[0]) / count * 1e6)
        its.append((cpu_s(pid) - before[1]) / count * 1e6)
        costs.append(ours[-1] + its[-1])
        rates.append(count / took)
    print(
        f"{name:34} {statistics.median(rates):8,.0f}/s  {statistics.median(costs):6.0f} µs CPU each"
        f" ({min(costs):.0f}-{max(costs):.0f} of {runs}): ours {statistics.median(ours):.0f},"
        f" Cassandra's {statistics.median(its):.0f}",
        flush=True,
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
            await store_many(store, 10_000, 100, 4)
            await pull(store)

        for rows in (1, 5, 20):

            async def store_rows(per_append: int = rows * USERS) -> None:
                await store_many(store, MESSAGES, per_append, 4)

            await measure(f"store, {rows} of each user in an append", runs, MESSAGES, pid, store_rows)
            await pull(store)
        await store_many(store, MESSAGES, 2000, 4)
        await measure("pull", runs, MESSAGES, pid, lambda: pull(store, remove=False))
        await pull(store)

        async def pull_anew() -> None:
            await store_many(store, MESSAGES, 2000, 4)
            await pull(store)

        await measure("store 20 of each, pull, remove", runs, MESSAGES, pid, pull_anew)
        await store_many(store, MESSAGES, 2000, 4)
        pages = await store.page([PageQuery(f"u{number}", "phone", b"", True, 256) for number in range(USERS)])
        turns = iter(list(zip(*([row.key for row in page.rows] for page in pages), strict=True)))
        share = MESSAGES // USERS // runs

        async def remove_next() -> None:
            await remove_some(store, [next(turns) for _ in range(share)])

        await measure("remove one of each user", runs, share * USERS, pid, remove_next)
        await pull(store)

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
    parser.add_argument("--warm-ups", type=int, default=10, help="of 30,000 messages each")
    parser.add_argument("--sync", choices=("periodic", "group"), default="periodic", help="of Cassandra's commit log")
    parser.add_argument("--yaml", action="append", default=[], metavar="LINE", help="for cassandra.yaml")
    options = parser.parse_args()
    (ROOT / "var").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "var"))
    node = Node(folder, yaml=options.yaml, sync=options.sync)
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
