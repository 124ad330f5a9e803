"""A conversation as rows of a screen: only those that are seen are made.

Owns the form of a message on the screen, its wrapping, and where leafing stands. Draws nothing by itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import UIContent, UIControl
from prompt_toolkit.utils import get_cwidth

from client import State
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.text import clean, clock, day, who

MARGIN = " " * 9 + "│ "
"""Before the further rows of a message, so that none can be taken for a message of its own."""
WELCOME = "Nobody to talk to yet: /to NAME, or @NAME and what you want to say. /help says more."

_TICKS = {
    State.FAILED: ("class:failed", "✗ "),
    State.QUEUED: ("", "· "),
    State.SENT: ("", "✓ "),
    State.DELIVERED: ("", "✓✓"),
    State.READ: ("class:read", "✓✓"),
}

Row: TypeAlias = StyleAndTextTuples
_T = TypeVar("_T")


class Place(NamedTuple):
    """A row: of which line, and which of its rows."""

    line: Line
    row: int


class _Made(NamedTuple):
    """Rows of a line, and of what they were made."""

    of: tuple[object, ...]
    rows: list[Row]


class Rows(UIControl):
    """What of a conversation fits into a window; the end of it, unless somebody leafs."""

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self._made: weakref.WeakKeyDictionary[Line, _Made] = weakref.WeakKeyDictionary()
        self._last: Place | None = None
        """The row at the bottom; None: the last of all."""
        self._size = (80, 20)

    @property
    def leafing(self) -> bool:
        """Whether the end is not in sight."""
        return self._last is not None

    def to_end(self) -> None:
        """Show what came last."""
        self._last = None

    def up(self) -> bool:
        """Leaf back by a page; whether there is less than another one above it."""
        height = self._size[1]
        lines = self._lines()
        if not lines:
            return True
        found = list(islice(self._backward(lines), 2 * height - 2))
        # Not beyond the page on which the first row stands on top.
        back = max(0, min(height - 2, len(found) - height))
        self._last = found[back][0] if back or self._last is not None else None
        return len(list(islice(self._backward(lines), 2 * height))) < 2 * height

    def above(self) -> int:
        """How many lines are above what was shown last."""
        lines = self._lines()
        return self._at(lines)[0] if lines else 0

    def down(self) -> None:
        """Leaf forward by a page."""
        if self._last is not None:
            lines = self._lines()
            ahead = list(islice(self._forward(lines), self._size[1] - 1))
            self._last = ahead[-1] if ahead and ahead[-1] != self._end(lines) else None

    def create_content(self, width: int, height: int) -> UIContent:
        """See `UIControl`."""
        self._size = (max(20, width), max(2, height))
        rows: list[Row] = [row for _, row in islice(self._backward(self._lines()), height)]
        rows.reverse()
        if not rows:
            rows = [_nothing(self.conversation)]
        return UIContent(lambda number: rows[number], line_count=len(rows), show_cursor=False)

    # Rows, one after the other.

    def _lines(self) -> list[Line]:
        return [] if self.conversation is None else self.conversation.lines

    def _at(self, lines: list[Line]) -> tuple[int, int]:
        """Where the bottom is; a line that is gone is not looked for any more."""
        if self._last is not None:
            for number in range(len(lines) - 1, -1, -1):
                if lines[number] is self._last.line:
                    return number, min(self._last.row, len(self._of(lines, number)) - 1)
        self._last = None
        return len(lines) - 1, len(self._of(lines, len(lines) - 1)) - 1 if lines else 0

    def _backward(self, lines: list[Line]) -> Iterator[tuple[Place, Row]]:
        number, row = self._at(lines)
        while number >= 0:
            rows = self._of(lines, number)
            for at in range(len(rows) - 1 if row < 0 else row, -1, -1):
                yield Place(lines[number], at), rows[at]
            number, row = number - 1, -1

    def _forward(self, lines: list[Line]) -> Iterator[Place]:
        number, row = self._at(lines)
        while number < len(lines):
            for at in range(row + 1, len(self._of(lines, number))):
                yield Place(lines[number], at)
            number, row = number + 1, -1

    def _end(self, lines: list[Line]) -> Place:
        return Place(lines[-1], len(self._of(lines, len(lines) - 1)) - 1)

    def _of(self, lines: list[Line], number: int) -> list[Row]:
        line = lines[number]
        new_day = not number or day(lines[number - 1].at_ms) != day(line.at_ms)
        of: tuple[object, ...] = (self._size[0], new_day, bool(number), line.at_ms, line.state, line.text, line.note)
        of += (line.late, line.edited, line.erased)
        made = self._made.get(line)
        if made is None or made.of != of:
            rows = _wrapped(_form(line), self._size[0])
            if new_day:
                rows.insert(0, [("class:dim", f"── {day(line.at_ms)} ──")])
            made = self._made[line] = _Made(of, rows)
        return made.rows


def _nothing(conversation: Conversation | None) -> Row:
    if conversation is None:
        return [("class:dim", WELCOME)]
    return [("class:dim", f"Nothing said to {conversation.label} yet.")]


def _form(line: Line) -> Row:
    """All of a message, in one row."""
    if line.is_change:
        return [("class:dim", f"{clock(line.at_ms)}    -- {clean(line.text)}")]
    # On another device of ours it may be safe long since; nobody tells us but DELIVERED.
    untold = not line.mine or (line.device and line.state == State.QUEUED)
    tick = ("", "  ") if untold else _TICKS[line.state]
    row: Row = [("class:dim", clock(line.at_ms) + " "), tick, ("", " ")]
    row.append(("class:me", "me") if line.mine else ("class:peer", who(line.by)))
    marks = (("elsewhere", line.mine and line.device), ("late", line.late), ("edited", line.edited and not line.erased))
    extra = [text for text, there in marks if there]
    if extra:
        row.append(("class:dim", f" ({', '.join(extra)})"))
    row.append(("class:dim" if line.erased else "", ": " + clean(line.text)))
    if line.note:
        style = "class:failed" if line.state == State.FAILED else "class:dim"
        row.append((style, f"  ({clean(line.note)})"))
    return row


def _wrapped(form: Row, width: int) -> list[Row]:
    """The text in rows of this width; further ones begin with the margin."""
    rows: list[Row] = [[]]
    column = 0
    for style, text, *_ in form:
        begin = 0
        for at, char in enumerate(text):
            wide = get_cwidth(char)
            if char != "\n" and column + wide <= width:
                column += wide
                continue
            rows[-1].append((style, text[begin:at]))
            rows.append([("class:dim", MARGIN)])
            begin, column = (at + 1, len(MARGIN)) if char == "\n" else (at, len(MARGIN) + wide)
        rows[-1].append((style, text[begin:]))
    return rows
