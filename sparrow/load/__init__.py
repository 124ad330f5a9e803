"""`sparrow load`: finds out what a server carries, and verifies every message on the way.

Owns the command line of the load test. Speaks to servers as any client does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import uvloop

from sparrow.load.scenarios import Options, Report, idle, offline, pairs
from sparrow.load.spawn import Spawned

SCENARIOS = {"pairs": pairs, "offline": offline, "idle": idle}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow load`."""
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--spawn", choices=("one", "cluster"), default="one", help="start servers of this shape")
    common.add_argument("--curve", action="store_true", help="with CURVE between connectors and broker")
    common.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    common.add_argument("--body-bytes", type=int, default=100)
    command = scenarios.add_parser("pairs", parents=[common], help="pairs of senders and receivers")
    command.add_argument("--pairs", type=int, default=50)
    command.add_argument("--in-flight", type=int, default=32, help="messages without SENT, per pair")
    command.add_argument("--seconds", type=float, default=8.0)
    command.add_argument(
        "--rate", type=float, default=0.0, help="messages per second of all pairs, instead of in-flight"
    )
    command = scenarios.add_parser("offline", parents=[common], help="store for absent users, then pull")
    command.add_argument("--users", type=int, default=100)
    command.add_argument("--messages", type=int, default=10_000)
    command = scenarios.add_parser("idle", parents=[common], help="sessions that do nothing")
    command.add_argument("--sessions", type=int, default=5_000)
    command.add_argument("--seconds", type=float, default=10.0)


def run(options: argparse.Namespace) -> int:
    """Run a scenario; exit status 1 if a message was lost, repeated or out of order."""
    chosen = Options(**{key: value for key, value in vars(options).items() if key in Options.__dataclass_fields__})
    with Spawned(options.spawn, curve=options.curve) as servers:
        report = uvloop.run(_run(options.scenario, chosen, servers))
    print(json.dumps(report.values, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report.values, indent=2) + "\n")
    if not report.promise_kept:
        print("the promise was broken", file=sys.stderr)
        return 1
    return 0


async def _run(scenario: str, options: Options, servers: Spawned) -> Report:
    async with asyncio.timeout(600):
        return await SCENARIOS[scenario](options, servers)
