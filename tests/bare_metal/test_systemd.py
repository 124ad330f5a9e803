"""A whole node on a machine, by scripts/install and systemd: from nothing to removal. Each test needs the ones before.

What is checked is what an operator does: start, reload, stop, upgrade, back; and what systemd does when a process dies
or stands still.
"""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bare_metal.conftest import NEWER
from tests.bare_metal.machine import Machine, until
from tests.bare_metal.people import Pair
from tests.ports import free_port

pytestmark = pytest.mark.slow

INSTALL = "/srv/sparrow/scripts/install"
WHEELS = ("--wheels", "/srv/wheels")
UNIT = "sparrow.service"


class Node:
    """The node of the machine, from outside."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.port, self.api_port, self.monitor_port = free_port(), free_port(), free_port()
        self.people = Pair(folder, f"http://127.0.0.1:{self.api_port}")

    @property
    def environment(self) -> str:
        """Ports, since the network is everybody's; all else is as it was installed."""
        return (
            f"SPARROW_CONNECTOR__LISTEN_PORT={self.port}\nSPARROW_USERAPI__LISTEN_PORT={self.api_port}\n"
            f"SPARROW_MONITOR__LISTEN_PORT={self.monitor_port}\nSPARROW_USERAPI__CONNECTORS=127.0.0.1:{self.port}\n"
        )

    @property
    def version(self) -> str:
        """What it says of itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/varz", timeout=30) as answer:
            return str(json.load(answer)["version"])

    async def check(self) -> None:
        """People can talk."""
        async with self.people.talking("check") as talk:
            await talk.say("hello")
            await talk.all_heard()

    async def survives(self, prefix: str, disturb: Callable[[], None]) -> None:
        """What is said meanwhile arrives, once and in order."""
        async with self.people.talking(prefix) as talk:
            await talk.say("before")
            disturbing = asyncio.create_task(asyncio.to_thread(disturb))
            number = 0
            while not disturbing.done():
                number += 1
                await talk.say(f"{number}")
            await disturbing
            await talk.say("after")
            await talk.all_heard()


@pytest.fixture(scope="module")
def node(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Node:
    machine.run(INSTALL, "--role", "one", *WHEELS)
    made = Node(machine, tmp_path_factory.mktemp("people"))
    machine.write("/etc/sparrow/sparrow.env", made.environment)
    return made


def test_refusals(machine: Machine) -> None:
    """Each is one line that names the cure, and nothing is changed."""

    def refused(*command: str, **environment: str) -> str:
        done = machine.run(*command, check=False, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout == ""
        last = done.stderr.splitlines()[-1]
        assert last.startswith("install: ")
        return last

    one = (INSTALL, "--role", "one", *WHEELS)
    assert "run it with sudo" in refused("setpriv", "--reuid=65534", "--clear-groups", *one)
    assert "systemd does not run here" in refused("unshare", "-m", "sh", "-c", 'umount -l /run; "$@"', "-", *one)
    old = '#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 || exit 1\n'
    machine.write("/usr/local/bin/old-python", old, 0o755)
    assert "3.11 or newer is needed" in refused(*one, PYTHON="/usr/local/bin/old-python")
    bare = '#!/bin/sh\ncase $2 in *ensurepip*) exit 1 ;; esac\nexec python3 "$@"\n'
    machine.write("/usr/local/bin/bare-python", bare, 0o755)
    assert "apt install python3-venv" in refused(*one, PYTHON="/usr/local/bin/bare-python")
    assert "make room" in refused("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=50m none /opt; "$@"', "-", *one)
    assert "--fetch-wheels" in refused(INSTALL, "--role", "one", "--wheels", "/srv/nowhere")
    assert "--fetch-wheels" in refused(INSTALL, "--role", "one", "--wheels", "/srv/newer")
    assert "--role" in refused(INSTALL)
    assert "--role" in refused(INSTALL, "--role", "two")
    assert "not understood" in refused(INSTALL, "--please")
    assert "no release before" in refused(INSTALL, "--rollback")
    assert not (machine.root / "opt/sparrow/current").is_symlink()
    assert not (machine.root / "etc/sparrow").exists()


async def test_from_nothing_to_a_chat(node: Node) -> None:
    machine = node.machine
    machine.run("systemctl", "enable", "--now", UNIT)  # returns when it is ready
    assert (machine.show(UNIT, "Type"), machine.show(UNIT, "ActiveState")) == ("notify", "active")
    with urllib.request.urlopen(f"http://127.0.0.1:{node.monitor_port}/readyz", timeout=30) as answer:
        assert answer.status == 200
    await node.check()
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"
    assert machine.show(UNIT, "NRestarts") == "0"


def test_systemd_finds_it_safe(node: Node) -> None:
    units = "sparrow.service", "sparrow.target"
    assert node.machine.run("systemd-analyze", "verify", "--man=no", *units).stderr == ""
    pid = node.machine.show(UNIT, "MainPID")
    status = node.machine.run("cat", f"/proc/{pid}/status").stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["CapBnd"]) == ("1", "2", "0" * 16)
    assert "0" not in facts["Uid"].split()


def test_again_changes_nothing(node: Node) -> None:
    settings = node.machine.root / "etc/sparrow/sparrow.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    said = node.machine.run(INSTALL, "--role", "one", *WHEELS).stderr
    assert "is there already" in said
    assert settings.read_text().endswith("# mine\n")
    assert len(list((node.machine.root / "opt/sparrow/releases").iterdir())) == 1


async def test_reload(node: Node) -> None:
    machine = node.machine
    pid = machine.show(UNIT, "MainPID")

    def reload() -> None:
        machine.run("systemctl", "reload", UNIT)
        until(lambda: "SIGHUP: reading again" in machine.run("journalctl", "-u", UNIT).stdout, "no SIGHUP")
        until(lambda: machine.show(UNIT, "ActiveState") == "active", "reloading has no end")

    await node.survives("reload", reload)
    assert machine.show(UNIT, "MainPID") == pid


async def test_killed(node: Node) -> None:
    machine = node.machine

    def kill() -> None:
        machine.await_next_life(UNIT, machine.signal_main(UNIT, signal.SIGKILL))

    await node.survives("kill", kill)
    assert machine.show(UNIT, "NRestarts") == "1"


async def test_standing_still(node: Node) -> None:
    machine = node.machine

    def stop() -> None:
        machine.await_next_life(UNIT, machine.signal_main(UNIT, signal.SIGSTOP))

    await node.survives("watchdog", stop)
    assert "Watchdog timeout" in machine.run("journalctl", "-u", UNIT).stdout
    assert machine.show(UNIT, "NRestarts") == "2"


async def test_stop_is_graceful(node: Node) -> None:
    machine = node.machine

    def stop() -> None:
        machine.run("systemctl", "stop", UNIT)
        names = "ActiveState", "Result", "ExecMainCode", "ExecMainStatus"
        exited = "1"
        assert [machine.show(UNIT, name) for name in names] == ["inactive", "success", exited, "0"]
        machine.run("systemctl", "start", UNIT)

    await node.survives("stop", stop)


async def test_upgrade_and_back(node: Node) -> None:
    machine = node.machine
    this = node.version

    def upgrade() -> None:
        said = machine.run("/srv/newer/scripts/install", *WHEELS).stderr
        assert UNIT in said
        assert node.version == this  # until it is restarted
        machine.run("systemctl", "restart", UNIT)
        assert node.version == NEWER

    await node.survives("upgrade", upgrade)

    def back() -> None:
        machine.run(INSTALL, "--rollback")
        machine.run("systemctl", "restart", UNIT)
        assert node.version == this

    await node.survives("rollback", back)
    releases = {path.name for path in (machine.root / "opt/sparrow/releases").iterdir()}
    assert releases == {this, NEWER}


def test_uninstall(node: Node) -> None:
    machine = node.machine
    machine.run(INSTALL, "--uninstall")
    assert machine.show(UNIT, "LoadState") == "not-found"
    assert not (machine.root / "opt/sparrow").exists()
    assert (machine.root / "etc/sparrow/sparrow.toml").exists()
    assert (machine.root / "var/lib/sparrow/sparrow.db").exists()
    machine.run(INSTALL, "--uninstall", "--purge")
    assert not (machine.root / "etc/sparrow").exists()
    assert not (machine.root / "var/lib/sparrow").exists()
    assert machine.run("id", "sparrow", check=False).returncode == 1
    assert not [path for path in (machine.root / "etc/systemd/system").rglob("*") if "sparrow" in path.name]
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"
