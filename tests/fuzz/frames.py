"""Fuzzes the frame reader: any bytes, in any pieces, are read as the rules say, and little is held."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from protocol.framing import FrameReader, delimit, sole_message
from protocol.sparrow_pb2 import Frame
from tests.fuzz import runner, seeds
from tests.protocol.reference import HEADER, by_the_rules

LIMIT = 300


def corpus() -> list[bytes]:
    """Streams of frames, and frames at the border of what is allowed."""
    border = [seeds.CUT + delimit(b"x" * size) for size in (LIMIT - 1, LIMIT, LIMIT + 1)]
    return seeds.frames("client") + seeds.frames("server") + border


def one(data: bytes) -> None:
    """One input."""
    stream, pieces = runner.cut(data)
    expected, error = by_the_rules(stream, LIMIT)
    reader = FrameReader(LIMIT)
    frames = []
    for piece in pieces:
        frames += reader.receive(piece)
        assert reader.buffered < LIMIT + HEADER, "holds too much"
    assert frames == expected, "other frames than the rules say"
    assert (type(reader.error) if reader.error else None) is error, "another error than the rules say"
    for payload in frames:
        _sole_message(payload)


def _sole_message(payload: bytes) -> None:
    raw = sole_message(payload)
    if raw is None:
        return
    rebuilt = payload[: len(payload) - len(raw)] + raw
    assert rebuilt == payload
    try:
        frame = Frame.FromString(payload)
    except DecodeError:
        return  # what protobuf refuses, the session refuses too
    assert frame.WhichOneof("kind") == "message", "took something else for a message"
    assert frame.message == type(frame.message).FromString(raw), "another message than protobuf finds"


if __name__ == "__main__":
    runner.main(one, corpus())
