"""A machine by scripts/install and systemd, from nothing to removal: first a node, then its parts as services.

Each test needs the ones before. What is checked is what an operator does: start, reload, stop, upgrade, back; and what
systemd does when a process dies or stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import ssl
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from tests.bare_metal.machine import NEWER, Machine, until
from tests.bare_metal.node import PAUSE_S, UNIT, Node
from tests.bare_metal.people import Pair
from tests.certificates import Authority
from tests.ports import free_port

pytestmark = pytest.mark.slow

INSTALL = "/srv/sparrow/scripts/install"
WHEELS = ("--wheels", "/srv/wheels")
BROKER, USERAPI = "sparrow-broker@1.service", "sparrow-userapi.service"
CONNECTORS = "sparrow-connector@1.service", "sparrow-connector@2.service"


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
    machine.run("sh", "-c", "cp -r /srv/wheels /tmp/changed && for one in /tmp/changed/h11-*.whl; do echo >>$one; done")
    changed = machine.run(INSTALL, "--role", "one", "--wheels", "/tmp/changed", check=False)
    assert changed.returncode == 1
    assert "DO NOT MATCH THE HASHES" in changed.stderr
    assert not any((machine.root / "opt/sparrow/releases").iterdir())
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
    assert "restart" not in said
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


async def test_what_root_restores_is_the_servers(node: Node) -> None:
    """As documented: root, nowhere in particular, and no `--config`."""
    machine = node.machine
    said = "sparrow: the settings are /etc/sparrow/sparrow.toml"
    assert machine.run("sparrow", "backup", "--with-keys", "/root/monday.tar").stderr.strip() == said
    machine.run("systemctl", "stop", UNIT)
    machine.run("sh", "-c", "rm -r /var/lib/sparrow/*")
    done = machine.run("sparrow", "restore", "/root/monday.tar")
    assert done.stderr.strip() == said
    assert "/var/lib/sparrow/sparrow.db: as it was at" in done.stdout
    assert not (machine.root / "root/var").exists()
    machine.run("sparrow", "check")
    machine.run("systemctl", "start", UNIT)
    await node.check()
    machine.run("sparrow", "status")


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


async def test_journald_stands_still(node: Node) -> None:
    """Nobody waits for it: a node that waited for its log was killed by the watchdog, and so was the next one."""
    machine = node.machine
    before = machine.show(UNIT, "MainPID")
    journald = "systemd-journald.service"
    machine.signal_main(journald, signal.SIGSTOP)
    try:
        for _ in range(10):
            await node.check()
        with urllib.request.urlopen(f"http://127.0.0.1:{node.monitor_port}/readyz", timeout=30) as answer:
            assert answer.status == 200
    finally:
        machine.signal_main(journald, signal.SIGCONT)
    assert machine.show(UNIT, "MainPID") == before
    until(lambda: machine.run("journalctl", "-u", UNIT).stdout.count("session_began") >= 10, "no log")


def test_a_backup_by_itself(node: Node) -> None:
    machine = node.machine
    machine.run("systemctl", "enable", "--now", "sparrow-backup.timer")
    assert "sparrow-backup.timer" in machine.run("systemctl", "list-timers").stdout
    machine.run("systemctl", "start", "sparrow-backup.service")
    assert "tried out, in a scratch database: accounts " in machine.run("journalctl", "-u", "sparrow-backup").stdout
    folder = machine.root / "var/backups/sparrow"
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".tar"]
    assert machine.show("sparrow-backup.service", "Result") == "success"


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


class Cluster:
    """The parts of a node as services of their own, one broker and two connectors on one port, with TLS and CURVE."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.authority = Authority(folder / "tls")
        self.port, self.api_port, self.monitors = free_port(), free_port(), {n: free_port() for n in (0, 1, 2)}
        self.people = Pair(folder, f"https://127.0.0.1:{self.api_port}", self.authority.file)

    def renew_certificate(self) -> None:
        """Where connectors and the user API look for it; only their group may read the key."""
        certificate, key = self.authority.issue()
        self.machine.write("/etc/sparrow/tls/chain.pem", certificate.read_bytes(), 0o640)
        self.machine.write("/etc/sparrow/tls/key.pem", key.read_bytes(), 0o640)

    def make_keys(self) -> None:
        """As docs/operations.md has it."""
        keys = "/etc/sparrow/keys"
        self.machine.run("sparrow", "keys", "broker", keys)
        self.machine.run("sparrow", "keys", "token", keys)
        for kind in ("connector", "userapi"):
            self.machine.run("sh", "-c", f"sparrow keys {kind} {kind}-$(hostname -s) {keys} >> {keys}/allowed.keys")

    def write_environment(self) -> None:
        """Ports, and the names of this place; all else is as it was installed."""
        broker = f"tcp://127.0.0.1:{free_port()}"
        texts = {
            "broker-1": f"SPARROW_BROKER__LISTEN={broker}\nSPARROW_MONITOR__LISTEN_PORT={self.monitors[0]}\n",
            "userapi": f"SPARROW_USERAPI__LISTEN_PORT={self.api_port}\nSPARROW_USERAPI__BROKERS={broker}\n"
            f"SPARROW_MONITOR__LISTEN_PORT={free_port()}\n"
            f"SPARROW_USERAPI__CONNECTORS=tls://127.0.0.1:{self.port}\n",
        }
        for n in (1, 2):
            texts[f"connector-{n}"] = (
                f"SPARROW_CONNECTOR__LISTEN_PORT={self.port}\nSPARROW_CONNECTOR__BROKERS={broker}\n"
                f"SPARROW_MONITOR__LISTEN_PORT={self.monitors[n]}\n"
            )
        for name, text in texts.items():
            self.machine.write(f"/etc/sparrow/{name}.env", text)

    def connections(self, number: int) -> float:
        """Of one connector."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitors[number]}/varz", timeout=30) as answer:
            return float(json.load(answer)["values"]["sparrow_connector_connections"])

    def serial(self) -> int:
        """Of the certificate that a new connection is shown."""
        return x509.load_pem_x509_certificate(
            ssl.get_server_certificate(("127.0.0.1", self.port), timeout=30).encode()
        ).serial_number


@pytest.fixture(scope="module")
def cluster(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    machine = node.machine
    machine.run("systemctl", "disable", "--now", UNIT)
    machine.run(INSTALL, "--role", "connector", "--role", "broker", "--role", "userapi", *WHEELS)
    return Cluster(machine, tmp_path_factory.mktemp("cluster"))


@pytest.mark.parametrize("unit", [CONNECTORS[0], BROKER, USERAPI])
def test_a_key_that_is_missing_is_missed(cluster: Cluster, unit: str) -> None:
    assert cluster.machine.run("systemctl", "start", unit, check=False).returncode != 0
    assert "`sparrow keys` makes it" in cluster.machine.run("journalctl", "-u", unit).stdout
    cluster.machine.run("systemctl", "stop", unit)


async def test_parts(cluster: Cluster) -> None:
    machine = cluster.machine
    cluster.make_keys()
    cluster.renew_certificate()
    cluster.write_environment()
    for role in ("broker", "connector", "userapi"):
        machine.run("sparrow", "check", "--config", f"/etc/sparrow/{role}.toml")
    # A node's file, beside those of parts, is left from before.
    assert "sparrow.toml is for a whole node" in machine.run("sparrow", "check", check=False).stderr
    machine.run("mv", "/etc/sparrow/sparrow.toml", "/etc/sparrow/sparrow.toml.old")
    machine.run("sparrow", "check")
    machine.run("systemctl", "enable", "--now", *CONNECTORS, BROKER, USERAPI)
    assert "down" not in machine.run("sparrow", "status").stdout
    machine.run("mv", "/etc/sparrow/sparrow.toml.old", "/etc/sparrow/sparrow.toml")
    assert [machine.show(unit, "ActiveState") for unit in (*CONNECTORS, BROKER, USERAPI)] == ["active"] * 4
    async with cluster.people.talking("parts") as talk:
        await talk.say("hello")
        await talk.all_heard()


def test_a_session_is_followed_in_the_journal(cluster: Cluster) -> None:
    def told(*fields: str) -> list[dict[str, str]]:
        lines = cluster.machine.run("journalctl", "--output=json", *fields).stdout.splitlines()
        return [json.loads(line) for line in lines]

    began = told("LOGGER=sparrow.sessions", "SPARROW_EVENT=session_began")[-1]
    assert began["_SYSTEMD_UNIT"] in CONNECTORS
    assert began["PRIORITY"] == "6"
    assert began["SPARROW_FROM"].startswith("127.0.0.1:")
    session = f"SPARROW_SESSION={began['SPARROW_SESSION']}"
    until(lambda: [entry["SPARROW_EVENT"] for entry in told(session)] == ["session_began", "session_ended"], "no end")
    assert {entry["SPARROW_USER"] for entry in told(session)} == {began["SPARROW_USER"]}


def test_a_connector_cannot_have_what_is_not_its_own(cluster: Cluster) -> None:
    def may_read(user: str, path: str) -> bool:
        shell = ("setpriv", f"--reuid={user}", "--regid=sparrow", "--clear-groups", "head", "-c1", path)
        return cluster.machine.run(*shell, check=False).returncode == 0

    assert cluster.machine.run("ps", "-C", "sparrow", "-o", "user:20=").stdout.split().count("sparrow-connector") == 2
    for path in (f"/run/credentials/{BROKER}/broker.key", "/var/lib/sparrow/sparrow.db"):
        assert may_read("sparrow", path)
        assert not may_read("sparrow-connector", path)
    assert not may_read("sparrow", "/etc/sparrow/keys/broker.key")
    assert may_read("sparrow-connector", "/etc/sparrow/tls/key.pem")


def test_two_connectors_share_a_port(cluster: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(socket.create_connection(("127.0.0.1", cluster.port), timeout=30))
        until(lambda: cluster.connections(1) + cluster.connections(2) == 64, "connections are missing")
        assert cluster.connections(1) > 0
        assert cluster.connections(2) > 0


async def test_connectors_one_by_one(cluster: Cluster) -> None:
    """A rolling restart: clients go over to the other and come back."""

    def failures() -> int:
        return len(re.findall("Failed with result|timed out", cluster.machine.run("journalctl").stdout))

    before = failures()

    def roll() -> None:
        for unit in (*CONNECTORS, BROKER, USERAPI):
            cluster.machine.run("systemctl", "restart", unit)
            assert cluster.machine.show(unit, "Result") == "success"

    async with cluster.people.talking("roll") as talk:
        await talk.say("before")
        rolling = asyncio.create_task(asyncio.to_thread(roll))
        while not rolling.done():
            await talk.say("meanwhile")
            await asyncio.sleep(PAUSE_S)
        await rolling
        await talk.all_heard()
    assert failures() == before


def test_new_certificate(cluster: Cluster) -> None:
    before = cluster.serial()
    pids = [cluster.machine.show(unit, "MainPID") for unit in (*CONNECTORS, BROKER, USERAPI)]
    cluster.renew_certificate()
    cluster.machine.run("systemctl", "reload", *CONNECTORS, BROKER, USERAPI)
    until(lambda: before not in {cluster.serial() for _ in range(16)}, "the old certificate stays")
    assert [cluster.machine.show(unit, "MainPID") for unit in (*CONNECTORS, BROKER, USERAPI)] == pids
    until(lambda: cluster.machine.show(USERAPI, "ActiveState") == "active", "the user API is away")


def test_drain(cluster: Cluster) -> None:
    """By its unit, and by its process id, which systemd would start again if it were only killed."""
    machine = cluster.machine

    def inactive(unit: str) -> bool:
        return machine.show(unit, "ActiveState") == "inactive"

    for unit, target in ((CONNECTORS[1], "sparrow-connector@2"), (CONNECTORS[0], "")):
        pid = machine.show(unit, "MainPID")
        said = machine.run("sparrow", "drain", target or pid).stdout.splitlines()
        assert said[0] == f"sparrow connector (process {pid}) of {unit}: stopping; sessions left: 0"
        assert said[-1].startswith(f"sparrow connector (process {pid}) of {unit}: gone after ")
        until(partial(inactive, unit), f"{unit} comes back")
    machine.run("systemctl", "start", *CONNECTORS)


def test_the_user_api_standing_still(cluster: Cluster) -> None:
    """gunicorn's arbiter, whose workers go on; they end with it."""
    machine = cluster.machine
    pid = machine.signal_main(USERAPI, signal.SIGSTOP)
    machine.await_next_life(USERAPI, pid)
    assert "Watchdog timeout" in machine.run("journalctl", "-u", USERAPI).stdout
    assert machine.show(USERAPI, "NRestarts") == "1"
    context = ssl.create_default_context(cafile=str(cluster.authority.file))
    with urllib.request.urlopen(f"https://127.0.0.1:{cluster.api_port}/healthz", timeout=30, context=context) as answer:
        assert answer.status == 200


def test_all_of_it_stops(cluster: Cluster) -> None:
    def are(state: str) -> bool:
        return {cluster.machine.show(unit, "ActiveState") for unit in (*CONNECTORS, BROKER, USERAPI)} == {state}

    cluster.machine.run("systemctl", "stop", "sparrow.target")  # does not wait
    until(lambda: are("inactive"), "something goes on")
    cluster.machine.run("systemctl", "start", "sparrow.target")
    assert are("active")


def test_from_roles_to_a_node(node: Node) -> None:
    """Stopping does not wait, starting does: what stops still has the database and the ports."""
    machine = node.machine
    for role in (*CONNECTORS, BROKER, USERAPI):
        assert UNIT in machine.show(role, "After").split()
    machine.run("systemctl", "stop", "sparrow.target")
    machine.run("systemctl", "start", UNIT)
    assert machine.show(UNIT, "NRestarts") == "0"


def test_uninstall(node: Node) -> None:
    machine = node.machine
    machine.run(INSTALL, "--uninstall")
    assert machine.show(UNIT, "LoadState") == "not-found"
    assert not (machine.root / "opt/sparrow").exists()
    assert (machine.root / "etc/sparrow/sparrow.toml").exists()
    assert (machine.root / "var/lib/sparrow/sparrow.db").exists()
    left = "install: /var/backups/sparrow stays: remove it yourself, if you mean that\n"
    assert machine.run(INSTALL, "--uninstall", "--purge").stderr == left
    assert not (machine.root / "etc/sparrow").exists()
    assert not (machine.root / "var/lib/sparrow").exists()
    for user in ("sparrow", "sparrow-connector"):
        assert machine.run("id", user, check=False).returncode == 1
    assert machine.run("pgrep", "-f", "/opt/sparrow", check=False).stdout == ""
    assert not (machine.root / "usr/local/bin/sparrow").is_symlink()
    assert not [path for path in (machine.root / "etc/systemd/system").rglob("*") if "sparrow" in path.name]
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"
