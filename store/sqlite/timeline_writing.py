"""Messages that are to be kept, as functions of a connection that holds the write lock.

Owns what writes the bodies of `messages`. Begins and commits nothing; reads no clock. Each statement takes a whole
batch (`store.sqlite.writing`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
from store.timeline_rules import day_of, entry_is_sound, may_widen, stamp_is_sound
from store.timelines import Archived, Entry, Result

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


def archive_entries(
    connection: sqlite3.Connection, entries: Sequence[Entry], limits: HistorySettings, keep_days: int
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
    for number, entry, key in sound:
        stream = streams[key]
        place = stream.id, entry.name.id
        standing = there.get(place)
        if standing is None:
            author = entry.name.author
            if not usage.take(author, day_of(entry.stamp), len(entry.body)):
                answers[number] = FULL
                continue
            view = view_for(entry.conversation, author, entry.audience)
            there[place] = Standing(0, view, entry.stamp, entry.kind, erased=False, entry=entry)
            new.append((place, entry, stream))
            if entry.file:
                named.append((entry, place))
        elif not _is_repeat(standing, entry, bodies):
            continue
        else:
            if entry.file and standing.view == NO_VIEW:
                named.append((entry, place))
                late.append(place)
            _merge(standing, entry)
        answers[number] = KEPT
        if stream.listed < 1 + entry.audience:
            level = 2 if there[place].view == BOTH_VIEW else 1
            if stream.listed < level:
                listings.append((key, stream.id, level))
    _insert(connection, new, there)
    _change(connection, there.values())
    if listings:
        name_in_lists(connection, listings)
    usage.write(connection)
    if named:
        keep_files(connection, named, keep_days)
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
            "m.stream, m.id, m.position, m.view, m.stamp, m.kind, m.erased_by IS NOT NULL)) FROM ("
            f"{values(len(chunk), 2)}) AS w CROSS JOIN messages AS m ON m.stream = w.column1 AND m.id = w.column2",
            [value for place in chunk for value in place],
        ).fetchone()
        for stream, number, position, view, stamp, kind, erased in json.loads(rows):
            found[stream, number] = Standing(position, view, stamp, kind, bool(erased))
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


def _merge(standing: Standing, entry: Entry) -> None:
    view = view_for(entry.conversation, entry.name.author, entry.audience)
    if standing.view == NO_VIEW:
        # A marker whose message comes only now.
        standing.view, standing.stamp, standing.kind, standing.changed = view, entry.stamp, entry.kind, True
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
            f"INSERT INTO messages (stream, id, conversation, view, stamp, kind, body, about) {values(len(chunk), 8)}",
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
                )
            ],
        )


def _change(connection: sqlite3.Connection, standings: Iterable[Standing]) -> None:
    changed = [
        (standing.position, standing.view, standing.stamp, standing.kind)
        for standing in standings
        if standing.changed and standing.entry is None
    ]
    if changed:
        connection.execute(
            "UPDATE messages SET view = json_extract(w.value, '$[1]'), stamp = json_extract(w.value, '$[2]'), "
            "kind = json_extract(w.value, '$[3]') FROM json_each(?) AS w "
            "WHERE messages.position = json_extract(w.value, '$[0]')",
            (json.dumps(changed),),
        )
