"""`sparrow history`: for how long conversations are kept, which the store says for all; and the replay of a ledger.

Owns what is said, and that it is raised only where every broker knows history (docs/design/history.md, "How"). What is
kept is the store's business.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from broker.members import BROKERS, KNOWS
from protocol.errors import ConfigError, StoreError
from sparrow.ops.export import passive
from sparrow.ops.removal import open_bridge
from store import HistorySettings, StoreSettings, open_store
from store.ledger import read_ledger
from store.timelines import MAX_KEEP_DAYS, Erasure, HistoryTerms, Result
from userapi.bridge import StoreBridge

if TYPE_CHECKING:
    from sparrow.config.settings import Settings

AT_ONCE = 500
HEARD_S = 30
"""By then every broker has asked the store again, some times over."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow history`."""
    parser.add_argument(
        "action", nargs="?", choices=("show", "keep", "replay", "index"), default="show", help="default: show"
    )
    what = "of keep: for how long, 0: not at all; of replay: a ledger, whose messages are erased again"
    parser.add_argument("what", nargs="?", metavar="DAYS|FILE", help=what)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Show, or change it. Raises `ConfigError`, and what opening a store raises."""
    if options.action == "replay":
        if not options.what:
            raise ConfigError("sparrow history replay FILE: name a ledger (history.ledger of each machine)")
        print(f"erased again: {asyncio.run(replay(passive(settings.store), settings.history, Path(options.what)))}")
        return 0
    with open_bridge(settings) as bridge:
        if options.action == "index":
            bridge.call(bridge.store.timelines.rebuild_search)
            print("the search index is made anew, by the node, while it runs; until then older texts are not found")
            return 0
        before = bridge.call(bridge.store.timelines.terms)
        if options.action == "show":
            print(told(before))
            return 0
        days = _days(options.what)
        old = asyncio.run(_older_brokers(settings)) if days and not before.keep_days else []
        if old:
            raise ConfigError(
                f"these brokers are of a release that keeps no history: {', '.join(old)}: upgrade them, then try again"
            )
        print(told(_keep(bridge, before, days)))
        if days < before.keep_days:
            print("what is older is not shown any more, and goes within hours; raising it again brings nothing back")
    return 0


def _days(text: str | None) -> int:
    if text is None or not text.isdecimal() or int(text) > MAX_KEEP_DAYS:
        raise ConfigError(f"sparrow history keep DAYS: a number from 0 to {MAX_KEEP_DAYS}")
    return int(text)


def _keep(bridge: StoreBridge, before: HistoryTerms, days: int) -> HistoryTerms:
    since_ms = before.since_ms
    if days and not before.keep_days:
        since_ms = int((time.time() + HEARD_S) * 1000)
    return bridge.call(bridge.store.timelines.set_keep_days, days, since_ms)


def told(terms: HistoryTerms) -> str:
    """What the store says, in words."""
    if not terms.keep_days:
        return "conversations are not kept"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(terms.since_ms / 1000)) if terms.since_ms else ""
    return f"conversations are kept for {terms.keep_days} days" + (f", all since {since}" if since else "")


async def replay(store: StoreSettings, history: HistorySettings, ledger: Path) -> int:
    """Erase again what a ledger names, in a store that is older than it; returns how many. May be repeated.

    Raises `ConfigError` for a ledger that is not there, and what opening a store raises.
    """
    # Nobody fills anything by it.
    unbounded = dataclasses.replace(
        history, ledger="", max_rows_per_day_of_author=2**53, max_bytes_per_day_of_author=2**53
    )
    erased = 0
    async with open_store(store, history=unbounded) as opened:
        for some in batched(read_ledger(ledger), AT_ONCE):
            answers = await opened.timelines.archive(some)
            if any(answer.result is Result.FAILED for answer in answers):
                raise StoreError("some of the ledger could not be erased: do it once more")
            erased += len(some)
    return erased


def batched(erasures: Iterator[Erasure], size: int) -> Iterator[list[Erasure]]:
    """So many at a time."""
    while some := list(islice(erasures, size)):
        yield some


async def _older_brokers(settings: Settings) -> list[str]:
    """Endpoints of brokers that do not say that they know history; a node's own is of this release."""
    if settings.broker.presence != "etcd":
        return []
    from broker.etcd import Etcd
    from broker.etcd import api_pb2 as api
    from broker.etcd.client import RANGE, prefix_end

    etcd = Etcd(settings.etcd)
    try:
        prefix = settings.etcd.prefix.encode() + BROKERS
        found = await etcd.call(RANGE, api.RangeRequest(key=prefix, range_end=prefix_end(prefix)))
    finally:
        await etcd.close()
    values = [kv.value.decode(errors="replace").split(" ") for kv in found.kvs]
    return sorted(endpoint for endpoint, *known in values if KNOWS not in known)
