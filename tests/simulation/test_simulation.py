"""The simulation itself: it replays, the promise holds in it, and each deliberate defect is found.

`scripts/simulate` plays thousands of seeds; here are a few, so that a run of pytest alone means something.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.cluster import run
from tests.simulation.defect import Defect
from tests.simulation.defects import DEFECTS
from tests.simulation.group_defects import AGREE, SHORT


def test_a_seed_replays_exactly_whatever_the_hash_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "11"]
    runs = [
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) > 100


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_040))
def test_the_promise(seed: int) -> None:
    result = run(seed)
    assert not result.failures, f"scripts/simulate --seed {seed}"


def test_runs_are_worth_something() -> None:
    """Most messages are SENT, and there are enough of them, refusals, late ones and signals to speak of."""
    results = [run(seed) for seed in range(30)]
    messages = sum(result.messages for result in results)
    assert messages > 1_500
    assert sum(result.sent for result in results) > 0.8 * messages
    assert sum(result.refused for result in results) > 100
    assert sum(result.signals for result in results) > 30


@pytest.mark.parametrize("emphasis", sorted({defect.emphasis for defect in DEFECTS}))
def test_the_promise_under_emphasis(emphasis: tuple[str, ...]) -> None:
    for seed in range(10):
        assert not run(seed, emphasis=emphasis).failures, f"seed {seed}"


def test_the_promise_when_times_are_short() -> None:
    """Trails, checkpoints and appends that are late, within a run of a minute."""
    with Defect("none", 0, SHORT).on():
        for seed in range(10):
            assert not run(seed, emphasis=AGREE).failures, f"seed {seed}"


RARE = 400
"""Seeds: a defect that may need so many is looked for in `scripts/test full`."""


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(defect, id=defect.name, marks=[pytest.mark.full] if defect.seeds >= RARE else [])
        for defect in DEFECTS
    ],
)
def test_a_defect_is_found(defect: Defect) -> None:
    with defect.on():
        found = any(run(seed, emphasis=defect.emphasis).failures for seed in range(defect.seeds))
    assert found, f"{defect.name}: not found within {defect.seeds} seeds"
    assert not run(0, emphasis=defect.emphasis).failures, "switched off, the same seed passes"
