"""How a process tells of itself, in every role alike: what it is able to, as a metric, and metrics as plain numbers.

Owns those forms. Knows no process.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from fabric.abilities import Abilities


def able(abilities: Abilities) -> GaugeMetricFamily:
    """A sample of each ability."""
    family = GaugeMetricFamily("sparrow_able", "1 while the process can do this of what it is for.", labels=("to",))
    for name, why in abilities.items():
        family.add_metric((name,), 0 if why else 1)
    return family


def values_of(registry: CollectorRegistry) -> dict[str, float]:
    """All samples by name and labels, without histograms' buckets."""
    return {
        sample.name + _labels(sample.labels): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith(("_bucket", "_created", "_info"))
    }


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={value}" for name, value in sorted(labels.items())) + "}" if labels else ""
