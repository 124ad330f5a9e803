"""`python -m tests.simulation`: many seeds, on all cores; a failing one prints its trace."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

from tests.simulation.cluster import Result, run


def main() -> int:
    """Run; exit status 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="play this one alone, with its trace")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed is not None:
        return _report(run(options.seed, tracing=True))
    began = time.monotonic()
    totals = [0, 0, 0, 0]
    with multiprocessing.Pool(options.processes) as pool:
        for result in pool.imap_unordered(run, range(options.first, options.first + options.seeds), chunksize=8):
            if result.failures:
                pool.terminate()
                return _report(run(result.seed, tracing=True))
            for at, value in enumerate((result.messages, result.sent, result.late, result.refused)):
                totals[at] += value
    messages, sent, late, refused = totals
    print(
        f"{options.seeds} seeds passed in {time.monotonic() - began:.0f} s: "
        f"{messages} messages, {sent} SENT, {late} shown late and marked so, {refused} refusals"
    )
    return 0


def _report(result: Result) -> int:
    for line in result.trace:
        print(line)
    for failure in result.failures:
        print(f"seed {result.seed} FAILED {failure}")
    if not result.failures:
        print(f"seed {result.seed} passed: {result.messages} messages, {result.sent} SENT, {result.late} late")
    else:
        print(f"replay with: scripts/simulate --seed {result.seed}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
