"""mosquitto, ejabberd and NATS, each with settings, ports and data of its own: never a service of the system.

Owns their processes and a temporary folder for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from client.connection import Address
from load.measure import children
from load.peers import nats
from load.peers.xmpp import HOST, STREAM, cut
from load.spawn import START_TIMEOUT_S, free_port, listens
from load.spec import Account
from load.targets import Target
from protocol.errors import ConfigError, ServiceError

INSTALL = "run scripts/install-peers (Debian: apt-get install mosquitto ejabberd)"
NATS = str(Path(__file__).resolve().parents[2] / "var" / "nats" / "bin")
"""Where scripts/install-nats puts it."""


class Peer(Target):
    """A server of somebody else's."""

    def __init__(self) -> None:
        """Raises `ConfigError` if it is not installed."""
        super().__init__()
        self._command = self.found()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses = [Address("127.0.0.1", self._port)]

    @abstractmethod
    def found(self) -> Sequence[str]:
        """The command that it is. Raises `ConfigError`."""

    @abstractmethod
    def configure(self, folder: Path, port: int) -> tuple[Sequence[str], dict[str, str]]:
        """Write its settings; returns arguments and environment."""

    def __enter__(self) -> Peer:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"sparrow-load-{self.name}-"))
        self._arguments, self._environment = self.configure(self._folder, self._port)
        self.run()

    def run(self) -> None:
        """Start its process, over what an earlier one has left. Raises `ServiceError`."""
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, *self._arguments], env=os.environ | self._environment, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(self._port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = (self._folder / "log").read_text(errors="replace")[-1000:]
                raise ServiceError(f"{self.name} did not start: {said}")
            time.sleep(0.05)

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        # They come into being by who is in them.
        return {f"group{number}": some[0] for number, some in enumerate(members)}

    def pids(self) -> list[int]:
        assert self._process is not None
        return [self._process.pid, *children(self._process.pid)]

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Mosquitto(Peer):
    """An MQTT broker: QoS 1, sessions that are kept, written to disk each second.

    It has no way to write a message before its PUBACK: a crash loses what came since the last second's writing.
    """

    name = "mosquitto"
    dialect = "mqtt"
    shape = "one process, persistence each second"
    keeps_for_strangers = False

    def found(self) -> Sequence[str]:
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            raise ConfigError(f"mosquitto is not there: {INSTALL}")
        return (program,)

    def configure(self, folder: Path, port: int) -> tuple[Sequence[str], dict[str, str]]:
        settings = {
            "user": getpass.getuser(),
            "listener": f"{port} 127.0.0.1",
            "allow_anonymous": "true",
            "persistence": "true",
            "persistence_location": f"{folder}/",
            "autosave_interval": "1",
            "max_inflight_messages": "0",
            "max_queued_messages": "0",
            "set_tcp_nodelay": "true",
            "log_type": "error",
        }
        file = folder / "mosquitto.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        return ("-c", str(file)), {}

    async def accounts(self, count: int) -> list[Account]:
        return [Account(f"user{n}", "load", "") for n in range(count)]


_EJABBERD = """
hosts: [{host}]
loglevel: error
default_db: mnesia
auth_method: [internal]
auth_password_format: plain
registration_timeout: infinity
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, starttls: false, access: all,
     shaper: none, backlog: 4096}}
shaper_rules:
  max_user_sessions: 10
  max_user_offline_messages: infinity
modules:
  mod_muc:
    access_create: all
    history_size: 0
    max_users: 1000
    default_room_options: {{max_users: 1000, presence_broadcast: []}}
  mod_offline: {{access_max_user_messages: max_user_offline_messages}}
  mod_register: {{access: all, ip_access: all}}
  mod_stream_mgmt: {{max_ack_queue: infinity, resend_on_timeout: if_offline}}
"""


class Ejabberd(Peer):
    """An XMPP server with stream management, offline messages in Mnesia on disk, and passwords that are not hashed.

    Mnesia writes to disk soon after, not before, the server's ack.
    """

    name = "ejabberd"
    dialect = "xmpp"
    shape = "one process, Mnesia"

    def found(self) -> Sequence[str]:
        program = shutil.which("erl")
        self._libraries = next(iter(sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"), reverse=True)), None)
        if program is None or self._libraries is None:
            raise ConfigError(f"ejabberd is not there (Debian's): {INSTALL}")
        return (program,)

    def configure(self, folder: Path, port: int) -> tuple[Sequence[str], dict[str, str]]:
        assert self._libraries is not None
        file = folder / "ejabberd.yml"
        file.write_text(_EJABBERD.format(host=HOST, port=port))
        environment = {
            "EJABBERD_CONFIG_PATH": str(file),
            "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
            "ERL_LIBS": str(self._libraries.parents[1]),
            "ERL_MAX_PORTS": "100000",
            "HOME": str(folder),
        }
        # Not distributed, so no epmd; +K and +P as Debian's ejabberdctl has them.
        data = ("-mnesia", "dir", f'"{folder}/mnesia"', "-ejabberd", "log_rotate_count", "0", "-s", "ejabberd")
        return ("-noinput", "+K", "true", "+P", "250000", *data), environment

    async def accounts(self, count: int) -> list[Account]:
        password = secrets.token_urlsafe(9)
        names = [f"user{n}" for n in range(count)]
        await asyncio.gather(*(self._register(names[n::8], password) for n in range(min(8, count))))
        return [Account(name, "load", password) for name in names]

    async def _register(self, names: Sequence[str], password: str) -> None:
        """In-band (XEP-0077), one after the other."""
        for name in names:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            form = (
                f"<query xmlns='jabber:iq:register'><username>{name}</username><password>{password}</password></query>"
            )
            writer.write(f"{STREAM}<iq type='set' id='r'>{form}</iq>".encode())
            data, stanzas = b"", list[bytes]()
            async with asyncio.timeout(START_TIMEOUT_S):
                while not any(stanza.startswith(b"<iq") for stanza in stanzas):
                    read = await reader.read(65536)
                    if not read:
                        raise ServiceError(f"ejabberd hung up at a registration: {data!r}")
                    more, data = cut(data + read)
                    stanzas += more
            writer.close()
            answer = next(stanza for stanza in stanzas if stanza.startswith(b"<iq"))
            if b"type='result'" not in answer and b"conflict" not in answer:
                raise ServiceError(f"ejabberd does not register: {answer.decode(errors='replace')}")


class Nats(Peer):
    """NATS with JetStream: streams in files, in which what is acked is on the disk.

    A text goes from its stream when its reader has acked it; what is said in groups stays.
    """

    name = "nats"
    dialect = "nats"
    shape = "one process, JetStream in files, synced before each ack"
    keeps_for_strangers = False
    replays = True
    sync_interval = "always"

    def found(self) -> Sequence[str]:
        program = shutil.which("nats-server", path=NATS)
        if program is None:
            raise ConfigError(f"nats-server is not there: {INSTALL}")
        return (program,)

    def configure(self, folder: Path, port: int) -> tuple[Sequence[str], dict[str, str]]:
        settings = {
            "listen": f"127.0.0.1:{port}",
            "max_connections": 1_000_000,
            "jetstream": {"store_dir": f"{folder}/data", "sync_interval": self.sync_interval},
        }
        file = folder / "nats.conf"
        file.write_text(json.dumps(settings))
        return ("-c", str(file)), {}

    async def accounts(self, count: int) -> list[Account]:
        await self._make(nats.streams())
        return [Account(f"user{n}", "load", "") for n in range(count)]

    async def further(self, users: Sequence[str]) -> list[Account]:
        return [Account(user, "new", "") for user in users]

    async def _make(self, streams: Sequence[dict[str, Any]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        asked = [nats.ask(f"STREAM.CREATE.{stream['name']}", b"a", stream) for stream in streams]
        writer.write(nats.CONNECT + b"SUB a 1\r\n" + b"".join(asked))
        data, answers = b"", list[bytes]()
        async with asyncio.timeout(START_TIMEOUT_S):
            while len(answers) < len(streams):
                read = await reader.read(65536)
                if not read:
                    raise ServiceError(f"nats-server hung up: {data!r}")
                operations, data = nats.cut(data + read)
                answers += [payload for words, payload in operations if words[0] == b"MSG"]
        writer.close()
        for answer in answers:
            if b'"error"' in answer:
                raise ServiceError(f"nats-server makes no stream: {answer.decode(errors='replace')}")


class NatsUnsynced(Nats):
    """The same with the default of `sync_interval`: it acks what is on the disk within two minutes."""

    name = "nats-unsynced"
    shape = "one process, JetStream in files, synced every two minutes"
    sync_interval = "2m"


PEERS: dict[str, type[Peer]] = {
    "mosquitto": Mosquitto,
    "ejabberd": Ejabberd,
    "nats": Nats,
    "nats-unsynced": NatsUnsynced,
}
