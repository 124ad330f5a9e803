"""Doubt: after this process stood still, or lost its lease, nothing is taken or given on a session before it is known
that it goes on.

Owns what is held back meanwhile. What had happened to sessions while we could not hear it (their login has ended, their
client has gone) waits in sockets, behind which nobody knows what else; a broker's answer to a heartbeat that was asked
after the standstill comes behind all that it had said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from connector.core.links import Link, Links
from connector.core.state import ENDED, GREETING, Ports, Session, Turn
from fabric.records import SESSION, Record

STANDSTILL_S = 1.0
"""A turn that comes so much later than the one before shows that this process stood still."""
MAX_PARKED_BYTES = 64 * 1024
"""Of one client, beyond which its connection is not read."""

STOOD_STILL: Final = 1
"""What brokers have said meanwhile has not been heard yet."""
UNREGISTERED: Final = 2
"""Presence has forgotten it, and with it whoever ends sessions."""


class Doubts:
    """All sessions that are unsure."""

    def __init__(self, ports: Ports, turn: Turn, links: Links) -> None:
        self._ports = ports
        self._turn = turn
        self._links = links
        self._waiting: dict[Link, int] = {}
        """Brokers to be heard after the standstill, each with the first beat whose answer counts."""
        self._stood: dict[Session, None] = {}
        self._until = 0.0
        """Not before a later turn than this is it over."""
        self.standing_still = False
        self.unsure: set[Session] = set()
        """All sessions that are."""
        self.take: Callable[[Session, bytes], None] = lambda session, data: None
        """Handles bytes of a client that were parked."""
        self.give: Callable[[Link, Record], None] = lambda link, rec: None
        """Handles a broker's record that was parked."""
        self.hurry: Callable[[Session], None] = lambda session: None
        """Told of a session that has something to say and is not registered."""

    # Beginning.

    def stood_still(self, sessions: Iterable[Session]) -> None:
        """This process has just gone on: ask all brokers that were up for a sign.

        With none there is a turn to wait for all the same: what waits in sockets tells whose connection is at its end,
        and a broker that comes up in the middle of it must not have that one's login.
        """
        self._waiting = self._links.ask_all()
        self._until = 0.0 if self._waiting else self._turn.now
        self.standing_still = True
        for session in sessions:
            self.opened(session)

    def opened(self, session: Session) -> None:
        """A connection that was waiting while we stood still."""
        if self.standing_still:
            session.unsure |= STOOD_STILL
            self.unsure.add(session)
            self._stood[session] = None

    def unregistered(self, sessions: Iterable[Session]) -> None:
        """These have to register again."""
        for session in sessions:
            if session.phase not in (GREETING, ENDED):
                session.unsure |= UNREGISTERED
                self.unsure.add(session)
                if session.parked:
                    self.hurry(session)

    # Meanwhile.

    def park(self, session: Session, data: bytes) -> None:
        """Bytes from the client of an unsure session."""
        session.parked.append(data)
        session.parked_bytes += len(data)
        if session.parked_bytes > MAX_PARKED_BYTES >= session.parked_bytes - len(data):
            self._ports.pause(session.handle, True)
        if session.unsure == UNREGISTERED:
            self.hurry(session)

    def park_record(self, sessions: Mapping[int, Session], link: Link, rec: Record) -> bool:
        """Something that a broker has for a session. False if that is sure."""
        session = sessions.get(rec[SESSION])
        if session is None or not session.unsure:
            return False
        session.parked.append((link, rec))
        return True

    # End.

    def heard(self, link: Link, beat: int) -> None:
        """A broker has answered a heartbeat: this one, or (0) it does not say which."""
        first = self._waiting.get(link)
        if first is not None and (not beat or (beat - first) & 0xFFFF < 0x8000):
            del self._waiting[link]
            self._look()

    def tick(self) -> None:
        """Who is down by now has nothing to say that would have been heard."""
        if self.standing_still:
            self._waiting = {link: first for link, first in self._waiting.items() if link.up}
            self._look()

    def _look(self) -> None:
        if not self._waiting and self.standing_still and self._turn.now > self._until:
            self.standing_still = False
            stood, self._stood = self._stood, {}
            for session in stood:
                self._less(session, STOOD_STILL)

    def registered(self, session: Session) -> None:
        """It goes on."""
        self._less(session, UNREGISTERED)

    def _less(self, session: Session, reason: int) -> None:
        if not session.unsure & reason:
            return
        session.unsure &= ~reason
        if session.unsure == UNREGISTERED and session.parked:
            self.hurry(session)
        if not session.unsure:
            self.unsure.discard(session)
        if session.unsure or not session.parked:
            return
        parked, session.parked = session.parked, []
        if session.parked_bytes > MAX_PARKED_BYTES:
            self._ports.pause(session.handle, False)
        session.parked_bytes = 0
        for one in parked:
            # Of a session that has ended by now, brokers have copies back.
            if not isinstance(one, bytes):
                self.give(*one)
            elif session.phase != ENDED:
                self.take(session, one)

    def left(self, session: Session) -> None:
        """It has ended: what its client said is nothing any more, and brokers get back what is theirs."""
        self._stood.pop(session, None)
        if not session.unsure:
            return
        session.unsure = 0
        self.unsure.discard(session)
        parked, session.parked = session.parked, []
        for one in parked:
            if not isinstance(one, bytes):
                self.give(*one)
