"""Writing locations in etcd: swaps and removals, those of a moment in one transaction.

Owns what is asked and not yet answered. A swap is a compare on the key's `mod_revision` and a put, so one that arrives
late, or twice, never undoes what came after it; one that finds its own value was done by an earlier try.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from broker.core.state import UNKNOWN_RANK, Location, Rank, Swapped
from broker.etcd import api_pb2 as api
from broker.etcd.client import TXN, Etcd
from protocol.errors import LeaseLostError, SparrowError

MAX_OPS = 120
"""Swaps in one transaction. etcd's limit is 128 operations, nested ones and the mark counted."""
MAX_IN_FLIGHT = 2
"""Transactions of swaps at a time: what comes meanwhile gathers into the next."""
GATHER_S = 0.002
"""Seconds for which swaps of a moment gather: a transaction costs each broker far more than one more login in it."""
REMOVAL_PAUSE_S = 0.5
MAX_REMOVALS = 100_000


@dataclass(slots=True)
class Swap:
    """A session wants its device's location."""

    key: bytes
    value: bytes
    location: Location
    lease: int
    again: bool
    done: Callable[[Swapped | None, int], None]
    """Told what came of it and the revision of the answer."""
    rank: Rank = UNKNOWN_RANK
    expected: int = 0
    """The key's `mod_revision` if it is as we know it; 0: there is none."""
    previous: Location | None = None
    """What stands there then."""

    def op(self) -> api.RequestOp:
        """What etcd is to do, as an operation of a transaction."""
        return api.RequestOp(
            txn=api.TxnRequest(
                compare=[api.Compare(target=api.Compare.MOD, key=self.key, mod_revision=self.expected)],
                success=[api.RequestOp(put=api.PutRequest(key=self.key, value=self.value, lease=self.lease))],
                failure=[api.RequestOp(range=api.RangeRequest(key=self.key))],
            )
        )


@dataclass(slots=True)
class Removal:
    """A session has ended."""

    key: bytes
    value: bytes
    """What stands there, unless there are words behind the location."""
    revision: int = 0
    """The key's `mod_revision` where it is known to be this location; 0: compare the value."""

    def op(self) -> api.RequestOp:
        """What etcd is to do, as an operation of a transaction."""
        if self.revision:
            same = api.Compare(target=api.Compare.MOD, key=self.key, mod_revision=self.revision)
        else:
            same = api.Compare(target=api.Compare.VALUE, key=self.key, value=self.value)
        return api.RequestOp(
            txn=api.TxnRequest(
                compare=[same],
                success=[api.RequestOp(delete_range=api.DeleteRangeRequest(key=self.key))],
                failure=[api.RequestOp(range=api.RangeRequest(key=self.key))],
            )
        )

    def is_written_otherwise(self, txn: api.TxnResponse) -> bool:
        """Whether the same location stands there in other words, which `op` then expects."""
        kvs = () if txn.succeeded else txn.responses[0].range.kvs
        if not kvs or decode_location(kvs[0].value) != decode_location(self.value):
            return False
        self.value, self.revision = kvs[0].value, 0
        return True


def encode_location(location: Location, rank: Rank = UNKNOWN_RANK) -> bytes:
    """A location as etcd keeps it: connector and session, in hexadecimal; behind them start and tries, where known."""
    return b"%016x %016x" % location + (b" %016x %x" % rank if rank.start else b"")


def decode_rank(value: bytes) -> Rank:
    """What stands behind a location."""
    try:
        start, tries, *_ = value.split(b" ")[2:]
        return Rank(int(start, 16), int(tries, 16))
    except ValueError:
        return UNKNOWN_RANK


def decode_location(value: bytes) -> Location | None:
    """The location; None if somebody else's value stands there. Further words are a later release's."""
    try:
        connector, session, *_ = value.split(b" ")
        return Location(int(connector, 16), int(session, 16))
    except ValueError:
        return None


class Swaps:
    """All swaps and removals of a broker. What concerns one key happens in the order in which it was asked."""

    def __init__(
        self,
        etcd: Etcd,
        mark: bytes,
        event: Callable[[Callable[[], None]], None],
        known: Callable[[bytes], tuple[Location | None, int]],
        lease_lost: Callable[[int], None],
    ) -> None:
        self._etcd = etcd
        self._mark = api.RequestOp(put=api.PutRequest(key=mark))
        self._event = event
        self._known = known
        self._lease_lost = lease_lost
        self._loop = asyncio.get_running_loop()
        self._chains: dict[bytes, deque[Swap | Removal]] = {}
        """What waits for each key; only the first is under way or ready."""
        self._swaps: deque[Swap] = deque()
        self._removals: deque[Removal] = deque()
        self._swapping = 0
        self._removing = False
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def swap(self, swap: Swap) -> None:
        """Ask for a location."""
        self._add(swap)

    def remove(self, removal: Removal) -> None:
        """Give a location up, if it is still this one's."""
        self._add(removal)

    def _add(self, item: Swap | Removal) -> None:
        chain = self._chains.get(item.key)
        if chain is None:
            self._chains[item.key] = deque((item,))
            self._ready(item)
        else:
            chain.append(item)

    def _ready(self, item: Swap | Removal) -> None:
        if isinstance(item, Removal):
            self._removals.append(item)
        else:
            location, revision = self._known(item.key)
            # A session that registers again yields to anybody else, so it expects nobody; one that tells its rank must
            # see that of whoever is there, which the map does not hold.
            if location in (None, item.location) or not (item.again or item.rank.start):
                item.previous, item.expected = location, revision
            self._swaps.append(item)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(GATHER_S, self._pump)

    def _end(self, item: Swap | Removal) -> None:
        chain = self._chains[item.key]
        chain.popleft()
        if chain:
            self._ready(chain[0])
        else:
            del self._chains[item.key]

    def _pump(self) -> None:
        self._scheduled = False
        while self._swaps and self._swapping < MAX_IN_FLIGHT:
            size = min(len(self._swaps), MAX_OPS)
            self._swapping += 1
            self._spawn(self._run_swaps([self._swaps.popleft() for _ in range(size)]))
        if self._removals and not self._removing:
            self._removing = True
            self._spawn(self._run_removals())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Swaps.

    async def _run_swaps(self, batch: list[Swap]) -> None:
        try:
            request = api.TxnRequest(success=[self._mark, *(swap.op() for swap in batch)])
            response = await self._etcd.call(TXN, request, writes=True)
        except LeaseLostError:
            await self._one_lease_at_a_time(batch)
        except SparrowError:
            self._event(lambda: self._failed(batch))
        else:
            self._event(lambda: self._swapped(batch, response))
        finally:
            self._swapping -= 1
            self._schedule()

    async def _one_lease_at_a_time(self, batch: list[Swap]) -> None:
        """One of their leases has run out, and with it the whole transaction was refused."""
        by_lease: dict[int, list[Swap]] = {}
        for swap in batch:
            by_lease.setdefault(swap.lease, []).append(swap)
        for lease, swaps in by_lease.items():
            if len(by_lease) > 1:
                self._swapping += 1
                await self._run_swaps(swaps)
            else:
                self._lease_lost(lease)
                self._event(lambda: self._refuse(batch))

    def _swapped(self, batch: list[Swap], response: api.TxnResponse) -> None:
        revision = response.header.revision
        for swap, answer in zip(batch, response.responses[1:], strict=True):
            txn = answer.txn
            if txn.succeeded:
                self._answer(swap, Swapped(swap.previous), revision)
            else:
                kvs = txn.responses[0].range.kvs
                self._found(swap, kvs[0] if kvs else None, revision)

    def _found(self, swap: Swap, kv: api.KeyValue | None, revision: int) -> None:
        """The key was not as we knew it."""
        location = decode_location(kv.value) if kv is not None else None
        if kv is not None and location == swap.location and kv.lease == swap.lease:
            self._answer(swap, Swapped(swap.previous), revision)  # an earlier try was heard after all
        elif (
            kv is not None
            and location is not None
            and location != swap.location
            and (swap.again or swap.rank.is_behind(decode_rank(kv.value)))
        ):
            self._answer(swap, Swapped(location, taken=True), revision)
        else:
            swap.previous, swap.expected = location, kv.mod_revision if kv is not None else 0
            self._swaps.append(swap)

    def _answer(self, swap: Swap, found: Swapped | None, revision: int) -> None:
        self._end(swap)
        swap.done(found, revision)

    def _refuse(self, batch: list[Swap]) -> None:
        for swap in batch:
            self._answer(swap, None, 0)

    def _failed(self, batch: list[Swap]) -> None:
        """etcd is away: what waits would fare no better, and should hear it before its client has gone."""
        self._refuse(batch)
        waiting = list(self._swaps)
        self._swaps.clear()
        self._refuse(waiting)

    # Removals.

    async def _run_removals(self) -> None:
        """Repeated until etcd has heard, or the location would outlive its session as long as the connector lives."""
        try:
            while self._removals:
                batch = [self._removals.popleft() for _ in range(min(len(self._removals), MAX_OPS))]
                try:
                    response = await self._etcd.call(TXN, api.TxnRequest(success=[item.op() for item in batch]))
                except SparrowError:
                    self._event(lambda batch=batch: self._repeat(batch))  # type: ignore[misc]
                    await asyncio.sleep(REMOVAL_PAUSE_S)
                else:
                    for removal, answer in zip(batch, response.responses, strict=True):
                        if removal.is_written_otherwise(answer.txn):
                            self._removals.append(removal)
                        else:
                            self._end(removal)
        finally:
            self._removing = False

    def _repeat(self, batch: list[Removal]) -> None:
        for removal in batch:
            # Whoever comes next overwrites it anyway.
            if len(self._chains[removal.key]) > 1 or len(self._removals) >= MAX_REMOVALS:
                self._end(removal)
            else:
                self._removals.append(removal)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
