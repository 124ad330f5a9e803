"""Frames over a byte stream, checked against protobuf's own delimiting and against a slow reader of the rules."""

from __future__ import annotations

from io import BytesIO

import pytest
from google.protobuf import proto
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import FrameError, FrameTooLargeError
from protocol.framing import (
    MESSAGE_TAG,
    RECEIPT_TAG,
    FrameReader,
    delimit,
    message_frame,
    receipt_frame,
    sent_receipt,
    sole_ack,
    sole_message,
    sole_receipt,
    varint,
)
from protocol.sparrow_pb2 import Ack, Frame, Message, Receipt
from tests.protocol.reference import HEADER, by_the_rules
from tests.protocol.strategies import U64, client_frames, delimited, pieces

LIMIT = 300


def read(reader: FrameReader, cut: list[bytes]) -> list[bytes]:
    """All payloads of all pieces; what the reader holds is bounded behind each."""
    frames = []
    for piece in cut:
        frames += reader.receive(piece)
        assert reader.buffered < HEADER + LIMIT
    return frames


def kind_of(error: FrameError | None) -> type[FrameError] | None:
    return type(error) if error else None


def streams() -> st.SearchStrategy[bytes]:
    """Random bytes, valid frames, and valid frames with something wrong behind them."""
    whole = st.lists(st.binary(max_size=LIMIT).map(delimit), max_size=6).map(b"".join)
    wrong = st.sampled_from(
        [b"\xff\xff\xff\xff\xff", b"\xad\x02", b"\x80\x80\x80\x80\x80", b"\xff\xff\xff\xff\x7f", b"\x80"]
    )
    return st.binary(max_size=40) | whole | st.builds(lambda a, b, c: a + b + c, whole, wrong, st.binary(max_size=9))


@given(st.data(), streams())
@example(data=None, stream=b"\x80\x00\x81\x80\x80\x80\x00x")
@example(data=None, stream=b"\x03one\x80\x80")
def test_any_cut_gives_what_the_rules_say(data: st.DataObject | None, stream: bytes) -> None:
    cut = data.draw(pieces(stream)) if data else [stream]
    frames, error = by_the_rules(stream, LIMIT)
    reader = FrameReader(LIMIT)
    assert read(reader, cut) == frames
    assert kind_of(reader.error) is error


@given(streams())
def test_byte_by_byte_gives_the_same(stream: bytes) -> None:
    frames, error = by_the_rules(stream, LIMIT)
    reader = FrameReader(LIMIT)
    assert read(reader, [stream[i : i + 1] for i in range(len(stream))]) == frames
    assert kind_of(reader.error) is error


@given(streams(), st.binary(min_size=1, max_size=50))
def test_after_an_error_nothing_comes_and_nothing_is_held(stream: bytes, more: bytes) -> None:
    reader = FrameReader(LIMIT)
    reader.receive(stream + b"\xff" * HEADER + b"\xff" * LIMIT)
    error = reader.error
    assert error is not None
    assert reader.receive(more) == []
    assert reader.error is error
    assert reader.buffered == 0


@pytest.mark.parametrize("size", [0, 1, 127, 128, LIMIT])
def test_a_frame_within_the_limit_is_taken(size: int) -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(varint(size) + b"x" * size) == [b"x" * size]
    assert reader.error is None
    assert reader.buffered == 0


def test_a_frame_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(b"\x01a" + varint(LIMIT + 1)) == [b"a"]
    assert isinstance(reader.error, FrameTooLargeError)
    assert str(LIMIT) in str(reader.error)
    assert reader.buffered == 0


@pytest.mark.parametrize("cut", range(1, HEADER))
def test_an_overlong_length_is_refused_at_its_fifth_byte(cut: int) -> None:
    reader = FrameReader(2**40)
    reader.receive(b"\xff" * cut)
    assert kind_of(reader.error) is None
    reader.receive(b"\xff" * (HEADER - cut))
    assert kind_of(reader.error) is FrameError


@given(U64)
def test_varint_is_protobufs(value: int) -> None:
    field = Message(id=value).SerializeToString()
    assert field == (b"\x10" + varint(value) if value else b"")


@given(client_frames())
def test_delimit_is_protobufs(frame: Frame) -> None:
    stream = delimit(frame.SerializeToString(deterministic=True))
    assert stream == delimited(frame)
    assert proto.parse_length_prefixed(Frame, BytesIO(stream)) == frame


@pytest.mark.parametrize("size", [0, 1, 100, 126, 127, 128, 2040, 2047, 2048, 2049, 16383, 16384, 70000, 2_097_152])
def test_wrapped_frames_are_protobufs(size: int) -> None:
    for padding in (0, 3, 4, 5):
        message = Message(body=b"b" * max(0, size - padding))
        assert message_frame(message.SerializeToString()) == delimited(Frame(message=message))
        receipt = Receipt(from_device="d" * max(0, size - padding))
        assert receipt_frame(receipt.SerializeToString()) == delimited(Frame(receipt=receipt))


@given(st.binary(max_size=400) | st.integers(2000, 70_000).map(bytes))
def test_sole_message_undoes_wrapping(body: bytes) -> None:
    assert sole_message(bytes((MESSAGE_TAG,)) + varint(len(body)) + body) == body
    assert sole_receipt(bytes((RECEIPT_TAG,)) + varint(len(body)) + body) == body
    assert sole_receipt(bytes((MESSAGE_TAG,)) + varint(len(body)) + body) is None


@given(st.integers(1, 2**35 - 1) | st.integers(1, 300))
def test_an_ack_is_read_by_hand(up_to: int) -> None:
    assert sole_ack(Frame(ack=Ack(up_to=up_to)).SerializeToString()) == up_to


@given(st.binary(max_size=10) | st.binary(max_size=8).map(lambda b: bytes((0x1A, len(b) + 1, 0x08)) + b))
@example(Frame(ack=Ack(up_to=0)).SerializeToString())
@example(Frame(ack=Ack(up_to=2**35)).SerializeToString())
@example(b"\x1a\x02\x08\x80")
@example(b"\x1a\x03\x08\x01\x01")
def test_an_ack_read_by_hand_is_what_protobuf_reads(payload: bytes) -> None:
    up_to = sole_ack(payload)
    if up_to is not None:
        assert Frame.FromString(payload) == Frame(ack=Ack(up_to=up_to))


@given(U64.filter(bool), U64.filter(bool), U64, st.booleans())
def test_sent_of_one_message_is_encoded_as_protobuf_would(
    stream: int, number: int, stamp: int, delivered: bool
) -> None:
    receipt = Receipt(stream=stream, ids=[number], stamps=[stamp], sent=True, delivered=delivered)
    assert sent_receipt(stream, number, stamp, delivered) == receipt.SerializeToString()


@given(st.binary(max_size=40) | st.binary(max_size=8).map(lambda b: b"\x12" + b))
def test_sole_message_never_claims_what_is_not_there(payload: bytes) -> None:
    found = sole_message(payload)
    if found is None:
        return
    assert payload[0] == MESSAGE_TAG
    assert payload.endswith(found)
    length = payload[1 : len(payload) - len(found)]
    assert by_the_rules(length + found, 2**40) == ([found], None)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x12", id="no length"),
        pytest.param(b"\x1a\x01a", id="another field"),
        pytest.param(b"\x12\x01", id="too short"),
        pytest.param(b"\x12\x01ab", id="more behind it"),
        pytest.param(b"\x12\x81", id="length cut off"),
        pytest.param(b"\x12\x81\x80\x80", id="longer length cut off"),
        pytest.param(b"\x12\x81\x80\x80\x80\x80\x00a", id="length of six bytes"),
    ],
)
def test_sole_message_is_none_for_anything_else(payload: bytes) -> None:
    assert sole_message(payload) is None
