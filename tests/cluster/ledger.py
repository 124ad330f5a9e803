"""The account of every message of a test: who wrote it, what became of it where, and how it reads there.

Owns what it is told. Waits, but does nothing by itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from client.state import Delivered
from client.state import MessageName as Name
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, About, Message
from tests.cluster.processes import GUARD_S


@dataclass
class Written:
    """One message, by its body, which is its own."""

    author: str
    dest: str
    sent: bool = False
    delivered: bool = False
    read: bool = False
    kind: int = TEXT
    target: bytes = b""
    """Of a change: what is changed."""
    erased: bool = False
    """An ERASE of it was written: it need not arrive any more."""
    at: float = field(default_factory=time.monotonic)
    """When."""


def key_of(message: Message | Outgoing) -> bytes:
    """What the ledger knows a message by: its body, which is its own; or what was read or erased, which is once."""
    if message.body:
        return message.body
    kind = b"ERASE " if message.kind == ERASE else b"READ "
    return kind + cast(About, message.about).SerializeToString(deterministic=True)


@dataclass
class View:
    """What one device has been told of what stays: TEXT and its changes, its own included."""

    stamps: dict[Name, int] = field(default_factory=dict)
    """Texts, and their places."""
    edits: dict[Name, tuple[int, Name, bytes]] = field(default_factory=dict)
    """Target → revision, name and text of the EDIT that counts."""
    erased: set[Name] = field(default_factory=set)

    def told(self, name: Name, stamp: int, message: Message | Outgoing) -> None:
        """The device has this message under this name."""
        if message.kind == TEXT:
            self.stamps[name] = stamp
        elif message.kind in (EDIT, ERASE):
            about = cast(About, message.about)
            target = (name[0], about.from_device, about.stream, about.ids[0])
            if message.kind == ERASE:
                self.erased.add(target)
            else:
                edit = (message.revision, name, message.body)
                self.edits[target] = max(edit, self.edits.get(target, edit))


@dataclass
class Ledger:
    """Every message of a test, and what became of it where. A READ is a message like any other."""

    written: dict[bytes, Written] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Group → its members, who neither come nor go."""
    shown: dict[str, dict[bytes, bool]] = field(default_factory=dict)
    """device → body → whether it was shown late."""
    twice: int = 0
    out_of_order: int = 0
    late: int = 0
    refused: list[str] = field(default_factory=list)
    moot: int = 0
    """Edits that were refused, as what they would have changed was erased."""
    early: set[Name] = field(default_factory=set)
    """What DELIVERED was told of before SENT, for display alone."""
    views: dict[str, View] = field(default_factory=dict)
    """Of each device."""
    again: set[Name] = field(default_factory=set)
    """What needed more than one attempt: its place may differ between devices (H3)."""
    for_now: Counter[int] = field(default_factory=Counter)
    """Code of a Failed with `retry_after` → how many."""
    broken: list[str] = field(default_factory=list)
    """How servers broke the protocol, or these helpers themselves."""
    guard_s: float = GUARD_S
    """Whatever is waited for has happened by then."""
    sent: int = 0
    """How many messages are SENT."""
    to_keep: int = 0
    """How many of what was written are for the timeline: all but READ."""
    kept: int = 0
    """How many of these are SENT."""
    on_shown: Callable[[str, Message, Written], None] = lambda device, message, written: None
    """Told of everything that a device shows."""
    _highest: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    names: dict[Name, bytes] = field(default_factory=dict)
    """Of all that is SENT: its key."""
    _delivered: set[Name] = field(default_factory=set)
    """Names that DELIVERED was told of; it may come before SENT."""
    _read: set[Name] = field(default_factory=set)
    """Names that a READ was about; it may come before SENT, too."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Something has happened; whoever waits looks again."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool], why: str) -> None:
        """Return when it is so."""
        async with asyncio.timeout(self.guard_s):
            try:
                while True:
                    began = time.monotonic()
                    if condition():
                        return
                    cost_s = time.monotonic() - began
                    assert not self.broken, self.broken
                    self._changed.clear()
                    await self._changed.wait()
                    await asyncio.sleep(max(0.01, 3 * cost_s))  # it may cost more than an event
            except asyncio.CancelledError:
                print(f"waiting for {why}: {self.line()}", file=sys.stderr)  # stdout may be lines of JSON
                raise

    # What happens.

    def show(self, device: str, message: Message, late: bool) -> None:
        """A device shows a message."""
        name = (message.from_id, message.from_device, message.stream, message.id)
        if message.erased:  # a group's, which it has come upon behind what ended it
            if message.kind == TEXT:
                self.view(device).erased.add(name)
            return
        seen = self.shown.setdefault(device, {})
        key = key_of(message)
        if message.kind == TEXT and key in self.written and self.written[key].kind == EDIT:
            key = self.written[key].target  # a group's, with the words that stand when it comes
        self.twice += key in seen
        seen[key] = late
        stream = (device, message.from_id, message.from_device, message.stream)
        if late:
            self.late += 1
        elif message.id < self._highest.get(stream, 0):
            self.out_of_order += 1
        else:
            self._highest[stream] = message.id
        if message.kind == READ:
            self._read_by(message)
        self.view(device).told(name, message.stamp, message)
        if key in self.written:
            self.on_shown(device, message, self.written[key])
        self.changed()

    def view(self, device: str) -> View:
        """What it has been told."""
        return self.views.setdefault(device, View())

    def _read_by(self, message: Message) -> None:
        about = message.about
        for number in about.ids:
            name = (message.dest_id, about.from_device, about.stream, number)
            self._read.add(name)
            if name in self.names:
                self.written[self.names[name]].read = True

    def settled(self, device: str, outgoing: Outgoing, delivered: bool, stamp: int = 0, again: bool = False) -> None:
        """A device has seen SENT; `again`: it may have needed more than one attempt."""
        key = key_of(outgoing)
        written = self.written[key]
        user, _, own = device.partition("/")
        assert outgoing.stream is not None
        name = (user, own, outgoing.stream.number, outgoing.id)
        self.names[name] = key
        self.view(device).told(name, stamp, outgoing)
        if again:
            self.again.add(name)
        self.sent += not written.sent
        self.kept += not written.sent and written.kind != READ
        written.sent = True
        written.delivered = written.delivered or delivered or name in self._delivered
        written.read = written.read or name in self._read
        self.changed()

    def delivered(self, device: str, event: Delivered) -> None:
        """A device was told DELIVERED."""
        user = device.partition("/")[0]
        for number in event.ids:
            name = (user, event.from_device, event.stream, number)
            if event.early:
                self.early.add(name)
                continue
            self._delivered.add(name)
            if name in self.names:
                self.written[self.names[name]].delivered = True
        self.changed()

    def write(self, key: bytes, written: Written) -> None:
        """Something is written."""
        self.written[key] = written
        self.to_keep += written.kind != READ
        if written.kind == ERASE:
            self.written[written.target].erased = True
        self.changed()

    def refuse(self, outgoing: Outgoing, text: str) -> None:
        """A message has failed for good."""
        written = self.written[key_of(outgoing)]
        if written.kind == EDIT and self.written[written.target].erased:
            self.moot += 1
        else:
            self.refused.append(text)

    # The account.

    @property
    def settled_all(self) -> bool:
        """Nothing is under way any more."""
        return self.sent + self.moot + len(self.refused) == len(self.written)

    def is_gone(self, written: Written) -> bool:
        """Whether it, or what it changes, was erased: copies that wait go (H4)."""
        return written.erased or (written.kind == EDIT and self.written[written.target].erased)

    @property
    def texts(self) -> Iterable[Written]:
        """What must be delivered and read: of groups nobody is told."""
        return (
            written
            for written in self.written.values()
            if written.kind == TEXT and not written.erased and written.dest not in self.groups
        )

    @property
    def grouped(self) -> int:
        """Messages to groups that are SENT."""
        return sum(written.sent and written.dest in self.groups for written in self.written.values())

    def _receivers(self, written: Written) -> Iterable[str]:
        """Users whose devices show it."""
        if written.dest not in self.groups:
            return {written.dest, written.author.partition("/")[0]}
        # Whoever comes behind an EDIT gets the one that counts alone; pages are compared with what came of it.
        return () if written.kind == EDIT else self.groups[written.dest]

    def missing(self, devices: Sequence[str]) -> list[tuple[str, bytes]]:
        """(device, body) of what is SENT and was not shown where it should have been."""
        of: dict[str, list[str]] = {}
        for device in devices:
            of.setdefault(device.partition("/")[0], []).append(device)
        return [
            (device, body)
            for body, written in self.written.items()
            if written.sent and not self.is_gone(written)
            for user in self._receivers(written)
            for device in of.get(user, ())
            if device != written.author and body not in self.shown.get(device, {})
        ]

    def line(self, devices: Sequence[str] = ()) -> str:
        """All in numbers."""
        delivered = sum(written.delivered for written in self.written.values())
        return (
            f"written {len(self.written)}, SENT {self.sent}, delivered {delivered}, "
            f"lost {len(self.missing(devices))}, twice {self.twice}, out of order {self.out_of_order}, "
            f"late {self.late}, refused {len(self.refused)}"
        )
