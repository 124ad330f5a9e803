"""All conversations of one user, as they are shown: which line is which message, and how far it has come.

Owns the names of messages here, and what becomes of their lines. Sends nothing and shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from client import FILE, TEXT, Edited, Erased, HistoryEntry, Message, Progress, ReadElsewhere, Sending, State
from protocol.errors import FileReferenceError
from protocol.files import parse_file_reference
from protocol.ids import STAMP_SHIFT, stamp_ms
from sparrow.chat.conversation import OUT, Conversation, Line
from sparrow.chat.marks import Marks
from sparrow.chat.text import size, who


def _fill(line: Line, kind: int, body: bytes, erased_by: str = "", author: str = "") -> Line:
    """Put into `line` what is to be shown of a message; `author`: who has written it, if it is erased."""
    line.kind = kind
    if erased_by:
        line.end(erased_by, author)
    elif kind == TEXT:
        line.text = body.decode(errors="replace")
    elif kind == FILE:
        try:
            line.file = parse_file_reference(body)
        except FileReferenceError as error:
            line.text = f"[a message of a file that cannot be read: {error}]"
    else:
        line.text = f"[a message of kind {kind}, {len(body)} bytes, which this chat cannot show]"
    return line


class Model:
    """All conversations of one user on this device."""

    def __init__(self, user: str, label: Callable[[str], str] = who) -> None:
        """`label`: how a user or a group is written."""
        self.user = user
        self.label = label
        self.conversations: dict[str, Conversation] = {}
        self._sendings: dict[Sending, Line] = {}
        self._own: dict[tuple[int, int], Line] = {}
        self._drafts: dict[int, Line] = {}
        self._others: dict[tuple[str, str, str, int, int], Line] = {}
        """Conversation, author, device, stream, id → somebody else's line."""
        self._marks = Marks()
        self._muted: Container[str] = ()
        self._arrivals = 0
        self.device = ""
        """Which device of ours this is; empty: not known yet."""

    def conversation(self, peer: str) -> Conversation:
        """The one with `peer`, a user or a group; made if there is none."""
        found = self.conversations.get(peer)
        if found is None:
            found = self.conversations[peer] = Conversation(peer, self._author, self.label(peer))
            found.muted = peer in self._muted
        return found

    def _author(self, line: Line) -> tuple[str, str]:
        """Who has written it, and on which device."""
        return (self.user, line.device or self.device) if line.mine else (line.by, line.device)

    def relabel(self) -> None:
        """Groups may be written otherwise now."""
        for peer, conversation in self.conversations.items():
            conversation.label = self.label(peer)

    def mute(self, peers: Container[str]) -> None:
        """These are muted, and no others."""
        self._muted = peers
        for peer, conversation in self.conversations.items():
            conversation.muted = peer in peers

    def latest(self) -> list[Conversation]:
        """Conversations that have lines, the latest first."""
        found = [conversation for conversation in self.conversations.values() if conversation.latest]
        return sorted(found, key=lambda conversation: conversation.latest, reverse=True)

    def _add(self, line: Line) -> Line:
        self._arrivals += 1
        line.arrival = self._arrivals
        if line.mine and line.stream:
            self._own[line.stream, line.id] = line
            line.state = max(line.state, self._marks.take(line.peer, line.stream, line.id))
        elif not line.mine and not line.is_change:
            self._others[self._key(line)] = line
        for gone in self.conversation(line.peer).add(line):
            self._own.pop((gone.stream, gone.id), None)
            self._others.pop(self._key(gone), None)
            if gone.sending is not None:
                self._sendings.pop(gone.sending, None)
        if line.file is not None and not line.erased:
            line.text = f"[{line.file.name}, {size(line.file.size)}: /save {line.number}]"
        return line

    @staticmethod
    def _key(line: Line) -> tuple[str, str, str, int, int]:
        return line.peer, line.by, line.device, line.stream, line.id

    # After a restart.

    def load(self, entries: Iterable[HistoryEntry], unsettled: Iterable[Sending]) -> None:
        """What was kept, and which of it is still being sent."""
        for entry in entries:
            line = Line(entry.peer, entry.mine, entry.device, entry.stream, entry.id, "", entry.at_ms, entry.stamp)
            line.author = entry.author
            _fill(line, entry.kind, entry.body, entry.erased_by, self._author(line)[0])
            line.late, line.state, line.note = entry.late, entry.state, entry.note
            line.edited = bool(entry.edited_stamp)
            if entry.draft:
                self._drafts[entry.draft] = line
            self._add(line)
        for sending in unsettled:
            line_of = self._own.get((sending.stream, sending.id)) or self._drafts.get(sending.draft)
            if line_of is not None:
                self._follow(line_of, sending)
                line_of.note = sending.note

    def _follow(self, line: Line, sending: Sending) -> None:
        line.sending = sending
        self._sendings[sending] = line

    # Ours.

    def sent(self, sending: Sending, at_ms: int) -> Line:
        """We have written this, here and now."""
        line = Line(sending.dest, True, "", sending.stream, sending.id, "", at_ms)
        _fill(line, sending.kind, sending.body)
        self._follow(line, sending)
        line.follow()
        return self._add(line)

    def sending_changed(self, sending: Sending) -> Line | None:
        """What we have written has come further."""
        line = self._sendings.get(sending)
        if line is None:
            return None
        line.follow()
        self._own[line.stream, line.id] = line
        self.conversation(line.peer).changed()
        return line

    def own(self, message: Message) -> Line:
        """We have written this on another device."""
        wire = message.wire
        line = Line(message.dest, True, wire.from_device, wire.stream, wire.id, "", stamp_ms(wire.stamp), wire.stamp)
        line.late, line.version = message.late, message.version
        line.edited = bool(message.edited_stamp)
        return self._own.get((wire.stream, wire.id)) or self._add(_fill(line, message.kind, message.body))

    def progress(self, event: Progress) -> list[Line]:
        """Messages of ours have come further; returns those that have."""
        changed = []
        for number in event.ids:
            line = self._own.get((event.stream, number))
            if line is None:
                # It may still be on its way to us from another device.
                self._marks.put(event.peer, event.stream, number, event.state)
            elif event.peer in ("", line.peer) and line.state < event.state:
                line.state = event.state
                changed.append(line)
        return changed

    # Others'.

    def received(self, message: Message) -> Line | None:
        """Somebody else has written this; None if it is here already, from before a restart."""
        peer = message.group or message.sender
        if (peer, *message.name) in self._others:
            return None
        wire = message.wire
        line = Line(peer, False, wire.from_device, wire.stream, wire.id, "", stamp_ms(wire.stamp))
        line.stamp, line.late, line.edited = wire.stamp, message.late, bool(message.edited_stamp)
        line.author, line.version = message.sender if message.group else "", message.version
        conversation = self.conversation(peer)
        conversation.told_unread += bool(conversation.told_unread)
        return self._add(_fill(line, message.kind, message.body))

    # What was said before, and what has become of it.

    def older(self, peer: str, message: Message) -> Line | None:
        """A message from the history; None if it is here already."""
        wire, mine = message.wire, message.sender == self.user
        known = self.known(peer, message.name)
        if known is not None:
            known.state = max(known.state, message.state if mine else State.READ if message.read else known.state)
            return None
        device = "" if mine and wire.from_device == self.device else wire.from_device
        line = Line(peer, mine, device, wire.stream, wire.id, "", stamp_ms(wire.stamp), wire.stamp)
        line.state = message.state if mine else State.READ if message.read else State.QUEUED
        line.late, line.edited = message.late, bool(message.edited_stamp)
        line.author = message.sender if message.group and not mine else ""
        _fill(line, message.kind, message.body, message.erased_by, message.sender)
        return self._before(line)

    def _before(self, line: Line) -> Line:
        """Add what is no news: the conversation stays where it is among the others."""
        conversation = self.conversation(line.peer)
        conversation.room(1)
        latest = conversation.latest
        self._add(line)
        conversation.latest = latest or 1
        return line

    def known(self, peer: str, name: tuple[str, str, int, int]) -> Line | None:
        """The line of this message."""
        author, _, stream, number = name
        if author == self.user:
            return self._own.get((stream, number))
        return self._others.get((peer, *name))

    def edited(self, event: Edited) -> Line | None:
        """A message says something else now; None if it is not here."""
        line = self.known(event.peer, (event.sender, event.device, event.stream, event.id))
        if line is None or line.peer != event.peer or line.erased or line.kind != TEXT:
            return None
        line.text, line.edited = event.text, True
        return line

    def erased(self, event: Erased) -> Line | None:
        """A message is no more; None if it is not here."""
        line = self.known(event.peer, (event.sender, event.device, event.stream, event.id))
        if line is None or line.peer != event.peer or line.erased:
            return None
        self.conversation(line.peer).files.pop(line.number, None)
        line.end(event.by, event.sender)
        return line

    def read_up_to(self, peer: str, stamp: int) -> None:
        """We have read what they wrote up to this stamp, on another device."""
        conversation = self.conversation(peer)
        for line in conversation.unread:
            if line.stamp <= stamp:
                line.state = State.READ
        conversation.told_unread = 0

    def read_elsewhere(self, event: ReadElsewhere) -> None:
        """We have read this on another device."""
        self.conversation(event.peer).told_unread = 0  # what stands above it is read, too
        for number in event.ids:
            line = self._others.get((event.peer, event.peer, event.device, event.stream, number))
            if line is not None:
                line.state = State.READ

    # Groups.

    def changed(self, group: str, version: int, text: str, at_ms: int, *, news: bool = True) -> Line | None:
        """What became of a group; None: it is here already. `news`: it was told just now."""
        conversation = self.conversation(group)
        if version in conversation.changes:
            return None
        line = Line(group, False, "", 0, version, text, at_ms, at_ms << STAMP_SHIFT)
        line.version, line.is_change, line.state = version, True, State.READ
        if version == OUT:
            # Whatever came before was written before, whosever clock says otherwise.
            newest = max((each.stamp for each in conversation.lines), default=0)
            line.stamp = max(line.stamp, newest + 1)
        else:
            conversation.changes.pop(OUT, None)  # we are in it (again)
        conversation.changes[version] = line
        return self._add(line) if news else self._before(line)
