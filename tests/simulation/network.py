"""Simulated connections: TCP between client and connector, ZeroMQ between connector and broker.

Both keep order and lose what is under way when they break; a ZeroMQ link also takes what it will never deliver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import records
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.nodes import SimBroker, SimClient, SimConnector


BEHIND_S = 0.2
"""A connection on which something will be on its way for so long takes no more for now."""


class Connection:
    """One TCP connection. Each end learns of its end by itself, sooner or later."""

    def __init__(self, world: World, client: SimClient, connector: SimConnector) -> None:
        self._world = world
        self.client = client
        self.connector = connector
        self._client_life = client.life
        self._connector_life = connector.life
        self._up_last = self._down_last = world.now
        self._cut = False
        self._closed_by_client = False
        self._closed_by_server = False
        self.slow_s = 0.0
        """Extra delay towards the client: it reads slowly."""
        self.up_slow_s = 0.0
        """Extra delay towards the server."""
        self._up_lives_on = False
        self.heard_at = world.now
        """When bytes of the client reached the server's machine last, whether or not the server was there to read."""
        self.ended_at: float | None = None
        """Since when the server's machine knows that the client has closed its end, or is gone."""

    def silent_s(self) -> float | None:
        """What the server's machine tells it (`connector.core.state.Ports`)."""
        return self._world.now - self.heard_at if self.ended_at is None else None

    @property
    def is_behind(self) -> bool:
        """What the server wrote a while ago has not left yet."""
        return self._down_last > self._world.now + BEHIND_S

    def to_server(self, data: bytes) -> None:
        """The client writes."""
        for piece in self._pieces(data):
            delay = self._world.delay(0.0005, 0.03) + self.up_slow_s * self._world.random.random()
            self._up_last = max(self._up_last, self._world.now + delay)
            self._world.at(self._up_last, lambda piece=piece: self._arrive_at_server(piece))

    def _arrive_at_server(self, piece: bytes) -> None:
        if (not self._cut or self._up_lives_on) and not self._closed_by_server:
            self.heard_at = self._world.now
            self.connector.event(lambda: self.connector.received(self, piece), self._connector_life)

    def to_client(self, data: bytes) -> None:
        """The server writes."""
        for piece in self._pieces(data):
            delay = self._world.delay(0.0005, 0.03) + self.slow_s * self._world.random.random()
            self._down_last = max(self._down_last, self._world.now + delay)
            self._world.at(self._down_last, lambda piece=piece: self._arrive_at_client(piece))

    def _arrive_at_client(self, piece: bytes) -> None:
        if not self._cut and not self._closed_by_client:
            self.client.event(lambda: self.client.received(self, piece), self._client_life)

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) > 1 and self._world.chance(0.1):
            at = self._world.random.randrange(1, len(data))
            return [data[:at], data[at:]]
        return [data]

    def close_from_server(self) -> None:
        """The server closes behind what it wrote."""
        if not self._closed_by_server:
            self._closed_by_server = True
            at = max(self._down_last, self._world.now) + 0.001
            self._world.at(at, lambda: self.client.event(lambda: self.client.lost(self), self._client_life))

    def close_from_client(self) -> None:
        """The client closes, or died."""
        if not self._closed_by_client:
            self._closed_by_client = True
            at = max(self._up_last, self._world.now) + 0.001
            self._world.at(at, self._server_notices)

    def _server_notices(self) -> None:
        if self.ended_at is None:
            self.ended_at = self._world.now
        self.connector.event(lambda: self.connector.lost(self), self._connector_life)

    def cut(self) -> None:
        """The network is gone in between; each end notices at its own time. What was on its way up may arrive yet."""
        if self._cut:
            return
        self._cut = True
        self._up_lives_on = self._world.chance(0.5)
        random = self._world.random
        soon, late = random.random() * 0.2, random.random() * 8.0
        client_after, server_after = (soon, late) if random.random() < 0.5 else (late, soon)
        self._world.after(client_after, lambda: self.client.event(lambda: self.client.lost(self), self._client_life))
        self._world.after(server_after, self._server_notices)


class Link:
    """The ZeroMQ link of one connector and one broker."""

    def __init__(self, world: World, connector: SimConnector, broker: SimBroker) -> None:
        self._world = world
        self.connector = connector
        self.broker = broker
        self._epoch = 0
        self._up_last = self._down_last = 0.0
        self._known: int | None = None
        """Incarnation that the broker's ROUTER can address: it must have spoken first."""
        self.is_cut = False
        self.slow_s = 0.003

    def reset(self) -> None:
        """One end died, or the link broke: what was under way is gone."""
        self._epoch += 1
        self._known = None

    def cut(self, seconds: float) -> None:
        """No traffic for a while."""
        self._world.trace(f"{self.connector.name}-{self.broker.name}", f"link cut for {seconds:.1f} s")
        self.reset()
        self.is_cut = True
        self._world.after(seconds, self.heal)

    def heal(self) -> None:
        """Traffic again."""
        if self.is_cut:
            self.is_cut = False
            self.connector.event(self.connector.core.delivery.departures.link_renewed)

    def up(self, data: bytes) -> bool:
        """Connector to broker."""
        if self.is_cut or not self.broker.alive:
            return False
        if self.connector.is_old or self.broker.is_old:
            data = self._as_old(self.connector, self.broker, data)
        self._up_last = max(self._up_last, self._world.now + self._world.delay(0.0002, self.slow_s))
        epoch, life, incarnation = self._epoch, self.broker.life, self.connector.core.incarnation
        self._world.at(self._up_last, lambda: self._arrive_up(epoch, life, incarnation, data))
        return True

    def _arrive_up(self, epoch: int, life: int, incarnation: int, data: bytes) -> None:
        if epoch == self._epoch:
            self._known = incarnation
            self.broker.event(lambda: self.broker.core.batch(incarnation, data), life)

    def down(self, incarnation: int, data: bytes) -> bool:
        """Broker to connector; False is EHOSTUNREACH."""
        if self.is_cut or self._known != incarnation or not self.connector.alive:
            return False
        if self.connector.is_old or self.broker.is_old:
            data = self._as_old(self.broker, self.connector, data)
        self._down_last = max(self._down_last, self._world.now + self._world.delay(0.0002, self.slow_s))
        epoch, life = self._epoch, self.connector.life
        self._world.at(self._down_last, lambda: self._arrive_down(epoch, life, data))
        return True

    def _as_old(self, sender: SimConnector | SimBroker, receiver: SimConnector | SimBroker, data: bytes) -> bytes:
        """What a process that knows no signals would have said; and it is sent none."""
        found = []
        for rec in records.parse(data):
            kind, flags, *rest = rec
            if kind == records.SIGNAL and receiver.is_old:
                receiver.cluster.checker.fail(f"{sender.name} sends a signal to {receiver.name}, which knows none")
            if kind == records.HEARTBEAT and sender.is_old:
                flags &= ~records.KNOWS_SIGNALS
            found.append(records.encode((kind, flags, *rest)))  # type: ignore[arg-type]
        return records.batch(found)

    def _arrive_down(self, epoch: int, life: int, data: bytes) -> None:
        if epoch == self._epoch:
            self.connector.event(lambda: self.connector.core.batch(self.broker.name, data), life)
