"""From what the core says to what the application sees: sendings, messages, events.

Owns the `Sending`s and which messages are taken. Writes to no socket.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Iterable

from client import events, state
from client.changes import Change, Target, change_of
from client.flow import Arrivals
from client.journal import ClientJournal, MessageName, Untaken
from client.messages import DOUBTFUL, GIVEN_UP, Message, Owner, Sending, State
from client.streams import group_of
from protocol import sparrow_pb2 as pb
from protocol.allowed import carries_signal
from protocol.client import Unreadable
from protocol.errors import (
    BlockedError,
    MessageTooLargeError,
    NoSuchUserError,
    NotFriendError,
    NotMemberError,
    RefusedError,
    SparrowError,
)
from protocol.ids import is_group_id
from protocol.inbound import Shown
from protocol.outbound import Outgoing

_REFUSALS: dict[int, type[RefusedError]] = {
    int(pb.Failed.NO_SUCH_USER): NoSuchUserError,
    int(pb.Failed.TOO_LARGE): MessageTooLargeError,
    int(pb.Failed.BLOCKED): BlockedError,
    int(pb.Failed.NOT_FRIEND): NotFriendError,
    int(pb.Failed.NOT_MEMBER): NotMemberError,
}
_WAITING: dict[int, str] = {
    int(pb.Failed.INBOX_FULL): "their inbox is full, or that of another device of yours",
    int(pb.Failed.NO_SPACE): "the server's disk is full",
    int(pb.Failed.HISTORY_FULL): "as much as may be kept of what you write is kept already",
}
"""Why a message waits, for its author."""
NOT_KNOWN = "the server is an older one that does not know this yet"
"""The same of what is for a group, or changes a message, until there is a server that takes it."""

_HINTS = frozenset(map(int, events.HintKind))
"""Others are of a later version."""


class Telling:
    """Of one client. `settled` is called for each message of ours that comes to its end."""

    def __init__(
        self,
        user: str,
        owner: Owner,
        arrivals: Arrivals,
        journal: ClientJournal,
        tell: Callable[[events.Event], None],
        settled: Callable[[], None],
    ) -> None:
        self._user = user
        self._owner = owner
        self._arrivals = arrivals
        self._journal = journal
        self._tell = tell
        self._settled_one = settled
        self._drafts: list[tuple[Outgoing, Sending]] = []
        self._sendings: weakref.WeakValueDictionary[tuple[int, int], Sending] = weakref.WeakValueDictionary()
        self.doubtful: dict[Sending, Outgoing] = {}
        """What waits for a person's word, oldest first."""
        self._untaken: set[MessageName] = set()
        self.unsettled = 0
        """Messages of ours (but for READ) that are neither SENT nor refused."""

    # After a restart.

    def restore(self, outgoing: Iterable[Outgoing], doubtful: Container[int]) -> None:
        """What was not settled; and which drafts of it wait for a person."""
        for each in outgoing:
            if each.kind != pb.READ:
                self.sending(each, doubtful=each.draft in doubtful)

    def repeat(self, untaken: Iterable[Untaken]) -> None:
        """What was shown, but not taken by the application."""
        for message, late in untaken:
            self._shown(message, late)

    # Ours.

    def sending(self, outgoing: Outgoing, *, doubtful: bool = False, online: bool = False) -> Sending:
        """The handle of a new message; `online`: it would have its number if the server knew what it is."""
        sending = Sending(outgoing.dest, outgoing.kind, outgoing.body, self._owner)
        sending.draft = outgoing.draft
        outgoing.tag = sending
        if doubtful:
            self._put_off(outgoing, sending)
            return sending
        self.unsettled += 1
        if not self._number(outgoing, sending):
            sending.note = NOT_KNOWN if online else ""
            self._drafts.append((outgoing, sending))
        return sending

    def _put_off(self, outgoing: Outgoing, sending: Sending) -> None:
        sending.doubtful, sending.note = True, DOUBTFUL
        self.doubtful[sending] = outgoing

    def _doubted(self, event: state.Doubtful) -> None:
        found = []
        for outgoing in event.outgoing:
            sending = outgoing.tag
            if isinstance(sending, Sending):
                self._drafts = [draft for draft in self._drafts if draft[0] is not outgoing]
                self._put_off(outgoing, sending)
                self._ends()
                found.append(sending)
                self._tell(events.SendingChanged(sending))
        self._tell(events.Doubtful(tuple(found)))

    def goes_out(self, sending: Sending) -> None:
        """A doubtful one is sent after all."""
        outgoing = self.doubtful.pop(sending)
        sending.doubtful, sending.note = False, ""
        self.unsettled += 1
        if not self._number(outgoing, sending):
            self._drafts.append((outgoing, sending))
        self._tell(events.SendingChanged(sending))

    def given_up(self, sending: Sending) -> None:
        """A doubtful one is not."""
        self.doubtful.pop(sending)
        sending.doubtful, sending.note = False, ""
        sending.fail(RefusedError(GIVEN_UP))
        self._tell(events.SendingChanged(sending))

    def _number(self, outgoing: Outgoing, sending: Sending) -> bool:
        if outgoing.stream is None:
            return False
        sending.stream, sending.id = outgoing.stream.number, outgoing.id
        if sending.note == NOT_KNOWN:
            sending.note = ""
            self._tell(events.SendingChanged(sending))
        self._sendings[sending.stream, sending.id] = sending
        return True

    def numbered(self) -> None:
        """Drafts may have got their numbers; what has none now waits for a server that knows what it is."""
        self._drafts = [draft for draft in self._drafts if not self._number(*draft)]
        for _, sending in self._drafts:
            if not sending.note:
                sending.note = NOT_KNOWN
                self._tell(events.SendingChanged(sending))

    def happened(self, event: state.Event) -> None:
        """Tell what the core has told."""
        if isinstance(event, Shown):
            self._shown(event.item, event.late)
        elif isinstance(event, state.Settled):
            self._settled(event)
        elif isinstance(event, state.Delivered):
            self._progress("", event.from_device, event.stream, event.ids, State.DELIVERED)
        elif isinstance(event, state.Refused):
            self._refused(event)
        elif isinstance(event, state.Doubtful):
            self._doubted(event)
        elif isinstance(event, Unreadable):
            self._tell(events.Unreadable())
        elif isinstance(event, pb.Hint) and event.kind == pb.Hint.MARK_RAISED:
            self._tell(events.MarkRaised(event.group or event.user_id, event.stamp))
        elif isinstance(event, pb.Hint) and event.kind in _HINTS:
            self._tell(events.Hint(events.HintKind(event.kind), event.user_id, event.group, event.version))

        elif isinstance(event, pb.Signal) and carries_signal(event.kind):
            peer = event.dest_id if is_group_id(event.dest_id) else event.from_id
            self._tell(events.Signal(peer, event.from_id, event.from_device, event.kind, event.body))

    def _settled(self, event: state.Settled) -> None:
        sending = event.outgoing.tag
        if not isinstance(sending, Sending):
            return
        sending.stamp, sending.safe, sending.note = event.stamp, True, ""
        self._ends()
        sending.advance(State.DELIVERED if event.delivered else State.SENT)
        sending.wake()
        self._tell(events.SendingChanged(sending))
        if event.outgoing.kind in state.CHANGES:
            wire = event.outgoing.message()
            wire.from_id, wire.from_device = self._user, self._journal.device
            self._changed(wire, wire.dest_id)

    def _refused(self, event: state.Refused) -> None:
        sending = event.outgoing.tag
        if not isinstance(sending, Sending):
            return
        if event.final:
            self._ends()
            sending.fail(_REFUSALS.get(event.code, RefusedError)(event.text or "the server refuses it"))
        else:
            sending.note = _WAITING.get(event.code, event.text)
        self._tell(events.SendingChanged(sending))

    def _ends(self) -> None:
        self.unsettled -= 1
        self._settled_one()

    def _progress(self, peer: str, device: str, stream: int, ids: Iterable[int], state: State) -> None:
        """`peer` says so; empty: the server does."""
        others = []
        for number in ids:
            sending = self._sendings.get((stream, number))
            if sending is None:
                others.append(number)
            elif peer in ("", sending.dest) and sending.advance(state):
                self._tell(events.SendingChanged(sending))
        if others:
            self._tell(events.Progress(peer, device, stream, tuple(others), state))

    # Others'.

    def _shown(self, wire: pb.Message, late: bool) -> None:
        mine = wire.from_id == self._user
        about, peer = wire.about, state.peer_of(wire, self._user)
        change = self._journal.changes.get(Target(peer, wire.from_id, wire.from_device, wire.stream, wire.id))
        if wire.kind in state.CHANGES:
            self._changed(wire, peer)
        elif change is not None and change.erased_by:
            pass  # it has come together with its end: nothing of it is shown
        elif wire.kind == pb.READ and group_of(wire):
            pass  # nobody may send one
        elif wire.kind == pb.READ and mine:
            self._tell(events.ReadElsewhere(wire.dest_id, about.from_device, about.stream, tuple(about.ids)))
        elif wire.kind == pb.READ:
            self._progress(wire.from_id, about.from_device, about.stream, about.ids, State.READ)
        elif mine:
            self._tell(events.OwnMessage(_as_it_reads(Message(self._owner, wire, late), change)))
        else:
            message = _as_it_reads(Message(self._owner, wire, late), change)
            self._untaken.add(message.key)
            self._arrivals.put(message)
            return
        # Told is used. It is enough that the next commit keeps this, whenever that is: telling it again is harmless.
        self._journal.taken(wire)

    def _changed(self, wire: pb.Message, peer: str) -> None:
        change = change_of(wire, peer)
        counts = None if change is None else self._journal.changes.get(change.target)
        if change is not None and counts is not None and _as_much(counts, change):
            self.changed(counts)

    def changed(self, change: Change) -> None:
        """Tell what has become of a message; one that waits to be taken is changed, or gone."""
        target = change.target
        waiting = self._arrivals.find(target.key)
        if waiting is not None and change.erased_by:
            self._arrivals.drop(waiting)
            self.take(waiting)
        elif waiting is not None:
            _as_it_reads(waiting, change)
        if change.erased_by:
            self._tell(events.Erased(*target, change.erased_by))
        else:
            self._tell(events.Edited(*target, change.body.decode(errors="replace"), change.stamp))

    def take(self, message: Message) -> bool:
        """The application has used it; whether that is news."""
        self._arrivals.given.pop(message.key, None)
        if message.key not in self._untaken:
            return False
        self._untaken.discard(message.key)
        self._journal.taken(message.wire)
        return True

    def close(self, error: SparrowError) -> None:
        """Nothing more will be heard of any."""
        for sending in list(self._sendings.values()):
            sending.close(error)
        for sending in (*(sending for _, sending in self._drafts), *self.doubtful):
            sending.close(error)


def _as_it_reads(message: Message, change: Change | None) -> Message:
    if change is not None and change.applies_to(message.kind):
        wire = pb.Message()
        wire.CopyFrom(message.wire)
        wire.body = change.body
        message.wire, message.revision, message.edited_stamp = wire, change.revision, change.stamp
    return message


def _as_much(one: Change, other: Change) -> bool:
    """Whether they are the same, whatever their stamps: a repeat may have another."""
    return (one.revision, one.edit, one.erased_by) == (other.revision, other.edit, other.erased_by)
