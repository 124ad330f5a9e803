"""One conversation as it is shown: its lines, in which order, and how much of it is unread.

Owns the order of lines (docs/protocol.md, "Stamps"; of a group's changes, "Groups"). Shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from client import TEXT, Sending, State
from protocol.files import FileReference
from protocol.ids import stamp_ms
from sparrow.chat.text import who

MAX_LINES = 1000
"""How many lines of one conversation are kept."""
SPARE_LINES = 100
"""So many more before they are cut off."""
OPERATOR = "operator"
MAX_UNREAD_LINES = 10 * MAX_LINES
"""However many of them are unread."""


OUT = 1 << 62
"""In place of a version: we are in the group no more."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Line:
    """One message; or what became of a group."""

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
    author: str = ""
    """In a group, who has written it, if not we; with one user it is empty."""
    version: int = 0
    """Of a group, in which the message was sent; of a change, which it made. 0: not known."""
    is_change: bool = False
    """It is no message."""
    within: Conversation | None = None
    """Its conversation."""
    arrival: int = 0
    place: float = math.inf

    @property
    def by(self) -> str:
        """Who has written it, if not we."""
        return self.author or self.peer

    @property
    def label(self) -> str:
        """How its conversation is written."""
        return who(self.peer) if self.within is None else self.within.label

    @property
    def is_unread(self) -> bool:
        """Somebody else's, and not read."""
        return not self.mine and not self.is_change and self.state != State.READ

    @property
    def is_unsettled(self) -> bool:
        """Ours, from here, and not known to be safe."""
        return self.mine and not self.device and self.state == State.QUEUED

    def end(self, by: str, author: str) -> None:
        """It is no more; `author`: who has written it."""
        self.erased, self.file = True, None
        if by == OPERATOR:
            self.text = "[taken down by those who run the service]"
        else:
            self.text = "[erased]" if by == author else f"[taken down by {who(by)}]"

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
    """All lines with one other user, or of one group."""

    peer: str
    author: Callable[[Line], tuple[str, str]] = lambda line: ("", line.device)
    """Who has written a line, and on which device."""
    label: str = ""
    """How it is written."""
    latest: int = 0
    """Orders conversations by their last line; 0: there is none."""
    opened: bool = False
    """The person has opened it: what is shown in it is read."""
    muted: bool = False
    """What is new in it is no news."""
    told_unread: int = 0
    """What is unread as the server counts it, lines that are not here included."""
    changes: dict[int, Line] = field(default_factory=dict)
    """Of a group, version → the line of that change."""
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
        line.within = self
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
            if self.changes.get(line.version) is line:
                del self.changes[line.version]
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
        places: dict[tuple[bool, str, str, int], float] = {}
        for line in sorted(self._lines, key=lambda line: (line.id or math.inf, line.arrival)):
            line.place = line.stamp or (line.at_ms << 20 if line.state == State.FAILED else math.inf)
            if line.late or not line.stream:
                continue
            stream = (line.mine, line.author, line.device, line.stream)
            line.place = places[stream] = max(line.place, places.get(stream, 0))
        if self.changes:
            self._place_changes()
        self._lines.sort(key=self._order)
        self._in_order = True

    def _place_changes(self) -> None:
        """Each before whatever was sent in its version or a later one, however the servers' clocks differ."""
        lowest = math.inf
        known = [line for line in self._lines if 0 < line.version < OUT]
        for line in sorted(known, key=lambda line: (-line.version, line.is_change)):
            if line.is_change:
                line.place = min(line.place, lowest)
            lowest = min(lowest, line.place)

    def _order(self, line: Line) -> tuple[object, ...]:
        """The same on every device of both sides."""
        if line.place == math.inf:
            return line.place, line.arrival
        if line.is_change:
            return line.place, "", "", 0, line.version
        return line.place, *self.author(line), line.stream, line.id
