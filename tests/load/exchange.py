"""A connector, broker and network in one, in memory: load clients in a test's hands, with the test's clock.

Owns what is between its clients. Does everything right unless `rule` says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from load.clients import LoadClient
from load.world import World
from protocol.server import ServerSession, Windows
from protocol.sparrow_pb2 import LoggedIn, Login, Message, Sync

Rule = Callable[[Message], Iterable[bytes]]
"""What is carried to the addressee for this message: encoded messages."""


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, data: Iterable[Any]) -> None:
        self.written += map(bytes, data)

    def taken(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data

    def abort(self) -> None:
        """The exchange breaks connections itself."""


class _Link:
    def __init__(self, client: LoadClient) -> None:
        self.client = client
        self.transport = _Transport()
        self.wire = ServerSession(Windows(65536, 256, 4096))
        self.received: list[Any] = []


class Exchange:
    """Clients join; `turn` carries what was written, once; `settle` until nothing is written any more."""

    def __init__(self, rule: Rule | None = None) -> None:
        self.now = 100.0
        self.world = World(clock=lambda: self.now, seed=1)
        self.links: dict[str, _Link] = {}
        self.rule = rule or (lambda message: [message.SerializeToString()])
        self.stalls = False
        """Takes messages, and does nothing about them until it is over."""
        self.says_sent = True
        self._held: list[tuple[_Link, Message]] = []

    def person(self, user: str) -> LoadClient:
        """A new client, logged in."""
        client = LoadClient(user, user, 100, self.world)
        self.join(client)
        return client

    def join(self, client: LoadClient) -> None:
        """It connects."""
        self.links[client.user] = _Link(client)
        client.connection_made(self.links[client.user].transport)
        self.settle()

    def breaks(self, client: LoadClient) -> None:
        """Its connection breaks; what was written and not carried is lost."""
        del self.links[client.user]
        client.connection_lost(None)

    def written(self, client: LoadClient) -> list[Message]:
        """All messages that the client has written on this connection."""
        return [event for event in self.links[client.user].received if isinstance(event, Message)]

    def turn(self) -> bool:
        """Whether anything was carried."""
        moved = False
        for link in list(self.links.values()):
            for said in link.wire.receive_data(link.transport.taken()):
                moved = True
                self._said(link, said)
        for link in list(self.links.values()):
            data = link.wire.data_to_send()
            if data:
                moved = True
                link.client.data_received(data)
        return moved

    def settle(self) -> None:
        """Until it is quiet."""
        while self.turn():
            pass

    def go_on(self) -> None:
        """The stall is over."""
        self.stalls, held, self._held = False, self._held, []
        for link, message in held:
            self._carry(link, message)
        self.settle()

    def _said(self, link: _Link, said: Any) -> None:
        event = Message.FromString(said[-1]) if isinstance(said, tuple) else said
        link.received.append(event)
        if isinstance(event, Login):
            link.wire.logged_in(
                LoggedIn(
                    session=1, heartbeat_ms=60_000, max_unsettled_per_stream=256, max_unsettled_per_connection=4096
                )
            )
        elif isinstance(event, Message):
            if self.stalls:
                self._held.append((link, event))
            else:
                self._carry(link, event)
        elif isinstance(event, Sync):
            link.wire.synced(event.n)

    def _carry(self, link: _Link, message: Message) -> None:
        dest = self.links.get(message.dest_id)
        if dest is not None:
            for encoded in self.rule(message):
                dest.wire.message(encoded)
        if self.says_sent:
            link.wire.sent(message.stream, message.id, 1, cast(bool, dest is not None))
