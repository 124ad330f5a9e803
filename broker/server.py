"""The broker's shell: the ROUTER socket, the clock, and the store, around the core.

Owns everything that the core may not touch. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import zmq
from prometheus_client.core import GaugeMetricFamily, Metric

from broker.cluster import make_cluster
from broker.core import BrokerCore
from broker.core.state import Location
from broker.metrics import metrics
from broker.router import Router
from broker.settings import BrokerSettings, EtcdSettings
from broker.timings import Timings
from fabric import records
from fabric.facts import BY_STRANGERS
from protocol.errors import RecordError, SparrowError
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.interface import NewRow, Page, PageQuery, Removal, Store
from store.sessions import NoSession, SessionStart, Standing
from store.settings import HistorySettings
from store.timelines import Archived, Edit, Entry, Erasure, HistoryTerms, Mark

log = logging.getLogger("sparrow.broker")

TICK_S = 0.1
SLOW_S = 2.0
TERMS_S = 5.0
"""How often the store is asked whether conversations are kept."""
"""A store that has not answered a call by then counts as away, until it does."""
Result = TypeVar("Result")


def _nothing(result: object) -> None:
    """What follows from a call of which nobody waits for the end."""


class StoreCalls:
    """The core's store port: each call becomes a task; its end is an event of the broker."""

    def __init__(self, store: Store, event: Callable[..., None]) -> None:
        """`event` calls what it is given, with the rest of its arguments, as an event of the broker."""
        self._store = store
        self._event = event
        self._loop = asyncio.get_running_loop()
        self.timings = Timings("store", "calls of the store")
        self._tasks: dict[asyncio.Task[None], float] = {}
        """Calls under way, and when each began; oldest first."""
        self.away = False
        """The last call has failed."""
        self._no_space = False

    def _call(self, name: str, work: Awaitable[Result], done: Callable[[Result | None], None]) -> None:
        began = self._loop.time()
        task = asyncio.ensure_future(self._run(name, work, done, began))
        self._tasks[task] = began
        task.add_done_callback(self._tasks.pop)

    async def _run(
        self, name: str, work: Awaitable[Result], done: Callable[[Result | None], None], began: float
    ) -> None:
        try:
            result = await work
        except SparrowError as error:
            self.timings.failed(name)
            if not self.away:
                self.away = True
                log.error("store: %s", error)
            self._event(done, None)
            return
        self.timings.took(name, self._loop.time() - began)
        if self.away:
            self.away = False
            log.info("store: works again")
        self._event(done, result)

    async def _append(self, rows: Sequence[NewRow]) -> bool:
        await self._store.append(rows)
        return True

    def append(self, rows: Sequence[NewRow], done: Callable[[bool | None], None]) -> None:
        """See `StorePort`."""
        self._call("append", self._append(rows), done)

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None:
        """See `StorePort`."""
        self._call("page", self._store.page(queries), done)

    def remove(self, removals: Sequence[Removal]) -> None:
        """See `StorePort`."""
        self._call("remove", self._store.remove(removals), _nothing)

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("devices", self._store.devices(users), done)

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None:
        """See `StorePort`."""
        self._call("verdicts", self._store.verdicts(pairs), done)

    async def _hiders(self, users: Collection[str]) -> Collection[str]:
        return [user for user, profile in (await self._store.profiles(users)).items() if profile.hides_presence]

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        """See `StorePort`."""
        self._call("hiders", self._hiders(users), done)

    def waiting(
        self,
        users: Collection[str],
        done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None],
    ) -> None:
        """See `StorePort`."""
        self._call("waiting", self._store.waiting(users), done)

    def no_space(self) -> bool:
        """See `StorePort`."""
        no_space = self._store.no_space()
        if no_space != self._no_space:
            self._no_space = no_space
            if no_space:
                log.error("store: its disk is nearly full (store.min_free_bytes): messages are refused until it is not")
            else:
                log.warning("store: its disk has room again")
        return no_space

    def free_bytes(self) -> int | None:
        """Bytes that the store's disk still takes; None: it is none of this machine's."""
        return self._store.free_bytes()

    def saw(self, users: Collection[str]) -> None:
        """See `StorePort`."""
        self._call("saw", self._store.saw(dict.fromkeys(users, int(time.time() * 1000))), _nothing)

    def standing(self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]) -> None:
        """See `StorePort`."""
        self._call("standing", self._store.standing(users), done)

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("begin_sessions", self._store.begin_sessions(starts), done)

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("archive", self._store.timelines.archive(batch), done)

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        """See `StorePort`."""
        self._call("groups", self._store.groups.groups(groups), done)

    def scan_groups(self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]) -> None:
        """See `StorePort`."""
        self._call("scan_groups", self._store.groups.scan(queries), done)

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        """See `StorePort`."""
        self._call("raise_checkpoints", self._store.groups.raise_checkpoints(checkpoints), _nothing)

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        """See `StorePort`."""
        self._call("raise_marks", self._store.timelines.raise_marks(marks), _nothing)

    def terms(self, done: Callable[[HistoryTerms | None], None]) -> None:
        """What the store says of history."""
        self._call("terms", self._store.timelines.terms(), done)

    def well(self) -> bool:
        """Whether the store answers: the last call has not failed, and none has waited for long."""
        oldest = next(iter(self._tasks.values()), None)
        return not self.away and (oldest is None or self._loop.time() - oldest < SLOW_S)

    def look(self) -> None:
        """Find out whether the store is back, where nothing else asks it."""
        if self.away and not self._tasks:
            self.devices(("-",), _nothing)

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)


class BrokerServer:
    """A broker in a running event loop. `start`, then `stop`. It is the core's `Ports`."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: Store,
        context: zmq.Context[zmq.Socket[bytes]],
        etcd: EtcdSettings | None = None,
        endpoints: Sequence[str] = (),
        history: HistorySettings | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._calls = StoreCalls(store, self._event)
        incarnation = secrets.randbits(64) | 1
        self._cluster = make_cluster(
            settings, etcd or EtcdSettings(), incarnation, self._event, self._superseded, self._changed
        )
        self._store = store
        self.core = BrokerCore(
            self, self._cluster.presence, self._calls, settings, incarnation, store.inbox_ttl_ms, history
        )
        self.on_traces: Callable[[list[tuple[int, int, str]]], None] = lambda traces: None
        """Told what has happened to attempts that are traced: origin, attempt, and what."""
        self._router: Router | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._terms_at = 0.0
        self._flush_due = False
        self._idle = asyncio.Event()

    async def start(self) -> None:
        """Know presence and the store's terms, then listen.

        Raises `ConfigError` if etcd or the address cannot be used, `StoreError` if the store is away.
        """
        self._clock()
        self.core.history_terms(await self._store.timelines.terms())
        await self._cluster.start()
        self._router = Router(self._context, self._settings, self._batch, self._ask, self._endpoints)
        self._tick()
        self._cluster.announce()
        log.info("%s listens on %s", self._settings.name, self._settings.listen)

    async def stop(self) -> None:
        """Let connectors turn to other brokers, finish what is being stored, and close."""
        if self._router is not None:
            await self._cluster.withdraw()
        self._idle.clear()
        if self._ticker is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.stop_timeout_s):
                    await self._idle.wait()
        if self._ticker is not None:
            self._ticker.cancel()
        await self._calls.settle()
        self._flush()
        if self._router is not None:
            self._router.close()
            self._router = None  # what the store answers by now has nobody to go to
        await self._cluster.stop()
        log.info("%s has stopped", self._settings.name)

    def reload(self) -> None:
        """Read the list of allowed keys again."""
        if self._router is not None:
            self._router.reload()

    def metrics(self) -> Iterator[Metric]:
        """All of them, as they are now (docs/metrics.md)."""
        cluster = self._cluster
        yield from metrics(self.core, len(cluster.presence), len(cluster.members()))
        yield from self._calls.timings.metrics()
        free = self._calls.free_bytes()
        if free is not None:
            yield GaugeMetricFamily("sparrow_store_free_bytes", "What the disk of the store still takes.", free)
        yield from cluster.metrics()

    @property
    def not_ready(self) -> str:
        """Why connectors cannot be served; empty if they can."""
        if self._router is None:
            return "not started"
        return "" if self._calls.well() else "the store does not answer"

    # Events.

    def _event(self, call: Callable[..., None], *arguments: object) -> None:
        self._clock()
        call(*arguments)
        self._schedule_flush()

    def _superseded(self, user: str, device: str, old: Location) -> None:
        self.core.superseded(user, device, old)

    def _changed(self, users: Collection[str] | None) -> None:
        self.core.changed(users)

    def _batch(self, connector: int, data: bytes) -> None:
        self._clock()
        try:
            self.core.batch(connector, data)
        except RecordError as error:
            log.error("a connector: %s", error, extra=BY_STRANGERS)
        self._schedule_flush()

    def _ask(self, asker: bytes, data: bytes) -> None:
        self._clock()
        try:
            self.core.ask(data, lambda encoded: self._answer(asker, encoded))
        except RecordError as error:
            log.error("the user API: %s", error, extra=BY_STRANGERS)
        self._schedule_flush()

    def _answer(self, asker: bytes, encoded: bytes) -> None:
        # One that is gone by now asks another broker.
        if self._router is not None:
            self._router.answer(asker, records.batch([encoded]))

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        self._clock()
        self._cluster.tick(self._loop.time())
        self._calls.look()
        self._look_at_terms()
        self.core.tick()
        if self.core.idle:
            self._idle.set()
        self._schedule_flush()

    def _look_at_terms(self) -> None:
        now = self._loop.time()
        if now >= self._terms_at:
            self._terms_at = now + TERMS_S
            self._calls.terms(self._terms)

    def _terms(self, terms: HistoryTerms | None) -> None:
        if terms is not None:
            self.core.history_terms(terms)

    def _clock(self) -> None:
        self.core.time(self._loop.time(), time.time_ns() // 1_000_000)

    def _schedule_flush(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self.core.flush()
        if self.core.turn.traces:
            traces, self.core.turn.traces = self.core.turn.traces, []
            self.on_traces(traces)

    # Ports.

    def send(self, connector: int, batch: bytes) -> bool:
        """See `Ports`."""
        return self._router is not None and self._router.send(connector, batch)

    def members(self) -> Mapping[int, str]:
        """See `Ports`."""
        return self._cluster.members()

    def well(self) -> bool:
        """See `Ports`."""
        return self._calls.well()

    def log(self, text: str) -> None:
        """See `Ports`."""
        log.info("%s: %s", self._settings.name, text)
