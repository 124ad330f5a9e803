"""Simulated timelines: cells with write times, as replicas have them, whose writes may come late and once more.

Owns what is kept, and the rules of `docs/design/history.md` that a database has to hold. Late and repeated writes are
the order of the day: whoever reads must not be able to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.timelines import (
    R_B_MS,
    Archived,
    Audience,
    Edit,
    Entry,
    Erasure,
    KeptMessage,
    Mark,
    Name,
    Result,
    members_of,
)

Key: TypeAlias = tuple[str, Name]
"""Conversation and name."""
LATEST = 1 << 64
"""Above the write time of every insert."""


@dataclass
class Body:
    """What stands under a name. The greater write time wins, and the first writer has the greatest of all inserts."""

    written: int
    entry: Entry | None
    """None: a marker."""
    by: str = ""


@dataclass
class Timelines:
    """What all brokers share."""

    bodies: dict[Key, Body] = field(default_factory=dict)
    rows: dict[str, dict[tuple[int, Name], Audience]] = field(default_factory=dict)
    edits: dict[tuple[str, Name, str], Edit] = field(default_factory=dict)
    """(conversation, target, editing device)."""
    marks: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    group_rows: dict[str, dict[tuple[int, Name, int], Entry]] = field(default_factory=dict)
    """Of groups: (stamp, name, version) → the entry that made the row."""

    def answer(self, change: Entry | Edit | Erasure) -> Archived:
        """What is told of a write, as it stands when it is asked for."""
        target = change.name if isinstance(change, Entry) else change.target
        there = self.bodies.get((change.conversation, target))
        if isinstance(change, Entry):
            other = there is not None and there.entry is not None and there.entry.body != change.body
            if other:
                return Archived(Result.NOT_ALLOWED)
            stands = self._row_for(change)
            return Archived(Result.KEPT, stamp=0 if stands == change.stamp else stands)
        if there is not None and isinstance(change, Edit) and (there.entry is None or there.entry.kind != TEXT):
            return Archived(Result.NOT_ALLOWED)
        rows = self.rows.get(change.conversation, {})
        audiences = [audience for (_, name), audience in rows.items() if name == target]
        return Archived(Result.KEPT, Audience.BOTH in audiences or not audiences)

    def _row_for(self, entry: Entry) -> int:
        """The stamp of the row that stands for this attempt of a group's message, or will; of others 0."""
        if not entry.version:
            return 0
        rows = self.group_rows.get(entry.conversation, {})
        near = [
            stamp
            for stamp, name, version in rows
            if (name, version) == (entry.name, entry.version) and abs(stamp - entry.stamp) >> STAMP_SHIFT <= R_B_MS
        ]
        return min(near, default=entry.stamp)

    def write(self, change: Entry | Edit | Erasure) -> None:
        """Do it; once more, or late, it is the same."""
        if isinstance(change, Entry):
            self._insert(change)
        elif isinstance(change, Edit):
            self._edit(change)
        else:
            self.erase(change)

    def _insert(self, entry: Entry) -> None:
        if self.answer(entry).result is not Result.KEPT:
            return
        if entry.version:
            row = self._row_for(entry), entry.name, entry.version
            self.group_rows.setdefault(entry.conversation, {}).setdefault(row, entry)
            self._put((entry.conversation, entry.name), Body(LATEST - 1 - entry.stamp, entry))
            return
        self._put((entry.conversation, entry.name), Body(LATEST - 1 - entry.stamp, entry))
        rows = self.rows.setdefault(entry.conversation, {})
        first = min((stamp for stamp, name in rows if name == entry.name), default=entry.stamp)
        audience = entry.audience
        if (entry.stamp - first) >> 20 > R_B_MS and rows.get((first, entry.name)) is Audience.AUTHOR:
            audience = Audience.AUTHOR
        place = entry.stamp, entry.name
        rows[place] = max(audience, rows.get(place, audience))

    def _edit(self, edit: Edit) -> None:
        cell = edit.conversation, edit.target, edit.name.device
        there = self.edits.get(cell)
        if there is None or (there.revision, there.name) < (edit.revision, edit.name):
            self.edits[cell] = edit

    def erase(self, erasure: Erasure) -> None:
        """Put a marker there, whether anything is there or not."""
        self._put((erasure.conversation, erasure.target), Body(LATEST, None, erasure.by))

    def _put(self, key: Key, body: Body) -> None:
        there = self.bodies.get(key)
        if there is None or there.written < body.written:
            self.bodies[key] = body

    def is_marked(self, conversation: str, name: Name) -> bool:
        """Whether it was erased."""
        body = self.bodies.get((conversation, name))
        return body is not None and body.entry is None

    def raise_mark(self, mark: Mark) -> None:
        """It only rises."""
        key = mark.user, mark.conversation, mark.public
        self.marks[key] = max(self.marks.get(key, 0), mark.stamp)

    def page(self, conversation: str, reader: str) -> list[KeptMessage]:
        """All that the reader may see, newest first, each name once, by its lowest stamp."""
        assert reader in members_of(conversation)
        lowest: dict[Name, int] = {}
        for (stamp, name), audience in sorted(self.rows.get(conversation, {}).items()):
            if audience is Audience.BOTH or name.author == reader:
                lowest.setdefault(name, stamp)
        found = sorted(((stamp, name) for name, stamp in lowest.items()), reverse=True)
        return [message for stamp, name in found if (message := self.read(conversation, name, stamp, reader))]

    def read(self, conversation: str, name: Name, stamp: int, reader: str) -> KeptMessage | None:
        """One message, as it reads now; None where its body is not there (yet)."""
        body = self.bodies.get((conversation, name))
        if body is None:
            return None
        if body.entry is None:
            return KeptMessage(name, stamp, 0, b"", erased_by=body.by)
        edits = [
            edit
            for (where, target, _), edit in self.edits.items()
            if where == conversation and target == name and (edit.audience is Audience.BOTH or reader == name.author)
        ]
        if not edits:
            return KeptMessage(name, stamp, body.entry.kind, body.entry.body)
        edit = max(edits, key=lambda each: (each.revision, each.name))
        kind = body.entry.kind
        return KeptMessage(name, stamp, kind, edit.body, b"", edit.revision, edit.stamp, edit.name)

    def stamps(self, conversation: str, name: Name) -> Sequence[int]:
        """All positions of a name."""
        return [stamp for stamp, other in self.rows.get(conversation, {}) if other == name]
