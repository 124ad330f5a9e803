"""Fuzzes the fabric's records: any bytes are records that mean exactly these bytes, or are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from fabric import group_records, records
from fabric.signal_records import SignalDown, SignalUp
from protocol.errors import RecordError
from tests.fuzz import runner


def corpus() -> list[bytes]:
    """A batch of each kind, and bodies."""
    rows = records.pack_rows([(b"key", 1, b"body"), (b"", 2, b"")])
    keys = records.pack_keys([b"key", b"", b"k" * 64])
    members = records.pack_members([(1, "tcp://here:1"), (2**64 - 1, "")])
    outcomes = records.OUTCOME.pack(7, 1, 2, records.DELIVERED | records.OTHERS_BIT)
    plain = [records.record(kind) for kind in range(1, records.LAST_KIND + 1)]
    full = records.record(
        records.COPY, flags=3, index=1, count=2, to=b"bob/b1", by=b"alice/a1", origin=1, attempt=2, session=3, body=rows
    )
    sessions = group_records.pack_sessions([1, 2**64 - 1]) + b"a message"
    signals = SignalUp("bob", b"alice/a1", True, b"a signal"), SignalDown(b"alice/a1", [1, 2**64 - 1], b"a signal")
    bodies = [records.record(records.ROWS, body=body) for body in (rows, keys, members, outcomes, sessions)]
    return [records.batch([encoded]) for encoded in (*plain, full, *bodies, *(one.encode() for one in signals))] + [
        records.batch(plain)
    ]


def one(data: bytes) -> None:
    """One input."""
    try:
        found = records.parse(data)
    except RecordError:
        _bodies(data)
        return
    assert records.batch(map(records.encode, found)) == data, "other bytes come back"
    for record in found:
        _bodies(record[records.BODY])
        if record[records.KIND] == records.SIGNAL:
            _signal(record)


def _bodies(body: bytes) -> None:
    _same(lambda: records.pack_rows(records.unpack_rows(body)), body)
    _same(lambda: records.pack_keys(records.unpack_keys(body)), body)
    _same(lambda: b"".join(records.OUTCOME.pack(*outcome) for outcome in records.unpack_outcomes(body)), body)
    _same(lambda: _sessions(body), body)
    _same(lambda: records.pack_members(records.unpack_members(body)), body)


def _signal(rec: records.Record) -> None:
    """What is read of it is what is written of it."""
    for kind in (SignalUp, SignalDown):
        with contextlib.suppress(*records.UNREADABLE):
            found = kind.of(rec)
            (again,) = records.parse(records.batch([found.encode()]))
            assert kind.of(again) == found, "says another thing when it is said again"


def _sessions(body: bytes) -> bytes:
    numbers, behind = group_records.unpack_sessions(body)
    return group_records.pack_sessions(numbers) + behind


def _same(again: Callable[[], bytes], body: bytes) -> None:
    try:
        packed = again()
    except RecordError:
        return
    assert packed == body, "other bytes come back"


if __name__ == "__main__":
    runner.main(one, corpus())
