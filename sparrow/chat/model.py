"""Conversations as they are shown: lines, how far each has come, and where it stands.

Owns the order of lines (docs/protocol.md, "Stamps"). Sends nothing and shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from client import FILE, TEXT, Edited, Erased, HistoryEntry, Message, Progress, ReadElsewhere, Sending, State
from protocol.errors import FileReferenceError
from protocol.files import FileReference, parse_file_reference
from protocol.ids import stamp_ms
from sparrow.chat.marks import Marks
from sparrow.chat.text import size

MAX_LINES = 1000
"""How many lines of one conversation are kept."""
SPARE_LINES = 100
"""So many more before they are cut off."""
OPERATOR = "operator"
MAX_UNREAD_LINES = 10 * MAX_LINES
"""However many of them are unread."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Line:
    """One message."""

    peer: str
    mine: bool
    device: str
    """The author's device; empty: this one."""
    stream: int
    id: int
    text: str
    at_ms: int
    stamp: int = 0
    """0: not known."""
    late: bool = False
    state: State = State.QUEUED
    """How far the line has come; of others' messages `READ`, or anything else for not read."""
    note: str = ""
    kind: int = TEXT
    edited: bool = False
    """It reads otherwise than it was written."""
    erased: bool = False
    """Nothing is left of it."""
    file: FileReference | None = None
    """What a FILE message is about."""
    number: int = 0
    """The file's number in its conversation, from 1 on, until the chat ends; 0: it is no file."""
    sending: Sending | None = None
    arrival: int = 0
    place: float = math.inf

    @property
    def is_unread(self) -> bool:
        """Somebody else's, and not read."""
        return not self.mine and self.state != State.READ

    @property
    def is_unsettled(self) -> bool:
        """Ours, from here, and not known to be safe."""
        return self.mine and not self.device and self.state == State.QUEUED

    def end(self, by: str) -> None:
        """It is no more."""
        self.erased, self.file = True, None
        self.text = "[taken down by those who run the service]" if by == OPERATOR else "[erased]"

    def mark_read(self) -> bool:
        """Somebody else's was shown; whether that is news."""
        news = self.is_unread
        if news:
            self.state = State.READ
        return news

    def follow(self) -> None:
        """Take over from its sending, if it has one."""
        sending = self.sending
        if sending is not None:
            self.stream, self.id, self.state = sending.stream, sending.id, sending.state
            self.note = str(sending.error) if sending.error is not None else sending.note
            if sending.stamp:
                self.stamp, self.at_ms = sending.stamp, stamp_ms(sending.stamp)


@dataclass(slots=True)
class Conversation:
    """All lines with one other user."""

    peer: str
    author: Callable[[Line], tuple[str, str]] = lambda line: ("", line.device)
    """Who has written a line, and on which device."""
    latest: int = 0
    """Orders conversations by their last line; 0: there is none."""
    opened: bool = False
    """The person has opened it: what is shown in it is read."""
    told_unread: int = 0
    """What is unread as the server counts it, lines that are not here included."""
    files: dict[int, Line] = field(default_factory=dict)
    """Number → the line of that file."""
    _numbered: int = 0
    _kept: int = MAX_LINES
    _cut_at: int = MAX_LINES + SPARE_LINES
    _lines: list[Line] = field(default_factory=list)
    _in_order: bool = True

    @property
    def lines(self) -> list[Line]:
        """All lines, in the order in which they are to be shown."""
        if not self._in_order:
            self._arrange()
        return self._lines

    def add(self, line: Line) -> list[Line]:
        """One more; returns lines that are too many. Of those that are unread or unsettled there are none."""
        self._lines.append(line)
        self.latest = line.arrival
        self._in_order = False
        if line.file is not None:
            self._numbered += 1
            line.number = self._numbered
            self.files[line.number] = line
        if len(self._lines) <= self._cut_at:
            return []
        self._arrange()
        return self._cut()

    def _cut(self) -> list[Line]:
        old, self._lines = self._lines[: -self._kept], self._lines[-self._kept :]
        unread = [line for line in old if line.is_unread][-(MAX_UNREAD_LINES - MAX_LINES) :]
        kept = {id(line) for line in (*unread, *(line for line in old if line.is_unsettled))}
        self._lines[:0] = [line for line in old if id(line) in kept]
        self._cut_at = len(self._lines) + SPARE_LINES
        gone = [line for line in old if id(line) not in kept]
        for line in gone:
            self.files.pop(line.number, None)
        return gone

    def room(self, count: int) -> None:
        """So many older lines are wanted, too: they are not cut off."""
        self._kept += count
        self._cut_at += count

    def ours(self, back: int, kind: int | None = None) -> Line | None:
        """The `back`th-last line of ours that is not erased; `kind`: of this kind."""
        found = [one for one in self.lines if one.mine and not one.erased and kind in (None, one.kind)]
        return found[-back] if 0 < back <= len(found) else None

    @property
    def unread_count(self) -> int:
        """How much has not been read, here or as the server counts."""
        return max(len(self.unread), self.told_unread)

    def changed(self) -> None:
        """A line may have moved."""
        self._in_order = False

    @property
    def unread(self) -> list[Line]:
        """What has not been read."""
        return [line for line in self._lines if line.is_unread and not line.erased]

    def _arrange(self) -> None:
        """Sort: by stamp, but no line above the one before it in its stream; without a stamp at the end."""
        places: dict[tuple[bool, str, int], float] = {}
        for line in sorted(self._lines, key=lambda line: (line.id or math.inf, line.arrival)):
            line.place = line.stamp or (line.at_ms << 20 if line.state == State.FAILED else math.inf)
            if line.late or not line.stream:
                continue
            stream = (line.mine, line.device, line.stream)
            line.place = places[stream] = max(line.place, places.get(stream, 0))
        self._lines.sort(key=self._order)
        self._in_order = True

    def _order(self, line: Line) -> tuple[object, ...]:
        """The same on every device of both sides."""
        if line.place == math.inf:
            return line.place, line.arrival
        return line.place, *self.author(line), line.stream, line.id


def _fill(line: Line, kind: int, body: bytes, erased_by: str = "") -> Line:
    """Put into `line` what is to be shown of a message."""
    line.kind = kind
    if erased_by:
        line.end(erased_by)
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

    def __init__(self, user: str) -> None:
        self.user = user
        self.conversations: dict[str, Conversation] = {}
        self._sendings: dict[Sending, Line] = {}
        self._own: dict[tuple[int, int], Line] = {}
        self._drafts: dict[int, Line] = {}
        self._others: dict[tuple[str, str, int, int], Line] = {}
        self._marks = Marks()
        self._arrivals = 0
        self.device = ""
        """Which device of ours this is; empty: not known yet."""

    def conversation(self, peer: str) -> Conversation:
        """The one with `peer`; made if there is none."""
        return self.conversations.setdefault(peer, Conversation(peer, self._author))

    def _author(self, line: Line) -> tuple[str, str]:
        """Who has written it, and on which device."""
        return (self.user, line.device or self.device) if line.mine else (line.peer, line.device)

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
        elif not line.mine:
            self._others[line.peer, line.device, line.stream, line.id] = line
        for gone in self.conversation(line.peer).add(line):
            self._own.pop((gone.stream, gone.id), None)
            self._others.pop((gone.peer, gone.device, gone.stream, gone.id), None)
            if gone.sending is not None:
                self._sendings.pop(gone.sending, None)
        if line.file is not None and not line.erased:
            line.text = f"[{line.file.name}, {size(line.file.size)}: /save {line.number}]"
        return line

    # After a restart.

    def load(self, entries: Iterable[HistoryEntry], unsettled: Iterable[Sending]) -> None:
        """What was kept, and which of it is still being sent."""
        for entry in entries:
            line = Line(entry.peer, entry.mine, entry.device, entry.stream, entry.id, "", entry.at_ms, entry.stamp)
            _fill(line, entry.kind, entry.body, entry.erased_by)
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
        line.late = message.late
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
        if message.name in self._others:
            return None
        wire = message.wire
        line = Line(message.sender, False, wire.from_device, wire.stream, wire.id, "", stamp_ms(wire.stamp))
        line.stamp, line.late, line.edited = wire.stamp, message.late, bool(message.edited_stamp)
        conversation = self.conversation(message.sender)
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
        conversation = self.conversation(peer)
        conversation.room(1)
        latest = conversation.latest
        self._add(_fill(line, message.kind, message.body, message.erased_by))
        conversation.latest = latest or 1
        return line

    def known(self, peer: str, name: tuple[str, str, int, int]) -> Line | None:
        """The line of this message."""
        author, device, stream, number = name
        if author == self.user:
            return self._own.get((stream, number))
        return self._others.get((peer, device, stream, number))

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
        line.end(event.by)
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
            line = self._others.get((event.peer, event.device, event.stream, number))
            if line is not None:
                line.state = State.READ
