"""What a device keeps as long as the process lives; and what every journal is to a client around its core.

Owns the `ClientJournal` protocol and the journal without a file. Decides nothing about messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from client.changes import Changes, change_of
from client.history import History
from client.state import Event, Journal, Kept, KeptInbound, MessageName, Settled, peer_of
from client.streams import StreamKey, stream_key
from protocol.inbound import InboundStream, Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, About, LoggedIn, Message

MAX_PAGED = 100_000
"""Names of paged messages that are remembered without a history."""


class Untaken(NamedTuple):
    """A message that was shown to nobody yet, as far as the journal knows."""

    message: Message
    late: bool


class ClientJournal(Journal, Protocol):
    """A `Journal` that also keeps what a client needs around its core."""

    durable: bool
    """Whether it outlives the process."""
    history: History | None
    changes: Changes
    user: str
    """Whose it is; empty: not known yet."""
    device: str
    """Which device; empty: not known yet."""

    def is_device(self, user: str, device: str) -> None:
        """Whose this is, and which device of theirs, as far as it is known."""

    def put_paged(self, name: MessageName) -> None:
        """Remember that this message was paged, where there is no history to tell."""

    def untake(self, name: MessageName) -> None:
        """A message was erased: nobody takes it any more."""

    def untaken(self) -> list[Untaken]:
        """Messages that were shown but not taken by the application, in the order of showing."""

    def taken(self, message: Message) -> None:
        """The application has used this message."""

    def put_mark(self, group: str, stamp: int) -> None:
        """A group was read up to this stamp, and the server does not know it yet; 0: it does."""

    def marks(self) -> dict[str, int]:
        """Groups, and up to where they were read, that the server does not know of; as committed."""

    def put_called(self, group: str, name: str) -> None:
        """People call a group so."""

    def called(self) -> dict[str, str]:
        """Groups, and what people call them, as far as it was heard; as committed."""

    def value(self, key: str) -> str | None:
        """A small value, as committed."""

    def put_value(self, key: str, value: str) -> None:
        """Keep a small value."""

    def close(self) -> None:
        """Let go of the file. What was not committed is forgotten."""


class Content(NamedTuple):
    """A message of ours, but for its name and whom it is for."""

    kind: int
    body: bytes
    about: bytes | None
    revision: int
    mark: int
    numbered_ms: int = 0


def content_of(outgoing: Outgoing) -> Content:
    """What there is to keep of a message."""
    about = None if outgoing.about is None else outgoing.about.SerializeToString()
    values = (outgoing.revision, outgoing.mark, outgoing.numbered_ms)
    return Content(outgoing.kind, outgoing.body, about, *values)


def outgoing_of(
    dest: str, content: Content, stream: OutboundStream | None = None, message_id: int = 0, draft: int = 0
) -> Outgoing:
    """The message that was kept so."""
    about = None if content.about is None else About.FromString(content.about)
    outgoing = Outgoing(dest, content.kind, content.body, about, stream, message_id, draft)
    outgoing.revision, outgoing.mark, outgoing.numbered_ms = content.revision, content.mark, content.numbered_ms
    return outgoing


def remember_paged(names: dict[MessageName, None], name: MessageName) -> None:
    """Put it last, and the first ones out where there are too many."""
    names.pop(name, None)
    names[name] = None
    if len(names) > MAX_PAGED:
        del names[next(iter(names))]


def message_name(message: Message) -> MessageName:
    """What names a message for ever; a group's is behind the device."""
    return *stream_key(message), message.id


class Noting:
    """What every journal does with what is about to be told: changes are remembered by their target."""

    user = ""
    device = ""
    changes: Changes

    def is_device(self, user: str, device: str) -> None:
        """See `ClientJournal`."""
        self.user, self.device = user, device

    def note(self, events: Iterable[Event]) -> bool:
        """See `Journal`."""
        noted = [self._note(event) for event in events]
        return any(noted)

    def _note(self, event: Event) -> bool:
        if isinstance(event, LoggedIn):
            self.is_device(event.user_id, event.device_id)
        elif isinstance(event, Settled) and event.outgoing.kind in (EDIT, ERASE):
            message = event.outgoing.message()
            message.from_id, message.from_device, message.stamp = self.user, self.device, event.stamp
            return self._change(message, message.dest_id)
        elif isinstance(event, Shown) and event.item.kind in (EDIT, ERASE):
            return self._change(event.item, peer_of(event.item, self.user))
        return False

    def _change(self, message: Message, peer: str) -> bool:
        change = change_of(message, peer)
        return change is not None and self.changes.apply(change)


class MemoryJournal(Noting):
    """Keeps as long as the object lives."""

    durable = False
    history: History | None = None

    def __init__(self) -> None:
        self._session = (0, False)
        self._streams: dict[int, tuple[str, int, bool]] = {}
        self._messages: dict[int, dict[int, Content]] = {}
        self._drafts: dict[int, tuple[str, Content]] = {}
        self._doubtful: frozenset[int] = frozenset()
        self._inbound: dict[StreamKey, KeptInbound] = {}
        self._parked: dict[MessageName, Message] = {}
        self._untaken: dict[MessageName, Untaken] = {}
        self._held: dict[MessageName, Shown[Message]] = {}
        self._groups: dict[str, int] = {}
        self._called: dict[str, str] = {}
        self._marks: dict[str, int] = {}
        self._values: dict[str, str] = {}
        self._pending: list[tuple[Any, ...]] = []
        self._paged: dict[MessageName, None] = {}
        self.changes = Changes()

    def load(self) -> Kept:
        """See `Journal`."""
        self._pending.clear()
        kept = Kept(*self._session, inbound=dict(self._inbound), parked=list(self._parked.values()))
        kept.doubtful = self._doubtful
        kept.held, kept.groups = list(self._held.values()), dict(self._groups)
        for number, (dest, next_id, retired) in self._streams.items():
            stream = OutboundStream(number, dest, next_id, retired)
            for message_id, content in sorted(self._messages.get(number, {}).items()):
                stream.messages[message_id] = outgoing_of(dest, content, stream, message_id)
            kept.outbound.append(stream)
        for draft, (dest, content) in sorted(self._drafts.items()):
            kept.drafts.append(outgoing_of(dest, content, draft=draft))
        return kept

    def put_session(self, session: int, is_open: bool) -> None:
        """See `Journal`."""
        self._pending.append((self._set_session, session, is_open))

    def _set_session(self, session: int, is_open: bool) -> None:
        self._session = (session, is_open)

    def put_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        state = (stream.dest, stream.next_id, stream.retired)
        self._pending.append((self._streams.__setitem__, stream.number, state))

    def drop_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        self._pending.append((self._streams.pop, stream.number, None))
        self._pending.append((self._messages.pop, stream.number, None))

    def put_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        content = content_of(outgoing)
        if outgoing.stream is None:
            self._pending.append((self._drafts.__setitem__, outgoing.draft, (outgoing.dest, content)))
        else:
            self._pending.append((self._number, outgoing.draft, outgoing.stream.number, outgoing.id, content))

    def _number(self, draft: int, number: int, message_id: int, content: Content) -> None:
        self._drafts.pop(draft, None)
        self._messages.setdefault(number, {})[message_id] = content

    def drop_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        if outgoing.stream is None:
            self._pending.append((self._drafts.pop, outgoing.draft, None))
        else:
            self._pending.append((self._drop, outgoing.stream.number, outgoing.id))

    def _drop(self, number: int, message_id: int) -> None:
        self._messages.get(number, {}).pop(message_id, None)

    def put_doubtful(self, drafts: Iterable[int]) -> None:
        """See `Journal`."""
        self._pending.append((self._set_doubtful, frozenset(drafts)))

    def _set_doubtful(self, drafts: frozenset[int]) -> None:
        self._doubtful = drafts

    def put_inbound(self, key: StreamKey, stream: InboundStream[Message]) -> None:
        """See `Journal`."""
        state = KeptInbound(stream.next, stream.settled, frozenset(stream.gaps))
        self._pending.append((self._inbound.__setitem__, key, state))

    def drop_inbound(self, key: StreamKey) -> None:
        """See `Journal`."""
        self._pending.append((self._inbound.pop, key, None))

    def park(self, message: Message) -> None:
        """See `Journal`."""
        self._pending.append((self._parked.__setitem__, message_name(message), message))

    def show(self, message: Message, late: bool) -> None:
        """See `Journal`."""
        name = message_name(message)
        self._pending.append((self._parked.pop, name, None))
        self._pending.append((self._untaken.setdefault, name, Untaken(message, late)))

    def hold(self, message: Message, late: bool) -> None:
        """See `Journal`."""
        name = message_name(message)
        self._pending.append((self._parked.pop, name, None))
        self._pending.append((self._held.setdefault, name, Shown(message, late)))

    def release(self, message: Message, *, show: bool) -> None:
        """See `Journal`."""
        self._pending.append((self._release, message_name(message), show))

    def _release(self, name: MessageName, show: bool) -> None:
        held = self._held.pop(name, None)
        if held is not None and show:
            self._untaken.setdefault(name, Untaken(*held))

    def put_group(self, group: str, version: int) -> None:
        """See `Journal`."""
        self._pending.append((self._groups.__setitem__, group, version))

    def put_mark(self, group: str, stamp: int) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._marks.__setitem__, group, stamp))

    def marks(self) -> dict[str, int]:
        """See `ClientJournal`."""
        return {group: stamp for group, stamp in self._marks.items() if stamp}

    def put_called(self, group: str, name: str) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._called.__setitem__, group, name))

    def called(self) -> dict[str, str]:
        """See `ClientJournal`."""
        return dict(self._called)

    def paged(self, name: MessageName) -> bool:
        """See `Journal`."""
        return name in self._paged

    def again(self, message: Message) -> None:
        """See `Journal`."""
        self._pending.append((self._parked.pop, message_name(message), None))

    def put_paged(self, name: MessageName) -> None:
        """See `ClientJournal`."""
        remember_paged(self._paged, name)

    def commit(self) -> None:
        """See `Journal`."""
        pending, self._pending = self._pending, []
        for change, *arguments in pending:
            change(*arguments)

    def untaken(self) -> list[Untaken]:
        """See `ClientJournal`."""
        return list(self._untaken.values())

    def taken(self, message: Message) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._untaken.pop, message_name(message), None))

    def untake(self, name: MessageName) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._untaken.pop, name, None))

    def value(self, key: str) -> str | None:
        """See `ClientJournal`."""
        return self._values.get(key)

    def put_value(self, key: str, value: str) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._values.__setitem__, key, value))

    def close(self) -> None:
        """See `ClientJournal`."""
        self._pending.clear()
