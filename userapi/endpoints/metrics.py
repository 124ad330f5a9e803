"""The user API's metrics, for Prometheus.

Owns the endpoint that tells them, and what is counted of a request. The numbers are `userapi.http.counts`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from flask import Flask, Response, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest

from fabric.certificates import CertificateWatch
from userapi.endpoints.admin import ADMINISTRATOR
from userapi.http.counts import MAX_OPERATIONS, Counts
from userapi.http.endpoint import Area, endpoint
from userapi.http.handover import MORE

area = Area("metrics", "For Prometheus")

_OTHER = "other"
"""What is no operation: paths that there are not, the documentation, and the page."""


def install(app: Flask, counts: Counts, certificates: CertificateWatch | None = None) -> None:
    """Count every request of an application whose endpoints are all registered."""
    names = sorted({rule.endpoint for rule in app.url_map.iter_rules() if "." in rule.endpoint})
    operations = [_OTHER, *(name.rpartition(".")[2] for name in names)]
    assert len(operations) <= MAX_OPERATIONS
    numbers = {name: number for number, name in enumerate(names, 1)}
    counts.name(operations)
    app.extensions[__name__] = counts, certificates

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
    counts, certificates = current_app.extensions[__name__]

    class Collected:
        def collect(self) -> Iterator[Metric]:
            yield from counts.metrics()
            if certificates is not None:
                certificates.renew()
                yield from certificates.metrics()

    registry = CollectorRegistry()
    registry.register(Collected())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
