"""How long calls of something outside take, and how many fail, for Prometheus.

Owns the numbers. Each owner of such calls has one, and looks at the clock itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric

_P = "sparrow_broker_"
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timings:
    """How long calls of each kind take, and how many fail."""

    def __init__(self, what: str, text: str) -> None:
        self._seconds = Histogram(
            f"{_P}{what}_seconds", f"How long {text} take.", ("call",), buckets=_BUCKETS_S, registry=None
        )
        self._failures = Counter(
            f"{_P}{what}_failures", f"How many {text} have failed, by call.", ("call",), registry=None
        )

    def took(self, call: str, seconds: float) -> None:
        """A call has succeeded, in so many seconds."""
        self._seconds.labels(call).observe(seconds)

    def failed(self, call: str) -> None:
        """A call has failed."""
        self._failures.labels(call).inc()

    def metrics(self) -> Iterator[Metric]:
        """Both, as they are now."""
        yield from self._seconds.collect()
        yield from self._failures.collect()
