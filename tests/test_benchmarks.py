"""The benchmark of the cores runs as the cores are now, and what `scripts/bench` compares is there."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare
from load import add_arguments

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", compare.KINDS)
def test_every_message_is_sent(kind: str) -> None:
    command = [sys.executable, "-W", "error", ROOT / "benchmarks" / "cores.py", kind, "24"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_figures_of_a_run() -> None:
    result = {"figures": {compare.CPU: 7.5, "all_back_s": None}, "latency_ms": {"one_way": {"p50": 2.5}}}
    assert compare.value(result, compare.CPU) == 7.5
    assert compare.value(result, "all_back_s") == 0
    assert compare.value(result, compare.ONE_WAY) == 2.5
    assert compare.told([3.0, 1.0, 2.0]) == "2 (1-3)"
    assert compare.ratio([4.0, 2.0, 3.0], [3.3]) == "+10.0 %"


@pytest.mark.parametrize(("shape", "figures"), compare.SHAPES)
def test_every_shape_is_one_of_the_load_test(shape: str, figures: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.parse_args(shape.split())
    assert figures


def test_a_commit_that_is_not_there() -> None:
    done = subprocess.run([ROOT / "scripts" / "bench", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "bench: there is no commit nothing\n")
