"""The node: connector and broker in one simulated process, with the real pump between them.

Owns its link, whose one fault is an end that fails in the middle of something. That both live, stand still and die
together is the process's part (`tests.simulation.world`).
"""

from __future__ import annotations

from collections.abc import Callable

from fabric import records
from fabric.pump import Pump
from tests.simulation.network import Link
from tests.simulation.nodes import SimBroker, SimConnector
from tests.simulation.world import World


class FailingError(Exception):
    """A fault of ours."""


class PumpLink(Link):
    """The link of a node."""

    def __init__(self, world: World, connector: SimConnector, broker: SimBroker) -> None:
        super().__init__(world, connector, broker)
        self.fails = False
        """Whichever end takes something next fails at it."""
        connector.twin, broker.twin = broker, connector
        broker.wall_skew_s = connector.wall_skew_s
        connector.is_old = broker.is_old = False
        self.pump = connector.pump = broker.pump = Pump(self._failed)
        self.pump.connector = _ConnectorEnd(self, connector, self._to_connector)
        self.pump.broker = _End(self, broker, self._to_broker)

    def _to_connector(self, batch: bytes) -> None:
        self.connector.core.batch(self.broker.name, batch)

    def _to_broker(self, batch: bytes) -> None:
        self.broker.core.batch(self.connector.core.incarnation, batch)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, FailingError):
            raise error
        self._world.trace(self.broker.name, f"{error} fails")

    def reset(self) -> None:
        """The process has died."""
        self.pump.to_broker.clear()
        self.pump.to_connector.clear()

    def cut(self, seconds: float) -> None:
        """There is nothing to cut, but ends may fail."""
        self.fails = True

    def heal(self) -> None:
        """It works again at once."""

    def up(self, data: bytes) -> bool:
        """Connector to broker."""
        self.pump.to_broker.append(data)
        return True

    def down(self, incarnation: int, data: bytes) -> bool:
        """Broker to connector; False is a connector of before."""
        if incarnation != self.connector.core.incarnation:
            return False
        self.pump.to_connector.append(data)
        return True

    def take(self, who: str, batch: bytes, give: Callable[[bytes], None]) -> None:
        """Give a batch to an end, or fail after a part of it."""
        if not self.fails:
            give(batch)
            return
        self.fails = False
        encoded = [records.encode(rec) for rec in records.parse(batch)]
        part = encoded[: self._world.random.randint(0, len(encoded))]
        if part:
            give(records.batch(part))
        raise FailingError(who)


class _End:
    """See `fabric.pump.End`."""

    def __init__(self, link: PumpLink, process: SimBroker | SimConnector, give: Callable[[bytes], None]) -> None:
        self._link = link
        self._process = process
        self._give = give

    def time(self, now: float, wall_ms: int) -> None:
        """See `fabric.pump.End`."""
        if now > self._process.core.turn.now:
            self._process.core.time(now, wall_ms)

    def take(self, batch: bytes) -> None:
        """See `fabric.pump.End`."""
        self._link.take(self._process.name, batch, self._give)

    def end_turn(self) -> None:
        """See `fabric.pump.End`."""
        self._process.end_turn()


class _ConnectorEnd(_End):
    """See `fabric.pump.ConnectorEnd`."""

    def link_broken(self) -> None:
        """See `fabric.pump.ConnectorEnd`."""
        connector = self._link.connector
        connector.core.links.broken(self._link.broker.name)
        connector.schedule_flush()
