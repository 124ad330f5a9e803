"""The command `sparrow`: which subcommand, with which settings.

Owns the command line and what an error looks like there. Everything is imported when it is needed, so that a
subcommand starts quickly.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from protocol.errors import SparrowError
from sparrow import compiled, version
from sparrow.extras import what_to_install

if TYPE_CHECKING:
    from sparrow.config.checks import Finding
    from sparrow.config.found import Found
    from sparrow.config.settings import Settings

ERROR = 2
"""Exit status when something was wrong with what we were told, or what we need is not there."""
BUG = 70
INTERRUPTED = 130


def _imported(name: str) -> Callable[..., Any]:
    """The function that is called `module:function`."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


@dataclass(frozen=True)
class _Run:
    """How a subcommand is run: by a function that is imported then."""

    name: str
    """`module:function`."""
    role: str = ""
    """What a server's process is; empty: no server."""
    sections: tuple[str, ...] = ()
    """Those that must be right for a tool; empty: settings are read, and not checked."""
    store: str = "NOTHING"
    """What a tool does with the store (`sparrow.config.found.Store`)."""
    takes: tuple[str, ...] | None = None
    """Options that it takes, one by one; None: it takes all of them as one."""

    def __call__(self, options: argparse.Namespace) -> int:
        if self.role:
            compiled.use()
            settings = _server_settings(options, self.role)
        else:
            settings = _tool_settings(options, self.store, self.sections)
        values = (options,) if self.takes is None else [getattr(options, name) for name in self.takes]
        status: int = _imported(self.name)(settings, *values)
        return status


@dataclass(frozen=True)
class _Alone:
    """The same of one that reads no settings."""

    name: str

    def __call__(self, options: argparse.Namespace) -> int:
        status: int = _imported(self.name)(options)
        return status


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a subcommand, as a function adds them that is imported then."""

    name: str
    config: bool = True
    """Besides, it reads settings."""

    def __call__(self, parser: argparse.ArgumentParser) -> None:
        _imported(self.name)(parser)
        if self.config:
            _add_config(parser)


class _Command(NamedTuple):
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# Settings.


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings file (default: $SPARROW_CONFIG, or sparrow.toml in this folder if it is there; but for "
        "servers, then those in /etc/sparrow)",
    )


def _server_settings(options: argparse.Namespace, role: str) -> Settings:
    """Settings of a process of this role, with logging set up, and warnings of `check` in the log.

    Raises `ConfigError`.
    """
    from sparrow.config.checks import check
    from sparrow.config.found import given
    from sparrow.config.settings import load

    settings = load(given(options.config, os.environ), os.environ)
    _heed(settings, check(settings, (role,)))
    return settings


def _found(options: argparse.Namespace, store: str = "NOTHING") -> Found:
    """Settings for a tool, and where they were found. Raises `ConfigError`."""
    from sparrow.config.found import Store, find

    found = find(options.config, os.environ, Store[store])
    if found.note:
        print(f"sparrow: {found.note}", file=sys.stderr)
    return found


def _tool_settings(options: argparse.Namespace, store: str, sections: tuple[str, ...]) -> Settings:
    from sparrow.config.checks import check

    settings = _found(options, store).settings
    if sections:
        _heed(settings, [finding for finding in check(settings) if finding.key.partition(".")[0] in sections])
    return settings


def _heed(settings: Settings, findings: Sequence[Finding]) -> None:
    """Raises `ConfigError` for serious ones; others are in the log, which is set up."""
    import logging

    from protocol.errors import ConfigError
    from sparrow.ops.logs import set_up

    serious = [f"{finding.key}: {finding.text}" for finding in findings if finding.serious]
    if serious:
        raise ConfigError("; ".join(serious))
    set_up(settings.log)
    for finding in findings:
        logging.getLogger("sparrow.settings").warning("%s: %s", finding.key, finding.text)


# Subcommands.


def _userapi(options: argparse.Namespace) -> int:
    settings = _server_settings(options, "userapi")
    from sparrow.ops.systemd import Systemd
    from userapi.monitor import Place
    from userapi.server import run

    monitor = settings.monitor
    place = Place(monitor.listen_host, monitor.listen_port, version() or "unknown") if monitor.listen_port else None
    run(settings.userapi, settings.store, settings.history, manager=Systemd(), place=place)


def _check(options: argparse.Namespace) -> int:
    status: int = _imported("sparrow.ops.checking:run")(_found(options), options)
    return status


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("apply",), help="make the tables, or bring them to this version")
    _add_config(parser)


def _schema(options: argparse.Namespace) -> int:
    settings = _tool_settings(options, "WRITES", STORE)
    if settings.store.engine != "cassandra":
        print(f'nothing to do: store.engine is "{settings.store.engine}", which makes its tables by itself')
        return 0
    from store.cassandra import apply

    apply(settings.store, keep_days=settings.history.keep_days)
    return 0


def _add_load(parser: argparse.ArgumentParser) -> None:
    from load import add_arguments  # as Python says it, since it is of another room

    add_arguments(parser)


def _load(options: argparse.Namespace) -> int:
    from load import run

    return run(options)


STORE = ("store", "log")
COMMANDS = {
    "serve": _Command(
        "run a whole server in one process, with the user API beside it",
        _add_config,
        _Run("sparrow.node:run_serve", "node", takes=()),
    ),
    "connector": _Command(
        "run a connector, which holds clients' connections",
        _add_config,
        _Run("sparrow.node:run_connector", "connector", takes=()),
    ),
    "broker": _Command(
        "run a broker, which routes and stores", _add_config, _Run("sparrow.node:run_broker", "broker", takes=())
    ),
    "userapi": _Command("run the user API: accounts and logins over HTTP", _add_config, _userapi),
    "schema": _Command("make the tables in Cassandra, or bring them to this version", _add_schema, _schema),
    "chat": _Command(
        "chat in this terminal", _Arguments("sparrow.chat:add_arguments", config=False), _Alone("sparrow.chat:run")
    ),
    "check": _Command("look for mistakes in the settings", _Arguments("sparrow.ops.checking:add_arguments"), _check),
    "status": _Command(
        "who is up, and how every process of the cluster is",
        _add_config,
        _Run("sparrow.ops.overview:run_status", takes=()),
    ),
    "top": _Command(
        "what goes on in every process of the cluster, live",
        _Arguments("sparrow.ops.overview:add_top_arguments"),
        _Run("sparrow.ops.overview:run_top", takes=("interval", "looks")),
    ),
    "drain": _Command(
        "take one process of this machine out of service, and see it go",
        _Arguments("sparrow.ops.drain:add_arguments", config=False),
        _Alone("sparrow.ops.drain:run"),
    ),
    "trace": _Command(
        "follow what a user writes through every process of the cluster",
        _Arguments("sparrow.ops.tracing:add_arguments"),
        _Run("sparrow.ops.tracing:run_trace", takes=("user", "seconds")),
    ),
    "keys": _Command(
        "make the keys that servers know one another by, and certificates for browsers",
        _Arguments("sparrow.config.keys:add_arguments", config=False),
        _Alone("sparrow.config.keys:run"),
    ),
    "backup": _Command(
        "copy a node's data into one file, while it runs",
        _Arguments("sparrow.ops.backups:add_arguments"),
        _Run("sparrow.ops.backups:run", store="READS"),
    ),
    "snapshot": _Command(
        "copy what this machine's Cassandra has into a folder, for a timer",
        _Arguments("sparrow.ops.snapshots:add_arguments"),
        _Run("sparrow.ops.snapshots:run"),
    ),
    "restore": _Command(
        "put such a copy into an empty place",
        _Arguments("sparrow.ops.backup:add_restore_arguments"),
        _Run("sparrow.ops.backup:run_restore", store="WRITES"),
    ),
    "migrate": _Command(
        "from SQLite to Cassandra, while the server runs",
        _Arguments("sparrow.ops.migration:add_arguments"),
        _Run("sparrow.ops.migration:run", store="WRITES"),
    ),
    "export": _Command(
        "everything that is kept of one user",
        _Arguments("sparrow.ops.export:add_arguments"),
        _Run("sparrow.ops.export:run", store="READS"),
    ),
    "remove": _Command(
        "end one user's account, as the user could",
        _Arguments("sparrow.ops.removal:add_arguments"),
        _Run("sparrow.ops.removal:run", sections=STORE, store="WRITES"),
    ),
    "user": _Command(
        "accounts: list, add, disable, reset, invite, over the administration of a user API that runs",
        _Arguments("sparrow.ops.users:add_arguments"),
        _Run("sparrow.ops.users:run"),
    ),
    "operator": _Command(
        "serve the operator's page: what is wrong, how much goes on, accounts, groups, reports",
        _add_config,
        _Run("sparrow.operator_page.process:run", sections=("operator", "log"), takes=()),
    ),
    "end-logins": _Command(
        "end all logins of one user, or of everybody",
        _Arguments("sparrow.ops.ended:add_arguments"),
        _Run("sparrow.ops.ended:run", sections=STORE, store="WRITES"),
    ),
    "history": _Command(
        "for how long conversations are kept, and how to change it",
        _Arguments("sparrow.ops.history:add_arguments"),
        _Run("sparrow.ops.history:run", sections=("store", "history", "log"), store="WRITES"),
    ),
    "load": _Command("find out what a server carries", _add_load, _load),
}


# The command line.


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"sparrow {version() or '(not installed)'}")
        parser.exit()


def _parse(arguments: Sequence[str]) -> tuple[_Command, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="sparrow", description="An instant-messaging server, and a chat for the terminal."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((argument for argument in arguments if argument in COMMANDS), None)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=command.help + ".")
        if name == chosen:
            command.add_arguments(subparser)
    options = parser.parse_args(arguments)
    return COMMANDS[options.command], options


def _say_error(text: str) -> None:
    from sparrow.chat.text import bare  # only now: an error may be a server's text

    line = bare(" ".join(text.split()))
    # Only a process that has set it up has a log; importing it costs a chat too much.
    logs = sys.modules.get("sparrow.ops.logs")
    if logs is None or not logs.fatal(line):
        print(f"sparrow: {line}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    try:
        command, options = _parse(sys.argv[1:] if arguments is None else arguments)
        return command.run(options)
    except SparrowError as error:
        _say_error(str(error))
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would warn when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (lacking := what_to_install(error)) is not None:
            _say_error(lacking)
            return ERROR
        if os.environ.get("SPARROW_TRACEBACK"):
            raise
        _say_error(
            f"{type(error).__name__}: {error}; this is a bug, please report it (SPARROW_TRACEBACK=1 shows where it is)"
        )
        return BUG


if __name__ == "__main__":
    sys.exit(main())
