"""What kept messages cost in SQLite: `.venv/bin/python -m benchmarks.history --messages 1000000 [--no-search]`.

Fills conversations through the store's port as a broker does, with texts of 100 bytes that are words; then reads pages.
Prints CPU of this process and bytes of its files.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

from load.spawn import pages_bytes
from load.traffic import Zipf
from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store import StoreSettings, open_store
from store.ownership import Ownership
from store.settings import HistorySettings
from store.sqlite.search_index import index_path
from store.timelines import Entry, HistoryQuery, Name, Result, Timelines, conversation_of

BODY_BYTES = 100
VOCABULARY = 50_000
CONVERSATIONS = 1_000
AT_ONCE = 4
"""Appends on their way, as a broker has them."""
SEARCH_WAIT_S = 300.0


def texts(chance: random.Random) -> list[bytes]:
    """Some thousands of words in sentences of 100 bytes; the commonest twice as often as the second."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(VOCABULARY)]
    drawn = Zipf(VOCABULARY)
    made = []
    for _ in range(20_000):
        text = ""
        while len(text) < BODY_BYTES:
            text += words[drawn.draw(chance)] + " "
        made.append(text[:BODY_BYTES].strip().ljust(BODY_BYTES, ".").encode())
    return made


async def fill(timelines: Timelines, bodies: list[bytes], messages: int, batch: int) -> None:
    """Both sides of each conversation write by turns."""
    chance = random.Random(1)
    first = int(time.time() * 1000) << STAMP_SHIFT
    numbers = iter(range(messages))

    def entry(number: int) -> Entry:
        at = chance.randrange(CONVERSATIONS)
        one, other = f"a{at}", f"b{at}"
        author = one if number % 2 else other
        name = Name(author, "d1", 1 + number % 2, 1 + number)
        return Entry(conversation_of(one, other), name, first + number, TEXT, bodies[number % len(bodies)])

    async def work() -> None:
        while entries := [entry(number) for number in islice(numbers, batch)]:
            found = await timelines.archive(entries)
            if any(each.result != Result.KEPT for each in found):
                raise SystemExit(f"not kept: {found[0]}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def read(timelines: Timelines, pages: int, limit: int) -> list[float]:
    """How long each page took, in ms, at random places."""
    chance, took = random.Random(2), []
    while len(took) < pages:
        at = chance.randrange(CONVERSATIONS)
        conversation, position = conversation_of(f"a{at}", f"b{at}"), b""
        for _ in range(chance.randint(1, 6)):
            began = time.perf_counter()
            page = await timelines.page(HistoryQuery(conversation, f"a{at}", position, limit))
            took.append((time.perf_counter() - began) * 1000)
            position = page.next
            if not position:
                break
    return took


def told(took: list[float]) -> str:
    """Median and 99th percentile."""
    return f"p50 {statistics.median(took):.2f} ms, p99 {statistics.quantiles(took, n=100)[98]:.2f} ms"


async def bench(folder: Path, options: argparse.Namespace) -> None:
    settings = StoreSettings(path=str(folder / "sparrow.db"))
    history = HistorySettings(
        keep_days=365, ledger="", search=options.search,
        max_rows_per_day_of_author=10**9, max_bytes_per_day_of_author=10**12, max_bytes_of_author=10**12,
    )  # fmt: skip
    database = Path(settings.path)
    bodies = texts(random.Random(0))
    async with open_store(settings, Ownership.ALONE, history) as store:
        cpu, began = time.process_time(), time.perf_counter()
        await fill(store.timelines, bodies, options.messages, options.batch)
        took = time.perf_counter() - began
        spent = (time.process_time() - cpu) / options.messages * 1e6
        print(
            f"fill: {options.messages / took:,.0f}/s, {spent:.1f} µs CPU each",
            flush=True,
        )
        if options.search:
            await caught_up(index_path(settings.path))
            spent = (time.process_time() - cpu) / options.messages * 1e6
            print(f"with the index of words: {spent:.1f} µs CPU each", flush=True)
        for limit in (50, 500):
            print(f"pages of {limit}: {told(await read(store.timelines, options.pages, limit))}", flush=True)
        for what, file in (("database", database), ("index of words", index_path(settings.path))):
            print(f"{what}: {pages_bytes(file) / options.messages:.0f} bytes each", flush=True)


async def caught_up(index: Path) -> None:
    """Until the index grows no more."""
    before, deadline = -1, time.monotonic() + SEARCH_WAIT_S
    while (size := pages_bytes(index)) != before and time.monotonic() < deadline:
        before = size
        await asyncio.sleep(4.0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.history", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=500, help="messages in an append")
    parser.add_argument("--pages", type=int, default=1_000, help="how many of each size are read")
    parser.add_argument("--no-search", dest="search", action="store_false", help="without the index of words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(Path(folder), options))


if __name__ == "__main__":
    main()
