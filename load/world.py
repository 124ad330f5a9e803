"""What all clients of one generator process share: the clock, the counters, who writes in which stream, and dialling.

Owns no client.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from client.connection import Address
from client.websocket import OverWebSocket
from load.histogram import Histogram
from load.streams import Group, Out
from load.wire import read_varint

PER_SOURCE = 20_000
"""Clients that share a source address; Linux has some 28,000 ports for each address and destination."""
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT: the port is chosen when the destination is known, so that it need not be free for all."""


@dataclass
class Counts:
    """Since the beginning."""

    sent: int = 0
    """Texts written for the first time."""
    received: int = 0
    """Texts shown."""
    due: int = 0
    """Texts to be shown: those with SENT, once for each who is to be shown them."""
    sent_acks: int = 0
    """Texts with SENT."""
    sent_acks_of_groups: int = 0
    """Of these, texts to groups."""
    delivered_acks: int = 0
    """Texts with DELIVERED, each once."""
    reads_sent: int = 0
    """Messages of kind READ written."""
    reads_received: int = 0
    changes_sent: int = 0
    """Messages of kinds EDIT and ERASE written."""
    changes_received: int = 0
    paged: int = 0
    """Messages on pages, read over HTTP."""
    read_acks: int = 0
    """Texts that a READ told of."""
    resent: int = 0
    """Repeats, of any kind."""
    refused_for_now: int = 0
    """Failed, with a time after which to try again."""
    refused: int = 0
    """Failed for good."""
    repeated_on_the_wire: int = 0
    """Repeats that came to a receiver, who dropped them."""
    foreign: int = 0
    """Left over from an earlier run: acked and passed over."""
    syncs: int = 0
    logins: int = 0
    disconnects: int = 0
    """Connections that ended without our doing."""
    exceptions: int = 0
    """Whatever went wrong in the generator or was said by a server as an error; see `errors`."""


class EachFrame(OverWebSocket):
    """As clients do that do not gather: a WebSocket message for each frame."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `OverWebSocket`."""
        data = bytes(data)
        at = 0
        while at < len(data):
            size, behind = read_varint(data, at)
            super().write(data[at : behind + size])
            at = behind + size


class World:
    """Shared by the clients of a process."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
        tls: ssl.SSLContext | None = None,
        addresses: Sequence[Address] = (),
        sources: Sequence[str] = (),
        at_once: int = 200,
        each_frame: bool = False,
    ) -> None:
        """`sources`: own addresses to dial from; `at_once`: so many connections are being made at a time."""
        self.clock = clock
        self.random = random.Random(seed)
        self.counts = Counts()
        self.errors: Counter[str] = Counter()
        self.one_way = Histogram()
        """The time from when a text was to be sent until it was shown."""
        self.to_sent = Histogram()
        """The time from when a text was to be sent until its SENT came."""
        self.after_absence = Histogram()
        """The same of texts whose author or reader was away when they were to be sent."""
        self.mixed_up = 0
        self.streams: dict[bytes, Out] = {}
        """Who writes there, by the stream's bytes."""
        self.groups: dict[str, Group] = {}
        """By id."""
        self.changed: dict[tuple[int, int], tuple[int, int]] = {}
        """Stream and id of a text that was changed → kind and id of the change, in the same stream."""
        self.changes: set[tuple[int, int]] = set()
        """Stream and id of changes."""
        self.read_after: Callable[[], float] | None = None
        """How long a text waits to be read, in seconds; None: nobody reads."""
        self.blocked: set[Any] = set()
        """Clients that something is missing for."""
        self.tls = tls
        self._sources = sources
        self._addresses = addresses
        self.gate = asyncio.Semaphore(at_once)
        """Bounds how many log in at once."""
        self.each_frame = each_frame
        """Over WebSocket each frame is a message of its own."""
        self._tasks: set[asyncio.Task[None]] = set()

    def error(self, what: str) -> None:
        """Count an exception."""
        self.counts.exceptions += 1
        self.errors[what] += 1

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this beside everything else; what it raises is counted."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error(f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """End what was spawned."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def instead_of(self, address: Address) -> Address:
        """Another connector, where there is one: this one does not answer."""
        others = [each for each in self._addresses if each != address]
        return self.random.choice(others) if others else address

    async def dial(self, protocol: asyncio.Protocol, address: Address, number: int = 0) -> None:
        """Connect the client of this number. Raises `OSError`."""
        if address.websocket:
            over = (EachFrame if self.each_frame else OverWebSocket)(address.websocket, protocol)
            await self._dial(over, address, number)
            await over.ready()
        else:
            await self._dial(protocol, address, number)

    async def _dial(self, protocol: asyncio.Protocol, address: Address, number: int) -> None:
        loop = asyncio.get_running_loop()
        trust = self.tls if address.tls else None
        if not self._sources:
            await loop.create_connection(lambda: protocol, address.host, address.port, ssl=trust)
            return
        dialled = _bound(self._sources[number // PER_SOURCE % len(self._sources)])
        try:
            await loop.sock_connect(dialled, (address.host, address.port))
            name = address.host if trust is not None else None
            await loop.create_connection(lambda: protocol, sock=dialled, ssl=trust, server_hostname=name)
        except BaseException:
            dialled.close()
            raise

    def snapshot(self) -> dict[str, int]:
        """All counts."""
        return asdict(self.counts)


def _bound(source: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    made.bind((source, 0))
    return made


def loopback_sources(clients: int, addresses: Sequence[Address]) -> list[str]:
    """Source addresses for so many clients of servers on this machine; none where the usual one will do."""
    if clients <= PER_SOURCE or not all(_is_ipv4_loopback(address.host) for address in addresses):
        return []
    return [f"127.0.0.{2 + n}" for n in range(-(-clients // PER_SOURCE))]


def _is_ipv4_loopback(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False
