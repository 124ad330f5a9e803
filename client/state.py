"""What the client's core keeps, through a `Journal`, and what it tells.

Owns the form of both. Decides nothing: which of it changes when is the core's, and where it is kept is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from client.streams import StreamKey, group_of, split_device
from protocol.client import Unreadable
from protocol.inbound import InboundStream, Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, READ, Goodbye, Hint, LoggedIn, Message, Signal

CHANGES = frozenset({int(EDIT), int(ERASE)})
"""They go only to a server that understands "changes"."""
REPEATABLE = frozenset({int(READ), *CHANGES})
"""Kinds that say nothing new when they are told twice under two names."""
MessageName: TypeAlias = tuple[str, str, int, int]
"""from_id, from_device, stream, id. Where names of groups' messages stand beside others, the group's id is behind the
device, as in `StreamKey`."""


def peer_of(message: Message, user: str) -> str:
    """The conversation of a message, as `user` sees it: a group, or the other one of two."""
    return group_of(message) or (message.dest_id if message.from_id == user else message.from_id)


@dataclass(frozen=True, slots=True)
class Settled:
    """A message of ours is safe, or delivered, too."""

    outgoing: Outgoing
    stamp: int
    delivered: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """Messages of ours, perhaps of another device of ours, are delivered."""

    from_device: str
    stream: int
    ids: tuple[int, ...]
    early: bool = False
    """They are not SENT yet: nothing is kept of it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message of ours has failed; `final`, or it will be sent again."""

    outgoing: Outgoing
    code: int
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Drafts of ours that may have been sent already, by somebody who had the same state; see `ClientCore.doubtful`."""

    outgoing: tuple[Outgoing, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages of others were given up (R5): where the conversation is kept, they may stand in its history."""

    from_id: str
    from_device: str
    """As in `StreamKey`."""
    stream: int
    first: int
    last: int

    @property
    def device(self) -> str:
        """The author's device."""
        return split_device(self.from_device)[0]

    @property
    def group(self) -> str:
        """Empty: of a conversation of two."""
        return split_device(self.from_device)[1]


@dataclass(frozen=True, slots=True)
class GroupBehind:
    """Messages of a group wait for its changes up to this version: show them, then `ClientCore.group_at`."""

    group: str
    version: int


Event: TypeAlias = (
    LoggedIn
    | Shown[Message]
    | Settled
    | Delivered
    | Refused
    | Doubtful
    | Skipped
    | GroupBehind
    | Unreadable
    | Hint
    | Signal
    | Goodbye
)


@dataclass(slots=True)
class KeptInbound:
    """An inbound stream as it was kept."""

    next: int
    settled: int
    gaps: frozenset[int]


@dataclass(slots=True)
class Kept:
    """Everything that a journal holds."""

    session: int = 0
    session_open: bool = False
    """The last session was not seen to end."""
    outbound: list[OutboundStream] = field(default_factory=list)
    """With their unsettled messages; oldest first."""
    drafts: list[Outgoing] = field(default_factory=list)
    """Oldest first."""
    doubtful: frozenset[int] = frozenset()
    """Of the drafts, those that may have been sent already."""
    inbound: dict[StreamKey, KeptInbound] = field(default_factory=dict)
    parked: list[Message] = field(default_factory=list)
    held: list[Shown[Message]] = field(default_factory=list)
    """Messages of groups that wait for changes, in the order in which they came."""
    groups: dict[str, int] = field(default_factory=dict)
    """Up to which version the changes of a group are shown."""


class Journal(Protocol):
    """Where a device keeps its state. Changes count together, at `commit`."""

    def load(self) -> Kept: ...

    def put_session(self, session: int, is_open: bool) -> None:
        """Remember the device's last session, and whether it may still give ids."""

    def put_outbound(self, stream: OutboundStream) -> None: ...

    def drop_outbound(self, stream: OutboundStream) -> None: ...

    def put_outgoing(self, outgoing: Outgoing) -> None:
        """Keep a message of ours; once numbered, it replaces its draft."""

    def drop_outgoing(self, outgoing: Outgoing) -> None:
        """Forget a message of ours, or a draft."""

    def put_doubtful(self, drafts: Iterable[int]) -> None:
        """Which drafts may have been sent already; all of them."""

    def put_inbound(self, key: StreamKey, stream: InboundStream[Message]) -> None: ...

    def drop_inbound(self, key: StreamKey) -> None: ...

    def park(self, message: Message) -> None: ...

    def show(self, message: Message, late: bool) -> None:
        """Keep a message that is to be shown; it may have been parked."""

    def hold(self, message: Message, late: bool) -> None:
        """Keep a message of a group that is to be shown behind changes; it may have been parked."""

    def release(self, message: Message, *, show: bool) -> None:
        """It is shown now, or (being erased, or here from a page) never."""

    def put_group(self, group: str, version: int) -> None:
        """Up to which version the changes of a group are shown."""

    def paged(self, name: MessageName) -> bool:
        """Whether this message is here from a page of its conversation's history, as committed."""

    def again(self, message: Message) -> None:
        """What was paged has come as a message, too; it may have been parked."""

    def note(self, events: Iterable[Event]) -> bool:
        """Keep a line of what is about to be told, where there is a history; whether that changes anything."""

    def commit(self) -> None:
        """Raises `StateError` if it could not be kept; then the core is of no more use."""
