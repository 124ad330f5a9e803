"""A real broker with presence in memory, in a thread of its own, and what it sent to whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import TypeVar

import zmq

from broker.server import BrokerServer
from broker.settings import BrokerSettings
from fabric.records import CONNECTOR
from store import StoreSettings, open_store
from store.timelines import Edit, Entry, Erasure
from tests.ports import free_port

Result = TypeVar("Result")


class RunningBroker:
    """Use as a context manager. `settings` are the broker's."""

    def __init__(self, store: StoreSettings, **settings: object) -> None:
        settings.setdefault("listen", f"tcp://127.0.0.1:{free_port()}")
        self._settings = BrokerSettings(**settings)  # type: ignore[arg-type]
        self.endpoint = self._settings.listen
        self._kept = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker")

    def _run(self, work: Awaitable[Result]) -> Result:
        async def awaited() -> Result:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(30)

    def __enter__(self) -> RunningBroker:
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self._end_thread()  # or the tests would never end
            raise
        return self

    async def _start(self) -> None:
        self._store = open_store(self._kept)
        await self._store.__aenter__()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.server = BrokerServer(self._settings, self._store, self._context)
        await self.server.start()

    def makes(self, user: str, *devices: str) -> None:
        """An account with these devices."""
        self._run(self._store.create_account(user, "hash"))
        for device in devices:
            self._run(self._store.add_device(user, device, ""))

    def keeps(self, *batch: Entry | Edit | Erasure) -> None:
        """From now on conversations are kept, and these stand in them."""
        timelines = self._store.timelines
        self._run(timelines.set_keep_days(365, 0))
        assert not any(one.result for one in self._run(timelines.archive(batch)))

    def connector(self, number: int) -> zmq.Socket[bytes]:
        """A socket such as connector `number` has. The caller closes it, and its context."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, CONNECTOR + number.to_bytes(8, "big"))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(self.endpoint)
        return socket

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        await self.server.stop()
        await self._store.__aexit__(None, None, None)
        self._context.term()
