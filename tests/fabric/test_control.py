"""Control records: what they say comes back, and stands where neighbouring releases look for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import control, heartbeats, records
from fabric.records import record
from fabric.signal_records import SignalDown, SignalUp
from protocol.errors import RecordError

U64 = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, 2**16 - 1)
BYTE = st.integers(0, 255)
ADDRESS = st.binary(max_size=128)
TEXT = st.text(max_size=40)


def parsed(encoded: bytes) -> records.Record:
    (found,) = records.parse(records.batch([encoded]))
    return found


KINDS: list[tuple[type[Any], st.SearchStrategy[tuple[Any, ...]]]] = [
    (heartbeats.Heartbeat, st.tuples(U64, U64, SMALL, st.booleans(), st.booleans(), st.booleans())),
    (
        heartbeats.HeartbeatReply,
        st.tuples(
            *(U64, U64, U64, SMALL, st.booleans(), st.dictionaries(U64, TEXT, max_size=4)),
            *(st.booleans(), U64, st.booleans(), U64, st.booleans()),
        ),
    ),
    (SignalUp, st.tuples(st.sampled_from(("bob", "~" + "a" * 24)), ADDRESS, st.booleans(), st.binary(max_size=60))),
    (SignalDown, st.tuples(ADDRESS, st.lists(U64, max_size=4).map(tuple), st.binary(max_size=60))),
    (control.Online, st.tuples(ADDRESS, U64, U64, st.booleans(), TEXT, U64, U64)),
    (control.OnlineReply, st.tuples(ADDRESS, U64, BYTE, U64, U64)),
    (control.Offline, st.tuples(ADDRESS, U64)),
    (control.Stored, st.tuples(U64, U64)),
    (control.PageRequest, st.tuples(ADDRESS, U64, U64, ADDRESS, SMALL, st.booleans())),
    (control.Rows, st.tuples(U64, U64, ADDRESS, st.booleans(), st.booleans(), st.binary(max_size=200))),
    (control.Remove, st.tuples(ADDRESS, st.lists(ADDRESS, max_size=4))),
    (control.Notify, st.tuples(ADDRESS, U64, U64)),
    (control.Evict, st.tuples(ADDRESS, U64, U64, U64)),
    (control.Evicted, st.tuples(U64, U64)),
    (control.Close, st.tuples(ADDRESS, U64, BYTE, U64, st.binary(max_size=60))),
    (control.Closed, st.tuples(ADDRESS, U64, U64)),
    (control.Hint, st.tuples(ADDRESS, U64, st.binary(max_size=200))),
    (control.Answer, st.tuples(U64, st.booleans(), st.binary(max_size=60))),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_what_is_said_comes_back(kind: type[Any], values: st.SearchStrategy[tuple[Any, ...]]) -> None:
    @given(values)
    def comes_back(said: tuple[Any, ...]) -> None:
        one = kind(*said)
        assert kind.of(parsed(one.encode())) == one

    comes_back()


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (heartbeats.Heartbeat(5, 6, 7), record(records.HEARTBEAT, origin=5, attempt=6, count=7)),
        (
            heartbeats.HeartbeatReply(5, 6, 7, 8, True, {9: "tcp://b"}, True, 10),
            record(
                records.HEARTBEAT,
                flags=records.UNWELL | records.KNOWS_CHANGES,
                by=(10).to_bytes(8, "little"),
                origin=5,
                attempt=6,
                session=7,
                count=8,
                body=records.pack_members([(9, "tcp://b")]),
            ),
        ),
        (
            heartbeats.Heartbeat(5, 6, 7, knows_signals=True),
            record(records.HEARTBEAT, flags=16, origin=5, attempt=6, count=7),
        ),
        (
            SignalUp("bob", b"alice/a1", True, b"s"),
            record(records.SIGNAL, flags=records.PRESENT, to=b"bob", by=b"alice/a1", body=b"s"),
        ),
        (
            SignalDown(b"alice/a1", [5], b"s"),
            record(records.SIGNAL, by=b"alice/a1", body=b"\1\0\0\0" + (5).to_bytes(8, "little") + b"s"),
        ),
        (
            control.Online(b"bob/b1", 5, 6, True, "l1", 7, 8),
            record(
                records.ONLINE,
                flags=records.AGAIN,
                to=b"bob/b1",
                session=5,
                attempt=6,
                body=records.pack_login("l1", 7, 8),
            ),
        ),
        (
            control.OnlineReply(b"bob/b1", 5, records.LATE, 6, 7, 8),
            record(
                records.ONLINE_REPLY,
                flags=records.LATE,
                to=b"bob/b1",
                session=5,
                attempt=6,
                body=records.pack_terms(7, 8),
            ),
        ),
        (control.Offline(b"bob/b1", 5), record(records.OFFLINE, to=b"bob/b1", session=5)),
        (control.Stored(5, 6), record(records.STORED, session=5, attempt=6)),
        (
            control.PageRequest(b"bob/b1", 5, 6, b"c", 7, True),
            record(records.PAGE, flags=records.FRESH, to=b"bob/b1", session=5, attempt=6, by=b"c", count=7),
        ),
        (
            control.Rows(5, 6, b"c", True, False, b"rows"),
            record(records.ROWS, flags=records.END, session=5, attempt=6, by=b"c", body=b"rows"),
        ),
        (control.Rows(5, 6, failed=True), record(records.ROWS, flags=records.FAILED, session=5, attempt=6)),
        (
            control.Remove(b"bob/b1", [b"k1", b"k2"]),
            record(records.REMOVE, to=b"bob/b1", body=records.pack_keys([b"k1", b"k2"])),
        ),
        (control.Notify(b"bob/b1", 5, 6), record(records.NOTIFY, to=b"bob/b1", session=5, attempt=6)),
        (
            control.Evict(b"bob/b1", 5, 6, 7),
            record(records.EVICT, to=b"bob/b1", session=5, origin=6, attempt=7),
        ),
        (control.Evicted(5, 6), record(records.EVICTED, origin=5, attempt=6)),
        (
            control.Close(b"bob/b1", 5, 6, 7, b"spare"),
            record(records.CLOSE, flags=6, to=b"bob/b1", session=5, attempt=7, body=b"spare"),
        ),
        (control.Closed(b"bob/b1", 5, 6), record(records.CLOSED, to=b"bob/b1", session=5, attempt=6)),
        (control.Hint(b"bob/b1", 5, b"hint"), record(records.HINT, to=b"bob/b1", session=5, body=b"hint")),
        (control.Answer(5, False, b"x"), record(records.ANSWER, flags=records.FAILED, attempt=5, body=b"x")),
    ],
)
def test_where_it_stands(said: Any, written: bytes) -> None:
    """Written out, so that a field that moves is a change of the format."""
    assert said.encode() == written


def test_what_answers_a_notification_says_the_same() -> None:
    notify = control.Notify(b"bob/b1", 5, 6)
    assert notify.encode_heard() == record(records.NOTIFIED, to=b"bob/b1", session=5, attempt=6)
    assert control.Notify.of(parsed(notify.encode_heard())) == notify


def test_what_is_carried_packed_is_read_when_it_is_asked_for() -> None:
    rows = [(b"k", 1, b"one"), (b"l", 2, b"")]
    assert list(control.Rows(1, 2, body=records.pack_rows(rows)).rows()) == rows
    assert control.Close(b"bob/b1", 1, 2, 3, records.pack_spared("l1")).spared() == b"l1"
    assert control.request_of(parsed(record(records.WHERE, attempt=9))) == 9


@pytest.mark.parametrize(
    "read",
    [
        lambda: heartbeats.HeartbeatReply.of(parsed(record(records.HEARTBEAT, body=b"x"))),
        lambda: control.Online.of(parsed(record(records.ONLINE, body=b"\x09x"))),
        lambda: control.OnlineReply.of(parsed(record(records.ONLINE_REPLY, body=b"\x01x"))),
        lambda: control.Remove.of(parsed(record(records.REMOVE, body=b"\x09x"))),
        lambda: list(control.Rows(1, 2, body=b"x").rows()),
        lambda: control.Close(b"", 1, 2, 3, b"\x09x").spared(),
    ],
)
def test_what_cannot_be_read_is_an_error(read: Callable[[], object]) -> None:
    with pytest.raises(RecordError):
        read()


@given(
    st.lists(st.tuples(st.sampled_from([records.OUTCOMES, records.COPY]), ADDRESS, st.binary(max_size=40)), max_size=5)
)
def test_what_is_forwarded_is_passed_on_as_it_came(said: list[tuple[int, bytes, bytes]]) -> None:
    encoded = [record(kind, flags=9, index=1, to=to, by=b"x", origin=5, body=body) for kind, to, body in said]
    plain, found = records.parse(records.batch(encoded)), records.parse(records.batch(encoded), records.OUTCOMES)
    for whole, before, after in zip(encoded, plain, found, strict=True):
        if before[records.KIND] == records.OUTCOMES:
            assert after[records.BODY] == whole == records.encode(before)
            assert after[records.ORIGIN] == before[records.ORIGIN]
        else:
            assert after == before


def test_a_time_that_is_none_is_no_heartbeat() -> None:
    with pytest.raises(RecordError):
        heartbeats.HeartbeatReply.of(parsed(record(records.HEARTBEAT, by=b"short")))
