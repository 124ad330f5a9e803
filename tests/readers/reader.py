"""Reads delimited frames with protobuf, upb or (PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python) pure Python.

Owns nothing; see `tests.readers`.
"""

from __future__ import annotations

import sys
from io import BytesIO

from google.protobuf import proto
from google.protobuf.message import DecodeError

from protocol.sparrow_pb2 import Frame


def read(data: bytes) -> list[str]:
    """A line for each frame, up to the first that cannot be read."""
    stream, lines = BytesIO(data), []
    try:
        while stream.tell() < len(data):
            message = proto.parse_length_prefixed(Frame, stream).message
            about = message.about
            fields = (
                message.stream,
                message.id,
                message.settled,
                f"{message.from_id}/{message.from_device}",
                message.dest_id,
                int(message.kind),
                message.stamp,
                message.body.hex(),
                about.stream,
                len(about.ids),
                about.from_device,
                *about.ids,
            )
            lines.append(" ".join(map(str, fields)))
    except (DecodeError, ValueError) as error:
        lines.append(f"error: {error}")
    return lines


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in read(sys.stdin.buffer.read())))
