"""The broker's shell: the ROUTER socket, the clock, and the store, around the core.

Owns everything that the core may not touch. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import zmq
from prometheus_client.core import GaugeMetricFamily, Metric

from broker.calls import StoreCalls
from broker.cluster import make_cluster
from broker.core import BrokerCore
from broker.core.state import Location
from broker.metrics import metrics
from broker.router import Router
from broker.settings import BrokerSettings, EtcdSettings
from fabric import records
from fabric.abilities import DELIVER, LOG_IN, STORE, Abilities
from fabric.facts import BY_STRANGERS
from fabric.pump import Pump
from protocol.errors import RecordError
from store.interface import Store
from store.settings import HistorySettings
from store.timelines import HistoryTerms

log = logging.getLogger("sparrow.broker")

TICK_S = 0.1
TERMS_S = 5.0
"""How often the store is asked whether conversations are kept."""


class BrokerServer:
    """A broker in a running event loop. `start`, then `stop`. It is the core's `Ports`."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: Store,
        context: zmq.Context[zmq.Socket[bytes]],
        etcd: EtcdSettings | None = None,
        history: HistorySettings | None = None,
        pump: Pump | None = None,
    ) -> None:
        """With a `pump`, the connector at its other end is reached through it."""
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
        self._pump = pump
        if pump is not None:
            pump.broker = self
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
        self._router = Router(self._context, self._settings, self._batch, self._ask)
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

    def abilities(self) -> Abilities:
        """What this broker is for, and why it cannot do it now."""
        if self._router is None:
            return dict.fromkeys((LOG_IN, DELIVER, STORE), self._cluster.trouble or "not started")
        calls = self._calls
        needed = self._trouble
        return {
            LOG_IN: needed,
            DELIVER: calls.health.reading or calls.slow,
            STORE: needed or calls.health.full,
        }

    @property
    def _trouble(self) -> str:
        """Nobody begins a session, and nothing is stored, without both."""
        return self._calls.trouble or self._cluster.trouble

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
        self._taken(connector, data)
        self._schedule_flush()

    def _taken(self, connector: int, data: bytes) -> None:
        try:
            self.core.batch(connector, data)
        except RecordError as error:
            log.error("a connector: %s", error, extra=BY_STRANGERS)

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
        if self._pump is None:
            self.end_turn()
        elif self._pump.run(self, self.core.turn.now, self.core.turn.wall_ms):
            self._schedule_flush()

    # The broker's end of a pump.

    def time(self, now: float, wall_ms: int) -> None:
        """See `fabric.pump.End`."""
        if now > self.core.turn.now:
            self.core.time(now, wall_ms)

    def take(self, batch: bytes) -> None:
        """See `fabric.pump.End`."""
        assert self._pump is not None
        self._taken(self._pump.incarnation, batch)

    def end_turn(self) -> None:
        """See `fabric.pump.End`."""
        self.core.flush()
        if self.core.turn.traces:
            traces, self.core.turn.traces = self.core.turn.traces, []
            self.on_traces(traces)

    # Ports.

    def send(self, connector: int, batch: bytes) -> bool:
        """See `Ports`."""
        if self._pump is not None and self._pump.incarnation == connector:
            self._pump.to_connector.append(batch)
            return True
        return self._router is not None and self._router.send(connector, batch)

    def members(self) -> Mapping[int, str]:
        """See `Ports`."""
        return self._cluster.members()

    def well(self) -> bool:
        """See `Ports`."""
        return not self._trouble

    def log(self, text: str) -> None:
        """See `Ports`."""
        log.info("%s: %s", self._settings.name, text)
