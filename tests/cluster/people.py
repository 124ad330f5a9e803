"""People who write to each other over real sockets, whatever happens to the servers, and the account of every message.

Owns devices (the client library's core with a socket) and the ledger. Knows servers by their addresses only.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from client.core import ClientCore
from client.journal import MemoryJournal
from client.state import Delivered, Event, Refused, Settled
from protocol.inbound import Shown
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import READ, TEXT, About, Goodbye, LoggedIn, Message
from tests.cluster.processes import GUARD_S

Address = tuple[str, int]


@dataclass
class Written:
    """One message, by its body, which is its own."""

    author: str
    dest: str
    sent: bool = False
    delivered: bool = False
    read: bool = False
    kind: int = TEXT
    at: float = field(default_factory=time.monotonic)
    """When."""


def _key(message: Message | Outgoing) -> bytes:
    """What the ledger knows a message by: its body, which is its own; or what was read, which is told once."""
    return message.body or b"READ " + cast(About, message.about).SerializeToString(deterministic=True)


@dataclass
class Ledger:
    """Every message of a test, and what became of it where. A READ is a message like any other."""

    written: dict[bytes, Written] = field(default_factory=dict)
    shown: dict[str, dict[bytes, bool]] = field(default_factory=dict)
    """device → body → whether it was shown late."""
    twice: int = 0
    out_of_order: int = 0
    late: int = 0
    refused: list[str] = field(default_factory=list)
    for_now: Counter[int] = field(default_factory=Counter)
    """Code of a Failed with `retry_after` → how many."""
    broken: list[str] = field(default_factory=list)
    """How servers broke the protocol, or these helpers themselves."""
    guard_s: float = GUARD_S
    """Whatever is waited for has happened by then."""
    sent: int = 0
    """How many messages are SENT."""
    on_shown: Callable[[str, Message, Written], None] = lambda device, message, written: None
    """Told of everything that a device shows."""
    _highest: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    _names: dict[tuple[str, str, int, int], bytes] = field(default_factory=dict)
    _delivered: set[tuple[str, str, int, int]] = field(default_factory=set)
    """Names that DELIVERED was told of; it may come before SENT."""
    _read: set[tuple[str, str, int, int]] = field(default_factory=set)
    """Names that a READ was about; it may come before SENT, too."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Something has happened; whoever waits looks again."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool], why: str) -> None:
        """Return when it is so."""
        async with asyncio.timeout(self.guard_s):
            try:
                while True:
                    began = time.monotonic()
                    if condition():
                        return
                    assert not self.broken, self.broken
                    self._changed.clear()
                    await self._changed.wait()
                    await asyncio.sleep(max(0.01, 3 * (time.monotonic() - began)))  # it may cost more than an event
            except asyncio.CancelledError:
                print(f"waiting for {why}: {self.line()}")
                raise

    # What happens.

    def show(self, device: str, message: Message, late: bool) -> None:
        """A device shows a message."""
        seen = self.shown.setdefault(device, {})
        key = _key(message)
        self.twice += key in seen
        seen[key] = late
        stream = (device, message.from_id, message.from_device, message.stream)
        if late:
            self.late += 1
        elif message.id < self._highest.get(stream, 0):
            self.out_of_order += 1
        else:
            self._highest[stream] = message.id
        if message.kind == READ:
            self._read_by(message)
        if key in self.written:
            self.on_shown(device, message, self.written[key])
        self.changed()

    def _read_by(self, message: Message) -> None:
        about = message.about
        for number in about.ids:
            name = (message.dest_id, about.from_device, about.stream, number)
            self._read.add(name)
            if name in self._names:
                self.written[self._names[name]].read = True

    def settled(self, device: str, outgoing: Outgoing, delivered: bool) -> None:
        """A device has seen SENT."""
        key = _key(outgoing)
        written = self.written[key]
        user, _, own = device.partition("/")
        assert outgoing.stream is not None
        name = (user, own, outgoing.stream.number, outgoing.id)
        self._names[name] = key
        self.sent += not written.sent
        written.sent = True
        written.delivered = written.delivered or delivered or name in self._delivered
        written.read = written.read or name in self._read
        self.changed()

    def delivered(self, device: str, event: Delivered) -> None:
        """A device was told DELIVERED."""
        user = device.partition("/")[0]
        for number in event.ids:
            name = (user, event.from_device, event.stream, number)
            self._delivered.add(name)
            if name in self._names:
                self.written[self._names[name]].delivered = True
        self.changed()

    # The account.

    def missing(self, devices: Sequence[str]) -> list[tuple[str, bytes]]:
        """(device, body) of what is SENT and was not shown where it should have been."""
        of: dict[str, list[str]] = {}
        for device in devices:
            of.setdefault(device.partition("/")[0], []).append(device)
        return [
            (device, body)
            for body, written in self.written.items()
            if written.sent
            for user in {written.dest, written.author.partition("/")[0]}
            for device in of.get(user, ())
            if device != written.author and body not in self.shown.get(device, {})
        ]

    def line(self, devices: Sequence[str] = ()) -> str:
        """All in numbers."""
        delivered = sum(written.delivered for written in self.written.values())
        return (
            f"written {len(self.written)}, SENT {self.sent}, delivered {delivered}, "
            f"lost {len(self.missing(devices))}, twice {self.twice}, out of order {self.out_of_order}, "
            f"late {self.late}, refused {len(self.refused)}"
        )


class _Connection(asyncio.Protocol):
    """A device's socket."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._device.connected(self)

    def data_received(self, data: bytes) -> None:
        self._device.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._device.lost(self)


class Device:
    """One device of one person. It reconnects by itself, to `addresses` in turn, while it is `wanted`."""

    PING_AFTER_S = 1.0
    TICK_S = 0.05
    give_up_after_s = 3.0
    """A server that is silent for this long is left."""

    def __init__(
        self,
        name: str,
        token: str,
        addresses: Sequence[Address],
        ledger: Ledger,
        seed: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._tls = tls
        self.wanted = True
        self.goodbyes: list[Goodbye] = []
        self.logins = 0
        self.addresses = list(addresses)
        self._token = token
        self._ledger = ledger
        self._random = random.Random(seed)
        self._next = seed
        self._loop = asyncio.get_running_loop()
        self.core = ClientCore(MemoryJournal(), lambda: secrets.randbits(64) | 1)
        self._connection: _Connection | None = None
        self._number = 0
        self._task = asyncio.create_task(self._live())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._ledger.broken.append(f"{self.name}: {task.exception()!r}")
            self._ledger.changed()

    async def _live(self) -> None:
        """Connect, tick, connect again."""
        while True:
            await asyncio.sleep(self.TICK_S)
            if self._connection is None:
                if self.wanted:
                    await self._connect()
                continue
            self._clock()
            quiet_s = self._loop.time() - self.core.heard
            if quiet_s > self.give_up_after_s:
                self._give_up()
            elif quiet_s > self.PING_AFTER_S:
                self.core.ping()
            self._flush()

    async def _connect(self) -> None:
        host, port = self.addresses[self._next % len(self.addresses)]
        self._next += 1
        # Where a server stands still, no handshake comes to an end.
        handshake_s = self.give_up_after_s if self._tls else None
        try:
            await self._loop.create_connection(
                lambda: _Connection(self), host, port, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        except OSError:
            await asyncio.sleep(self._random.uniform(0.05, 0.2))

    def _clock(self) -> None:
        self.core.time(self._loop.time())

    def connected(self, connection: _Connection) -> None:
        """The socket is open."""
        self._connection = connection
        self._clock()
        self.core.connected(self._token, "tests")
        self._flush()

    def received(self, connection: _Connection, data: bytes) -> None:
        """Bytes from the server."""
        if connection is self._connection:
            self._clock()
            self.core.data(data)
            if self.core.broken is not None:
                self._ledger.broken.append(f"{self.name}: {self.core.broken}")
            self._flush()

    def lost(self, connection: _Connection) -> None:
        """The socket is closed."""
        if connection is self._connection:
            self._drop()

    def _give_up(self) -> None:
        if self._connection is not None:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.transport.abort()
            self._connection = None
            self._clock()
            self.core.disconnected()
            self._flush()

    def _flush(self) -> None:
        data, events = self.core.flush()
        if data and self._connection is not None:
            self._connection.transport.write(data)
        for event in events:
            self._happened(event)

    def _happened(self, event: Event) -> None:
        ledger = self._ledger
        if isinstance(event, Shown):
            ledger.show(self.name, event.item, event.late)
        elif isinstance(event, Settled):
            ledger.settled(self.name, event.outgoing, event.delivered)
        elif isinstance(event, Delivered):
            ledger.delivered(self.name, event)
        elif isinstance(event, Refused):
            if event.final:
                ledger.refused.append(event.text)
            else:
                ledger.for_now[event.code] += 1
        elif isinstance(event, LoggedIn):
            self.logins += 1
        else:
            self.goodbyes.append(event)
            if event.code == Goodbye.REPLACED:  # of all its connections the last one counts, and it has no twin
                ledger.broken.append(f"{self.name} was replaced by nobody")
        ledger.changed()

    # For tests.

    def write(self, dest: str) -> None:
        """A new message; its body is like no other."""
        self._number += 1
        body = f"{self.name} #{self._number} to {dest}".encode()
        self._ledger.written[body] = Written(self.name, dest)
        self._ledger.changed()
        self._clock()
        self.core.send(dest, TEXT, body)
        self._flush()

    def mark_read(self, author: str, about: About) -> None:
        """Tell an author that these messages were read."""
        self._clock()
        outgoing = self.core.send(author, READ, b"", about)
        self._ledger.written[_key(outgoing)] = Written(self.name, author, kind=READ)
        self._flush()

    def leave(self) -> None:
        """Go offline, without a word."""
        self.wanted = False
        self._give_up()

    def come(self) -> None:
        """Go online again."""
        self.wanted = True

    @property
    def online(self) -> bool:
        """Whether it is logged in."""
        return self.core.logged_in

    @property
    def at(self) -> Address | None:
        """The server that it is logged in at."""
        if self._connection is None or not self.online:
            return None
        return cast(Address, self._connection.transport.get_extra_info("peername"))

    async def close(self) -> None:
        """No more of this."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._drop()


class People:
    """Several people, some with several devices, who write to each other all the time."""

    def __init__(
        self,
        tokens: dict[str, str],
        addresses: Sequence[Address],
        seed: int = 1,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.devices = {
            name: Device(name, token, addresses, self.ledger, seed + at, tls)
            for at, (name, token) in enumerate(tokens.items())
        }
        self._random = random.Random(seed)
        self._users = sorted({name.partition("/")[0] for name in tokens})
        self._writing: list[asyncio.Task[None]] = []

    async def all_online(self) -> None:
        """Everybody who wants to be is logged in."""
        await self.ledger.until(
            lambda: all(device.online for device in self.devices.values() if device.wanted), "logins"
        )

    def write(self, per_second: float, max_unsettled: int = 150) -> None:
        """From now on everybody writes so many messages a second, to anybody."""
        self._writing = [
            asyncio.create_task(self._write(device, 1 / per_second, max_unsettled)) for device in self.devices.values()
        ]

    async def _write(self, device: Device, interval_s: float, max_unsettled: int) -> None:
        others = [user for user in self._users if user != device.name.partition("/")[0]]
        while True:
            await asyncio.sleep(interval_s * self._random.uniform(0.5, 1.5))
            if device.core.unsettled < max_unsettled:
                device.write(self._random.choice(others))

    def come_and_go(self, *names: str, every_s: float) -> None:
        """These are offline half of the time."""
        for name in names:
            self._writing.append(asyncio.create_task(self._come_and_go(self.devices[name], every_s)))

    async def _come_and_go(self, device: Device, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s * self._random.uniform(0.5, 1.5))
            device.leave() if device.wanted else device.come()

    async def some_sent(self, more: int) -> None:
        """So many more messages are SENT."""
        before = self.ledger.sent
        await self.ledger.until(lambda: self.ledger.sent >= before + more, f"{more} more SENT")

    async def in_the_middle(self, unsettled: int = 5) -> None:
        """At least so many messages are under way."""
        await self.ledger.until(
            lambda: sum(device.core.unsettled for device in self.devices.values()) >= unsettled, "messages under way"
        )

    async def finish(self) -> None:
        """Nobody writes any more; everybody comes; everything arrives. Raises `TimeoutError` if it does not."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        for device in self.devices.values():
            device.come()
        names, ledger = list(self.devices), self.ledger
        await ledger.until(
            lambda: (
                ledger.sent + len(ledger.refused) == len(ledger.written)
                and not ledger.missing(names)
                and all(written.delivered for written in ledger.written.values() if written.kind != READ)
            ),
            "everything to arrive",
        )

    def account(self) -> str:
        """The ledger's line."""
        return self.ledger.line(list(self.devices))

    async def close(self) -> None:
        """Everybody leaves."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        for device in self.devices.values():
            await device.close()
