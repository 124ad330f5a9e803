"""`sparrow drain`: take one process of this machine out of service, and see it go.

Owns finding the process, telling it to stop, and what is shown meanwhile. What it does then is its own business: that
is what SIGTERM means to every server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import ConfigError, ServiceError, SparrowError
from sparrow.config.settings import load
from sparrow.ops.seen import Seen, ask_all, duration

ROLES = ("serve", "connector", "broker", "userapi")
DEFAULT_TIMEOUT_S = 120.0
"""Beyond TimeoutStopSec= of every unit."""
LOOK_S = 0.5
_PROC = Path("/proc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow drain`."""
    parser.add_argument(
        "target", metavar="PID|UNIT", help="its process id, or its systemd unit, such as sparrow-connector@1"
    )
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"look no longer, with exit status 1 (default: {DEFAULT_TIMEOUT_S:g}); the process goes on stopping",
    )


def run(options: argparse.Namespace) -> int:
    """The command; see `drain`."""
    return drain(options.target, options.timeout_s)


def drain(target: str, timeout_s: float) -> int:
    """Stop the process of that id or unit, and return when it is gone: 0; or 1 if that takes longer than `timeout_s`.

    Raises `ConfigError` if it is no server of Sparrow's, and `ServiceError` if it cannot be told to stop.
    """
    if not timeout_s > 0:
        raise ConfigError("--timeout-s must be above 0")
    unit = "" if target.isdecimal() else _unit(target)
    pid = _main_pid(unit) if unit else int(target)
    with _opened(pid) as handle:
        process = _server(pid)
        unit = unit or _unit_of(pid)
        name = f"{process} of {unit}" if unit else str(process)
        left = _left(process)
        begun = time.monotonic()
        _stop(handle, process, unit)
        print(f"{name}: stopping" + (f"; {left}" if left else ""), flush=True)
        if _await_end(handle, process, timeout_s, left):
            print(f"{name}: gone after {duration(time.monotonic() - begun)}")
            return 0
    print(f"{name}: still there after {timeout_s:g} s, and goes on stopping; its log may say why")
    return 1


# Which process.


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    role: str
    """The subcommand that it runs."""
    words: tuple[str, ...]
    """The process' command line."""

    def __str__(self) -> str:
        return f"sparrow {self.role} (process {self.pid})"


@contextmanager
def _opened(pid: int) -> Iterator[int]:
    """A handle of it, which is never another process that got the same id."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, OverflowError):
        raise ConfigError(f"there is no process {pid}: `pgrep -af sparrow` lists those of Sparrow") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _server(pid: int) -> _Process:
    """The server that runs as this process. Raises `ConfigError` for anything else, and for a part of one."""
    above = _read(_parent(pid))
    if above.role:
        raise ConfigError(f"process {pid} is a part of {above}, which would replace it: sparrow drain {above.pid}")
    found = _read(pid)
    if not found.role:
        what = " ".join(found.words)[:80] or "nothing that can be told"
        raise ConfigError(
            f"process {pid} is no server of Sparrow's, but {what}: name a `sparrow {'`, `sparrow '.join(ROLES)}`"
        )
    return found


def _read(pid: int) -> _Process:
    """What it runs; the role is empty if that is no server."""
    try:
        words = tuple((_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
    except OSError:
        words = ()
    return _Process(pid, role_of(words), words)


def role_of(words: tuple[str, ...]) -> str:
    """The subcommand of a command line that runs a server, by its script or as a module; else empty."""
    interpreted = bool(words) and Path(words[0]).name.startswith("python")
    for number, word in enumerate(words if interpreted else words[:1]):
        if Path(word).name == "sparrow" or word == "sparrow.cli":
            role = words[number + 1] if number + 1 < len(words) else ""
            return role if role in ROLES else ""
    return ""


def _parent(pid: int) -> int:
    try:
        # The name, in brackets, may have anything in it.
        return int((_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


# Units of systemd.


def _unit(name: str) -> str:
    if re.search(r"[*?\[\s]", name):
        raise ConfigError(f"{name!r} may be several units: drain one at a time, so that its clients find another")
    return name if name.endswith(".service") else f"{name}.service"


def _systemctl(*arguments: str) -> str:
    """What it prints. Raises `ServiceError` with what it complains of."""
    if shutil.which("systemctl") is None:
        raise ServiceError("there is no systemctl here: name the process id")
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def _main_pid(unit: str) -> int:
    facts = dict(line.split("=", 1) for line in _systemctl("show", "-p", "LoadState,MainPID", unit).splitlines())
    if facts.get("LoadState") == "not-found":
        raise ConfigError(f"there is no unit {unit}: `systemctl list-units 'sparrow*'` has those there are")
    pid = int(facts.get("MainPID", "0"))
    if not pid:
        raise ConfigError(f"{unit} does not run: `systemctl status {unit}` tells more")
    return pid


def _unit_of(pid: int) -> str:
    """The unit whose main process it is; empty if it is nobody's. systemd would start that again."""
    try:
        found = re.search(r"/([^/\n]+\.service)$", (_PROC / str(pid) / "cgroup").read_text(), re.MULTILINE)
        return found[1] if found and _main_pid(found[1]) == pid else ""
    except (OSError, SparrowError):
        return ""


# Its end.


def _stop(handle: int, process: _Process, unit: str) -> None:
    if unit:
        _systemctl("stop", "--no-block", unit)
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except ProcessLookupError:
        return  # it was faster
    except PermissionError:
        raise ServiceError(f"{process} belongs to somebody else: run this as its user, or with sudo") from None


def _await_end(handle: int, process: _Process, timeout_s: float, shown: str) -> bool:
    deadline = time.monotonic() + timeout_s
    gone = select.poll()
    gone.register(handle, select.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        if gone.poll(min(LOOK_S, left_s) * 1000):
            return True
        left = _left(process)
        if left and left != shown:
            print(left, flush=True)
            shown = left
    return False


def _left(process: _Process) -> str:
    """What it has still in hand, if its monitor tells."""
    address = _monitor_of(process)
    if not address:
        return ""
    (seen,) = asyncio.run(ask_all([address]))
    return what_is_left(seen) if seen.pid == process.pid else ""


def what_is_left(seen: Seen) -> str:
    """Of what a process has to part with before it ends; empty if it has nothing such."""
    facts = []
    if seen.role in ("connector", "node"):
        facts.append(f"sessions left: {seen.value('connector_sessions'):,.0f}")
    if seen.role in ("broker", "node"):
        facts.append(f"copies to store: {seen.value('broker_storing_rows'):,.0f}")
    return ", ".join(facts)


def _monitor_of(process: _Process) -> str:
    """host:port where it tells of itself, by its own settings; empty if it does not, or they are not ours to read."""
    place = _PROC / str(process.pid)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config")
    try:
        pairs = (place / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
        environ = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        folder = Path(os.readlink(place / "cwd"))  # noqa: PTH115
        named = parser.parse_known_args(process.words)[0].config or environ.get("SPARROW_CONFIG")
        path = folder / (named or "sparrow.toml")
        return load(path if named or path.is_file() else None, environ).monitor.reached
    except (OSError, ConfigError):
        return ""
