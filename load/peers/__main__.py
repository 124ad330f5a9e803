"""`scripts/peers`: Sparrow, mosquitto, ejabberd and NATS under the same load by turns, each message verified.

Owns the shapes, and the order: by turns, each round begun by another server, so that a machine that changes its speed
changes it for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from load import end_in_order, run_against
from load.limits import raise_descriptors
from load.peers.plot import page
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
    "groups": Options("groups", groups=10, members=50, in_flight=8, latecomers=0),
    "offline": Options("offline", users=100, messages=10_000),
    "history": Options("history", pairs=10, messages=20_000, devices=10, rate=200.0),
}
SERVERS = ("sparrow", *PEERS)
USUAL = tuple(name for name in SERVERS if name != NatsUnsynced.name)

SETTINGS = """\
Settings: bodies of 100 bytes; no TLS; one node of Sparrow, {kept}, one process of each
other server; clients of one make, in {processes} process(es) on the same machine. A text in flight is one without SENT:
Sparrow's SENT (safe on disk or with its reader), mosquitto's PUBACK (QoS 1, persistence on, written each second),
ejabberd's ack by XEP-0198 (in a room the author's copy), JetStream's ack of a publish (in a file that is synced before;
nats-unsynced: within two minutes). So Sparrow and nats alone can lose their power without losing what they acked; nats
syncs each text and receipt, Sparrow the texts that their readers do not have. Every text is answered by DELIVERED:
Sparrow's own; for mosquitto and NATS a message back, kept as a text is, for each read of a socket; for ejabberd a
receipt by XEP-0184; in groups there is none. In history Sparrow keeps conversations. µs CPU: of all server processes.
Warm-up {warm_up_s:g} s, then {seconds:g} s; rounds: {rounds}; median (lowest–highest)."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/peers", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots there")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each shape (default: 6)")
    parser.add_argument("--warm-up-s", type=float, default=1.5, help="before measuring (default: 1.5)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often (default: 5); the table has median (lowest–highest)"
    )
    parser.add_argument("--history", action="store_true", help="Sparrow keeps conversations (default: it does not)")
    parser.add_argument("--processes", type=int, default=1, help="generator processes (default: 1)")
    parser.add_argument(
        "--servers", default=",".join(USUAL), help=f"some of {','.join(SERVERS)} (default: {','.join(USUAL)})"
    )
    parser.add_argument("--shapes", default=",".join(SHAPES), help=f"some of {','.join(SHAPES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of clients and messages (default: 1)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least one")
    for chosen, known in ((options.servers, SERVERS), (options.shapes, tuple(SHAPES))):
        if unknown := set(chosen.split(",")) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if not any(has(server, shape) for server in options.servers.split(",") for shape in options.shapes.split(",")):
        parser.error(f"{options.servers}: none of them keeps a history")
    return options


def target(server: str, history: bool = False) -> Target:
    """A new one; `history`: Sparrow keeps conversations. Raises `ConfigError` if it is not installed."""
    return PEERS[server]() if server in PEERS else Spawned("one", history=history)


def has(server: str, shape: str) -> bool:
    """Whether it can be measured so."""
    return shape != "history" or server not in PEERS or PEERS[server].replays


def runs(chosen: argparse.Namespace) -> Iterator[Report]:
    """Each shape for each server in turn, each with a server of its own; each round begins with the next server."""
    servers = chosen.servers.split(",")
    for number in range(chosen.rounds):
        first = number % len(servers)
        for shape in chosen.shapes.split(","):
            options = SHAPES[shape]
            options = replace(
                options,
                pairs=max(1, round(options.pairs * chosen.scale)),
                groups=max(1, round(options.groups * chosen.scale)),
                users=max(1, round(options.users * chosen.scale)),
                devices=max(1, round(options.devices * chosen.scale)),
                messages=max(1, round(options.messages * chosen.scale)),
                seconds=chosen.seconds,
                warm_up_s=chosen.warm_up_s,
                processes=chosen.processes,
            )
            for server in (*servers[first:], *servers[:first]):
                if not has(server, shape):
                    continue
                print(f"peers: round {number + 1}, {shape}, {server}", file=sys.stderr, flush=True)
                with target(server, chosen.history or shape == "history") as running:
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
    notes = _notes(chosen, reports)
    if chosen.html:
        write_text(chosen.html, page(reports, notes))
    print(f"{markdown(reports)}\n\n{notes}")
    return 0 if all(report.promise.kept for report in reports) else 1


def _notes(chosen: argparse.Namespace, reports: Sequence[Report]) -> str:
    """What the figures have to be seen beside."""
    shapes = (report.shape for report in reports if (report.server, report.scenario == "history") == ("sparrow", False))
    kept = "which keeps conversations" if any(KEPT in shape for shape in shapes) else "which keeps no conversations"
    times = {"warm_up_s": chosen.warm_up_s, "seconds": chosen.seconds}
    settings = SETTINGS.format(kept=kept, processes=chosen.processes, rounds=chosen.rounds, **times)
    machine = reports[0].machine
    return f"{settings}\nMachine: {machine['cpus']} CPUs, load average {machine['load_average']} at the beginning."


if __name__ == "__main__":
    sys.exit(main())
