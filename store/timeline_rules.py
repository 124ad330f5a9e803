"""What holds for timelines in every engine: stamps, positions, who sees what, and which edit counts.

Owns these rules (docs/design/history.md). Pure functions; knows no engine.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from protocol.errors import MisuseError
from protocol.ids import STAMP_SHIFT, is_group_id
from protocol.sparrow_pb2 import About
from store.timelines import (
    MAX_KEEP_DAYS,
    MAX_REVISION,
    R_B_MS,
    Audience,
    Edit,
    Entry,
    Erasure,
    KeptMessage,
    Name,
    Report,
    conversation_of,
    is_group,
    members_of,
)

MAX_STAMP: Final = 2**62 - 1
"""What bears a stamp beyond it (the year 2109) is not kept."""
MAX_ID: Final = 2**53
TEXT: Final = 1
FILE: Final = 2
EDIT: Final = 4
ERASE: Final = 5
OWN_KINDS: Final = 1000
"""From here on kinds are the clients' own."""
MARKER_DAYS: Final = MAX_KEEP_DAYS + 365
"""A marker lives for the longest keeping allowed and a year."""
SUPERSEDED: Final = "superseded"
"""`erased_by` of an EDIT's row in a scan that does not count (any more)."""
PART_IDS: Final = 256
"""So many ids of a stream are a partition in Cassandra, and are moved there together."""
MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""Bodies on one page, unless it is a single one."""
_DAY_MS: Final = 86_400_000
_CURSOR = struct.Struct(">cQ")


def stored(number: int) -> int:
    """64 bits without a sign, as an engine's integers with one, in the same order."""
    return number - (1 << 63)


def unstored(number: int) -> int:
    """The way back."""
    return number + (1 << 63)


def day_of(stamp: int) -> int:
    """Days since 1970."""
    return (stamp >> STAMP_SHIFT) // _DAY_MS


def stamp_ms_of(stamp: int) -> int:
    """Unix time."""
    return stamp >> STAMP_SHIFT


def first_stamp_of(day: int) -> int:
    """The lowest stamp of a day."""
    return (day * _DAY_MS) << STAMP_SHIFT


def floor_of(keep_days: int, lowered: int, now_ms: int) -> int:
    """The lowest stamp that is shown. `lowered`: the floor that stands since it was lowered last."""
    return max((max(now_ms - keep_days * _DAY_MS, 0)) << STAMP_SHIFT, lowered)


def next_floor(before: int, days: int, lowered: int, now_ms: int) -> int:
    """What is lowered from when `days` follow on `before` days: nothing that is not shown now comes back."""
    floor = floor_of(days, lowered, now_ms)
    # Raised from 0, what is written at this moment counts; what was there before, `lowered` tells.
    return max(floor, floor_of(before, lowered, now_ms)) if before else floor


def marker_end(stamp: int) -> int:
    """The stamp at which a marker may go."""
    return stamp + ((MARKER_DAYS * _DAY_MS) << STAMP_SHIFT)


def may_widen(stamp: int, first: int) -> bool:
    """Whether a repeat under this stamp may widen the audience of what bears `first` (P3)."""
    return stamp - first <= R_B_MS << STAMP_SHIFT


def is_late(edit: int, target: int, edit_hours: float) -> bool:
    """Whether an edit of this stamp comes too late for a target of that one."""
    return edit_hours > 0 and (edit >> STAMP_SHIFT) - (target >> STAMP_SHIFT) > edit_hours * 3_600_000


def entry_is_sound(entry: Entry) -> bool:
    """Whether it can be kept at all; its stamp is another question (`stamp_is_sound`)."""
    if not _name_is_sound(entry.conversation, entry.name) or not 0 <= entry.kind < 2**31:
        return False
    if is_group(entry.conversation):
        return 0 < entry.version < 2**53 and 0 <= entry.settled <= MAX_ID
    return not entry.version


def edit_is_sound(edit: Edit) -> bool:
    """Whether it can be kept at all."""
    return (
        _name_is_sound(edit.conversation, edit.target)
        and _name_is_sound(edit.conversation, edit.name)
        and edit.name.author == edit.target.author
        and 1 <= edit.revision <= MAX_REVISION
    )


def erasure_is_sound(erasure: Erasure) -> bool:
    """Whether it can be kept at all."""
    return _name_is_sound(erasure.conversation, erasure.target) and bool(erasure.by)


def stamp_is_sound(stamp: int) -> bool:
    """Whether a clock could have given it."""
    return 0 < stamp <= MAX_STAMP


def _name_is_sound(conversation: str, name: Name) -> bool:
    author, _, stream, number = name
    return _is_in(conversation, author) and 0 <= stream < 2**64 and 0 <= number <= MAX_ID


@lru_cache(maxsize=10_000)
def _is_in(conversation: str, author: str) -> bool:
    """Whether this is a conversation, and the author in it. Asked for every message, mostly of the same few."""
    if is_group(conversation):
        return is_group_id(conversation) and bool(author)
    one, other = members_of(conversation)
    return bool(one) and conversation == conversation_of(one, other) and author in (one, other)


def other_of(conversation: str, user: str) -> str | None:
    """Whom the user writes to there; None if they are not in it."""
    one, other = members_of(conversation)
    if user == one:
        return other
    return one if user == other else None


def counts_as_unread(kind: int) -> bool:
    """Whether a message of this kind is one that people read."""
    return kind in (TEXT, FILE) or kind >= OWN_KINDS


class Cell(NamedTuple):
    """The highest edit of one message by one device, for one audience."""

    revision: int
    name: Name
    stamp: int
    audience: Audience
    checked: bool
    """Its target was there and allowed it when it came."""
    body: bytes


def edited(message: KeptMessage, cells: Iterable[Cell], reader: str, edit_hours: float) -> KeptMessage:
    """The message as `reader` sees it: with the highest of the edits that count (R-E)."""
    if message.kind != TEXT or message.erased_by:
        return message
    shown = [cell for cell in cells if cell.audience is Audience.BOTH or reader == message.name.author]
    best = _counting(shown, message.stamp, edit_hours)
    if best is None:
        return message
    return dataclasses.replace(message, body=best.body, revision=best.revision, edited_stamp=best.stamp, edit=best.name)


def _counting(cells: Iterable[Cell], target: int, edit_hours: float) -> Cell | None:
    """The highest that is not too late for a target of this stamp; 0: it is not known."""
    best: Cell | None = None
    for cell in cells:
        if target and not cell.checked and is_late(cell.stamp, target, edit_hours):
            continue
        if best is None or (cell.revision, cell.name) > (best.revision, best.name):
            best = cell
    return best


def target_of(change: KeptMessage) -> Name | None:
    """What an EDIT or ERASE names; None if that cannot be read."""
    try:
        about = About.FromString(change.about)
    except DecodeError:
        return None
    if not about.ids:
        return None
    author, device = change.name[:2]
    return Name(author, about.from_device or device, about.stream, about.ids[0])


def edit_as_scanned(edit: KeptMessage, target: KeptMessage | None, cells: Iterable[Cell], hours: float) -> KeptMessage:
    """A group's row of an EDIT: with its body if it is the one that counts, else without (G3). `target` is None if it
    is not there."""
    if edit.erased_by:
        return edit
    if target is not None and target.erased_by:
        return dataclasses.replace(edit, erased_by=target.erased_by)
    if target is None or target.kind == TEXT:
        best = _counting(cells, 0 if target is None else target.stamp, hours)
        if best is not None and best.name == edit.name:
            return dataclasses.replace(edit, body=best.body, revision=best.revision, edited_stamp=best.stamp)
    return dataclasses.replace(edit, erased_by=SUPERSEDED)


# Positions of pages: the engine's letter, the stamp, and what tells apart messages of one stamp.


def position(engine: bytes, stamp: int, tie: bytes) -> bytes:
    """Where a page ended."""
    return _CURSOR.pack(engine, stamp) + tie


def position_of(engine: bytes, before: bytes) -> tuple[int, bytes]:
    """The stamp and the rest; b"": of another engine, so that all of this stamp may come again.

    Raises `MisuseError` for what is no position.
    """
    if not _CURSOR.size <= len(before) <= 64:
        raise MisuseError("this is no position in a conversation: begin again, without one")
    letter, stamp = _CURSOR.unpack_from(before)
    return min(stamp, MAX_STAMP), before[_CURSOR.size :] if letter == engine else b""


# Reports.


def pack_report(report: Report) -> str:
    """A report but its id and its reporter, as JSON."""
    message = report.message
    told = {
        "reported_ms": report.reported_ms,
        "conversation": report.conversation,
        "text": report.text,
        "name": message.name,
        "stamp": message.stamp,
        "kind": message.kind,
        "body": base64.b64encode(message.body).decode(),
        "about": base64.b64encode(message.about).decode(),
        "revision": message.revision,
        "edited_stamp": message.edited_stamp,
        "edit": message.edit,
        "erased_by": message.erased_by,
    }
    return json.dumps(told)


def unpack_report(report: str, reporter: str, packed: str) -> Report:
    """The way back."""
    told = json.loads(packed)
    message = KeptMessage(
        Name(*told["name"]),
        told["stamp"],
        told["kind"],
        base64.b64decode(told["body"]),
        base64.b64decode(told["about"]),
        told["revision"],
        told["edited_stamp"],
        None if told["edit"] is None else Name(*told["edit"]),
        told["erased_by"],
    )
    return Report(report, reporter, told["reported_ms"], told["conversation"], message, told["text"])
