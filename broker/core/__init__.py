"""The broker's core: events in, effects out through `Ports`. No clock, no socket, no random number, no `await`."""

from broker.core.core import BrokerCore
from broker.core.state import Location, Ports, Presence, StorePort

__all__ = ["BrokerCore", "Location", "Ports", "Presence", "StorePort"]
