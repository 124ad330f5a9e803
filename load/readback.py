"""What a device has read back of a conversation, beside what was written there.

Owns the verdict on pages. Asks nobody: who fetches them is `load.newcomers`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from load.clients import EDITED_AT
from load.ledger import Verdict
from load.streams import Out
from load.wire import HEAD_BYTES, padding, read_head
from load.world import World
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT

Key = tuple[int, int]
"""Stream and id of a text."""


class Readback:
    """One conversation of `user`, page by page, from its newest message back."""

    def __init__(self, world: World, devices: Mapping[str, str], user: str, other: str, body_bytes: int) -> None:
        """`devices`: on which one each user writes."""
        self._world = world
        self._devices = devices
        self._members = {user, other}
        self._padding = padding(body_bytes).decode()
        self._stamp = 1 << 64
        self.seen: set[Key] = set()
        self.twice = 0
        self.out_of_order = 0
        """Behind a message with a lower stamp."""
        self.mixed_up = 0
        """With another body than was written, or than it has by now; by another author; or never written."""
        self.foreign = 0
        """Left over from an earlier run."""

    def page(self, messages: Iterable[dict[str, Any]], *, settled: bool) -> None:
        """The next one. `settled`: nothing is under way, so changes must show; else they may."""
        for message in messages:
            stamp = int(message["stamp"])
            self.out_of_order += stamp > self._stamp
            self._stamp = stamp
            stream, number = int(message["stream"]), int(message["id"])
            out = self._world.streams.get(stream.to_bytes(8, "little"))
            if out is None:
                self.foreign += 1
                continue
            if (stream, number) in self.seen:
                self.twice += 1
            self.seen.add((stream, number))
            self.mixed_up += not self._is_as_written(message, out, number, settled)

    def _is_as_written(self, message: dict[str, Any], out: Out, number: int, settled: bool) -> bool:
        author = out.owner.user
        if message["author"] != author or message["device"] != self._devices.get(author) or message["kind"] != TEXT:
            return False
        if {author, out.dest} != self._members or not 0 < number < out.next:
            return False
        if (out.number, number) in self._world.changes:
            return False
        erased, edited = bool(message.get("erased_by")), bool(message.get("revision"))
        kind, change = self._world.changed.get((out.number, number), (0, 0))
        if settled and not is_open(out, change):
            if (kind == ERASE) != erased or (kind == EDIT) != edited:
                return False
        elif (erased and kind != ERASE) or (edited and kind != EDIT):
            return False
        text: str = message.get("text", "")
        if erased:
            return text == ""
        try:
            at, written, stream = read_head(text[:HEAD_BYTES].encode())
        except (ValueError, struct.error):  # no base64, or too short
            return False
        same = (written, stream, text[HEAD_BYTES:]) == (number, out.number, self._padding)
        return (at == EDITED_AT) == edited if same else False

    def verdict(self, lost: int) -> Verdict:
        """With so many that should be here, and are not."""
        return Verdict(lost, self.twice, self.out_of_order, self.mixed_up)


def is_open(out: Out, number: int) -> bool:
    """Whether nobody has said SENT of this message of a stream; of 0, which is none, they need not."""
    return number in out.open or number in out.refused or number >= out.next


def sent(world: World, outs: Iterable[Out]) -> set[Key]:
    """All texts of these streams that are SENT."""
    found: set[Key] = set()
    for out in outs:
        found.update((out.number, number) for number in range(1, out.next) if not is_open(out, number))
    return found - world.changes
