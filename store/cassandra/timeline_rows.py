"""Rows of timelines and bodies, read: what is where in a conversation.

Owns the statements that read `spans`, `timeline` and `bodies`, and which of these rows a reader sees. A page costs two
rounds: the index of spans together with the rows of the likeliest one, then bodies and edits; more only where days
have few messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from protocol.errors import SparrowError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import FIRST_TIE, LAST_TIE, Place, Value, place_of, unpack_edit, unpack_value
from store.timeline_rules import MAX_STAMP, Cell, day_of, edited, first_stamp_of, may_widen, unstored
from store.timelines import Audience, KeptMessage, Name, members_of

BOTH_VIEW = 0
ATTEMPT = 1
"""`audience` of a group's attempt, whose `editor` is ''."""
ROW_COLUMNS = "stamp, tie, author, device, stream, id, kind, size, version, open, settled"
_SPANS = "SELECT span FROM spans WHERE conversation = ? AND viewers = ? AND span <= ? LIMIT ?"
_ROWS = (
    f"SELECT {ROW_COLUMNS} FROM timeline "
    "WHERE conversation = ? AND viewers = ? AND span = ? AND (stamp, tie) < (?, ?) AND (stamp) >= (?) LIMIT ?"
)
_BODIES = (
    "SELECT id, editor, audience, edit_stream, kind, stamp, both_stamp, value, erased_by, version, open FROM bodies "
    "WHERE conversation = ? AND author = ? AND device = ? AND stream = ? AND part = ? AND id IN ?"
)
_HIGHEST = (
    "SELECT id FROM bodies WHERE conversation = ? AND author = ? AND device = ? AND stream = ? AND part = ? "
    "ORDER BY id DESC LIMIT 1"
)
_SPANS_AT_ONCE = 64
_MAX_SPAN = 2**31 - 1
_SPANS_A_ROUND = 16
_ROUNDS = 6


class Row(NamedTuple):
    """Of a timeline."""

    stamp: int
    tie: bytes
    name: Name
    kind: int
    size: int
    view: int
    version: int = 0
    open: bool = False
    settled: int = 0


class Rows(NamedTuple):
    """Newest first; `end`: there are no older ones. Else `next` is where to go on."""

    rows: list[Row]
    end: bool
    next: tuple[int, bytes]


class Attempt(NamedTuple):
    """A row of a group's message."""

    stamp: int
    version: int
    open: bool


class Body(NamedTuple):
    """A message, or its marker."""

    kind: int
    stamp: int | None
    """None: it is not there (yet)."""
    both_stamp: int | None
    value: Value
    erased_by: str
    cells: tuple[Cell, ...]
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_for_both(self) -> bool:
        """Whether the other side may see it."""
        return self.stamp is not None and self.both_stamp is not None and may_widen(self.both_stamp, self.stamp)

    def stamp_for(self, reader: str, author: str) -> int | None:
        """Under which stamp the reader sees it; None if not at all."""
        if reader == author:
            return self.stamp
        return self.both_stamp if self.is_for_both else None


def view_of(conversation: str, user: str) -> int | None:
    """The view of one of the two alone."""
    members = members_of(conversation)
    return members.index(user) + 1 if user in members else None


class TimelineRows:
    """The reading operations on the three tables."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._requests = requests
        self._spans = connection.prepare(_SPANS)
        self._rows = connection.prepare(_ROWS)
        self._bodies = connection.prepare(_BODIES)
        self._highest = connection.prepare(_HIGHEST)

    async def rows(
        self, conversation: str, views: Sequence[int], before: tuple[int, bytes], floor: int, wanted: int, guess: int
    ) -> Rows:
        """Up to `wanted` rows of these views, from `before` back; `guess`: the likeliest span."""
        first = min(day_of(before[0]), _MAX_SPAN)
        guess = min(guess, first)
        spans = [self._spans.bind((conversation, view, first, _SPANS_AT_ONCE)) for view in views]
        index = await self._requests.run([*spans, *self._read(conversation, views, [guess], before, floor, wanted)])
        known = index[: len(views)]
        all_spans = sorted({span for rows in known for (span,) in rows}, reverse=True)
        # Behind the last span of a full list there may be more that this list does not know.
        lowest = max([rows[-1][0] for rows in known if len(rows) == _SPANS_AT_ONCE], default=-1)
        there = {guess: _merged(index[len(views) :], views, wanted)}
        found: list[Row] = []
        rounds, dense = 0, False
        todo = [span for span in all_spans if span >= max(lowest, day_of(floor))]
        while todo and len(found) < wanted:
            if todo[0] not in there:
                if rounds == _ROUNDS:
                    return Rows(found, False, min(before, (first_stamp_of(todo[0] + 1), FIRST_TIE)))
                rounds += 1
                left = wanted - len(found)
                some, limit = (todo[:1], left) if dense else (todo[:_SPANS_A_ROUND], max(8, left // 8))
                answers = await self._requests.run(self._read(conversation, views, some, before, floor, limit))
                for at, span in enumerate(some):
                    there[span] = _merged(answers[at * len(views) : (at + 1) * len(views)], views, limit)
            rows, whole = there.pop(todo[0])
            found += rows
            dense = not whole
            if whole:
                todo.pop(0)
            else:
                before = rows[-1].stamp, rows[-1].tie
        if len(found) >= wanted:
            found = found[:wanted]
            return Rows(found, False, (found[-1].stamp, found[-1].tie))
        if lowest >= 0 and lowest > day_of(floor):
            return Rows(found, False, (first_stamp_of(lowest), FIRST_TIE))
        return Rows(found, True, (0, FIRST_TIE))

    def _read(
        self,
        conversation: str,
        views: Sequence[int],
        spans: Sequence[int],
        before: tuple[int, bytes],
        floor: int,
        wanted: int,
    ) -> list[Any]:
        return [self._rows.bind((conversation, view, span, *before, floor, wanted)) for span in spans for view in views]

    async def bodies(self, conversation: str, names: Iterable[Name]) -> dict[Name, Body]:
        """What stands under these names, markers included."""
        return {name: body for (_, name), body in (await self.all_bodies({conversation: names})).items()}

    async def all_bodies(self, wanted: Mapping[str, Iterable[Name]]) -> dict[tuple[str, Name], Body]:
        """The same of several conversations. Raises the first error."""
        found: dict[tuple[str, Name], Body] = {}
        for key, body in (await self.each_body(wanted)).items():
            if isinstance(body, SparrowError):
                raise body
            if body is not None:
                found[key] = body
        return found

    async def each_body(
        self, wanted: Mapping[str, Iterable[Name]]
    ) -> dict[tuple[str, Name], Body | SparrowError | None]:
        """What stands under each name, or why that cannot be read."""
        found: dict[tuple[str, Name], Body | SparrowError | None] = {}
        partitions: dict[tuple[str, str, str, int, int], set[int]] = {}
        for conversation, names in wanted.items():
            for name in names:
                place = place_of(conversation, name)
                partitions.setdefault(place.partition, set()).add(place.id)
                found[conversation, name] = None
        answers = await self._requests.each(
            [self._bodies.bind((*partition, sorted(ids))) for partition, ids in partitions.items()]
        )
        for (partition, ids), rows in zip(partitions.items(), answers, strict=True):
            conversation, author, device, stream, _ = partition
            if isinstance(rows, SparrowError):
                names = [Name(author, device, unstored(stream), number) for number in ids]
                found |= dict.fromkeys([(conversation, name) for name in names], rows)
            else:
                found |= {(conversation, name): body for name, body in _found(Place(*partition, 0), rows).items()}
        return found

    async def highest(
        self, partitions: Sequence[tuple[str, str, str, int, int]]
    ) -> dict[tuple[str, str, str, int, int], int]:
        """The highest id that stands in each of these partitions of `bodies`, where there is one."""
        answers = await self._requests.run([self._highest.bind(partition) for partition in partitions])
        return {partition: rows[0][0] for partition, rows in zip(partitions, answers, strict=True) if rows}

    async def messages(
        self, conversation: str, rows: Sequence[Row], reader: str, edit_hours: float
    ) -> list[KeptMessage]:
        """What the reader sees of these rows, each name once."""
        bodies = await self.bodies(conversation, {row.name for row in rows})
        seen: set[Name] = set()
        messages = []
        for row in rows:
            body = bodies.get(row.name)
            if row.name in seen or body is None or body.stamp_for(reader, row.name.author) != row.stamp:
                continue
            seen.add(row.name)
            messages.append(as_read(row.name, row.stamp, body, reader, edit_hours))
        return messages


def as_read(name: Name, stamp: int, body: Body, reader: str, edit_hours: float) -> KeptMessage:
    """A message as the reader sees it."""
    value = body.value
    message = KeptMessage(name, stamp, body.kind, value.body, value.about, erased_by=body.erased_by)
    return edited(message, body.cells, reader, edit_hours)


def row_of(columns: Sequence[Any], view: int = BOTH_VIEW) -> Row:
    """Of `ROW_COLUMNS`."""
    stamp, tie, author, device, stream, number, kind, size, version, is_open, settled = columns
    name = Name(author, device, unstored(stream), number)
    return Row(stamp, tie, name, kind, size, view, version or 0, bool(is_open), settled or 0)


def _merged(answers: Sequence[Sequence[Any]], views: Sequence[int], limit: int) -> tuple[list[Row], bool]:
    """The rows of a span, newest first, and whether these are all."""
    rows = [row_of(columns, view) for view, answer in zip(views, answers, strict=True) for columns in answer]
    rows.sort(key=lambda row: (row.stamp, row.tie), reverse=True)
    edges = [answer[-1][:2] for answer in answers if len(answer) == limit]
    if not edges:
        return rows, True
    edge = max(edges)
    return [row for row in rows if (row.stamp, row.tie) >= edge], False


def _found(at: Place, rows: Sequence[Any]) -> dict[Name, Body]:
    found: dict[Name, Body] = {}
    cells: dict[int, list[Cell]] = {}
    attempts: dict[int, list[Attempt]] = {}
    for number, editor, audience, edit_stream, _, stamp, _, value, _, version, is_open in rows:
        if not editor and audience == ATTEMPT:
            if version and stamp:
                attempts.setdefault(number, []).append(Attempt(stamp, version, bool(is_open)))
        elif editor and value:
            edit = unpack_edit(value)
            name = Name(at.author, editor, unstored(edit_stream), edit.id)
            cell = Cell(edit.revision, name, edit.stamp, Audience(audience), edit.checked, edit.body)
            cells.setdefault(number, []).append(cell)
    for number, editor, audience, _, kind, stamp, both_stamp, value, erased_by, _, _ in rows:
        if not editor and audience != ATTEMPT:
            name = Name(at.author, at.device, unstored(at.stream), number)
            told = unpack_value(b"" if erased_by else value or b"")
            there = tuple(cells.pop(number, ()))
            of_group = tuple(attempts.get(number, ()))
            found[name] = Body(kind or 0, stamp, both_stamp, told, erased_by or "", there, of_group)
    for number, waiting in cells.items():
        name = Name(at.author, at.device, unstored(at.stream), number)
        found[name] = Body(0, None, None, Value(b"", b"", ""), "", tuple(waiting))
    return found


NEWEST = (MAX_STAMP, LAST_TIE)
"""Above every row."""
