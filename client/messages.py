"""What an application has in hand: a message that came, and one that is being sent.

Owns what is public about them. Sends nothing; what they do goes through their `Owner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol

from client.state import MessageName
from client.streams import group_of, stream_key
from protocol import sparrow_pb2 as pb
from protocol.errors import MisuseError, SparrowError
from protocol.files import FileReference, parse_file_reference
from protocol.ids import is_group_id, stamp_ms

TEXT = int(pb.TEXT)
FILE = int(pb.FILE)
DOUBTFUL = "it may have been sent already"
NOT_IN_GROUPS = "in a group nobody is told DELIVERED and READ: wait for SENT, and ask Client.groups.read_by"
NO_TEXT = "only a TEXT can be edited: erase it, and send another"
NOT_OUT_YET = "it has not been sent yet: wait until the client is connected"
GIVEN_UP = "given up: it may have been sent already"


class State(IntEnum):
    """How far a message has come, for display: a later state implies the earlier ones."""

    FAILED = -1
    """Refused for good."""
    QUEUED = 0
    """Kept here, and sent again and again until it is safe."""
    SENT = 1
    """Safe: every device of the addressee has it, or finds it in its inbox."""
    DELIVERED = 2
    """A device of the addressee has it."""
    READ = 3
    """The addressee has read it."""


class Owner(Protocol):
    """What a message needs of its client."""

    user: str

    async def read(self, message: Message) -> None: ...

    def take(self, message: Message) -> None: ...

    async def change(
        self, dest: str, device: str, stream: int, number: int, text: str | None, revision: int = 0
    ) -> Sending: ...


class Message:
    """A message that came to the application: `body` is what was sent, `text` is the same as text."""

    __slots__ = ("_owner", "edited_stamp", "erased_by", "late", "read", "revision", "state", "wire")

    def __init__(self, owner: Owner, wire: pb.Message, late: bool) -> None:
        self._owner = owner
        self.wire = wire
        """As it came, field by field (protocol/sparrow.proto)."""
        self.late = late
        """A later one of the same stream was shown before it."""
        self.read = False
        """`mark_read` was called."""
        self.revision = 0
        """How often it was edited before it was given out, at least."""
        self.edited_stamp = 0
        """The server's stamp of the edit that counts; 0: it reads as it was written."""
        self.erased_by = ""
        """Not empty: it was erased, by this user, or taken down by "operator". Then its body is empty."""
        self.state = State.SENT
        """Of one's own that comes from the history, how far it has come."""

    @property
    def sender(self) -> str:
        """The user who wrote the message."""
        return self.wire.from_id

    @property
    def dest(self) -> str:
        """The user, or the group, that it was written to."""
        return self.wire.dest_id

    @property
    def group(self) -> str:
        """The group that it was written to; empty: it is between two users."""
        return group_of(self.wire)

    @property
    def version(self) -> int:
        """The version of the group in which it was sent; 0: it was written to a user, or comes from the history."""
        return self.wire.version if self.group else 0

    @property
    def kind(self) -> int:
        """What the body is: `TEXT`, `FILE`, or a number of the application's own from 1000 up."""
        return int(self.wire.kind)

    @property
    def body(self) -> bytes:
        """The bytes that were sent; the server has not looked at them."""
        return self.wire.body

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.wire.body.decode(errors="replace")

    @property
    def file(self) -> FileReference:
        """The file that a `FILE` message is about.

        Raises:
            FileReferenceError: The body tells of none.
        """
        return parse_file_reference(self.wire.body)

    @property
    def at(self) -> datetime:
        """When a server took the message, in UTC, to the millisecond."""
        return datetime.fromtimestamp(stamp_ms(self.wire.stamp) / 1000, UTC)

    @property
    def name(self) -> tuple[str, str, int, int]:
        """What names the message for ever: from_id, from_device, stream and id."""
        return self.wire.from_id, self.wire.from_device, self.wire.stream, self.wire.id

    @property
    def key(self) -> MessageName:
        """The same where it stands beside messages of other conversations (`client.streams.StreamKey`)."""
        return *stream_key(self.wire), self.wire.id

    async def mark_read(self) -> None:
        """Tell the author, and the reader's other devices, that the message was read. Doing so again does nothing.

        In a group it says that all is read that was written there up to it. Messages marked in the same turn of the
        event loop are told about together.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        await self._owner.read(self)

    async def edit(self, text: str) -> Sending:
        """Give one's own `TEXT` another text, on all devices of both. Await `sent` of what it returns.

        It is kept, and repeated, like a message; where the server knows no changes yet, it waits here until one does.

        Args:
            text: What it is to say.

        Raises:
            MisuseError: It is somebody else's, no `TEXT`, or older than the service lets one edit.
            MessageTooLargeError: The text is longer than the server takes.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        if self.kind != TEXT:
            raise MisuseError(NO_TEXT)
        return await self._change(text)

    async def erase(self) -> Sending:
        """Erase one's own message, on all devices of both and at the server. Await `sent` of what it returns.

        Raises:
            MisuseError: It is somebody else's.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return await self._change(None)

    async def _change(self, text: str | None) -> Sending:
        author, device, stream, number = self.name
        if author != self._owner.user:
            raise MisuseError("only one's own messages can be edited and erased")
        return await self._owner.change(self.dest, device, stream, number, text, self.revision)

    def taken(self) -> None:
        """Say that the application has used the message, so that it is not given out again after a restart.

        `mark_read`, the next step of the `async for` that gave it out, and a clean `aclose` say the same.
        """
        self._owner.take(self)

    def __repr__(self) -> str:
        return f"<Message {self.sender}→{self.dest} {self.wire.stream:x}/{self.wire.id} {self.body[:40]!r}>"


class Sending:
    """A message that is being sent. Await `sent`, `delivered` or `read`, as often as you like."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_owner",
        "_waiters",
        "body",
        "dest",
        "doubtful",
        "draft",
        "error",
        "id",
        "kind",
        "note",
        "safe",
        "stamp",
        "state",
        "stream",
    )

    def __init__(self, dest: str, kind: int, body: bytes, owner: Owner | None = None) -> None:
        self._owner = owner
        self.dest = dest
        """The user, or the group, it is for."""
        self.kind = kind
        """What the body is, as in `Message.kind`."""
        self.body = body
        """The bytes that are sent."""
        self.state = State.QUEUED
        """How far it has come."""
        self.safe = False
        """SENT was seen. (DELIVERED may come before it, when the addressee has several devices.)"""
        self.stream = 0
        """The message's stream; 0 until it has been numbered, which happens when the client is first logged in."""
        self.id = 0
        """The message's id in its stream; 0 until it has been numbered."""
        self.draft = 0
        """Names it until it is numbered."""
        self.stamp = 0
        """The server's stamp, from SENT on; 0 before."""
        self.doubtful = False
        """It may have been sent already (docs/protocol.md, K5): see `Client.doubtful`."""
        self.note = ""
        """Why it waits, if the server has said so."""
        self.error: SparrowError | None = None
        """Why it failed, with `State.FAILED`."""
        self._closed: SparrowError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sent(self) -> Milestone:
        """Reached when the message is safe: every device of the addressee has it, or finds it in its inbox.

        In a group: every device of every member.
        """
        return Milestone(self, State.SENT)

    @property
    def delivered(self) -> Milestone:
        """Reached when a device of the addressee has the message. In a group, awaiting it raises `MisuseError`."""
        return Milestone(self, State.DELIVERED)

    @property
    def read(self) -> Milestone:
        """Reached when the addressee has read the message. In a group, awaiting it raises `MisuseError`."""
        return Milestone(self, State.READ)

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode(errors="replace")

    def has_reached(self, state: State) -> bool:
        """Whether the message has come so far.

        Args:
            state: How far; a later state implies the earlier ones, but for FAILED.
        """
        return self.safe if state == State.SENT else self.state >= state

    async def wait(self, state: State) -> None:
        """Return when the message has come so far. Bound the wait with `asyncio.timeout`.

        Args:
            state: How far.

        Raises:
            RefusedError: The message was refused for good; the subclass says why.
            MisuseError: It is for a group, where nobody is told DELIVERED and READ.
            ClosedError: The client was closed before.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        if state > State.SENT and is_group_id(self.dest):
            raise MisuseError(NOT_IN_GROUPS)
        loop = asyncio.get_running_loop()
        while not self.has_reached(state):
            error = self.error or self._closed
            if error is not None:
                # A new one each time: a traceback grows with every raise.
                raise type(error)(*error.args)
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    async def edit(self, text: str) -> Sending:
        """Give it another text: see `Message.edit`.

        Args:
            text: What it is to say.

        Raises:
            MisuseError: It is no `TEXT`, has not got its number yet, or is older than the service lets one edit.
            MessageTooLargeError: The text is longer than the server takes.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        if self.kind != TEXT:
            raise MisuseError(NO_TEXT)
        return await self._change(text)

    async def erase(self) -> Sending:
        """Erase it, on all devices of both and at the server: see `Message.erase`.

        Raises:
            MisuseError: It has not got its number yet.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return await self._change(None)

    async def _change(self, text: str | None) -> Sending:
        if not self.stream or self._owner is None:
            raise MisuseError(NOT_OUT_YET)
        return await self._owner.change(self.dest, "", self.stream, self.id, text)

    # For the client.

    def advance(self, state: State) -> bool:
        """It has come at least so far; whether that is news."""
        if state <= self.state:
            return False
        self.state = state
        self.wake()
        return True

    def fail(self, error: SparrowError) -> None:
        """It was refused for good."""
        if self.state == State.QUEUED:
            self.state = State.FAILED
        self.error = error
        self.wake()

    def close(self, error: SparrowError) -> None:
        """Nothing more will be heard of it."""
        self._closed = error
        self.wake()

    def wake(self) -> None:
        """Let those who wait look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Sending →{self.dest} {self.stream:x}/{self.id} {self.state.name} {self.body[:40]!r}>"


class Milestone:
    """How far a message may come: awaitable, as often as you like; gives its `Sending`.

    Bound the wait with `asyncio.timeout`.

    Raises:
        RefusedError: The message was refused for good; the subclass says why.
        ClosedError: The client was closed before.
        SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
    """

    __slots__ = ("_sending", "_state")

    def __init__(self, sending: Sending, state: State) -> None:
        self._sending = sending
        self._state = state

    @property
    def reached(self) -> bool:
        """Whether awaiting would return at once."""
        return self._sending.has_reached(self._state)

    async def _wait(self) -> Sending:
        await self._sending.wait(self._state)
        return self._sending

    def __await__(self) -> Generator[object, None, Sending]:
        return self._wait().__await__()
