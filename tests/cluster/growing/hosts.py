"""Hosts of their own on this machine: network namespaces on a bridge, each with an address.

Owns the namespaces and the bridge, which only root can make, and what it takes to lose a whole host. What runs on them
is started by others. Files are everybody's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.bare_metal.machine import missing

COMMAND_S = 900.0
"""So long may a command on a host take."""


class Host:
    """One of them; `folder` is its disk."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.address = f"{network.prefix}.{number}"
        self.folder = network.folder / name
        self.folder.mkdir()
        self.alive = True
        self._space = f"{network.bridge}-{name}"
        ip("netns", "add", self._space)
        ip("link", "add", self._space, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        ip("link", "set", self._space, "master", network.bridge, "up")
        ip("-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self._space, "link", "set", device, "up")

    def within(self, *command: object) -> list[str]:
        """The command line that runs it there; the process is the command's own."""
        return ["ip", "netns", "exec", self._space, *map(str, command)]

    def run(self, *command: object, check: bool = True, stdin: str = "") -> str:
        """What a command says there, on standard output."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SPARROW_")}
        done = subprocess.run(
            self.within(*command), input=stdin, capture_output=True, text=True, timeout=COMMAND_S, env=kept
        )
        assert not check or done.returncode == 0, f"{command} on {self.name}: {done.stdout}{done.stderr}"
        return done.stdout

    def die(self) -> None:
        """All of it is gone at once, and never comes back."""
        self.alive = False
        ip("link", "delete", self._space)  # first: nobody is told that anything ends
        remove(self._space)
        # Its disk with it; what it has said is for who looks why a test has failed.
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix != ".log":
                path.unlink()


class Network:
    """A bridge, where tests are a host, too. `with Network(folder) as network: network.host("a")`."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            missing("only root can make network namespaces")
        if shutil.which("ip") is None:
            missing("there is no ip; install it (Debian and Ubuntu: apt install iproute2)")
        number = os.getpid()
        self.folder = folder
        self.bridge = f"sp{number}"
        self.prefix = f"10.{100 + number // 250 % 100}.{number % 250}"
        self._hosts: list[Host] = []

    def __enter__(self) -> Network:
        remove_left_over()
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.prefix}.254/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def host(self, name: str) -> Host:
        """One more host; the name is a letter or two."""
        made = Host(self, name, len(self._hosts) + 1)
        self._hosts.append(made)
        return made

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            if host.alive:
                host.die()
        ip("link", "delete", self.bridge)


def remove(space: str) -> None:
    """A namespace, with all that runs in it."""
    for pid in ip("netns", "pids", space).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "delete", space)


def remove_left_over() -> None:
    """What tests have left that were killed; each has its process id in its names."""

    def ended(name: str) -> bool:
        found = re.fullmatch(r"sp(\d+)(-\w+)?", name)
        return found is not None and not Path("/proc", found[1]).exists()

    for line in ip("netns", "list").splitlines():
        if ended(space := line.split()[0]):
            remove(space)
    for link in Path("/sys/class/net").iterdir():
        if ended(link.name) and link.exists():
            ip("link", "delete", link.name)


def ip(*arguments: str) -> str:
    """`ip …`, which must succeed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
