"""What operators and their tools see of a process: /metrics, /healthz, /readyz and /varz over HTTP.

Owns the port, and a thread that answers on it, so that a process whose event loop stands still can be told from one
that is gone. What is told is collected in the event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as WaitTimeoutError
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from fabric.abilities import Abilities, lacking
from fabric.telling import able, values_of
from protocol.errors import ConfigError, InvalidIdError
from protocol.ids import check_user_id
from sparrow import version
from sparrow.compiled import cores
from sparrow.config.tree import MonitorSettings
from sparrow.ops.backup_notes import newest_good
from sparrow.ops.log_writer import dropped as log_lines_dropped
from sparrow.ops.systemd import Systemd
from sparrow.ops.traces import Traces

log = logging.getLogger("sparrow.monitor")

LOOK_S = 0.25
"""How often the event loop's lag is measured."""
PATIENCE_S = 20.0
"""A start that waits for so long, for etcd or a broker, counts as done for systemd: machines must come up without."""
STATUS_S = 1.0
"""How often systemd is told what we cannot do, where that has changed."""
JUMP_S = 1.0
"""Whoever steps a clock by less does what NTP does."""
MAX_TRACE_S = 3600.0
ANSWER_S = 3.0
"""An event loop that has not answered by then stands still."""
Told: TypeAlias = tuple[str, str, bytes]
"""An answer: status, media type and body."""
_LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Source:
    """A part of the process that can tell of itself. All of it is called in the event loop."""

    metrics: Callable[[], Iterable[Metric]]
    abilities: Callable[[], Abilities]
    """What it is for, and why it cannot do that now."""
    trace: Callable[[str, float], None] = lambda user, seconds: None
    """Trace what this user writes for so long."""


class Monitor:
    """The monitor of a process, made in its event loop. `start`, then `stopping` if it may last, then `stop`."""

    def __init__(self, settings: MonitorSettings, role: str, name: str, sources: Sequence[Source]) -> None:
        self._settings = settings
        self._role = role
        self._name = name
        self._version = version() or "unknown"
        self._sources = sources
        self._loop = asyncio.get_running_loop()
        self._systemd = Systemd()
        self._began = time.time()
        self._lag = Histogram(
            "sparrow_event_loop_lag_seconds",
            "How late the event loop comes to what is due.",
            buckets=_LAG_BUCKETS_S,
            registry=None,
        )
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Collected(self))
        self._traces = Traces()
        self._look: asyncio.TimerHandle | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._alive_at = 0.0
        self._ahead_s = 0.0
        """Unix time less the loop's, at the last look."""
        self._jumps = 0
        self._patience: asyncio.TimerHandle | None = None
        self._status = ""
        self._status_due = 0.0

    def start(self) -> None:
        """Listen. Raises `ConfigError` if the port cannot be used."""
        settings = self._settings
        if settings.listen_port:
            try:
                self._server = make_server(
                    settings.listen_host, settings.listen_port, self._respond, _Server, _QuietHandler
                )
            except OSError as error:
                raise ConfigError(
                    f"the monitor cannot listen on {settings.listen_host}:{settings.listen_port} ({error.strerror}); "
                    "set monitor.listen_host and listen_port"
                ) from error
            self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)
            self._thread.start()
        self._due = self._loop.time()
        self._ahead_s = time.time() - self._loop.time()
        self._patience = self._loop.call_later(PATIENCE_S, self.ready)
        self._look_at_loop()

    def ready(self) -> None:
        """Tell systemd that the process is ready, or that a reload has ended. It is told after `PATIENCE_S` anyway."""
        if self._patience is not None:
            self._patience.cancel()
        self._systemd.ready()

    def reloading(self) -> None:
        """Tell systemd that a reload begins."""
        self._systemd.reloading()

    def stopping(self) -> None:
        """Tell systemd that the process stops. The port goes on to tell how far it is."""
        self._systemd.stopping()

    def stop(self) -> None:
        """Close the port, if there is one."""
        if self._look is not None:
            self._look.cancel()
        if self._patience is not None:
            self._patience.cancel()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _look_at_loop(self) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - self._due))
        self._due = now + LOOK_S
        self._look = self._loop.call_at(self._due, self._look_at_loop)
        watchdog_s = self._systemd.watchdog_s
        if watchdog_s and now - self._alive_at >= watchdog_s / 3:
            self._alive_at = now
            self._systemd.alive()
        self._look_at_clock(now)
        if now >= self._status_due:
            self._status_due = now + STATUS_S
            self._tell_status()

    def _look_at_clock(self, now: float) -> None:
        ahead_s = time.time() - now
        jump_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(jump_s) >= JUMP_S:
            self._jumps += 1
            log.warning("this machine's clock has jumped by %+.1f s: who sets it beside NTP?", jump_s)

    def _tell_status(self) -> None:
        missing = self._not_ready()
        status = "; ".join(f"cannot {name}: {why}" for name, why in missing.items()) or "able to do all that it is for"
        if status != self._status:
            self._status = status
            self._systemd.status(status)

    def traced(self, traces: Iterable[tuple[int, int, str]]) -> None:
        """Something has happened to attempts that are traced: origin, attempt, and what."""
        self._traces.add(traces, time.time())

    # In the event loop.

    def _begin_trace(self, user: str, seconds: float) -> None:
        for source in self._sources:
            source.trace(user, min(seconds, MAX_TRACE_S))

    def _collect(self) -> list[Metric]:
        info = InfoMetricFamily("sparrow", "What this process is.")
        info.add_metric((), {"role": self._role, "name": self._name, "version": self._version, "cores": cores()})
        dropped = CounterMetricFamily("sparrow_log_lines_dropped", "Lines of the log that nobody took in time.")
        dropped.add_metric((), log_lines_dropped())
        text = "How often this machine's clock was set by a second or more."
        jumps = CounterMetricFamily("sparrow_clock_jumps", text, self._jumps)
        told = (metric for source in self._sources for metric in source.metrics())
        of_backups = self._backups() if self._settings.backup_folder else ()
        return [info, able(self._abilities()), dropped, jumps, *self._lag.collect(), *told, *of_backups]

    def _backups(self) -> Iterator[Metric]:
        good = newest_good(Path(self._settings.backup_folder))
        text = "Unix time of the newest backup that was tried out and found good; 0: there is none."
        yield GaugeMetricFamily("sparrow_backup_timestamp_seconds", text, good.made_s if good else 0)
        yield GaugeMetricFamily("sparrow_backup_bytes", "Its size.", good.bytes if good else 0)

    def _abilities(self) -> Abilities:
        """Of all sources; of one ability the first reason that there is."""
        found: dict[str, str] = {}
        for source in self._sources:
            for name, why in source.abilities().items():
                found[name] = found.get(name) or why
        return found

    def _not_ready(self) -> dict[str, str]:
        return lacking(self._abilities())

    # In the monitor's threads.

    def _ask(self, call: Callable[[], Any]) -> Any:
        """What `call` returns in the event loop. Raises `TimeoutError` for one that stands still."""

        async def run() -> Any:
            return call()

        try:
            return asyncio.run_coroutine_threadsafe(run(), self._loop).result(ANSWER_S)
        except WaitTimeoutError:
            raise TimeoutError(f"the event loop has not answered for {ANSWER_S:.0f} s") from None

    def collect(self) -> Iterator[Metric]:
        """All metrics of the sources."""
        yield from self._ask(self._collect)

    def _respond(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")
        try:
            if path == "/trace":
                told = self._trace(method, dict(parse_qsl(environ.get("QUERY_STRING", ""))))
            else:
                told = self._answer(method, path)
        except TimeoutError as error:
            told = _told("503 Service Unavailable", {"status": str(error)})
        status, kind, body = told
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, method: str, path: str) -> Told:
        if method not in ("GET", "HEAD"):
            return _told("405 Method Not Allowed", {"status": "GET it"})
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/healthz":
            self._ask(lambda: None)
            return _told("200 OK", {"status": "ok"})
        if path == "/readyz":
            reasons = self._ask(self._not_ready)
            status = "503 Service Unavailable" if reasons else "200 OK"
            return _told(status, {"status": "not ready" if reasons else "ok", **reasons})
        if path == "/varz":
            return _told("200 OK", self._varz())
        text = "there are /metrics, /healthz, /readyz and /varz"
        return _told("404 Not Found", {"status": text})

    def _trace(self, method: str, asked: dict[str, str]) -> Told:
        """POST ?user=&seconds= begins, GET ?after= tells."""
        if not self._settings.allow_trace:
            return _told("403 Forbidden", {"status": "set monitor.allow_trace = true to allow it"})
        try:
            if method == "POST":
                user, seconds = check_user_id(asked.get("user", "")), float(asked.get("seconds", ""))
                self._ask(lambda: self._begin_trace(user, seconds))
                return _told("200 OK", {"status": "ok"})
            after = float(asked.get("after", "0"))
            found = self._ask(lambda: self._traces.since(after))
        except (ValueError, InvalidIdError) as error:
            return _told("400 Bad Request", {"status": str(error)})
        return _told("200 OK", [[one.at, one.attempt, one.text] for one in found])

    def _varz(self) -> dict[str, Any]:
        return {
            "role": self._role,
            "name": self._name,
            "version": self._version,
            "cores": cores(),
            "pid": os.getpid(),
            "up_s": round(time.time() - self._began, 1),
            "not_ready": self._ask(self._not_ready),
            "values": values_of(self._registry),
        }


class _Collected:
    """`Monitor.collect`, as prometheus_client wants it. Describing is not collecting, or registering would wait."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._monitor.collect()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # WSGIServer's own asks for the host's full name, which may take long.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for each look."""


def _told(status: str, value: object) -> Told:
    return status, "application/json", json.dumps(value).encode() + b"\n"
