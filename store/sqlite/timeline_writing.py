"""Messages that are to be kept, as functions of a connection that holds the write lock.

Owns what writes the bodies of `messages`. Begins and commits nothing; reads no clock. Each statement takes a whole
batch (`store.sqlite.writing`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocol.ids import STAMP_SHIFT
from store.group_rules import Lives
from store.settings import HistorySettings
from store.sqlite.timeline_files import end_files, keep_files
from store.sqlite.timeline_streams import (
    BOTH_VIEW,
    NO_VIEW,
    Key,
    Stream,
    chunks,
    drop_unused,
    key_of,
    name_in_lists,
    resolve,
    values,
    view_for,
)
from store.sqlite.timeline_usage import Usage
from store.timeline_rules import EDIT, ERASE, day_of, entry_is_sound, may_widen, stamp_is_sound
from store.timelines import R_B_MS, Archived, Entry, Result, is_group

KEPT, FAILED = Archived(Result.KEPT), Archived(Result.FAILED)
FULL, NOT_ALLOWED = Archived(Result.FULL), Archived(Result.NOT_ALLOWED)
Place = tuple[int, int]
"""A message: the number of its stream, and its id there."""


@dataclass(slots=True)
class Standing:
    """What stands in one place. `entry` is None where it stood before this batch."""

    position: int
    view: int
    stamp: int
    kind: int
    erased: bool
    entry: Entry | None = None
    changed: bool = False
    version: int = 0
    open: bool = False
    settled: int = 0
    attempts: list[tuple[int, int]] | None = None
    """Of a group's message that came again: version and stamp of each of its rows."""


def archive_entries(
    connection: sqlite3.Connection, entries: Sequence[Entry], limits: HistorySettings, lives: Lives
) -> list[Archived]:
    """Keep these; one answer for each."""
    answers: list[Archived] = [NOT_ALLOWED] * len(entries)
    sound: list[tuple[int, Entry, Key]] = []
    for number, entry in enumerate(entries):
        if not entry_is_sound(entry):
            continue
        if not stamp_is_sound(entry.stamp):
            answers[number] = FAILED
            continue
        if entry.kind in (EDIT, ERASE) and entry.body and is_group(entry.conversation):
            # The text of an EDIT stands with its target, and goes with it.
            entry = entry._replace(body=b"")
        sound.append((number, entry, key_of(entry.conversation, entry.name)))
    if not sound:
        return answers
    streams = resolve(connection, dict.fromkeys([key for _, _, key in sound]))
    there = stands(connection, [(streams[key].id, entry.name.id) for _, entry, key in sound])
    bodies = _bodies(connection, [standing.position for standing in there.values() if not standing.erased])
    usage = Usage(connection, {(entry.name.author, day_of(entry.stamp)) for _, entry, _ in sound}, limits)
    new: list[tuple[Place, Entry, Stream]] = []
    listings: list[tuple[Key, int, int]] = []
    named: list[tuple[Entry, Place]] = []
    late: list[Place] = []
    again: list[tuple[Place, Entry]] = []
    for number, entry, key in sound:
        stream = streams[key]
        place = stream.id, entry.name.id
        standing = there.get(place)
        if standing is None:
            author = entry.name.author
            if not usage.take(author, day_of(entry.stamp), len(entry.body)):
                answers[number] = FULL
                continue
            view = view_for(entry)
            there[place] = Standing(
                0, view, entry.stamp, entry.kind, erased=False, entry=entry, version=entry.version, open=entry.open
            )
            new.append((place, entry, stream))
            if entry.file:
                named.append((entry, place))
        elif not _is_repeat(standing, entry, bodies):
            continue
        elif entry.version and standing.view != NO_VIEW:
            row = _row_of(connection, standing, entry)
            if row is not None:
                answers[number] = KEPT._replace(stamp=row)
                continue
            if not usage.take(entry.name.author, day_of(entry.stamp), 0):
                answers[number] = FULL
                continue
            again.append((place, entry))
            if entry.file:
                named.append((entry, place))
        else:
            if entry.file and standing.view == NO_VIEW:
                named.append((entry, place))
                late.append(place)
            _merge(standing, entry)
        answers[number] = KEPT
        if stream.listed < 1 + entry.audience and not entry.version:
            level = 2 if there[place].view == BOTH_VIEW else 1
            if stream.listed < level:
                listings.append((key, stream.id, level))
    _insert(connection, new, there)
    _change(connection, there.values())
    if again:
        _insert_attempts(connection, again)
    if listings:
        name_in_lists(connection, listings)
    usage.write(connection)
    if named:
        keep_files(connection, named, lives)
    if late:
        # Erased before they came.
        end_files(connection, late)
    if FULL in answers:
        drop_unused(connection, [stream.id for stream in streams.values()])
    return answers


def stands(connection: sqlite3.Connection, places: Sequence[Place]) -> dict[Place, Standing]:
    """What stands in these places."""
    found: dict[Place, Standing] = {}
    for chunk in chunks(places):
        (rows,) = connection.execute(
            "SELECT json_group_array(json_array("
            "m.stream, m.id, m.position, m.view, m.stamp, m.kind, m.version, m.erased_by IS NOT NULL)) FROM ("
            f"{values(len(chunk), 2)}) AS w CROSS JOIN messages AS m ON m.stream = w.column1 AND m.id = w.column2",
            [value for place in chunk for value in place],
        ).fetchone()
        for stream, number, position, view, stamp, kind, version, erased in json.loads(rows):
            found[stream, number] = Standing(position, view, stamp, kind, bool(erased), version=version)
    return found


def _bodies(connection: sqlite3.Connection, positions: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
    if not positions:
        return {}
    (rows,) = connection.execute(
        "SELECT json_group_array(json_array(m.position, hex(m.body), hex(coalesce(m.about, x'')))) "
        "FROM json_each(?) AS w CROSS JOIN messages AS m ON m.position = w.value",
        (json.dumps(positions),),
    ).fetchone()
    return {position: (bytes.fromhex(body), bytes.fromhex(about)) for position, body, about in json.loads(rows)}


def _is_repeat(standing: Standing, entry: Entry, bodies: dict[int, tuple[bytes, bytes]]) -> bool:
    if standing.erased:
        return True
    stood = (standing.entry.body, standing.entry.about) if standing.entry is not None else bodies[standing.position]
    return standing.kind == entry.kind and stood == (entry.body, entry.about)


def _row_of(connection: sqlite3.Connection, standing: Standing, entry: Entry) -> int | None:
    """The stamp of the row that stands for this attempt of a group's message; without one it is noted as one."""
    if standing.attempts is None:
        standing.attempts = [(standing.version, standing.stamp)]
        standing.attempts += connection.execute(
            "SELECT version, stamp FROM attempts WHERE position = ?", (standing.position,)
        ).fetchall()
    for version, stamp in standing.attempts:
        if version == entry.version and abs(stamp - entry.stamp) <= R_B_MS << STAMP_SHIFT:
            return int(stamp)
    standing.attempts.append((entry.version, entry.stamp))
    return None


def _insert_attempts(connection: sqlite3.Connection, again: Sequence[tuple[Place, Entry]]) -> None:
    rows = [(*place, entry.version, entry.stamp, int(entry.open), entry.settled) for place, entry in again]
    fields = ", ".join(f"json_extract(w.value, '$[{number}]')" for number in range(2, 6))
    connection.execute(
        "INSERT OR IGNORE INTO attempts (position, conversation, version, stamp, open, settled) "
        f"SELECT m.position, m.conversation, {fields} FROM json_each(?) AS w CROSS JOIN messages AS m "
        "ON m.stream = json_extract(w.value, '$[0]') AND m.id = json_extract(w.value, '$[1]')",
        (json.dumps(rows),),
    )


def _merge(standing: Standing, entry: Entry) -> None:
    view = view_for(entry)
    if standing.view == NO_VIEW:
        # A marker whose message comes only now.
        standing.view, standing.stamp, standing.kind, standing.changed = view, entry.stamp, entry.kind, True
        standing.version, standing.open, standing.settled = entry.version, entry.open, entry.settled
        return
    if view == BOTH_VIEW and standing.view != BOTH_VIEW and may_widen(entry.stamp, standing.stamp):
        standing.view = BOTH_VIEW
        standing.changed = True
    if entry.stamp < standing.stamp:
        standing.stamp = entry.stamp
        standing.changed = True


def _insert(
    connection: sqlite3.Connection, new: Sequence[tuple[Place, Entry, Stream]], there: dict[Place, Standing]
) -> None:
    for chunk in chunks(new):
        connection.execute(
            "INSERT INTO messages (stream, id, conversation, view, stamp, kind, body, about, version, open, settled) "
            + values(len(chunk), 11),
            [
                value
                for place, entry, stream in chunk
                for value in (
                    *place,
                    stream.conversation,
                    there[place].view,
                    there[place].stamp,
                    entry.kind,
                    entry.body,
                    entry.about or None,
                    entry.version,
                    entry.open,
                    entry.settled,
                )
            ],
        )


def _change(connection: sqlite3.Connection, standings: Iterable[Standing]) -> None:
    changed = [
        (
            standing.position,
            standing.view,
            standing.stamp,
            standing.kind,
            standing.version,
            int(standing.open),
            standing.settled,
        )
        for standing in standings
        if standing.changed and standing.entry is None
    ]
    if changed:
        connection.execute(
            "UPDATE messages SET view = json_extract(w.value, '$[1]'), stamp = json_extract(w.value, '$[2]'), "
            "kind = json_extract(w.value, '$[3]'), version = json_extract(w.value, '$[4]'), "
            "open = json_extract(w.value, '$[5]'), settled = json_extract(w.value, '$[6]') FROM json_each(?) AS w "
            "WHERE messages.position = json_extract(w.value, '$[0]')",
            (json.dumps(changed),),
        )
