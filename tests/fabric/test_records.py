"""Fabric records: round trips, and bytes that are none."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import records
from protocol.errors import RecordError
from tests.protocol.strategies import U64, fabric_records

ROWS = st.lists(st.tuples(st.binary(max_size=64), st.integers(0, 255), st.binary(max_size=200)), max_size=6)
KEYS = st.lists(st.binary(max_size=64), max_size=6)
OUTCOME = st.tuples(U64, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255))


@given(st.lists(fabric_records(), max_size=6))
def test_round_trip(parsed: list[records.Record]) -> None:
    data = records.batch(map(records.encode, parsed))
    assert records.parse(data) == parsed


@given(fabric_records())
def test_both_ways_of_encoding_agree(parsed: records.Record) -> None:
    kind, flags, index, count, to, by, origin, attempt, session, body = parsed
    assert records.encode(parsed) == records.record(
        kind,
        flags=flags,
        index=index,
        count=count,
        to=to,
        by=by,
        origin=origin,
        attempt=attempt,
        session=session,
        body=body,
    )


def test_the_layout() -> None:
    """Written out, so that a change of the format is a change of the version."""
    assert records.VERSION == b"\x01"
    assert records.record(
        records.COPY, flags=2, index=3, count=4, to=b"bob/b1", by=b"x", origin=5, attempt=6, session=7, body=b"hi"
    ) == (
        bytes.fromhex("06 02 0300 0400 06 01")
        + struct.pack("<QQQ", 5, 6, 7)
        + bytes.fromhex("02000000")
        + b"bob/b1"
        + b"x"
        + b"hi"
    )


def test_an_empty_record_is_its_header() -> None:
    assert records.record(records.NOTIFY) == bytes([records.NOTIFY]) + bytes(records.HEADER_BYTES - 1)
    assert records.parse(records.VERSION) == []


def kinds() -> dict[str, int]:
    names = """HEARTBEAT ONLINE ONLINE_REPLY OFFLINE ROUTE COPY STORE OUTCOMES STORED PAGE ROWS REMOVE NOTIFY NOTIFIED
        EVICT EVICTED CLOSE HINT CHANGED WHERE ANSWER CLOSED GROUP_COPY GROUP_LOOK GROUP_HEARD
        GROUP_PAGE GROUP_ROWS CHECKPOINT SIGNAL"""
    return {name: getattr(records, name) for name in names.split()}


def test_kinds_are_all_different_and_end_at_the_last() -> None:
    assert sorted(kinds().values()) == list(range(1, records.LAST_KIND + 1))


@given(st.text(max_size=50), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1))
def test_what_a_session_is_of(login: str, start: int, tries: int) -> None:
    body = records.pack_login(login, start, tries)
    assert records.unpack_login(body) == (login, start, tries)
    assert records.unpack_login(body + records.pack_keys([b"of a later release"])) == (login, start, tries)
    assert records.unpack_login(b"") == ("", 0, 0), "0.1 tells nothing"


def test_whom_a_close_spares() -> None:
    assert records.unpack_spared(records.pack_spared("")) == b""
    body = records.pack_spared("l1")
    assert records.unpack_spared(body) == records.unpack_spared(body + records.pack_keys([b"later"])) == b"l1"
    with pytest.raises(RecordError):
        records.unpack_spared(b"\x09l1")


def test_the_terms_of_a_session() -> None:
    assert records.unpack_terms(records.pack_terms(0)) == records.unpack_terms(b"") == (0, 0), "0.1 tells nothing"
    assert records.unpack_terms(records.pack_terms(2**40)) == (2**40, 0), "without edits, as in the first of 0.2"
    body = records.pack_terms(2**40, 48)
    assert records.unpack_terms(body) == records.unpack_terms(body + records.pack_keys([b"later"])) == (2**40, 48)
    assert records.unpack_terms(records.pack_keys([b"", b"", b"later"])) == (0, 0)
    for bad in (b"\x08short", b"\x04four", b"\0\x05later"):
        with pytest.raises(RecordError):
            records.unpack_terms(bad)


@pytest.mark.parametrize("body", [b"\x01", b"\x01l", b"\x01l\x02xy", b"\x01\xff\x10" + bytes(16)])
def test_a_login_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(RecordError):
        records.unpack_login(body)


@given(st.lists(fabric_records(), min_size=1, max_size=3), st.data())
def test_a_batch_cut_short_is_refused_whole(parsed: list[records.Record], data: st.DataObject) -> None:
    encoded = [records.encode(item) for item in parsed]
    whole = records.batch(encoded)
    borders, at = set(), 1
    for item in encoded:
        at += len(item)
        borders.add(at)
    cut = data.draw(st.integers(0, len(whole) - 1))
    if cut in borders or cut == 1:
        assert records.parse(whole[:cut]) == parsed[: len([border for border in borders if border <= cut])]
    else:
        with pytest.raises(RecordError):
            records.parse(whole[:cut])


@pytest.mark.parametrize("cut", range(1, len(records.record(records.COPY, to=b"to", by=b"by", body=b"body"))))
def test_every_cut_of_a_record(cut: int) -> None:
    encoded = records.record(records.COPY, to=b"to", by=b"by", body=b"body")
    with pytest.raises(RecordError, match="cut off"):
        records.parse(records.batch([encoded, encoded[:cut]]))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: records.VERSION + b))
def test_random_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        found = records.parse(data)
    except RecordError:
        return
    assert records.batch(map(records.encode, found)) == data


@pytest.mark.changes_cores
@given(st.lists(st.integers(0, 60), max_size=12), st.integers(0, 200))
def test_batches_are_the_records_in_order_and_within_bounds(sizes: list[int], limit: int) -> None:
    encoded = [records.record(records.ROWS, index=at, body=bytes(size)) for at, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "MAX_BATCH_BYTES", limit)
        found = records.batches(encoded)
    parsed = [records.parse(data) for data in found]
    assert [item for batch in parsed for item in batch] == records.parse(records.batch(encoded))
    for data, batch in zip(found, parsed, strict=True):
        assert len(data) <= limit or len(batch) <= 1
    if len(records.batch(encoded)) <= limit:
        assert len(found) == 1


@pytest.mark.parametrize("version", [b"", b"\x00", b"\x02", b"\xff"])
def test_another_version(version: bytes) -> None:
    with pytest.raises(RecordError, match="neighbouring releases"):
        records.parse(version + records.record(records.NOTIFY))


@pytest.mark.parametrize("kind", [0, records.LAST_KIND + 1, 255])
def test_a_kind_of_another_release_takes_nothing_from_the_rest(kind: int) -> None:
    other, known = records.record(kind, flags=0xFF, body=b"what"), records.record(records.COPY, body=b"hi")
    assert [rec[records.BODY] for rec in records.parse(records.batch([known, other, known]))] == [b"hi", b"what", b"hi"]


@given(ROWS)
def test_rows_round_trip(rows: list[tuple[bytes, int, bytes]]) -> None:
    assert list(records.unpack_rows(records.pack_rows(rows))) == rows


@given(KEYS)
def test_keys_round_trip(keys: list[bytes]) -> None:
    assert records.unpack_keys(records.pack_keys(keys)) == keys


@given(st.lists(st.tuples(U64, st.text(st.characters(codec="utf-8"), max_size=40))))
def test_members_round_trip(members: list[tuple[int, str]]) -> None:
    assert records.unpack_members(records.pack_members(members)) == members


@given(st.lists(OUTCOME, max_size=6))
def test_outcomes_round_trip(outcomes: list[tuple[int, int, int, int]]) -> None:
    body = b"".join(records.OUTCOME.pack(*outcome) for outcome in outcomes)
    assert list(records.unpack_outcomes(body)) == outcomes


@given(ROWS.filter(bool), st.data())
def test_rows_cut_short_are_refused(rows: list[tuple[bytes, int, bytes]], data: st.DataObject) -> None:
    last = len(records.pack_rows(rows[-1:]))
    body = records.pack_rows(rows)
    cut = data.draw(st.integers(1, last - 1))
    with pytest.raises(RecordError, match="row"):
        list(records.unpack_rows(body[:-cut]))


@given(KEYS.filter(lambda keys: bool(keys and keys[-1])), st.data())
def test_keys_cut_short_are_refused(keys: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(keys[-1])))
    with pytest.raises(RecordError, match="key"):
        records.unpack_keys(records.pack_keys(keys)[:-cut])


def test_members_cut_short_or_not_text_are_refused() -> None:
    body = records.pack_members([(1, "tcp://here:1"), (2, "tcp://there:2")])
    whole = len(records.pack_members([(1, "tcp://here:1")]))
    for size in range(len(body)):
        if size in (0, whole):
            continue
        with pytest.raises(RecordError, match="cut off"):
            records.unpack_members(body[:size])
    with pytest.raises(RecordError, match="no text"):
        records.unpack_members(body[:-1] + b"\xff")


@given(st.binary(max_size=100))
def test_random_bodies_mean_themselves_or_nothing(body: bytes) -> None:
    with contextlib.suppress(RecordError):
        assert records.pack_rows(records.unpack_rows(body)) == body
    with contextlib.suppress(RecordError):
        assert records.pack_keys(records.unpack_keys(body)) == body
    with contextlib.suppress(RecordError):
        assert records.pack_members(records.unpack_members(body)) == body
    if len(body) % records.OUTCOME.size:
        with pytest.raises(RecordError, match="outcomes"):
            records.unpack_outcomes(body)
    else:
        assert b"".join(records.OUTCOME.pack(*entry) for entry in records.unpack_outcomes(body)) == body
