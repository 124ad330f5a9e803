"""Signals: what matters only now, such as that somebody is typing. The part of a `Client` that sends them.

Owns how often TYPING is told, and for how long it is believed (docs/protocol.md, "Signals"). Keeps nothing on a disk.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum

from client import arguments
from client.engine import Engine
from client.events import Signal
from protocol import sparrow_pb2 as pb
from protocol.ids import check_dest_id

TYPING_EVERY_S = 3.0
"""TYPING is told no more often, to one user or group."""
TYPING_FOR_S = 6.0
"""Nobody is typing who has not said so for this long."""
MAX_TYPISTS = 200
"""Of whom it is remembered that they are typing: who makes up names fills no memory."""


class SignalKind(IntEnum):
    """What a signal says. Applications may agree on kinds of their own, from 1000 to 2^31-1."""

    TYPING = int(pb.Signal.TYPING)
    """The user is writing."""
    STOPPED_TYPING = int(pb.Signal.STOPPED_TYPING)
    """And is not any more."""


class Typists:
    """Who is typing where, as their signals tell. Give it each `Signal`, and tell it of each message that comes."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def noticed(self, signal: Signal, now: float) -> bool:
        """Take a signal in; whether that changes who is typing.

        Args:
            signal: Of any kind.
            now: The time, in seconds of a steady clock, such as `loop.time()`.
        """
        who = signal.peer, signal.sender
        if signal.kind == SignalKind.STOPPED_TYPING:
            return self.stopped(*who)
        if signal.kind != SignalKind.TYPING:
            return False
        known = self._until.pop(who, 0.0) > now
        self._until[who] = now + TYPING_FOR_S
        if len(self._until) > MAX_TYPISTS:
            del self._until[next(iter(self._until))]
        return not known

    def stopped(self, peer: str, user: str) -> bool:
        """Somebody is not typing any more, since a message of theirs has come; whether they were.

        Args:
            peer: The other user of the conversation, or the group.
            user: Who it is.
        """
        return self._until.pop((peer, user), None) is not None

    def typing(self, peer: str, now: float) -> list[str]:
        """Return who is typing in this conversation, who began first in front.

        Args:
            peer: The other user of the conversation, or the group.
            now: The time, on the clock of `noticed`.
        """
        return [user for (where, user), until in self._until.items() if where == peer and until > now]

    def expire(self, now: float) -> bool:
        """Forget who has said nothing for long; whether there was anybody.

        Args:
            now: The time, on the clock of `noticed`.
        """
        gone = [who for who, until in self._until.items() if until <= now]
        for who in gone:
            del self._until[who]
        return bool(gone)

    def __len__(self) -> int:
        return len(self._until)


class Typing:
    """To whom we have said that we are typing, and when."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_due(self, dest: str, now: float) -> bool:
        """Whether it is to be said (again)."""
        return now - self._told.get(dest, -TYPING_EVERY_S) >= TYPING_EVERY_S

    def told(self, dest: str, now: float) -> None:
        """It was said."""
        self._told = {each: at for each, at in self._told.items() if now - at < TYPING_FOR_S}
        self._told[dest] = now

    def wrote(self, dest: str) -> None:
        """A message goes out, which says that it is over."""
        self._told.pop(dest, None)

    def ended(self, dest: str, now: float) -> bool:
        """It is over; whether anybody still believes it."""
        return now - self._told.pop(dest, -TYPING_FOR_S) < TYPING_FOR_S


class Signalling:
    """The part of a `Client` that sends signals."""

    _typing: Typing

    def _open_engine(self) -> Engine:
        raise NotImplementedError

    def signal(self, dest: str, kind: int, body: bytes | bytearray | memoryview = b"") -> bool:
        """Tell a user, or a group, what matters only now: to whoever is online, and may be written to.

        Nothing is kept and nobody answers: it may get lost, and overtake messages. The server takes some ten a second,
        none to groups of more than 50, and of who hides their presence no typing; it does not say so.

        Args:
            dest: The user, or the group, it is for.
            kind: A `SignalKind`, or a number of the application's own from 1000 to 2^31-1.
            body: Up to 1,024 bytes.

        Returns:
            False if it was not even sent: there is no connection now, or the server does not know signals.

        Raises:
            InvalidIdError: `dest` is no id of a user or a group.
            MisuseError: `kind` or `body` is none of the above.
            MessageTooLargeError: `body` is longer.
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        engine = self._open_engine()
        check_dest_id(dest)
        content = arguments.signal(kind, body)
        # What cannot leave now would come when it is not true any more.
        if engine.connection is None or engine.connection.congested:
            return False
        if not engine.core.signal(dest, int(kind), content):
            return False
        engine.changed()
        return True

    def typing(self, dest: str) -> bool:
        """Tell that we are writing to a user, or in a group. Call it at each key: it is said every three seconds.

        Args:
            dest: The user, or the group, that is written to.

        Returns:
            Whether it was said now.

        Raises:
            InvalidIdError: `dest` is no id of a user or a group.
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        now = asyncio.get_running_loop().time()
        if not self._typing.is_due(dest, now) or not self.signal(dest, SignalKind.TYPING):
            return False
        self._typing.told(dest, now)
        return True

    def stopped_typing(self, dest: str) -> bool:
        """Tell that we write no more, if somebody may think so. A message says so by itself.

        Args:
            dest: The user, or the group, that was written to.

        Returns:
            Whether it was said.

        Raises:
            InvalidIdError: `dest` is no id of a user or a group.
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        believed = self._typing.ended(dest, asyncio.get_running_loop().time())
        return believed and self.signal(dest, SignalKind.STOPPED_TYPING)
