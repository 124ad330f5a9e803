"""A real node for tests (`sparrow serve`, on free ports), and a scripted server that says what a test wants.

Owns these processes and sockets.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from protocol.server import ServerSession, Windows
from protocol.sparrow_pb2 import Goodbye, LoggedIn, Message
from tests.ports import free_port

PASSWORD = "correct horse"


class Node:
    """`sparrow serve` in a folder of its own; `start` after `kill` is a restart."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.port, self.api_port = free_port(), free_port()
        self.tls = "connector__tls_certificate_file" in settings
        scheme = "https" if "userapi__tls_certificate_file" in settings else "http"
        self.api = f"{scheme}://127.0.0.1:{self.api_port}"
        self.environment = os.environ | {
            "SPARROW_DATA_DIR": str(folder),
            "SPARROW_CONNECTOR__LISTEN_PORT": str(self.port),
            "SPARROW_USERAPI__LISTEN_PORT": str(self.api_port),
            "SPARROW_USERAPI__CONNECTORS": f"{'tls://' if self.tls else ''}127.0.0.1:{self.port}",
            "SPARROW_USERAPI__ARGON2_MEMORY_KIB": "64",
            "SPARROW_USERAPI__ARGON2_TIME_COST": "1",
            "SPARROW_USERAPI__FURTHER_DEVICE_DELAY_S": "2.1",
            **{f"SPARROW_{name}".upper(): str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Node:
        """Return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sparrow.cli", "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + 30
        quiet = self.environment.get("SPARROW_LOG__LEVEL", "info") != "info"
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                # A test of certificates is none of waiting for the server.
                if httpx.get(f"{self.api}/healthz", trust_env=False, verify=False).status_code == 200 and (
                    quiet or "Sparrow is ready" in self.log
                ):
                    return self
            except (OSError, httpx.TransportError):
                time.sleep(0.05)
        raise TimeoutError(self.log)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        """kill -9; the user API notices by itself that its parent is gone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.api_port)):
                    return
            time.sleep(0.05)
        raise TimeoutError("the user API has survived its parent")

    def reload(self) -> None:
        """SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def register(self, *users: str) -> None:
        """Make accounts."""
        with httpx.Client(base_url=self.api, trust_env=False, verify=False) as client:
            for user in users:
                answer = client.post("/v1/accounts", json={"user": user, "password": PASSWORD})
                assert answer.status_code == 201, answer.text


ADMIN_TOKEN = "0123456789abcdef" * 4


class Operator:
    """`sparrow operator` beside a node that has administration and a monitor."""

    def __init__(self, node: Node, **settings: object) -> None:
        self.node = node
        self.port = free_port()
        scheme = "https" if "operator__tls_certificate_file" in settings else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        named = {f"SPARROW_{name}".upper(): str(value) for name, value in settings.items()}
        self.environment = node.environment | {"SPARROW_OPERATOR__LISTEN_PORT": str(self.port)} | named
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def settings_in(folder: Path) -> dict[str, object]:
        """What the node needs for it."""
        file = folder / "admin.token"
        file.write_text(ADMIN_TOKEN)
        file.chmod(0o600)
        return {"userapi__admin_token_file": file, "monitor__listen_port": free_port()}

    def start(self) -> Operator:
        """Return when it answers."""
        with (self.node.folder / "operator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "sparrow.cli", "operator"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.node.folder,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                httpx.get(self.url, trust_env=False, verify=False)
                return self
            except (OSError, httpx.TransportError):
                time.sleep(0.05)
        raise TimeoutError(self.log)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.node.folder / "operator.log").read_text()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def with_websocket(folder: Path, **settings: object) -> Node:
    """A node that has WebSockets, too, not started."""
    folder.mkdir(exist_ok=True)
    port, secure = free_port(), "connector__tls_certificate_file" in settings
    node = Node(folder, connector__websocket_listen_port=port, **settings)
    bare = node.environment["SPARROW_USERAPI__CONNECTORS"]
    node.environment["SPARROW_USERAPI__CONNECTORS"] = f"{bare},{'wss' if secure else 'ws'}://127.0.0.1:{port}/"
    return node


def run(node: Node, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the operator's, in the node's folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparrow.cli", *arguments],
        cwd=node.folder,
        env=node.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


class FakeServer:
    """One connector that does what `on_event(session, event)` says; a context manager."""

    def __init__(self, on_event: Callable[[FakeSession, Any], object]) -> None:
        self.on_event = on_event
        self.sessions: list[FakeSession] = []
        self.previous = 0

    async def __aenter__(self) -> FakeServer:
        self._server = await asyncio.get_running_loop().create_server(lambda: FakeSession(self), "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for session in self.sessions:
            session.transport.abort()
        await asyncio.sleep(0)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """For a `Client`."""
        return {"token": "token-of-alice", "connectors": [self.address], **more}


class FakeSession(asyncio.Protocol):
    """A connection at the scripted server."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.wire = ServerSession(Windows(65536, 256, 4096))
        self.received: list[Any] = []
        """Frames; of a message, the `Message`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.sessions.append(self)

    def data_received(self, data: bytes) -> None:
        for said in self.wire.receive_data(data):
            event = Message.FromString(said[-1]) if isinstance(said, tuple) else said
            self.received.append(event)
            self.server.on_event(self, event)
        self.flush()

    def flush(self) -> None:
        data = self.wire.data_to_send()
        if data:
            self.transport.write(data)

    def messages(self) -> list[Message]:
        """What the client has sent."""
        return [event for event in self.received if isinstance(event, Message)]

    def welcome(self, **more: Any) -> None:
        """Answer a login."""
        number = self.server.previous + 1
        values: dict[str, Any] = {
            "user_id": "alice",
            "device_id": "a1",
            "session": number,
            "previous_session": self.server.previous,
            "heartbeat_ms": 60_000,
            "max_frame_bytes": 65536,
            "max_message_bytes": 64512,
            "max_unsettled_per_stream": 256,
            "max_unsettled_per_connection": 4096,
            "max_unacked": 256,
        }
        self.server.previous = number
        self.wire.logged_in(LoggedIn(**(values | more)))

    def message(self, **fields: Any) -> None:
        """Send a message, from bob if nothing else is said."""
        values: dict[str, Any] = {"from_id": "bob", "from_device": "b1", "stream": 9, "settled": 1}
        values |= {"dest_id": "alice", "kind": 1}
        self.wire.message(Message(**(values | fields)).SerializeToString())

    def goodbye(self, code: Goodbye.Code, text: str = "", retry_after_ms: int = 0) -> None:
        """Say Goodbye and close."""
        self.wire.goodbye(code, text, retry_after_ms)
        self.flush()
        self.transport.close()
