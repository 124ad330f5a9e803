"""Edits and erasures, as functions of a connection that holds the write lock.

Owns what changes messages, and the table `edits`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from store.interface import RowKind
from store.settings import HistorySettings
from store.sqlite.timeline_files import end_files
from store.sqlite.timeline_streams import BOTH_VIEW, NO_VIEW, chunks, drop_unused, key_of, resolve, values
from store.sqlite.timeline_usage import Usage, give_back
from store.sqlite.timeline_writing import FAILED, FULL, KEPT, NOT_ALLOWED, Place, Standing, stands
from store.timeline_copies import is_copy
from store.timeline_rules import (
    TEXT,
    day_of,
    edit_is_sound,
    erasure_is_sound,
    is_late,
    marker_end,
    may_widen,
    stamp_is_sound,
    stored,
)
from store.timelines import Archived, Audience, Edit, Erasure, Result, is_group, members_of

MAX_INBOX_ROWS = 10_000
"""So many rows of one inbox are looked through for copies of an erased message."""
CellKey = tuple[int, int, str, int]
"""The place of the target, the editing device, the audience."""


@dataclass(slots=True)
class Erased:
    """What a batch of erasures brought with it."""

    answers: list[Archived] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Whose pieces may go."""


def archive_edits(connection: sqlite3.Connection, edits: Sequence[Edit], limits: HistorySettings) -> list[Archived]:
    """Keep these; one answer for each."""
    answers: list[Archived] = [NOT_ALLOWED] * len(edits)
    sound = []
    for number, edit in enumerate(edits):
        if not edit_is_sound(edit):
            continue
        if not stamp_is_sound(edit.stamp):
            answers[number] = FAILED
            continue
        sound.append((number, edit, key_of(edit.conversation, edit.target)))
    if not sound:
        return answers
    streams = resolve(connection, dict.fromkeys([key for _, _, key in sound]))
    places = [(streams[key].id, edit.target.id) for _, edit, key in sound]
    targets = stands(connection, places)
    cells = _cells(connection, places)
    usage = Usage(connection, {(edit.name.author, day_of(edit.stamp)) for _, edit, _ in sound}, limits)
    changed: dict[CellKey, tuple[Edit, bool]] = {}
    for (number, edit, _), place in zip(sound, places, strict=True):
        target = targets.get(place)
        if target is not None and not _may_edit(edit, target, limits):
            continue
        visible = target is None or target.view in (BOTH_VIEW, NO_VIEW)
        answers[number] = Archived(Result.KEPT, visible)
        key = (*place, edit.name.device, int(edit.audience))
        there = cells.get(key)
        rank = _rank(edit)
        if (there is not None and rank <= there[0]) or _comes_after_a_block(edit, cells.get((*key[:3], 0))):
            continue
        if not usage.take(edit.name.author, day_of(edit.stamp), len(edit.body) - (there[2] if there else 0)):
            answers[number] = FULL
            continue
        cells[key] = (rank, edit.stamp, len(edit.body))
        changed[key] = (edit, target is not None)
    _write_cells(connection, changed)
    usage.write(connection)
    if FULL in answers:
        drop_unused(connection, [stream for stream, _ in places])
    return answers


def _rank(edit: Edit) -> tuple[int, int, int]:
    return edit.revision, stored(edit.name.stream), edit.name.id


def _may_edit(edit: Edit, target: Standing, limits: HistorySettings) -> bool:
    if target.erased or target.kind != TEXT:
        return False
    return not is_late(edit.stamp, target.stamp, limits.edit_hours)


def _comes_after_a_block(edit: Edit, swallowed: tuple[tuple[int, int, int], int, int] | None) -> bool:
    """A repeat, under a new stamp, of what a block swallowed: shown to nobody (P3)."""
    if edit.audience is Audience.AUTHOR or swallowed is None:
        return False
    rank, stamp, _ = swallowed
    return _rank(edit) <= rank and not may_widen(edit.stamp, stamp)


def _cells(
    connection: sqlite3.Connection, places: Sequence[Place]
) -> dict[CellKey, tuple[tuple[int, int, int], int, int]]:
    """Rank, stamp and length of what stands."""
    (rows,) = connection.execute(
        "SELECT json_group_array(json_array("
        "e.stream, e.id, e.device, e.audience, e.revision, e.edit_stream, e.edit_id, e.stamp, length(e.body))) "
        "FROM json_each(?) AS w CROSS JOIN edits AS e ON e.stream = json_extract(w.value, '$[0]') "
        "AND e.id = json_extract(w.value, '$[1]')",
        (json.dumps(list(set(places))),),
    ).fetchone()
    return {tuple(row[:4]): (tuple(row[4:7]), row[7], row[8]) for row in json.loads(rows)}


def _write_cells(connection: sqlite3.Connection, changed: dict[CellKey, tuple[Edit, bool]]) -> None:
    for chunk in chunks(list(changed.items())):
        connection.execute(
            "INSERT OR REPLACE INTO edits "
            "(stream, id, device, audience, revision, edit_stream, edit_id, stamp, checked, body) "
            + values(len(chunk), 10),
            [value for key, (edit, checked) in chunk for value in (*key, *_rank(edit), edit.stamp, checked, edit.body)],
        )


def archive_erasures(connection: sqlite3.Connection, erasures: Sequence[Erasure], limits: HistorySettings) -> Erased:
    """Put markers in the places of these; one answer for each."""
    answers: list[Archived] = [NOT_ALLOWED] * len(erasures)
    sound = []
    for number, erasure in enumerate(erasures):
        if not erasure_is_sound(erasure):
            continue
        if not stamp_is_sound(erasure.stamp):
            answers[number] = FAILED
            continue
        sound.append((number, erasure, key_of(erasure.conversation, erasure.target)))
    if not sound:
        return Erased(answers)
    streams = resolve(connection, dict.fromkeys([key for _, _, key in sound]))
    places = [(streams[key].id, erasure.target.id) for _, erasure, key in sound]
    there = stands(connection, places)
    usage = Usage(connection, {(erasure.target.author, day_of(erasure.stamp)) for _, erasure, _ in sound}, limits)
    bare: dict[Place, tuple[int, Erasure]] = {}
    ended: dict[Place, tuple[str, int]] = {}
    for (number, erasure, key), place in zip(sound, places, strict=True):
        standing = there.get(place)
        # What erases nothing is bounded, too: it is noted in the ledger. Only the author's own way: who takes down
        # fills nothing.
        idle = standing is None or standing.erased
        own = erasure.by == erasure.target.author
        if idle and place not in bare and own and not usage.take(erasure.target.author, day_of(erasure.stamp), 0):
            answers[number] = FULL
            continue
        if standing is None:
            bare.setdefault(place, (streams[key].conversation, erasure))
            answers[number] = KEPT
            continue
        answers[number] = Archived(Result.KEPT, standing.view in (BOTH_VIEW, NO_VIEW))
        if not standing.erased:
            ended.setdefault(place, (erasure.by, marker_end(erasure.stamp)))
    _mark_bare(connection, bare)
    files = erase(connection, ended) if ended else []
    drop_edits(connection, bare)
    usage.write(connection)
    if FULL in answers:
        drop_unused(connection, [stream for stream, _ in places])
    for _, erasure, _ in sound:
        # Nothing of a group waits in inboxes.
        if not is_group(erasure.conversation):
            _drop_waiting(connection, erasure)
    return Erased(answers, files)


def _mark_bare(connection: sqlite3.Connection, bare: dict[Place, tuple[int, Erasure]]) -> None:
    if bare:
        rows = [
            (*place, conversation, erasure.stamp, erasure.by, marker_end(erasure.stamp))
            for place, (conversation, erasure) in bare.items()
        ]
        fields = ", ".join(f"json_extract(w.value, '$[{number}]')" for number in range(6))
        connection.execute(
            "INSERT INTO messages (stream, id, conversation, stamp, erased_by, ends, view, kind, body) "
            f"SELECT {fields}, {NO_VIEW}, 0, x'' FROM json_each(?) AS w",
            (json.dumps(rows),),
        )


def erase(connection: sqlite3.Connection, ended: dict[Place, tuple[str, int]]) -> list[str]:
    """These messages are no more: of (by whom, when the marker may go). Returns the files that ended with them."""
    places = json.dumps([(*place, *values) for place, values in ended.items()])
    (sizes,) = connection.execute(
        "SELECT json_group_array(json_array(s.user, m.stamp, length(m.body))) FROM json_each(?) AS w "
        "CROSS JOIN messages AS m ON m.stream = json_extract(w.value, '$[0]') "
        "AND m.id = json_extract(w.value, '$[1]') CROSS JOIN streams AS s ON s.id = m.stream",
        (places,),
    ).fetchone()
    back = Counter[tuple[str, int]]()
    for author, stamp, size in json.loads(sizes):
        back[author, day_of(stamp)] += size
    connection.execute(
        "UPDATE messages SET body = x'', about = NULL, erased_by = json_extract(w.value, '$[2]'), "
        "ends = json_extract(w.value, '$[3]') FROM json_each(?) AS w "
        "WHERE messages.stream = json_extract(w.value, '$[0]') AND messages.id = json_extract(w.value, '$[1]')",
        (places,),
    )
    drop_edits(connection, ended, back)
    give_back(connection, back)
    return end_files(connection, ended)


def drop_edits(
    connection: sqlite3.Connection, places: Collection[Place], back: Counter[tuple[str, int]] | None = None
) -> None:
    """The edits of these messages go; their bytes are given back, or counted in `back`."""
    if not places:
        return
    there = "json_each(?) AS w CROSS JOIN edits AS e ON e.stream = json_extract(w.value, '$[0]') "
    there += "AND e.id = json_extract(w.value, '$[1]')"
    wanted = json.dumps(list(places))
    own = Counter[tuple[str, int]]()
    (sizes,) = connection.execute(
        f"SELECT json_group_array(json_array(s.user, e.stamp, length(e.body))) FROM {there} "
        "CROSS JOIN streams AS s ON s.id = e.stream",
        (wanted,),
    ).fetchone()
    found = json.loads(sizes)
    if not found:
        return
    for author, stamp, size in found:
        (own if back is None else back)[author, day_of(stamp)] += size
    connection.execute(f"DELETE FROM edits WHERE (stream, id) IN (SELECT e.stream, e.id FROM {there})", (wanted,))
    if own:
        give_back(connection, own)


# Copies that wait.


def _drop_waiting(connection: sqlite3.Connection, erasure: Erasure) -> None:
    """The message, and its edits, go from the inboxes of both."""
    target = erasure.target
    # `stream` of a Message, and of an About, are eight bytes, little end first: few others hold these.
    trace = target.stream.to_bytes(8, "little")
    for user in dict.fromkeys(members_of(erasure.conversation)):
        (found,) = connection.execute(
            "SELECT json_group_array(json_array(position, hex(body))) FROM (SELECT position, kind, author, body "
            "FROM inbox WHERE user = ? LIMIT ?) WHERE kind = ? AND author IN (?, '') AND instr(body, ?) > 0",
            (user, MAX_INBOX_ROWS, int(RowKind.MESSAGE), target.author, trace),
        ).fetchone()
        positions = [at for at, body in json.loads(found) if is_copy(bytes.fromhex(body), erasure)]
        if positions:
            connection.execute(
                "DELETE FROM inbox WHERE position IN (SELECT value FROM json_each(?))", (json.dumps(positions),)
            )
