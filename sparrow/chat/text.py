"""Texts of strangers, made fit for a terminal; and the words of the chat.

Owns what is taken out of a message before it is shown. Pure functions.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

MAX_SHOWN = 4000
"""Characters of one message."""

HELP_END = ("//x says /x, @@x @x. · on its way ✓ safe ✓✓ delivered, in colour: read ✗ failed",)
"""What /help says below the commands."""
BAR_WIDTH = 20
_WORDS = frozenset({"me", "system", "sparrow"})

# They turn the rest of the line around, and could make a name of a text.
_DIRECTIONS = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))


def clean(text: str) -> str:
    """`text` without anything that a terminal would obey."""
    rest = len(text) - MAX_SHOWN
    if rest > 0:
        text = f"{text[:MAX_SHOWN]}… ({rest} more characters)"
    return bare(text.replace("\r\n", "\n").replace("\t", "    "))


def bare(text: str) -> str:
    """The same, however long it is. What joins letters and emoji stays (U+200C, U+200D)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("�" if _is_control(char) else char for char in text.translate(_DIRECTIONS))


def who(user: str) -> str:
    """A user's id as it is shown: with an @ where it could be taken for a word of this program."""
    return user if user[:1].isalnum() and user not in _WORDS else f"@{user}"


def _is_control(char: str) -> bool:
    return char != "\n" and (unicodedata.category(char) in ("Cc", "Cs") or char in "\u2028\u2029")


def one_line(text: str) -> str:
    """`text` on one line, for those who read lines."""
    return clean(text).replace("\\", "\\\\").replace("\n", "\\n")


def short(text: str, length: int = 60) -> str:
    """The beginning of it."""
    text = one_line(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def clock(at_ms: int) -> str:
    """Local time of a Unix time in milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%H:%M")


def day(at_ms: int) -> str:
    """Local date of a Unix time in milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d")


def date(at_ms: int) -> str:
    """Local date and time of a Unix time in milliseconds."""
    return f"{day(at_ms)} {clock(at_ms)}"


def size(count: int) -> str:
    """So many bytes, for people."""
    if count < 1000:
        return f"{count} bytes"
    shown, units = count / 1000, ["kB", "MB", "GB"]
    while shown >= 1000 and len(units) > 1:
        shown /= 1000
        del units[0]
    return f"{shown:.1f} {units[0]}"


def bar(percent: int) -> str:
    """How far something is."""
    full = BAR_WIDTH * percent // 100
    return f"[{'█' * full}{'░' * (BAR_WIDTH - full)}] {percent:3} %"
