"""Doubt: after this process stood still, or lost its lease, nothing is taken or given on a session before it is known
that it goes on.

Owns what is held back meanwhile. What had happened to sessions while we could not hear it (their login has ended, their
client has gone) waits in sockets, behind which nobody knows what else; a broker's answer to a heartbeat that was asked
after the standstill comes behind all that it had said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED, GREETING
from connector.core.state import Ports, Session, Turn
from fabric.records import SESSION, Record

STANDSTILL_S = 1.0
"""A turn that comes so much later than the one before shows that this process stood still."""
MAX_PARKED_BYTES = 64 * 1024
"""Bytes that are held back of one client; beyond them its connection is not read."""

STOOD_STILL: Final = 1
"""What brokers have said meanwhile has not been heard yet."""
UNREGISTERED: Final = 2
"""Presence has forgotten it, and with it whoever ends sessions."""


class _Parked:
    """What came for an unsure session."""

    __slots__ = ("bytes", "entries")

    def __init__(self) -> None:
        self.entries: list[bytes | tuple[Link, Record]] = []
        """What its client has said, and records of brokers, as they came."""
        self.bytes = 0
        """Bytes of what its client has said."""


class Doubts:
    """All sessions that are unsure."""

    def __init__(
        self,
        ports: Ports,
        turn: Turn,
        links: Links,
        sessions: Mapping[int, Session],
        take: Callable[[Session, bytes], None],
        give: Callable[[Link, Record], None],
    ) -> None:
        """`take` handles bytes of a client that were parked, `give` a broker's record."""
        self._ports = ports
        self._turn = turn
        self._links = links
        self._sessions = sessions
        self._take = take
        self._give = give
        self.hurry: Callable[[Session], None]
        """Told of a session that has something to say and is not registered. Whoever makes this has to set it."""
        self._waiting: dict[Link, int] = {}
        """Brokers to be heard after the standstill, each with the first beat whose answer counts."""
        self._stood: dict[Session, None] = {}
        self._until = 0.0
        """Not before a later turn than this is it over."""
        self._parked: dict[Session, _Parked] = {}
        self.standing_still = False
        self.unsure: set[Session] = set()
        """All sessions that are unsure."""

    # Beginning.

    def stood_still(self, sessions: Iterable[Session]) -> None:
        """This process has just gone on: ask all brokers that were up for a sign.

        There is a turn to wait for even with none, or with one that answers at once (`fabric.pump`): what waits in
        sockets tells whose connection is at its end, and a broker must not have that one's login.
        """
        self._waiting = self._links.ask_all()
        self._until = self._turn.now
        self.standing_still = True
        for session in sessions:
            self.opened(session)

    def opened(self, session: Session) -> None:
        """A connection that was waiting while we stood still; one that has been told Goodbye waits for nothing."""
        if self.standing_still and session.phase != ENDED:
            session.unsure |= STOOD_STILL
            self.unsure.add(session)
            self._stood[session] = None

    def unregistered(self, sessions: Iterable[Session]) -> None:
        """These sessions have to register again, and are unsure until they have."""
        for session in sessions:
            if session.phase not in (GREETING, ENDED):
                session.unsure |= UNREGISTERED
                self.unsure.add(session)
                if session in self._parked:
                    self.hurry(session)

    # Meanwhile.

    def park(self, session: Session, data: bytes) -> None:
        """Bytes from the client of an unsure session."""
        parked = self._parked.setdefault(session, _Parked())
        parked.entries.append(data)
        parked.bytes += len(data)
        if parked.bytes > MAX_PARKED_BYTES >= parked.bytes - len(data):
            self._ports.pause(session.handle, True)
        if session.unsure == UNREGISTERED:
            self.hurry(session)

    def park_record(self, link: Link, rec: Record) -> bool:
        """Something that a broker has for a session. False if that is sure."""
        session = self._sessions.get(rec[SESSION])
        if session is None or not session.unsure:
            return False
        self._parked.setdefault(session, _Parked()).entries.append((link, rec))
        return True

    # End.

    def heard(self, link: Link, beat: int) -> None:
        """A broker has answered a heartbeat: this one, or (0) it does not say which."""
        first = self._waiting.get(link)
        if first is not None and (not beat or (beat - first) & 0xFFFF < 0x8000):
            del self._waiting[link]
            self._look()

    def tick(self) -> None:
        """Wait no more for brokers that are down by now: they have nothing to say that would have been heard."""
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
        """Presence names the session again: it goes on."""
        self._less(session, UNREGISTERED)

    def _less(self, session: Session, reason: int) -> None:
        if not session.unsure & reason:
            return
        session.unsure &= ~reason
        if session.unsure == UNREGISTERED and session in self._parked:
            self.hurry(session)
        if session.unsure:
            return
        self.unsure.discard(session)
        parked = self._parked.pop(session, None)
        if parked is None:
            return
        if parked.bytes > MAX_PARKED_BYTES:
            self._ports.pause(session.handle, False)
        for entry in parked.entries:
            # Of a session that has ended by now, brokers have copies back.
            if not isinstance(entry, bytes):
                self._give(*entry)
            elif session.phase != ENDED:
                self._take(session, entry)

    def left(self, session: Session) -> None:
        """The session has ended: what its client said is nothing any more, and brokers get back what is theirs."""
        self._stood.pop(session, None)
        if not session.unsure:
            return
        session.unsure = 0
        self.unsure.discard(session)
        parked = self._parked.pop(session, None)
        for entry in parked.entries if parked is not None else ():
            if not isinstance(entry, bytes):
                self._give(*entry)

    def check(self, sessions: Iterable[Session]) -> None:
        """Assert what holds at the end of a turn."""
        assert self.unsure == {session for session in sessions if session.unsure}, "who is unsure is not known"
        assert self._parked.keys() <= self.unsure, "something of a session is held back that is sure"
        assert self._stood.keys() <= self.unsure, "a session stands still that is sure"
