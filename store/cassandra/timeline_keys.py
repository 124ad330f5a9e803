"""Write times, spans and values of timelines in Cassandra.

Owns their form. Of two writes of one cell Cassandra keeps the one of the later write time, so these say what counts:

- A message's cells: the lower its stamp, the later. So the first attempt stays, whatever comes in whatever order.
- A marker's: later than any message's, and the first marker's is the latest. It is live data, which no late write,
  hint or repair undoes.
- An edit's: the higher its revision, the later; below a marker's.
- A mark's, and a floor's: its own stamp, so that it only rises.

A span is a day: the rows of one day, in one view of a conversation, are one partition. A group has one view.

Beside the body of a group's message stand its attempts, of (version, stamp, open), so that whoever reads one of its
rows knows which is the first that a user may see. They are no edits, and stay when it is erased.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

from store.timeline_rules import MARKER_DAYS, MAX_STAMP, PART_IDS, stamp_ms_of, stored
from store.timelines import Edit, Name

FIRST_TIE: Final = bytes(16)
LAST_TIE: Final = b"\xff" * 16
FOREVER: Final = 2**63 - 1
"""The write time of what nothing comes after."""
MARKER_TTL_S: Final = MARKER_DAYS * 86_400
SPARE_S: Final = 2 * 86_400
"""So much longer than a row lives what leads to it, which is not written again for each."""
_MINUTE_MS: Final = 60_000
_REVISION_SHIFT: Final = 41
_VALUE = struct.Struct(">IH")
_EDIT = struct.Struct(">IQQ?")


def message_time(stamp: int) -> int:
    """Of a message's cells."""
    return MAX_STAMP + 1 - stamp


def marker_time(stamp: int) -> int:
    """Of a marker's cells."""
    return FOREVER - stamp


def edit_time(edit: Edit) -> int:
    """Of an edit's cell; edits of equal ones are decided by the cell's bytes, which begin with the rank."""
    return edit.revision << _REVISION_SHIFT | min(edit.name.id, (1 << _REVISION_SHIFT) - 1)


def newest_until(stamp: int) -> int:
    """What `group_newest` says of a row of this stamp: before when (Unix ms) it is, to the minute."""
    return (stamp_ms_of(stamp) // _MINUTE_MS + 1) * _MINUTE_MS


def tie_of(name: Name, version: int = 0) -> bytes:
    """What tells apart rows of one stamp."""
    text = f"{name.author}/{name.device}/{name.stream}/{name.id}"
    if version:
        text += f"/{version}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def attempt_key(version: int, stamp: int) -> int:
    """What tells apart attempts of one message of a group."""
    told = hashlib.blake2b(f"{version}/{stamp}".encode(), digest_size=8).digest()
    return int.from_bytes(told, "big", signed=True)


class Place(NamedTuple):
    """The partition of a message's body, and its id there."""

    conversation: str
    author: str
    device: str
    stream: int
    part: int
    id: int

    @property
    def partition(self) -> tuple[str, str, str, int, int]:
        return self[:5]


def place_of(conversation: str, name: Name) -> Place:
    """Where a message stands."""
    return Place(conversation, name.author, name.device, stored(name.stream), name.id // PART_IDS, name.id)


class Value(NamedTuple):
    """What a message says."""

    body: bytes
    about: bytes
    file: str


def pack_value(body: bytes, about: bytes, file: str) -> bytes:
    """One cell, so that one attempt wins as a whole."""
    named = file.encode()
    return _VALUE.pack(len(about), len(named)) + about + named + body


def unpack_value(data: bytes) -> Value:
    """The way back; of b"", what is erased."""
    if not data:
        return Value(b"", b"", "")
    about, file = _VALUE.unpack_from(data)
    start = _VALUE.size + about
    return Value(data[start + file :], data[_VALUE.size : start], data[start : start + file].decode())


class EditValue(NamedTuple):
    """One edit's cell."""

    revision: int
    id: int
    stamp: int
    checked: bool
    body: bytes


def pack_edit(edit: Edit, checked: bool) -> bytes:
    """One cell."""
    return _EDIT.pack(edit.revision, edit.name.id, edit.stamp, checked) + edit.body


def unpack_edit(data: bytes) -> EditValue:
    """The way back."""
    revision, number, stamp, checked = _EDIT.unpack_from(data)
    return EditValue(revision, number, stamp, checked, data[_EDIT.size :])
