"""What a client tells a user interface, through `Client(on_event=...)`.

Owns these types. Everything in them has been kept before it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from client.api.groups import GroupChange
from client.messages import Message, Sending, State
from protocol import sparrow_pb2 as pb
from protocol.errors import SparrowError


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is logged in; what has waited begins to come."""

    user: str
    """The client's user."""
    device: str
    """The client's device."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection, and another try is to come."""

    reason: str
    """Why, for a person."""
    retry_in_s: float
    """How far away the next try is, in seconds."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The client has ended: with an error, or because `aclose` was called."""

    error: SparrowError | None
    """Why; None if `aclose` was called."""


@dataclass(frozen=True, slots=True)
class SendingChanged:
    """A message of this device has come further, has failed, or has been told to wait (`sending.note`)."""

    sending: Sending
    """What `Client.send` has returned."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Messages of ours that no `Sending` is left for have come further.

    Sent by another device of ours, or before a restart, or the application did not keep the `Sending`. Ids that are
    unknown are to be ignored.
    """

    peer: str
    """For `READ`: who has read. Only messages to that user are meant. Empty for `DELIVERED`."""
    device: str
    """The device of ours that they are of."""
    stream: int
    """Their stream."""
    ids: tuple[int, ...]
    """Their ids in it."""
    state: State
    """How far they have come: `DELIVERED` or `READ`."""


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """We have written a message on another device."""

    message: Message
    """What we have written."""


@dataclass(frozen=True, slots=True)
class ReadElsewhere:
    """We have read messages on another device."""

    peer: str
    """Their author."""
    device: str
    """The author's device."""
    stream: int
    """Their stream."""
    ids: tuple[int, ...]
    """Their ids in it."""


@dataclass(frozen=True, slots=True)
class Edited:
    """A message has another text from now on. It may be one that is not known here, or not yet."""

    peer: str
    """The other user of the conversation, or the group."""
    sender: str
    """The message's author, who has edited it."""
    device: str
    """The device that the message was written on."""
    stream: int
    """The message's stream."""
    id: int
    """The message's id in it."""
    text: str
    """What it says now."""
    stamp: int
    """The server's stamp of the edit."""


@dataclass(frozen=True, slots=True)
class Erased:
    """A message is no more: show nothing of it. It may be one that is not known here."""

    peer: str
    """The other user of the conversation, or the group."""
    sender: str
    """The message's author."""
    device: str
    """The device that the message was written on."""
    stream: int
    """The message's stream."""
    id: int
    """The message's id in it."""
    by: str
    """Who has erased it: the author, or "operator" if it was taken down."""


@dataclass(frozen=True, slots=True)
class MarkRaised:
    """We have read, on another device, all that was written to us, by a user or in a group, up to a stamp."""

    peer: str
    """The other user, or the group."""
    stamp: int
    """Up to where."""


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """A group has changed. It is told before the first message of that version or a later one, where it can be had.

    After a crash a change may be told twice.
    """

    group: str
    """The group."""
    change: GroupChange
    """Who did what."""


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """We are in a group no more: we have left it, were removed, or it was closed. It may be told twice."""

    group: str
    """The group."""


@dataclass(frozen=True, slots=True)
class Found:
    """Messages were found in the history that have not come as messages, and are older than what has."""

    peer: str
    """The other user of the conversation, or the group."""
    messages: tuple[Message, ...]
    """Newest first."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Messages were found in a state that somebody else has used since, who may have sent them: ask a person."""

    sendings: tuple[Sending, ...]
    """For `Client.send_again` or `Client.give_up`, oldest first."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message has come that nobody can read, nor say whose it is. It is passed over and will not come again."""


class HintKind(IntEnum):
    """What has changed (docs/protocol.md, "Hints")."""

    FRIEND_ASKED = int(pb.Hint.FRIEND_ASKED)
    """The user wants to be our friend."""
    FRIEND_ACCEPTED = int(pb.Hint.FRIEND_ACCEPTED)
    """The user is our friend now."""
    FRIEND_REFUSED = int(pb.Hint.FRIEND_REFUSED)
    """The user has declined, or taken back what they asked."""
    FRIEND_REMOVED = int(pb.Hint.FRIEND_REMOVED)
    """The user is our friend no more."""
    DEVICES_CHANGED = int(pb.Hint.DEVICES_CHANGED)
    """A device of ours was added or removed."""
    PROFILE_CHANGED = int(pb.Hint.PROFILE_CHANGED)
    """The user, a friend or we ourselves, has another profile."""
    HISTORY_CHANGED = int(pb.Hint.HISTORY_CHANGED)
    """A message in the conversation with the user, or in the group, was erased over HTTP, or taken down.

    `Erased` follows for one that is in the state file.
    """
    GROUP_CHANGED = int(pb.Hint.GROUP_CHANGED)
    """The group has another version, or our own membership or invitation has changed. `GroupChanged` follows."""
    SKIPPED = int(pb.Hint.SKIPPED)
    """Of the group, older messages stand in its history alone: see `Conversation.backwards`."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The user API knows more of something that has changed. Hints may be lost: look there after `Connected`, too."""

    kind: HintKind
    """What has changed."""
    user: str
    """Whom it is about, or who did it; may be empty where it is about a group."""
    group: str = ""
    """Which group it is about; empty: none."""
    version: int = 0
    """Of GROUP_CHANGED, the version that the group has now."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Somebody tells what matters only now. It may come before a message that was written earlier, or never.

    `Typists` makes of these who is typing.
    """

    peer: str
    """The other user of the conversation, or the group."""
    sender: str
    """Who tells it."""
    device: str
    """On which device."""
    kind: int
    """A `SignalKind`, or one of applications' own from 1000 on; of others nothing is told."""
    body: bytes
    """Whatever belongs to it; a stranger's word."""


Event: TypeAlias = (
    Connected
    | Disconnected
    | Closed
    | SendingChanged
    | Progress
    | OwnMessage
    | ReadElsewhere
    | Edited
    | Erased
    | MarkRaised
    | GroupChanged
    | GroupLeft
    | Found
    | Doubtful
    | Unreadable
    | Hint
    | Signal
)
