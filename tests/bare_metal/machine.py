"""A machine with systemd for tests: Debian in a container (systemd-nspawn) that shares our network.

Owns the container, its file system, what it is given of this tree, and what is kept below var/ for the next run: a
fresh Debian, and the wheels that Sparrow needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "var" / "bare-metal"
GUARD_S = 120.0
"""Whatever is waited for has long happened by then."""
COMMAND_S = 300.0
"""So long may a command in the container take."""

TREE = (
    *sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}),
    *("scripts/systemd", "scripts/install.d", "scripts/install"),
    *("setup.cfg", "pyproject.toml", "hashes.txt", "LICENSE", "README.md"),
)
"""What a release is made of."""

NEWER = "99.1.0"
"""The version of a tree that is newer than this one."""

SUITE = "bookworm"
PYTHON = (3, 11)
"""Debian's of that suite: wheels are fetched for it."""
INCLUDED = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,iproute2,procps"
HOST = "chat-a"
_PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(program: str, package: str) -> str:
    """The path of a program, installed if need be. Fails the test under CI where there is none, else skips it."""
    path = f"{os.environ.get('PATH', '')}:{_PATH}"
    if shutil.which(program, path=path) is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no {program}; run scripts/install-package {program} {package} before the tests")
        if subprocess.run([ROOT / "scripts" / "install-package", program, package], check=False).returncode:
            pytest.skip(f"there is no {program}; run scripts/install-package {program} {package}")
    found = shutil.which(program, path=path)
    assert found is not None
    return found


def missing(what: str) -> None:
    """Fail the test under CI, else skip it."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def until(condition: Callable[[], object], what: str, guard_s: float = GUARD_S) -> None:
    """Wait for it."""
    deadline = time.monotonic() + guard_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def copy_tree(source: Path, tree: Path) -> Path:
    """Another tree like `source`."""
    for name in TREE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, tree / name)
    return tree


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Nobody else makes the same thing meanwhile."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


def fresh_debian() -> Path:
    """The root of a Debian that nothing was done to; made once."""
    if os.geteuid() != 0:
        missing("only root can boot a container")
    for program, package in (("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container")):
        ensure(program, package)
    root = KEPT / SUITE
    with _alone(SUITE):
        if not root.exists():
            draft = KEPT / f"{SUITE}.new"
            shutil.rmtree(draft, ignore_errors=True)
            options = ["--variant=minbase", f"--include={INCLUDED}"]
            made = subprocess.run(
                ["debootstrap", *options, SUITE, draft, _archive()], capture_output=True, text=True, check=False
            )
            assert made.returncode == 0, made.stdout[-2000:] + made.stderr
            draft.rename(root)
    return root


def _archive() -> str:
    """The address of the packages, as this machine has it."""
    for path in [*sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), Path("/etc/apt/sources.list")]:
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            words = line.split()
            address = next((word for word in words[1:] if word.startswith("http")), None)
            if words and words[0] in ("URIs:", "deb") and address and "security" not in address:
                return address
    return "http://deb.debian.org/debian"


def wheels() -> Path:
    """A folder with the wheels of hashes.txt, which a release needs; filled once."""
    needs = (ROOT / "hashes.txt").read_bytes()
    folder = KEPT / f"wheels-{hashlib.sha256(needs).hexdigest()[:12]}"
    if sys.version_info[:2] != PYTHON:
        missing("Debian's Python is {}.{}: run the tests with that".format(*PYTHON))
    with _alone("wheels"):
        if not folder.exists():
            draft = KEPT / "wheels.new"
            shutil.rmtree(draft, ignore_errors=True)
            command = [ROOT / "scripts" / "install", "--fetch-wheels", draft]
            environment = os.environ | {"PYTHON": sys.executable}
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr
            draft.rename(folder)
    return folder


class Machine:
    """A container. `boot`, then `run` things in it, then `stop`."""

    def __init__(self, folder: Path, binds: dict[str, Path]) -> None:
        self.root = folder / "root"
        self._log = folder / "console"
        self.binds = binds
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        subprocess.run(["cp", "-a", fresh_debian(), self.root], check=True)
        (self.root / "etc/hostname").write_text(HOST + "\n")

    def boot(self) -> None:
        """Return when systemd says that it runs."""
        binds = [f"--bind-ro={place}:{inside}" for inside, place in self.binds.items()]
        options = ["--boot", "-q", "--register=no", "--keep-unit", "--console=pipe"]
        command = ["systemd-nspawn", "-D", self.root, *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *binds], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._is_up, f"the container does not come up; see {self._log}")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._leader = int(children[0])
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"

    def run(self, *command: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        variables = [f"{name}={value}" for name, value in ({"PATH": _PATH, "LANG": "C.UTF-8"} | environment).items()]
        enter = ["nsenter", "--target", str(self._leader), "--all", "env", "-i", "-C", "/", *variables]
        done = subprocess.run(
            [*enter, *map(str, command)], capture_output=True, text=True, check=False, timeout=COMMAND_S
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.tail()}"
        return done

    def tail(self) -> str:
        """The end of its journal."""
        return "\n" + self.run("journalctl", "--no-pager", "-o", "cat", "-n", "40", check=False).stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def signal_main(self, unit: str, number: signal.Signals) -> str:
        """Send a signal to the main process of a unit, and to no other; returns the process id."""
        pid = self.show(unit, "MainPID")
        self.run("kill", f"-{number}", pid)
        return pid

    def await_next_life(self, unit: str, pid: str) -> None:
        """Wait until the unit is ready again with another main process."""

        def again() -> bool:
            return self.show(unit, "MainPID") not in ("0", pid) and self.show(unit, "ActiveState") == "active"

        until(again, f"{unit} does not come back")

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file in it, as root and the group sparrow, if there is one."""
        place = self.root / path.lstrip("/")
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)
        self.run("sh", "-c", f"getent group sparrow >/dev/null && chgrp sparrow {path} || true")

    def stop(self) -> None:
        """Shut it down, by force if it does not listen."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GUARD_S)
        except subprocess.TimeoutExpired:
            os.kill(self._leader, signal.SIGKILL)
            process.wait(GUARD_S)
