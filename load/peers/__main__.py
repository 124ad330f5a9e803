"""`scripts/peers`: Sparrow, mosquitto, ejabberd and NATS under the same load by turns, each message verified.

Owns the shapes, and the order: by turns, so that a machine that changes its speed changes it for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from load import end_in_order, run_against
from load.html import page
from load.limits import raise_descriptors
from load.peers.servers import PEERS, NatsUnsynced
from load.peers.table import markdown
from load.report import Report, write, write_text
from load.spawn import KEPT, Spawned
from load.spec import Options
from load.targets import Target
from protocol.errors import SparrowError

SHAPES = {
    "throughput": Options("pairs", pairs=50, in_flight=32),
    "many": Options("pairs", pairs=1_000, in_flight=1),
    "rate": Options("rate", pairs=50, rate=500.0),
    "offline": Options("offline", users=100, messages=10_000),
}
SERVERS = ("sparrow", *PEERS)
USUAL = tuple(name for name in SERVERS if name != NatsUnsynced.name)

SETTINGS = """\
Settings: bodies of 100 bytes; no TLS; one node of Sparrow, {kept}, one process of each other server; clients of one
make, in {processes} process(es) on the same machine. A text in flight is one without SENT: Sparrow's SENT (safe on disk
or with its reader), mosquitto's PUBACK (QoS 1, persistence on, written each second), ejabberd's ack by XEP-0198,
JetStream's ack of a publish (in a file that is synced before; nats-unsynced: within two minutes). Every text is
answered by DELIVERED: Sparrow's own; for mosquitto and NATS a message back, kept as a text is, for each read of a
socket; for ejabberd a receipt by XEP-0184. µs CPU: of all server processes. Warm-up {warm_up_s:g} s, then
{seconds:g} s."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/peers", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots there")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each shape (default: 6)")
    parser.add_argument("--warm-up-s", type=float, default=1.5, help="before measuring (default: 1.5)")
    parser.add_argument("--rounds", type=int, default=1, help="how often (default: 1); the table has medians")
    parser.add_argument("--history", action="store_true", help="Sparrow keeps conversations (default: it does not)")
    parser.add_argument("--processes", type=int, default=1, help="generator processes (default: 1)")
    parser.add_argument(
        "--servers", default=",".join(USUAL), help=f"some of {','.join(SERVERS)} (default: {','.join(USUAL)})"
    )
    parser.add_argument("--shapes", default=",".join(SHAPES), help=f"some of {','.join(SHAPES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of clients and messages (default: 1)")
    options = parser.parse_args(arguments)
    for chosen, known in ((options.servers, SERVERS), (options.shapes, tuple(SHAPES))):
        if unknown := set(chosen.split(",")) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def target(server: str, history: bool = False) -> Target:
    """A new one; `history`: Sparrow keeps conversations. Raises `ConfigError` if it is not installed."""
    return PEERS[server]() if server in PEERS else Spawned("one", history=history)


def runs(chosen: argparse.Namespace) -> Iterator[Report]:
    """Each shape for each server in turn, each with a server of its own."""
    for _ in range(chosen.rounds):
        for shape in chosen.shapes.split(","):
            options = SHAPES[shape]
            options = replace(
                options,
                pairs=max(1, round(options.pairs * chosen.scale)),
                users=max(1, round(options.users * chosen.scale)),
                messages=max(1, round(options.messages * chosen.scale)),
                seconds=chosen.seconds,
                warm_up_s=chosen.warm_up_s,
                processes=chosen.processes,
            )
            for server in chosen.servers.split(","):
                print(f"peers: {shape}, {server}", file=sys.stderr, flush=True)
                with target(server, chosen.history) as running:
                    yield run_against(running, options, quiet=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 if anybody lost, repeated or reordered a message."""
    chosen = parse(arguments)
    raise_descriptors(4_000)
    end_in_order()
    try:
        reports = list(runs(chosen))
    except SparrowError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if chosen.json:
        write(chosen.json, reports)
    if chosen.html:
        write_text(chosen.html, page(reports))
    machine = reports[0].machine
    print(markdown(reports))
    shapes = (report.shape for report in reports if report.server == "sparrow")
    kept = "which keeps conversations" if any(KEPT in shape for shape in shapes) else "which keeps no conversations"
    times = {"warm_up_s": chosen.warm_up_s, "seconds": chosen.seconds}
    print("\n" + SETTINGS.format(kept=kept, processes=chosen.processes, **times))
    print(f"Machine: {machine['cpus']} CPUs, load average {machine['load_average']} at the beginning.")
    return 0 if all(report.promise.kept for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
