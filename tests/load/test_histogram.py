"""Histograms: percentiles to within 1.6 %, whatever the values; adding up; the way through JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.histogram import Histogram, summary_ms

SECONDS = st.floats(min_value=0.0, max_value=1e4)


def of(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(st.lists(SECONDS, min_size=1), st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_nearly_right(values: list[float], percent: float) -> None:
    exact = sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]
    found = of(*values).percentile_s(percent)
    assert found is not None
    assert exact - 1e-6 <= found <= exact * (1 + 1 / 60) + 2e-6


@given(st.lists(SECONDS), st.lists(SECONDS))
def test_adding_is_recording_all(some: list[float], more: list[float]) -> None:
    together, added = of(*some, *more), of(*some)
    added.add(of(*more))
    assert (added.counts, added.highest) == (together.counts, together.highest)


@given(st.lists(SECONDS))
def test_it_survives_json(values: list[float]) -> None:
    made = of(*values)
    again = Histogram.of_json(json.loads(json.dumps(made.as_json())))
    assert (again.counts, again.highest) == (made.counts, made.highest)


@given(st.lists(SECONDS, min_size=1))
def test_buckets_rise_and_hold_all(values: list[float]) -> None:
    buckets = of(*values).buckets_ms()
    borders = [border for border, _ in buckets]
    assert borders == sorted(set(borders))
    assert sum(count for _, count in buckets) == len(values)


def test_taking_empties() -> None:
    made = of(0.001, 0.002)
    assert len(made.take()) == 2
    assert len(made) == 0
    assert made.highest == 0.0


def test_a_summary() -> None:
    values = summary_ms(of(*([0.001] * 98), 0.1, 2.0))
    assert values["count"] == 100
    assert values["p50"] == pytest.approx(1.0, rel=0.02)
    assert values["p99"] == pytest.approx(100.0, rel=0.02)
    assert values["max"] == 2000.0
    assert summary_ms(Histogram())["p99"] is None


def test_what_lies_before_zero_counts_as_zero() -> None:
    assert of(-1.0).counts == {0: 1}
