"""The user API's metrics, for Prometheus: requests by operation and outcome, and the time that they took.

Owns the numbers, in memory that all worker processes of one service share, and the endpoint that tells them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from http import HTTPStatus

from flask import Flask, Response, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from userapi.admin import ADMINISTRATOR
from userapi.frame import Area, endpoint
from userapi.handover import MORE

area = Area("metrics", "For Prometheus")

_P = "sparrow_userapi_"
_MAX_OPERATIONS = 128
_STATUSES = ("2xx", "3xx", "4xx", "5xx")
_SLOTS = len(_STATUSES) + 1
REASONS = (
    "body_timeout",
    "evicted",
    "handshake_failed",
    "handshake_timeout",
    "head_timeout",
    "healths_busy",
    "idle_timeout",
    "malformed",
    "passwords_busy",
    "requests_busy",
    "too_many_connections",
    "writing_timeout",
)
"""Why connections were closed or requests refused before the application saw them."""
_OTHER = "other"
"""What is no operation: paths that there are not, and the documentation."""


_NUMBERS = {reason: number for number, reason in enumerate(REASONS)}


class Counts:
    """Make it before the workers are forked, which then count into the same memory."""

    def __init__(self) -> None:
        self._values = multiprocessing.get_context("fork").Array("d", _MAX_OPERATIONS * _SLOTS)
        self._refused = multiprocessing.get_context("fork").Array("d", len(REASONS))

    def refused(self, reason: str) -> None:
        """One more for one of `REASONS`; for anything else nothing."""
        if reason in _NUMBERS:
            with self._refused.get_lock():
                self._refused[_NUMBERS[reason]] += 1

    def count(self, operation: int, status: int, seconds: float) -> None:
        """A request was answered."""
        first = operation * _SLOTS
        with self._values.get_lock():
            self._values[first + min(max(status // 100, 2), 5) - 2] += 1
            self._values[first + len(_STATUSES)] += seconds

    def metrics(self, operations: list[str]) -> Iterator[Metric]:
        """All of them; `operations` by number."""
        with self._values.get_lock():
            values = self._values[:]
        requests = CounterMetricFamily(
            _P + "requests", "Requests answered, by operation and status.", labels=("operation", "status")
        )
        seconds = CounterMetricFamily(
            _P + "request_seconds", "The time that they took, in seconds, by operation.", labels=("operation",)
        )
        for number, operation in enumerate(operations):
            first = number * _SLOTS
            for at, status in enumerate(_STATUSES):
                requests.add_metric((operation, status), values[first + at])
            seconds.add_metric((operation,), values[first + len(_STATUSES)])
        yield requests
        yield seconds
        refused = CounterMetricFamily(
            _P + "refused", "Connections closed, and requests refused, before they were looked at.", labels=("reason",)
        )
        with self._refused.get_lock():
            for reason, count in zip(REASONS, self._refused[:], strict=True):
                refused.add_metric((reason,), count)
        yield refused


def install(app: Flask, counts: Counts) -> None:
    """Count every request of an application whose endpoints are all registered."""
    names = sorted({rule.endpoint for rule in app.url_map.iter_rules() if "." in rule.endpoint})
    operations = [_OTHER, *(name.rpartition(".")[2] for name in names)]
    assert len(operations) <= _MAX_OPERATIONS
    numbers = {name: number for number, name in enumerate(names, 1)}
    app.extensions[__name__] = counts, operations

    def begin() -> None:
        g.began = time.perf_counter()

    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.get("began", time.perf_counter())
        if not (request.environ.get(MORE) and response.status_code < HTTPStatus.MULTIPLE_CHOICES):
            # A piece of an upload is none; its last is.
            counts.count(numbers.get(request.endpoint or "", 0), response.status_code, seconds)
        return response

    # The first to see a request, and the last to see its answer.
    app.before_request_funcs.setdefault(None, []).insert(0, begin)
    app.after_request_funcs.setdefault(None, []).insert(0, end)


@endpoint(area, "GET", "/v1/admin/metrics", gives="text/plain", guard=ADMINISTRATOR)
def metrics() -> Response:
    """Tell Prometheus what this service has answered since it began, all its processes together."""
    counts, operations = current_app.extensions[__name__]

    class Collected:
        def collect(self) -> Iterator[Metric]:
            yield from counts.metrics(operations)

    registry = CollectorRegistry()
    registry.register(Collected())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
