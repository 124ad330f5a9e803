"""Devices: the client library's core with a socket, each of which tells the ledger what it shows and what it is told.

Owns the socket, when it comes and goes, and what one device can do. Knows servers by their addresses only.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

from client.core import ClientCore
from client.journal import MemoryJournal
from client.state import Delivered, Event, Refused, Settled
from client.websocket import connect as connect_websocket
from protocol.inbound import Shown
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, About, Goodbye, LoggedIn, Message
from tests.cluster.ledger import Ledger, Written, key_of

Address = tuple[str, int]
RECENT = 40
"""So many of one's own last texts may be edited or erased."""


class _Connection(asyncio.Protocol):
    """A device's socket."""

    def __init__(self, device: Device, address: Address) -> None:
        self._device = device
        self.address = address

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
    erases_unsent = False
    """It erases what is not SENT yet, too: a hole in its stream, for which others wait."""
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
        websockets: Mapping[Address, str] | None = None,
    ) -> None:
        """`websockets`: connectors that it reaches over WebSocket, and by which URI."""
        self.name = name
        self._tls = tls
        self._websockets = dict(websockets or {})
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
        self._user = name.partition("/")[0]
        self._own: deque[Outgoing | Message] = deque(maxlen=RECENT)
        """The last texts of this person, of all devices, as far as they have come here."""
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
        connection = _Connection(self, (host, port))
        websocket = self._websockets.get(connection.address)
        # Where a server stands still, no handshake comes to an end.
        handshake_s = self.give_up_after_s if self._tls else None
        try:
            if websocket is not None:
                async with asyncio.timeout(self.give_up_after_s):
                    await connect_websocket(websocket, connection, self._tls)
                return
            await self._loop.create_connection(
                lambda: connection, host, port, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        except (OSError, TimeoutError):
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
            if event.item.kind == TEXT and event.item.from_id == self._user and not event.item.erased:
                self._own.append(event.item)
        elif isinstance(event, Settled):
            outgoing = event.outgoing
            again = outgoing.tries != 1 or outgoing.tag != self.logins
            ledger.settled(self.name, outgoing, event.delivered, event.stamp, again)
        elif isinstance(event, Delivered):
            ledger.delivered(self.name, event)
        elif isinstance(event, Refused):
            if event.final:
                ledger.refuse(event.outgoing, event.text)
            else:
                ledger.for_now[event.code] += 1
        elif isinstance(event, LoggedIn):
            self.logins += 1
        elif isinstance(event, Goodbye):
            self.goodbyes.append(event)
            if event.code == Goodbye.REPLACED:  # of all its connections the last one counts, and it has no twin
                ledger.broken.append(f"{self.name} was replaced by nobody")
        ledger.changed()

    # For tests.

    def write(self, dest: str) -> None:
        """A new message; its body is like no other."""
        body = self._body(f"to {dest}")
        self._own.append(self._send(Written(self.name, dest), dest, TEXT, body))

    def edit(self) -> None:
        """Give one of the last texts another one, if there is any that is not erased."""
        if (chosen := self._choose()) is not None:
            dest, about, key = chosen
            known = self._ledger.view(self.name).edits.get((self._user, about.from_device, about.stream, about.ids[0]))
            revision = 1 + (known[0] if known else 0)
            written = Written(self.name, dest, kind=EDIT, target=key)
            self._send(written, dest, EDIT, self._body(f"instead, to {dest}"), about, revision)

    def erase(self) -> None:
        """End one of the last texts, if there is any that is not erased."""
        chosen = self._choose()
        if chosen is not None and (self.erases_unsent or self._ledger.written[chosen[2]].sent):
            dest, about, key = chosen
            self._send(Written(self.name, dest, kind=ERASE, target=key), dest, ERASE, b"", about)

    def mark_read(self, author: str, about: About) -> None:
        """Tell an author that these messages were read."""
        self._send(Written(self.name, author, kind=READ), author, READ, b"", about)

    def _body(self, what: str) -> bytes:
        self._number += 1
        return f"{self.name} #{self._number} {what}".encode()

    def _choose(self) -> tuple[str, About, bytes] | None:
        """To whom, the name and the key of a text to change; SENT or not."""
        if not self._own:
            return None
        text = self._random.choice(self._own)
        key = key_of(text)
        if self._ledger.written[key].erased:
            return None
        if isinstance(text, Message):
            return text.dest_id, About(from_device=text.from_device, stream=text.stream, ids=[text.id]), key
        if text.stream is None:  # a draft
            return None
        own = self.name.partition("/")[2]
        return text.dest, About(from_device=own, stream=text.stream.number, ids=[text.id]), key

    def _send(
        self, written: Written, dest: str, kind: int, body: bytes, about: About | None = None, revision: int = 0
    ) -> Outgoing:
        self._clock()
        outgoing = self.core.send(dest, kind, body, about, revision=revision)
        outgoing.tag = self.logins if self.online else self.logins + 1  # with which login it goes out first
        self._ledger.write(key_of(outgoing), written)
        self._flush()
        return outgoing

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
        return self._connection.address

    async def close(self) -> None:
        """No more of this."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._drop()
