"""A real connector in a thread of its own, with a port for TLS and one without, and the clients that it has seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

import uvloop
import zmq

from connector.clients import ClientConnection
from connector.core import Session
from connector.server import ConnectorServer
from connector.settings import ConnectorSettings
from tests.certificates import Authority
from tests.ports import free_port
from userapi.keys import ensure_key_pair

Result = TypeVar("Result")
GUARD_S = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Watched(ConnectorServer):
    """Remembers its clients."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.clients: list[ClientConnection] = []

    def opened(self, connection: ClientConnection) -> Session:
        self.clients.append(connection)
        return super().opened(connection)


class RunningConnector:
    """Use as a context manager. `settings` are the connector's; without brokers it has none within reach."""

    def __init__(
        self,
        folder: Path,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
        **settings: object,
    ) -> None:
        self.ca = Authority(folder)
        certificate, key = self.ca.issue()
        self.token_key = folder / "token.key.pem"
        ensure_key_pair(self.token_key, folder / "token.pub.pem")
        settings.setdefault("brokers", (f"tcp://127.0.0.1:{free_port()}",))
        self.settings = ConnectorSettings(
            listen_port=0,
            plain_listen_port=free_port(),
            tls_certificate_file=str(certificate),
            tls_private_key_file=str(key),
            token_public_key_file=str(folder / "token.pub.pem"),
            stop_timeout_s=0.1,
            **settings,  # type: ignore[arg-type]
        )
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="connector")

    def run(self, work: Awaitable[Result]) -> Result:
        """Do it in the connector's loop."""

        async def awaited() -> Result:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(GUARD_S)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.run(self._start())
        except BaseException:
            self._end_thread()  # or the tests would never end
            raise
        return self

    async def _start(self) -> None:
        self.server = Watched(self.settings, self.context)
        await self.server.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self.server.stop())
            until(lambda: not self.server.core.connections)
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.context.term()

    @property
    def plain_port(self) -> int:
        """Where there is no TLS."""
        return self.settings.plain_listen_port

    def address(self) -> str:
        """Of the client that has come last; empty if there was none."""
        return self.server.clients[-1].address if self.server.clients else ""
