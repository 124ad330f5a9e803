"""Metrics, as tests look at them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric


def nonzero(metrics: Iterable[Metric], prefix: str) -> dict[str, float]:
    """Name without `prefix`, with its labels' values behind it → value; what is 0 is left out."""
    found: dict[str, float] = {}
    for metric in metrics:
        assert metric.documentation.endswith(".")
        for sample in metric.samples:
            if sample.value:
                found[" ".join([sample.name.removeprefix(prefix), *sample.labels.values()])] = sample.value
    return found
