"""Real server processes for tests: started, killed, paused and stopped, each with a log of its own.

Owns a folder with the store and the keys, and everything that was started in it. To run something else that is
a process (a database, another kind of server), give `Deployment.add` its command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from protocol.ids import new_group_id
from store import Store, StoreSettings, membership, open_store
from store.groups import GroupChange
from tests.ports import free_port
from userapi.keys import ensure_key_pair
from userapi.tokens import TokenMinter

GUARD_S = 60.0
"""Whatever is waited for has long happened by then."""


class Process:
    """A server that may have many lives, one after the other. It is up when `port` answers and it has said `ready`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        port: int,
        ready: str = "",
    ) -> None:
        self.name = name
        self.port = port
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._ready = ready
        self._log_at = 0
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def websocket(self) -> str:
        """The URI of its port for WebSocket."""
        return f"ws://127.0.0.1:{self._environment['SPARROW_CONNECTOR__WEBSOCKET_LISTEN_PORT']}/"

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has a life now."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said, in all its lives."""
        return self._log.read_text()

    @property
    def log_of_life(self) -> str:
        """What it has said in its present life."""
        with self._log.open() as log:
            log.seek(self._log_at)
            return log.read()

    def change(self, environment: Mapping[str, str]) -> None:
        """From the next life on."""
        self._environment |= environment

    def start(self) -> None:
        """Begin a life; `up` waits for it."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} is running"
        with self._log.open("ab") as log:
            self._log_at = log.tell()
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdout=log, stderr=log
            )

    async def up(self) -> None:
        """Return when it is up."""
        deadline = time.monotonic() + GUARD_S
        while not _answers(self.address) or self._ready not in self.log_of_life:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} has ended:\n{self.log}"
            assert time.monotonic() < deadline, f"{self.name} does not come up:\n{self.log}"
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9, and gone when it returns."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(GUARD_S)

    async def terminate(self) -> int:
        """SIGTERM; returns the exit status when it has ended."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, GUARD_S)

    async def ended(self) -> int:
        """Its exit status, when it has ended by itself."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, GUARD_S)

    def pause(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def resident_kib(self) -> int:
        """Memory of the present life."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()


def listening(port: int) -> dict[str, str]:
    """The settings of a connector that listens there, and somewhere for WebSocket."""
    return {
        "SPARROW_CONNECTOR__LISTEN_PORT": str(port),
        "SPARROW_CONNECTOR__WEBSOCKET_LISTEN_PORT": str(free_port()),
    }


def _answers(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
        return True
    return False


class Deployment:
    """A store, keys, and the processes around them. Settings by name, as in `connector__heartbeat_s=2`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self._store = StoreSettings(path=str(folder / "sparrow.db"))
        private, public = folder / "token.key.pem", folder / "token.pub.pem"
        ensure_key_pair(private, public)
        self.minter = TokenMinter(private, lifetime_s=86400.0)
        self._broker_port = free_port()
        self._api_port = free_port()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SPARROW_")},
            "SPARROW_BROKER__LISTEN": f"tcp://127.0.0.1:{self._broker_port}",
            "SPARROW_CONNECTOR__BROKERS": f"tcp://127.0.0.1:{self._broker_port}",
            "SPARROW_CONNECTOR__TOKEN_PUBLIC_KEY_FILE": str(public),
            "SPARROW_USERAPI__TOKEN_PRIVATE_KEY_FILE": str(private),
            "SPARROW_USERAPI__TOKEN_PUBLIC_KEY_FILE": str(public),
            "SPARROW_USERAPI__LISTEN_PORT": str(self._api_port),
            "SPARROW_STORE__PATH": self._store.path,
            "SPARROW_CONNECTOR__MAX_MESSAGES_PER_SECOND": "0",
            "SPARROW_CONNECTOR__MAX_MESSAGES_PER_SECOND_OF_ACCOUNT": "0",
            "SPARROW_CONNECTOR__MAX_LOGINS_PER_MINUTE_OF_DEVICE": "0",
            **{f"SPARROW_{name}".upper(): str(value) for name, value in settings.items()},
        }

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()

    @property
    def environment(self) -> dict[str, str]:
        """Of all processes, and of an operator's tools."""
        return dict(self._environment)

    def use_store(self, store: StoreSettings) -> None:
        """From now on, and from each process's next start on."""
        self._store = store
        engine = {"SPARROW_STORE__ENGINE": store.engine}
        self._environment |= engine
        for process in self.processes:
            process.change(engine)

    # Processes.

    def add(self, name: str, command: Sequence[str], port: int, ready: str = "", **environment: str) -> Process:
        """One more process; not started yet."""
        process = Process(name, command, self._environment | environment, self.folder, port, ready)
        self.processes.append(process)
        return process

    def _sparrow(self, command: str, port: int, ready: str = "", **environment: str) -> Process:
        name = f"{command}-{len(self.processes)}"
        names = {"SPARROW_BROKER__NAME": name, "SPARROW_CONNECTOR__NAME": name}
        return self.add(
            name, [sys.executable, "-W", "error", "-m", "sparrow.cli", command], port, ready, **names, **environment
        )

    def broker(self) -> Process:
        """`sparrow broker`, the one that connectors are told of."""
        return self._sparrow("broker", self._broker_port)

    def further_broker(self, **environment: str) -> Process:
        """`sparrow broker`, of which they learn."""
        port = free_port()
        return self._sparrow("broker", port, SPARROW_BROKER__LISTEN=f"tcp://127.0.0.1:{port}", **environment)

    def connector(self, **environment: str) -> Process:
        """`sparrow connector`."""
        port = free_port()
        return self._sparrow("connector", port, "broker up", **listening(port) | environment)

    def node(self) -> Process:
        """`sparrow serve`."""
        port = free_port()
        return self._sparrow("serve", port, "Sparrow is ready", **listening(port))

    def userapi(self, **environment: str) -> Process:
        """`sparrow userapi`; a node has its own."""
        return self._sparrow("userapi", self._api_port, **environment)

    @property
    def api(self) -> str:
        """Where the user API listens."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def logs(self) -> str:
        """What all processes have said."""
        return "\n".join(process.log for process in self.processes)

    # Accounts.

    async def tokens(self, devices: Iterable[str]) -> dict[str, str]:
        """Make accounts with these devices (`user/device`), straight in the store; returns a login token for each."""
        names = list(devices)
        async with open_store(self._store) as store:
            for user in dict.fromkeys(name.partition("/")[0] for name in names):
                await store.create_account(user, "!")
            for name in names:
                user, _, device = name.partition("/")
                await store.add_device(user, device, device)
        return {name: self.token(name) for name in names}

    async def new_devices(self, users: Iterable[str], device: str = "new") -> dict[str, str]:
        """One more device for each of these; returns an access token for each, for the user API, too."""
        async with open_store(self._store) as store:
            return {f"{user}/{device}": await log_in(store, self.minter, user, device) for user in users}

    async def groups(self, teams: Iterable[Sequence[str]]) -> dict[str, list[str]]:
        """Make groups of these users, straight in the store; returns who is in which."""
        async with open_store(self._store) as store:
            return {await make_group(store, team): list(team) for team in teams}

    def token(self, name: str, issued: float | None = None) -> str:
        """A login token, from now on or from another time."""
        user, _, device = name.partition("/")
        return self.minter.mint(user, device, time.time() if issued is None else issued)[0]


async def log_in(store: Store, minter: TokenMinter, user: str, device: str) -> str:
    """Add a device and begin its login; returns its access token."""
    await store.add_device(user, device, device)
    await store.begin_login(user, device, f"login of {device}")
    return minter.mint(user, device, time.time(), f"login of {device}")[0]


async def make_group(store: Store, users: Sequence[str]) -> str:
    """A group of these, the first its owner; returns its id."""
    now_ms = int(time.time() * 1000)
    group, change = membership.made(new_group_id(os.urandom(15)), users[0], "team", now_ms)
    await store.groups.make(group, change)
    for user in users[1:]:
        change = GroupChange(group.version + 1, now_ms, users[0], "added", user)
        group = membership.after(group, change)
        assert await store.groups.change(group, change)
    return group.group
