"""Batches of a release and what they mean, in JSON: records by name, with their bodies taken apart.

Owns the notation (README.md). Encodes and decodes with `fabric.records` alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from fabric import records
from protocol.sparrow_pb2 import Goodbye
from store.interface import RowKind

Json: TypeAlias = Any
RENAMED = {"NUDGE": "NOTIFY", "NUDGED": "NOTIFIED"}
"""Names that kinds of records had in earlier releases."""
NUMBERS = ("index", "count", "origin", "attempt", "session")


def number(names: str) -> int:
    """Of flags, a result, a code or a state: names of `fabric.records` or of `Goodbye.Code`, or'ed together."""
    values = (
        getattr(records, name) if hasattr(records, name) else Goodbye.Code.Value(name)
        for name in names.split("|")
        if names
    )
    found = 0
    for value in values:
        found |= int(value)
    return found


def _kind(meaning: Json) -> int:
    found: int = getattr(records, RENAMED.get(meaning["kind"], meaning["kind"]))
    return found


def encode(meaning: Json) -> bytes:
    """One record."""
    return records.record(
        _kind(meaning),
        flags=number(meaning.get("flags", "")),
        to=meaning.get("to", "").encode(),
        by=bytes.fromhex(meaning.get("by", "")),
        body=_body(meaning),
        **{name: meaning[name] for name in NUMBERS if name in meaning},
    )


def _body(meaning: Json) -> bytes:
    if "outcomes" in meaning:
        return b"".join(records.OUTCOME.pack(*entry[:3], number(entry[3])) for entry in meaning["outcomes"])
    if "members" in meaning:
        return records.pack_members((incarnation, endpoint) for incarnation, endpoint in meaning["members"])
    if "rows" in meaning:
        return records.pack_rows(
            (bytes.fromhex(key), RowKind[kind], bytes.fromhex(body)) for key, kind, body in meaning["rows"]
        )
    if "keys" in meaning:
        return records.pack_keys(map(bytes.fromhex, meaning["keys"]))
    if "users" in meaning:
        return records.pack_keys(user.encode() for user in meaning["users"])
    return bytes.fromhex(meaning.get("body", ""))


def agrees(rec: records.Record, meaning: Json) -> None:
    """Fails unless the present code finds this meaning in a record."""
    kind, flags, index, count, to, by, origin, attempt, session, body = rec
    assert kind == _kind(meaning)
    assert flags == number(meaning.get("flags", ""))
    assert (to.decode(), by.hex()) == (meaning.get("to", ""), meaning.get("by", ""))
    found = dict(zip(NUMBERS, (index, count, origin, attempt, session), strict=True))
    assert found == {name: meaning.get(name, 0) for name in NUMBERS}
    if "outcomes" in meaning:
        wanted = [(*entry[:3], number(entry[3])) for entry in meaning["outcomes"]]
        assert list(records.unpack_outcomes(body)) == wanted
    elif "members" in meaning:
        assert [list(member) for member in records.unpack_members(body)] == meaning["members"]
    elif "rows" in meaning:
        rows = [[key.hex(), RowKind(row_kind).name, row.hex()] for key, row_kind, row in records.unpack_rows(body)]
        assert rows == meaning["rows"]
    elif "keys" in meaning:
        assert [key.hex() for key in records.unpack_keys(body)] == meaning["keys"]
    elif "users" in meaning:
        assert [user.decode() for user in records.unpack_keys(body)] == meaning["users"]
    else:
        assert body.hex() == meaning.get("body", "")
