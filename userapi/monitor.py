"""What operators and their tools see of the user API at `monitor.listen_port`: /metrics and /varz, as of every process.

Owns these two paths, which are at that listener alone (`userapi.http.doors`), and what the service's processes use
together. What is counted of requests is `userapi.http.counts`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from fabric.abilities import lacking
from fabric.certificates import CertificateWatch
from fabric.telling import able, values_of
from userapi.health import Health
from userapi.http.counts import Counts

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_USER_TICKS, _SYSTEM_TICKS, _RESIDENT_PAGES = 11, 12, 21
"""Fields of /proc/PID/stat behind the name, from 0 on (proc(5))."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service tells of itself."""

    host: str
    port: int
    version: str


@dataclass(frozen=True, slots=True)
class Named:
    """What the service calls itself."""

    name: str
    version: str = ""
    began: float = 0.0
    """Unix time."""


class Telling:
    """A registry of all that the service tells."""

    def __init__(
        self, named: Named, health: Health, counts: Counts, certificates: CertificateWatch | None = None
    ) -> None:
        self._named = named
        self._health = health
        self._counts = counts
        self._certificates = certificates
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: describing is not collecting."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        info = InfoMetricFamily("sparrow", "What this process is.")
        info.add_metric((), {"role": "userapi", "name": self._named.name, "version": self._named.version})
        yield info
        yield able(self._health.abilities())
        yield from self._counts.metrics()
        if self._certificates is not None:
            self._certificates.renew()
            yield from self._certificates.metrics()
        yield from _used(self._named.began)

    def varz(self) -> dict[str, object]:
        """All of it as numbers, and what the process is."""
        return {
            "role": "userapi",
            "name": self._named.name,
            "version": self._named.version,
            "pid": os.getppid(),  # systemd's, which the units know
            "up_s": round(time.time() - self._named.began, 1),
            "not_ready": lacking(self._health.abilities()),
            "values": values_of(self.registry),
        }


def install(app: Flask, telling: Telling) -> None:
    """Tell at `app`."""

    def metrics() -> Response:
        return Response(generate_latest(telling.registry), content_type=CONTENT_TYPE_LATEST)

    app.add_url_rule("/metrics", "monitor_metrics", metrics)
    app.add_url_rule("/varz", "monitor_varz", telling.varz)


def _used(began: float) -> Iterator[Metric]:
    """What the arbiter and all its workers use together, under the names that every process has."""
    seconds, resident = 0.0, 0
    for process in _family(os.getppid()):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        seconds += (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_A_SECOND
        resident += int(fields[_RESIDENT_PAGES]) * _PAGE_BYTES
    yield CounterMetricFamily("process_cpu_seconds", "Total user and system CPU time spent in seconds.", seconds)
    yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", resident)
    yield GaugeMetricFamily("process_start_time_seconds", "Start time of the process since the epoch.", began)


def _family(arbiter: int) -> Iterator[int]:
    yield arbiter
    try:
        children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    except OSError:
        return
    yield from map(int, children)
