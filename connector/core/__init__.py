"""The connector's core: events in, effects out through `Ports`. No clock, no socket, no random number, no `await`."""

from connector.core.core import ConnectorCore
from connector.core.state import Ports, Session

__all__ = ["ConnectorCore", "Ports", "Session"]
