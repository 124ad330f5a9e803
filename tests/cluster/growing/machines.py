"""A cluster on hosts of their own, which grows and is mended: etcd, Cassandra, brokers, connectors, a user API.

Owns what an operator does to it, as docs/operations.md, "Grow and mend a cluster" has it: files, commands, restarts.
The settings of all hosts are written from what the cluster is to be. Links have CURVE; clients come without TLS.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

from cassandra.cluster import Cluster as Driver

from sparrow.config.settings import Settings, load
from tests.bare_metal.machine import missing
from tests.cluster.growing.hosts import Host, Network
from tests.cluster.people import People
from tests.cluster.processes import Process
from tests.cluster.story import start
from tests.cluster.whole import ROOT, InStore
from tests.services.cassandra import answers

P = ParamSpec("P")
R = TypeVar("R")
GUARD_S = 900.0
"""A node of Cassandra that takes its data has long come by then."""
SPARROW = str(ROOT / ".venv" / "bin" / "sparrow")
NODETOOL = (ROOT / "scripts" / "nodetool", "-p", "7199")
MONITORS = {"broker": 7490, "connector": 7491, "userapi": 7489}
PORTS = {"broker": 7410, "connector": 7400, "userapi": 7480}

SETTINGS = {
    "broker": """
[broker]
name = "{name}"
listen = "tcp://{address}:7410"
presence = "etcd"
curve_key_file = "keys/broker.key"
allowed_keys_file = "keys/allowed.keys"
[etcd]
endpoints = {endpoints}
""",
    "connector": """
[connector]
name = "{name}"
listen_host = "{address}"
plain_tcp = true
websocket_listen_port = 7402
brokers = {brokers}
curve_key_file = "keys/{name}.key"
broker_public_key_file = "keys/broker.pub"
token_public_key_file = "keys/token.pub.pem"
max_messages_per_second = 0
max_messages_per_second_of_account = 0
max_frames_per_second = 0
max_logins_per_minute_of_device = 0
""",
    "userapi": """
[userapi]
listen_host = "{address}"
plain_http = true
connectors = {connectors}
brokers = {brokers}
curve_key_file = "keys/{name}.key"
broker_public_key_file = "keys/broker.pub"
token_private_key_file = "keys/token.key.pem"
token_public_key_file = "keys/token.pub.pem"
""",
}
COMMON = """
[store]
engine = "cassandra"
cassandra_contact_points = {points}
cassandra_replication = "NetworkTopologyStrategy:datacenter1={replicas}"
[monitor]
listen_host = "{address}"
listen_port = {monitor}
processes = {monitors}
"""


async def until(condition: Callable[[], object], what: str, guard_s: float = GUARD_S) -> None:
    """Wait for it, which is asked in a thread."""
    deadline = time.monotonic() + guard_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.3)


def timed(step: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Say how long it took."""

    @functools.wraps(step)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        begun = time.monotonic()
        result = await step(*args, **kwargs)
        print(step.__name__, *args[1:], *kwargs.values(), f"took {time.monotonic() - begun:.1f} s")
        return result

    return wrapper


class Remote(Process):
    """A process on a host."""

    def __init__(self, host: Host, name: str, command: Sequence[object], port: int, ready: str = "") -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SPARROW_")}
        super().__init__(f"{name}-{host.name}", host.within(*command), kept, host.folder, port, ready)
        self.host = host
        self.role = name

    @property
    def address(self) -> tuple[str, int]:
        return self.host.address, self.port

    @property
    def websocket(self) -> str:
        return f"ws://{self.host.address}:7402/"

    @property
    def listens(self) -> str:
        """As settings have it."""
        return f"{self.host.address}:{self.port}"


class Machines(InStore):
    """The cluster. What is there of each kind, by the host's name, is in `of`."""

    def __init__(self, network: Network) -> None:
        if shutil.which("etcdctl") is None:
            missing("there is no etcdctl; run scripts/install-package etcdctl etcd-client")
        self._network = network
        self.hosts: dict[str, Host] = {}
        self.of: dict[str, dict[str, Remote]] = {
            role: {} for role in ("etcd", "cassandra", "broker", "connector", "userapi")
        }
        self.replicas = 1
        self._started: list[Remote] = []
        self._allowed: dict[str, str] = {}
        self._keys = network.folder / "keys"
        self.call("keys", "broker", self._keys)
        self.call("keys", "token", self._keys)

    @staticmethod
    def call(*arguments: object) -> str:
        """`sparrow …`, on no host."""
        return subprocess.run([SPARROW, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def host(self, name: str) -> Host:
        """It, made if it is not there; with the keys that all have."""
        if name not in self.hosts:
            self.hosts[name] = self._network.host(name)
            shutil.copytree(self._keys, self.hosts[name].folder / "keys")
        return self.hosts[name]

    def close(self) -> None:
        """All of it ends."""
        for one in self._started:
            one.close()

    def remote(self, host: Host, role: str, command: Sequence[object], port: int, ready: str = "") -> Remote:
        """A process there, with its first life begun."""
        made = Remote(host, role, command, port, ready)
        self._started.append(made)
        made.start()
        return made

    # For the story.

    @property
    def processes(self) -> list[Process]:
        return [process for running in self.of.values() for process in running.values()]

    @property
    def connectors(self) -> list[Remote]:
        return list(self.of["connector"].values())

    @property
    def api(self) -> str:
        (userapi,) = self.of["userapi"].values()
        return f"http://{userapi.listens}"

    def userapi(self) -> Process:
        raise NotImplementedError("it is there already")

    def settings(self, name: str) -> Settings:
        ((_, userapi),) = self.of["userapi"].items()
        return load(userapi.host.folder / "userapi.toml", {})

    # Settings.

    def write(self) -> None:
        """The settings of all that runs, as the cluster is now; what runs has not read them."""
        for role in PORTS:
            for one in self.of[role].values():
                (one.host.folder / f"{role}.toml").write_text(self._text(role, one.host))

    def _text(self, role: str, host: Host) -> str:
        lists = {
            "endpoints": [f"http://{one.listens}" for one in self.of["etcd"].values()],
            "points": [one.listens for one in self.of["cassandra"].values()],
            "brokers": [f"tcp://{one.listens}" for one in self.of["broker"].values()][:2],
            "connectors": [one.listens for one in self.of["connector"].values()],
            "monitors": [
                f"{one.name}={one.host.address}:{MONITORS[kind]}" for kind in PORTS for one in self.of[kind].values()
            ],
        }
        values = {name: "[" + ", ".join(f'"{one}"' for one in many) + "]" for name, many in lists.items()}
        own = {"name": f"{role}-{host.name}", "address": host.address, "monitor": MONITORS[role]}
        text = f'data_dir = "{host.folder}"\n' + SETTINGS[role] + COMMON
        return text.format(**values, **own, replicas=self.replicas)

    def allow(self, name: str, host: Host) -> None:
        """Make a key there, and bring its line to all brokers."""
        self._allowed[name] = self.call("keys", name.partition("-")[0], name, host.folder / "keys")
        self.bring_lines()

    def forget(self, name: str) -> None:
        """Take its line from all brokers."""
        del self._allowed[name]
        self.bring_lines()

    def bring_lines(self) -> None:
        """The lines of all keys to all hosts; brokers read them again (`systemctl reload`)."""
        for host in self.hosts.values():
            if host.alive:
                (host.folder / "keys" / "allowed.keys").write_text("".join(self._allowed.values()))
        for broker in self.of["broker"].values():
            if broker.host.alive and broker.runs:
                os.kill(broker.pid, signal.SIGHUP)

    # Clients.

    def told(self, people: People) -> None:
        """They know of the connectors that the user API names now."""
        for device in people.devices.values():
            device.addresses[:] = [connector.address for connector in self.connectors]

    # Ours.

    async def apply_schema(self, name: str) -> None:
        """`sparrow schema apply`, there."""
        host = self.host(name)
        file = host.folder / "broker.toml"
        file.write_text(self._text("broker", host))
        await asyncio.to_thread(host.run, SPARROW, "schema", "apply", "--config", file)

    @timed
    async def add(self, role: str, name: str) -> Remote:
        """Start one of ours there, and return when it is up."""
        host = self.host(name)
        ready = "broker up" if role == "connector" else ""
        if role != "broker":
            self.allow(f"{role}-{name}", host)
        self.bring_lines()
        file = host.folder / f"{role}.toml"
        file.write_text(self._text(role, host))
        added = self.remote(host, role, (SPARROW, role, "--config", file), PORTS[role], ready)
        await added.up()
        self.of[role][name] = added
        self.write()
        return added

    @timed
    async def drain(self, role: str, name: str) -> None:
        """`sparrow drain`, which returns when it is gone."""
        gone = self.of[role].pop(name)
        said = await asyncio.to_thread(gone.host.run, SPARROW, "drain", str(gone.pid))
        assert "gone after" in said
        await gone.ended()
        self.write()

    @timed
    async def restart(self, *roles: str) -> None:
        """One by one, with the settings that are there now."""
        for role in roles:
            for one in list(self.of[role].values()):
                assert await one.terminate() == 0
                await start(one)

    async def status(self) -> None:
        """`sparrow status` has nothing to complain of, in time."""
        one = next(iter(self.of["broker"].values()))
        command = (SPARROW, "status", "--config", one.host.folder / "broker.toml")
        said = [""]

        def well() -> bool:
            said[0] = one.host.run(*command, check=False)
            return not re.search(r"down|cannot", said[0])

        await until(well, f"not all are well: {said}", 60)

    # etcd.

    @timed
    async def add_member(self, name: str, *, first: Sequence[str] = ()) -> None:
        """`first`: all hosts of a cluster that is only made; else it comes to those that are there."""
        host = self.host(name)
        peers = {one: f"http://{self.host(one).address}:2380" for one in (*(first or self.of["etcd"]), name)}
        if not first:
            said = await self.etcdctl("member", "add", f"etcd-{name}", f"--peer-urls={peers[name]}")
            (cluster,) = re.findall(r'ETCD_INITIAL_CLUSTER="(.*)"', said)
        else:
            cluster = ",".join(f"etcd-{one}={url}" for one, url in peers.items())
        client, peer = f"http://{host.address}:2379", peers[name]
        command = (
            "etcd", "--name", f"etcd-{name}", "--data-dir", host.folder / "etcd", "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", cluster, "--initial-cluster-state", "new" if first else "existing",
            "--auto-compaction-mode=periodic", "--auto-compaction-retention=10m",
        )  # fmt: skip
        member = self.remote(host, "etcd", command, 2379)
        if not first:
            await until(lambda: self._healthy(host), "the new member does not come up")
        self.of["etcd"][name] = member

    @timed
    async def remove_member(self, name: str) -> None:
        """By its name, whether it lives or not; it ends by itself."""
        gone = self.of["etcd"].pop(name)
        listed = await self.etcdctl("member", "list")
        (found,) = re.findall(rf"^(\w+), \w+, etcd-{name},", listed, re.MULTILINE)
        await self.etcdctl("member", "remove", found)
        if gone.host.alive and gone.runs:
            await gone.ended()

    async def etcdctl(self, *arguments: str) -> str:
        """At a member that lives."""
        member = next(one for one in self.of["etcd"].values() if one.host.alive and one.runs)
        endpoint = f"--endpoints=http://{member.listens}"
        return await asyncio.to_thread(member.host.run, "etcdctl", endpoint, *arguments)

    @staticmethod
    def _healthy(host: Host) -> bool:
        said = host.run(
            "etcdctl", f"--endpoints=http://{host.address}:2379", "endpoint", "health",
            "--write-out=json", check=False,
        )  # fmt: skip
        return '"health":true' in said

    # Cassandra.

    @timed
    async def add_node(self, name: str, replaces: str = "") -> None:
        """Return when it has its data. `replaces`: the host of a dead one, whose place it takes."""
        host = self.host(name)
        dead = self.of["cassandra"].pop(replaces).host.address if replaces else ""
        seeds = ",".join(one.host.address for one in list(self.of["cassandra"].values())[:2]) or host.address
        command = [
            sys.executable, ROOT / "scripts" / "run-cassandra", host.folder / "cassandra", host.address,
            "--seeds", seeds, "--join", "--jmx-port", 7199, *(["--replace", dead] if dead else []),
        ]  # fmt: skip
        node = self.remote(host, "cassandra", command, 9042)
        await until(lambda: node.runs and answers(host.address, 9042), f"{node.name} does not come up: {node.log}")
        self.of["cassandra"][name] = node
        await until(lambda: f"UN  {host.address}" in self._ring(), "the others do not know of it")

    async def first_nodes(self, *names: str) -> None:
        """All of a cluster that is only made, each with as many ranges."""
        seeds = ",".join(self.host(name).address for name in names)
        for name in names:
            host = self.host(name)
            command = [
                sys.executable, ROOT / "scripts" / "run-cassandra", host.folder / "cassandra", host.address,
                "--seeds", seeds, "--jmx-port", 7199,
            ]  # fmt: skip
            self.of["cassandra"][name] = self.remote(host, "cassandra", command, 9042)
        await until(lambda: self._ring(check=False).count("UN  ") == len(names), "they do not find one another")

    def _ring(self, *, check: bool = True) -> str:
        return self.nodetool(next(iter(self.of["cassandra"])), "status", check=check)

    def nodetool(self, name: str, *arguments: str, check: bool = True) -> str:
        """On that host."""
        return self.hosts[name].run(*NODETOOL, *arguments, check=check)

    @timed
    async def on_each(self, *arguments: str) -> None:
        """`nodetool …`, on one node after the other."""
        for name in self.of["cassandra"]:
            await asyncio.to_thread(self.nodetool, name, *arguments)

    @timed
    async def decommission(self, name: str) -> None:
        """It gives its data to the others, and is gone."""
        await asyncio.to_thread(self.nodetool, name, "decommission")
        gone = self.of["cassandra"].pop(name)
        await gone.terminate()
        assert gone.host.address not in await asyncio.to_thread(self._ring)

    @timed
    async def raise_replicas(self, to: int) -> None:
        """By one, and each node makes good what it lacks."""
        assert to == self.replicas + 1
        self.replicas = to
        replication = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {to}}}"
        await asyncio.to_thread(self._cql, f"ALTER KEYSPACE sparrow WITH replication = {replication}")
        await self.on_each("repair", "--full", "sparrow")

    def _cql(self, statement: str) -> None:
        with Driver([one.host.address for one in self.of["cassandra"].values()]) as driver:
            driver.connect().execute(statement)
