"""`sparrow load`: finds out what a server carries, and verifies every message on the way.

Owns the command line of the load test. Speaks to servers as any client does.
"""

from __future__ import annotations

import argparse
import signal
from dataclasses import fields
from pathlib import Path

import uvloop

from load import report as reports
from load.compare import compare, matched
from load.conductor import Conductor
from load.html import beside, page
from load.limits import raise_descriptors
from load.live import Live
from load.measure import find
from load.report import Report
from load.scenarios import SCENARIOS
from load.spawn import Spawned
from load.spec import Options
from load.targets import ByApi, ByStore, Target
from load.whole import WholeCluster
from protocol.errors import ConfigError, ServiceError
from store.groups import MAX_MEMBERS

DEFAULTS: dict[str, dict[str, float]] = {
    "idle": {"seconds": 10.0},
    "storm": {"sessions": 1_000, "groups": 0},
    "mixed": {"rate": 200.0, "seconds": 60.0, "groups": 10},
    "soak": {"rate": 200.0, "seconds": 3600.0, "groups": 10},
    "history": {"pairs": 10, "rate": 200.0, "seconds": 5.0},
}
"""Where a scenario's differ from those of `Options`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow load`."""
    scenarios = parser.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    common = _common()
    for name, help_text, chosen in (
        ("pairs", "pairs of writers and readers, so many texts in flight", ("pairs", "in_flight", "read", "seconds")),
        ("rate", "the same at a rate, however the server does", ("pairs", "rate", "read", "seconds")),
        ("idle", "clients that do nothing but stay", ("sessions", "seconds")),
        ("storm", "all reconnect at once, with texts under way", ("sessions", "rate", "groups", "members", "seconds")),
        ("offline", "store for absent users, who then come and pull", ("users", "messages")),
        ("flap", "clients that come and go", ("pairs", "rate", "flaps", "seconds")),
        (
            "mixed",
            "a day of a messenger: friends, bursts, some offline, read after a pause",
            ("users", "rate", "groups", "members", "seconds"),
        ),
        (
            "soak",
            "the same for an hour, to see whether memory grows",
            ("users", "rate", "groups", "members", "seconds"),
        ),
        (
            "history",
            "fill conversations; new devices read them back, follow what goes on, and see what was edited and erased",
            ("pairs", "messages", "devices", "rate", "seconds"),
        ),
        (
            "groups",
            "groups with so many texts in flight; behind it some who were away log in and catch up",
            ("groups", "members", "online", "in_flight", "writers", "latecomers", "seconds"),
        ),
    ):
        command = scenarios.add_parser(name, parents=[common], help=help_text, description=help_text + ".")
        for option in chosen:
            _add(command, name, option)
    command = scenarios.add_parser("compare", help="two results beside each other")
    command.add_argument("first", type=Path, metavar="A.json")
    command.add_argument("second", type=Path, metavar="B.json")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page there, with both in the same pictures")


_HELP = {
    "pairs": "of a writer and a reader",
    "in_flight": "texts without SENT, per pair",
    "rate": "texts a second, of all together",
    "sessions": "clients",
    "users": "people, or absent users",
    "messages": "in all",
    "devices": "new ones, which read all back",
    "groups": "groups, each of --members people",
    "members": "of each group",
    "online": "of each group's members; 0: all",
    "writers": "of each group's members, by turns",
    "latecomers": "of those who are not online, in all: they log in behind it and catch up",
    "flaps": "clients that leave a second, and come back within one",
    "seconds": "for how long to measure",
}


_HELP_OF = {("groups", "in_flight"): "texts without SENT, per group"}
_OR_NONE = {("online", "groups"), ("latecomers", "groups"), *(("groups", name) for name in ("mixed", "soak", "storm"))}
"""Options that may be 0, and of which scenario."""


def _add(command: argparse.ArgumentParser, scenario: str, option: str) -> None:
    flag = "--" + option.replace("_", "-")
    if option == "read":
        command.add_argument(flag, action="store_true", help="readers send READ as well")
        return
    default = DEFAULTS.get(scenario, {}).get(option, getattr(Options, option))
    kind = _positive_float if isinstance(default, float) else _positive
    if (option, scenario) in _OR_NONE:
        kind = _natural
    help_text = _HELP_OF.get((scenario, option), _HELP[option])
    command.add_argument(flag, type=kind, default=default, help=f"{help_text} (default: {default:g})")


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    target = common.add_argument_group("what is loaded")
    target.add_argument(
        "--spawn", choices=("one", "cluster", "scripts"), help="servers of its own; scripts: those of scripts/cluster"
    )
    target.add_argument("--cluster", dest="spawn", action="store_const", const="scripts", help="--spawn scripts")
    target.add_argument("--connectors", type=_positive, default=2, help="of --spawn cluster (default: 2)")
    target.add_argument("--brokers", type=_positive, default=1, help="of --spawn cluster (default: 1)")
    target.add_argument("--curve", action="store_true", help="with CURVE between them")
    target.add_argument("--history", action="store_true", help="of --spawn: conversations are kept")
    target.add_argument("--api", metavar="URL", help="a running user API: accounts are made over HTTP")
    target.add_argument("--accounts", type=Path, metavar="FILE", help="of --api: keeps the accounts for the next run")
    target.add_argument("--config", type=Path, metavar="FILE", help="settings of a user API: accounts into its store")
    target.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the CA of connectors and user API")
    target.add_argument(
        "--websocket",
        nargs="?",
        choices=("turn", "frame"),
        const="turn",
        default="",
        help="over WebSocket: a message for all that a client has to say at a time, or for each frame (default: turn)",
    )
    target.add_argument("--at", action="append", default=[], metavar="HOST:PORT", help="connectors to use instead")
    look = common.add_argument_group("server processes on this machine, of --api and --config")
    look.add_argument("--pids", type=_pids, default=[], metavar="PID,...")
    look.add_argument("--process-name", default="", metavar="WORD", help="all with this in their command line")
    look.add_argument("--cgroup", default="", metavar="FOLDER", help="all of it, below /sys/fs/cgroup")
    how = common.add_argument_group("how")
    how.add_argument("--processes", type=_positive, default=1, help="generator processes (default: 1)")
    how.add_argument("--body-bytes", type=_positive, default=100, help="of a text (default: 100; at least 24)")
    how.add_argument("--warm-up-s", type=float, default=1.5, help="before measuring (default: 1.5)")
    how.add_argument("--logins-at-once", type=_positive, default=200, help="of each process (default: 200)")
    how.add_argument("--drain-s", type=_positive_float, default=60.0, help="to wait for answers (default: 60)")
    how.add_argument("--seed", type=int, default=0, help="for chance; 0: another each time")
    results = common.add_argument_group("results")
    results.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    results.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots there")
    results.add_argument("--quiet", action="store_true", help="show nothing while it runs")
    return common


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _natural(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _pids(text: str) -> list[int]:
    return [_positive(word) for word in text.split(",")]


def options_of(arguments: argparse.Namespace) -> Options:
    """What was chosen."""
    known = {each.name for each in fields(Options)}
    options = Options(**{name: value for name, value in vars(arguments).items() if name in known})
    check(options)
    return options


def check(options: Options) -> None:
    """Raises `ConfigError` for what cannot be."""
    if options.scenario not in ("groups", "mixed", "soak", "storm"):
        return
    if options.members > MAX_MEMBERS:
        raise ConfigError(f"--members {options.members}: a group has at most {MAX_MEMBERS}")
    if options.scenario == "groups" and options.online > options.members:
        raise ConfigError(f"--online {options.online}: there are {options.members} members in a group")


def target_of(arguments: argparse.Namespace) -> Target:
    """What is to be loaded. Raises `ConfigError`."""
    chosen = [name for name in ("spawn", "api", "config") if getattr(arguments, name)]
    if len(chosen) > 1:
        raise ConfigError(f"choose one of --{' and --'.join(chosen)}")
    websocket = bool(arguments.websocket)
    pids = find(arguments.pids, arguments.process_name, arguments.cgroup)
    if arguments.api:
        return ByApi(arguments.api, arguments.ca, arguments.accounts, arguments.at, pids, websocket)
    if arguments.config:
        from sparrow.config.settings import load

        return ByStore(load(arguments.config, {}), arguments.ca, arguments.at, pids, websocket)
    if arguments.accounts or arguments.ca or arguments.at or pids:
        raise ConfigError("--accounts, --ca, --at and --pids are for running servers: say which by --api or --config")
    # Servers of our own inherit the limit.
    shape = {"scripts": 3, "cluster": arguments.connectors}.get(arguments.spawn, 1)
    raise_descriptors(-(-_connections(options_of(arguments)) // shape))
    reads_back = arguments.scenario == "history"
    if arguments.spawn == "scripts":
        return WholeCluster(arguments.history or reads_back, websocket)
    return Spawned(
        arguments.spawn or "one",
        curve=arguments.curve,
        connectors=arguments.connectors,
        brokers=arguments.brokers,
        history=arguments.history or reads_back,
        userapi=reads_back,
        websocket=websocket,
    )


def run(arguments: argparse.Namespace) -> int:
    """Run a scenario; exit status 1 if the promise was broken, or not everybody came back to tell."""
    if arguments.scenario == "compare":
        pairs = matched(reports.read(arguments.first), reports.read(arguments.second))
        print(compare(pairs))
        if arguments.html:
            reports.write_text(arguments.html, beside(pairs))
        return 0
    options = options_of(arguments)
    end_in_order()
    with target_of(arguments) as target:
        report = run_against(target, options, quiet=arguments.quiet)
    print(reports.text(report))
    if arguments.json:
        reports.write(arguments.json, [report])
    if arguments.html:
        reports.write_text(arguments.html, page([report]))
    return 0 if report.promise.kept and not report.promise.absent else 1


def end_in_order() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does, so that servers of its own end with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _connections(options: Options) -> int:
    """How many clients there will be at once."""
    return {
        "idle": options.sessions,
        "storm": options.sessions,
        "mixed": options.users,
        "soak": options.users,
        "groups": options.groups * (options.online or options.members) + options.latecomers,
    }.get(options.scenario, 2 * max(options.pairs, options.users))


def run_against(target: Target, options: Options, *, quiet: bool = False) -> Report:
    """Run a scenario. Raises `SparrowError`."""
    live = Live(options.seconds)
    conductor = Conductor(options, target, live.show if not quiet else lambda second: None)
    try:
        return uvloop.run(conductor.run(SCENARIOS[options.scenario]))
    except TimeoutError:
        raise ServiceError("the load test did not end: the servers do not answer") from None


__all__ = ["add_arguments", "end_in_order", "run", "run_against"]
