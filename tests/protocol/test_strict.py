"""What every decoder reads: the shortcut agrees with the long way, and the long way with a decoder of its own."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protocol import strict
from protocol.allowed import MAX_ABOUT_IDS, MAX_ID
from protocol.errors import FrameError
from protocol.framing import varint
from protocol.ids import check_device_id
from protocol.sparrow_pb2 import READ, TEXT, About, Message
from protocol.strict import (
    MAX_UNKNOWN_BYTES,
    check_message,
    is_plain_read,
    plain_bytes,
    readable,
    varint_bytes,
)
from tests.protocol.strategies import client_messages

GROUPS = b"\xc3\x3e" * 100 + b"\xc4\x3e" * 100
"""Unknown groups, one in another."""
VOUCHED = Message(from_id="alice", from_device="a1", stamp=7).SerializeToString()
"""What the server puts behind a message."""


def text(**more: object) -> Message:
    fields: dict[str, object] = {"stream": 5, "id": 1, "settled": 1, "dest_id": "bob", "kind": TEXT, "body": b"hi"}
    return Message(**{**fields, **more})  # type: ignore[arg-type]


def plain(message: Message) -> int:
    return plain_bytes(message.id, message.settled, message.dest_id, message.kind, message.body)


@pytest.mark.parametrize("number", [1, 127, 128, 2**14 - 1, 2**14, 2**53 - 1, 2**63, 2**64 - 1])
def test_the_length_of_a_varint(number: int) -> None:
    assert varint_bytes(number) == len(Message(id=number).SerializeToString()) - 1


@pytest.mark.parametrize("body_bytes", [1, 127, 128, 16_383, 16_384, 60_000])
@pytest.mark.parametrize("number", [1, 127, 128, 2**53 - 1])
@pytest.mark.parametrize("kind", [1, 2, 1000, 2**31 - 1])
def test_the_length_of_a_plain_message(body_bytes: int, number: int, kind: int) -> None:
    message = text(id=number, settled=number, dest_id="b" * 64, kind=kind, body=b"x" * body_bytes)
    assert plain(message) == len(message.SerializeToString())


@pytest.mark.parametrize("ids", [[1], [127], [128], [1, 2, 2**49 - 1], range(1, 80), range(1, 200)])
def test_a_plain_read(ids: range | list[int]) -> None:
    message = text(kind=READ, body=b"", about=About(from_device="a1", stream=7, ids=ids))
    encoded = message.SerializeToString()
    assert is_plain_read(encoded) == (len(ids) < 100)
    message.mark = 1
    assert is_plain_read(message.SerializeToString()) == (len(ids) < 100)
    vouched = encoded + VOUCHED
    assert readable(Message.FromString(vouched), vouched) is vouched


@pytest.mark.changes_cores
@pytest.mark.parametrize("version", [1, 127, 128, 2**32, 2**64 - 1])
def test_a_group_s_message_is_looked_at_shortly_too(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vouched = text(dest_id="~" + "a" * 24).SerializeToString() + VOUCHED + Message(version=version).SerializeToString()
    odd = vouched + b"\xd2\x3f\x01x"
    looked: list[bytes] = []
    monkeypatch.setattr(strict, "check_message", looked.append)
    assert readable(Message.FromString(vouched), vouched) is vouched
    assert not looked
    assert readable(Message.FromString(odd), odd) is odd
    assert looked == [odd]


def test_unknown_fields_are_counted_together_wherever_they_stand() -> None:
    def unknown(size: int) -> bytes:
        return varint(99 << 3 | 2) + varint(size - 4) + bytes(size - 4)  # of `size` bytes in all

    def about(size: int) -> bytes:
        content = About(from_device="a1", stream=7, ids=[1]).SerializeToString() + unknown(size)
        return varint(10 << 3 | 2) + varint(len(content)) + content

    encoded = text(kind=READ, body=b"").SerializeToString()
    for first, second in ((600, 424), (600, 425)):
        for parts in ((unknown(first), about(second)), (about(first), unknown(second)), (about(first), about(second))):
            many = encoded + b"".join(parts)
            Message.FromString(many)
            if first + second <= MAX_UNKNOWN_BYTES:
                assert check_message(many)[1] == READ
            else:
                with pytest.raises(FrameError, match=f"{first + second} bytes of unknown fields"):
                    check_message(many)


@pytest.mark.parametrize(("last", "fits"), [(b"\x01", True), (b"\x02", False), (b"\x7f", False)])
def test_numbers_have_64_bits(last: bytes, fits: bool) -> None:
    encoded = text().SerializeToString() + varint(99 << 3) + b"\xff" * 9 + last
    with contextlib.nullcontext() if fits else pytest.raises(FrameError, match="more than 64 bits"):
        check_message(encoded)


def test_no_other_byte_anywhere_makes_something_else_pass_for_a_plain_read() -> None:
    about = About(from_device="a1b2", stream=7, ids=[1, 2, 3])
    encoded = text(kind=READ, body=b"", about=about, mark=9).SerializeToString()
    assert is_plain_read(encoded)
    for at in range(len(encoded)):
        for byte in range(256):
            changed = encoded[:at] + bytes((byte,)) + encoded[at + 1 :]
            if is_plain_read(changed):
                assert Message.FromString(changed).SerializeToString() == changed
                assert check_message(changed) == (1, READ)


@given(client_messages(), st.binary(max_size=3), st.data())
def test_what_passes_for_a_plain_read_is_one(message: Message, noise: bytes, data: st.DataObject) -> None:
    """Whatever bytes stand in it, or in the place of some of its own."""
    encoded = message.SerializeToString()
    at = data.draw(st.integers(0, len(encoded)))
    encoded = encoded[:at] + noise + encoded[data.draw(st.integers(at, min(len(encoded), at + 3))) :]
    if is_plain_read(encoded):
        decoded = Message.FromString(encoded)
        assert check_message(encoded) == (1, READ)
        assert decoded.SerializeToString() == encoded
        assert decoded.stream
        assert decoded.about.stream
        assert 0 < len(decoded.about.ids) <= MAX_ABOUT_IDS
        assert 0 < min(decoded.about.ids) <= max(decoded.about.ids) <= MAX_ID
        assert decoded.about.from_device == check_device_id(decoded.about.from_device)
        assert not decoded.body


@given(client_messages(), st.lists(st.binary(max_size=12), max_size=4), st.data())
def test_what_is_as_long_as_the_plainest_is_strictly_valid(
    message: Message, noise: list[bytes], data: st.DataObject
) -> None:
    """Whatever bytes stand in, between or behind the fields."""
    fields = [
        Message(**{name: getattr(message, name)}) for name in ("stream", "id", "settled", "dest_id", "kind", "body")
    ]
    pieces = [field.SerializeToString() for field in fields]
    encoded = b"".join(data.draw(st.permutations([*pieces, *noise])))
    try:
        decoded = Message.FromString(encoded)
    except DecodeError:
        return
    complete = all((decoded.stream, decoded.id, decoded.settled, decoded.dest_id, decoded.kind > 0, decoded.body))
    if complete and not decoded.HasField("about") and plain(decoded) == len(encoded):
        assert check_message(encoded) == (0, decoded.kind)
        assert not decoded.from_id
        decoded.DiscardUnknownFields()
        assert decoded.ByteSize() == len(encoded)


@given(client_messages())
def test_what_protobuf_writes_is_strictly_valid(message: Message) -> None:
    encoded = message.SerializeToString()
    assert check_message(encoded) == (message.HasField("about"), message.kind)
    assert readable(message, encoded) is encoded
    vouched = encoded + VOUCHED
    assert readable(Message.FromString(vouched), vouched) is vouched


@given(st.binary(max_size=60))
def test_random_bytes_end_in_one_kind_of_error(encoded: bytes) -> None:
    with contextlib.suppress(FrameError):
        check_message(encoded)


@pytest.mark.parametrize(
    "tail",
    [
        GROUPS,
        b"\x5b\x5c",
        b"\x5c",
        b"\x00\x01",
        b"\xc0\x3e" + b"\x81" + b"\x80" * 8 + b"\x7e",
        b"\xc0\x3e" + b"\x80" * 10 + b"\x01",
        b"\xc0\x3e\x80",
        b"\xff\xff\xff\xff\x7f\x01",
        b"\x80\x80\x80\x80\x10\x01",
        b"\xd8\x80\x00\x01",
        b"\x0d\x01\x00\x00\x00",
        b"\x10",
        b"\x12\x01x",
        b"\x9a\x06\x05new",
        b"\x9a\x06\x83\x80\x80\x80\x80\x00new",
        b"\x9d\x06\x01\x00\x00",
        b"\x52\x02\x5b\x5c",
        b"\x52\x02\x08\x01",
        b"\x52\x0c\x1a\x0a" + b"\x80" * 10,
        b"\x9a\x06\xfe\x07" + b"x" * 1022,
    ],
)
def test_what_not_everybody_can_read(tail: bytes) -> None:
    with pytest.raises(FrameError):
        check_message(text().SerializeToString() + tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\x9a\x06\x03new",
        b"\x99\x06" + bytes(8) + b"\x9d\x06" + bytes(4) + b"\x98\x06\x00",
        b"\x9a\x06\xfc\x07" + b"x" * (MAX_UNKNOWN_BYTES - 4),
        b"\x98\x06" + b"\xff" * 9 + b"\x01",
        b"\x52\x04\x18\x01\x18\x02",
    ],
)
def test_what_everybody_can_read(tail: bytes) -> None:
    check_message(text().SerializeToString() + tail)


def test_a_stored_message_is_given_in_bytes_that_everybody_reads() -> None:
    good, poisoned = (
        text().SerializeToString() + VOUCHED,
        text().SerializeToString() + GROUPS[:20] + GROUPS[-20:] + VOUCHED,
    )
    message = Message.FromString(poisoned)
    repaired = readable(message, poisoned)
    assert Message.FromString(repaired) == Message.FromString(good)
    check_message(repaired)
    odd = text().SerializeToString() + b"\x9a\x06\x03new" + VOUCHED
    assert readable(Message.FromString(odd), odd) is odd
