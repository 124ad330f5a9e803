"""Sessions that have left, until presence must have heard of it.

Owns what brokers were told of them lately. A word to a broker may be lost with it, and presence may be told of a
session after its end: then it would name a device as online for as long as this connector's lease lasts.
"""

from __future__ import annotations

from typing import Final

from connector.core.link import Link
from connector.core.links import Links
from connector.core.state import Turn
from fabric.control import Offline
from protocol.ids import check_dest_id, split_address

KEEP_S: Final = 30.0
"""A broker that has heard of an end and not acted on it by then is not going to die first."""
AGAIN_S: Final = 1.0
"""Who asks for a session that is not here is answered so often: what was on its way to it comes all at once."""
MAX_KEPT: Final = 10_000


class Departures:
    """All of a connector."""

    def __init__(self, turn: Turn, links: Links) -> None:
        self._turn = turn
        self._links = links
        self._told: dict[int, tuple[bytes, float]] = {}
        """Session → its address, and when a broker was told; the oldest first."""
        self._untold = False
        """A broker that was told may have died with it, or there was none."""

    def left(self, address: bytes, session: int) -> None:
        """The session has ended."""
        self._tell(address, session, self._link(address))

    def registered(self, link: Link, address: bytes, session: int) -> None:
        """A broker has put the session into presence, as we had asked it to, and it has ended since: what was said of
        that may have come first. Raises what makes a record unreadable."""
        check_dest_id(_user(address))
        self._tell(address, session, link)

    def absent(self, link: Link, address: bytes, session: int) -> None:
        """A broker takes the session for ours, and it is not here (any more). Raises what makes a record unreadable."""
        check_dest_id(_user(address))
        _, at = self._told.get(session, (b"", -AGAIN_S))
        if self._turn.now - at >= AGAIN_S:
            self._tell(address, session, link)

    def broker_lost(self) -> None:
        """Whatever it was told lately is told once more, to another one."""
        self._untold = True

    def link_renewed(self) -> None:
        """There is a connection to a broker anew, which may have been up all the time: what the one before had taken
        may be lost."""
        self._untold = True

    def tick(self) -> None:
        """Tell again what may be lost, as soon as a broker is up; forget what is long ago."""
        if self._untold:
            if self._links.is_alone:
                return
            self._untold = False
            for session, (address, _) in list(self._told.items()):
                self._tell(address, session, self._link(address))
        forget = self._turn.now - KEEP_S
        while self._told:
            session, (_, at) = next(iter(self._told.items()))
            if at > forget:
                break
            del self._told[session]

    def _link(self, address: bytes) -> Link | None:
        route = self._links.for_user(_user(address))
        return None if route is None else route[0]

    def _tell(self, address: bytes, session: int, link: Link | None) -> None:
        self._told.pop(session, None)
        if len(self._told) >= MAX_KEPT:
            del self._told[next(iter(self._told))]
        self._told[session] = address, self._turn.now
        if link is None:
            self._untold = True
        else:
            link.out.append(Offline(address, session).encode())


def _user(address: bytes) -> str:
    return split_address(address)[0]
