"""This tree beside another one, by turns: instructions a message of the cores, and every shape of the load test.

`scripts/bench` calls it. Each tree runs in its own environment, both with this tree's `benchmarks/cores.py`.
Instructions are counted by callgrind and repeat within 0.5 %; the rest is medians of rounds, with the least and the
most: on a machine that others use, ratios within their spread mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COUNTS = (800, 2400)
"""Messages of two runs; their difference leaves out what is before the first message."""
KINDS = ("text", "thin", "read", "stored", "turn")
CPU = "server_cpu_us_per_message"
ONE_WAY = "one way p50, ms"
SHAPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pairs", (CPU,)),
    ("pairs --read", (CPU,)),
    ("pairs --pairs 1000 --in-flight 1", (CPU,)),
    ("pairs --spawn cluster", (CPU,)),
    ("rate", (CPU,)),
    ("idle --sessions 2000", ("kib_per_session",)),
    ("storm", (CPU, "all_back_s")),
    ("offline", ("store_cpu_us_per_message", "pull_cpu_us_per_message")),
    ("flap", (CPU,)),
    ("mixed", (CPU,)),
)
"""Arguments of `sparrow load`, and the figures that are compared. `soak` is `mixed` for longer."""


def instructions(tree: Path, kind: str, count: int) -> int:
    """Of `count` messages. Raises `SystemExit` with what the run said."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         tree / ".venv" / "bin" / "python", HERE / "cores.py", kind, str(count)],
        cwd=tree, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or collected is None:
        raise SystemExit(f"bench: {tree}: {kind}: {' '.join(done.stderr.split()[-40:])}")
    return int(collected[1])


def per_message(trees: Sequence[Path]) -> dict[tuple[Path, str], float]:
    """Instructions of a message, or of an empty turn, by tree and kind."""
    runs = list(itertools.product(trees, KINDS, COUNTS))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(runs, pool.map(lambda run: instructions(*run), runs), strict=True))
    few, many = COUNTS
    return {
        (tree, kind): (counted[tree, kind, many] - counted[tree, kind, few]) / (many - few)
        for tree, kind in itertools.product(trees, KINDS)
    }


def load(tree: Path, shape: str, seconds: float) -> dict[str, Any]:
    """The result of one run. Raises `SystemExit` if the promise was broken, or it could not run."""
    timed = [] if shape.startswith("offline") else ["--seconds", str(seconds)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        done = subprocess.run(
            [tree / ".venv" / "bin" / "python", "-m", "sparrow.cli", "load", *shape.split(), *timed, "--warm-up-s", "1",
             "--quiet", "--json", report],
            cwd=tree, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: {tree}: sparrow load {shape}: {(done.stdout + done.stderr).strip()[-600:]}")
        found: dict[str, Any] = json.loads(report.read_text())
    return found


def value(result: dict[str, Any], figure: str) -> float:
    """Of a run; 0 where there was nothing to look at."""
    if figure == ONE_WAY:
        return float((result["latency_ms"].get("one_way") or {}).get("p50") or 0)
    return float(result["figures"].get(figure) or 0)


def told(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g})"


def ratio(old: Sequence[float], new: Sequence[float]) -> str:
    before = statistics.median(old)
    return f"{100 * (statistics.median(new) / before - 1):+.1f} %" if before else ""


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("other", type=Path, help="a tree with its .venv, beside this one")
    parser.add_argument("--name", default="before", help="what to call it")
    parser.add_argument("--rounds", type=int, default=3, help="of each shape and tree")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--cores", action="store_true", help="only instructions, which takes two minutes")
    options = parser.parse_args()
    trees = (options.other.resolve(), HERE.parent)
    began = time.monotonic()
    row("", "", options.name, "this tree", "")
    row("---", "---", "---:", "---:", "---:")
    counted = per_message(trees)
    for kind in KINDS:
        old, new = ([counted[tree, kind]] for tree in trees)
        row(
            f"cores, {kind}",
            f"instructions a {'turn' if kind == 'turn' else 'message'}",
            f"{old[0]:.0f}",
            f"{new[0]:.0f}",
            ratio(old, new),
        )
    for shape, figures in () if options.cores else SHAPES:
        results: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
        for number in range(options.rounds):
            for tree in trees if number % 2 == 0 else reversed(trees):
                results[tree].append(load(tree, shape, options.seconds))
        for figure in (*figures, ONE_WAY):
            old, new = ([value(result, figure) for result in results[tree]] for tree in trees)
            if any(old) and any(new):
                row(shape, figure, told(old), told(new), ratio(old, new))
    load_average = os.getloadavg()[2]
    print(f"bench: {time.monotonic() - began:.0f} s; load average {load_average:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
