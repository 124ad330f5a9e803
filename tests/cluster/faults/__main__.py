"""Runs rows of the fault table and prints it, as it stands in docs/reliability.md.

Owns the command line of `scripts/faults`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.cluster.faults.rows import ROWS
from tests.cluster.faults.running import play, running
from tests.cluster.faults.story import FULL, HEADER, SHORT, Row, size

WARM_UP_S = 20.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Break a whole cluster, and count.")
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"{', '.join(ROWS)} (default: all)")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second (default: 200)")
    parser.add_argument("--no-changes", action="store_true", help="nobody edits or erases anything")
    parser.add_argument("--short", action="store_true", help="short faults, as in scripts/test")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return options


async def _play(rows: list[Row], options: argparse.Namespace) -> bool:
    """Whether the promise was kept in all of them."""
    kept = True
    people = replace(size(options.rate), changes=not options.no_changes)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for nodes in sorted({row.cassandra for row in rows}):
            async with running(Path(folder) / f"cluster-{nodes}", nodes) as cluster:
                if not options.short:  # a fresh Cassandra costs several times as much as a warm one
                    await play(cluster, ROWS["nothing"], replace(FULL, link=WARM_UP_S), people)
                for row in rows:
                    if row.cassandra != nodes:
                        continue
                    result = await play(cluster, row, SHORT if options.short else FULL, people)
                    print(result.line, flush=True)
                    print(f"{row.name}: cores busy before the fault: {result.cpu}", file=sys.stderr)
                    try:
                        result.check()
                    except AssertionError as error:
                        kept = False
                        print(f"{row.name}: {error}", file=sys.stderr)
    return kept


def main() -> int:
    options = parse()
    print(HEADER, flush=True)
    return 0 if asyncio.run(_play([ROWS[name] for name in options.rows or ROWS], options)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
