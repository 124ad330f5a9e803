"""The vector files: reading, writing, and the two notations in them (README.md).

Owns the format on disk. Knows frames through protobuf's JSON mapping, and nothing of what they do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import json_format

from protocol.framing import delimit
from protocol.sparrow_pb2 import Frame

HERE = Path(__file__).parent
NAMES = ("frames", "bad_frames", "refused_frames", "unreadable_frames", "streams", "dialogues")

Json: TypeAlias = Any
"""What a vector file holds; its shape is README.md's business."""


def load(name: str) -> list[Json]:
    """All vectors of a file."""
    vectors: list[Json] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return vectors


def dump(name: str, vectors: list[Json]) -> None:
    """Write a file: one step or vector a line, as far as that reads well."""
    (HERE / f"{name}.json").write_text(render(vectors), "utf-8")


def render(vectors: list[Json]) -> str:
    """The text of a file."""
    return "[\n" + ",\n".join(_vector(vector) for vector in vectors) + "\n]\n"


def _vector(vector: Json) -> str:
    steps = vector.get("steps")
    if steps is None:
        return "  " + _line(vector)
    head = ",\n".join(f"    {_line(key)}: {_line(value)}" for key, value in vector.items() if key != "steps")
    lines = ",\n".join(f"      {_line(step)}" for step in steps)
    return f'  {{\n{head},\n    "steps": [\n{lines}\n    ]\n  }}'


def _line(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def unhex(text: Json) -> bytes:
    """Bytes of `hex`: a string, or a list of strings and of {"repeat": hex, "times": n}."""
    if isinstance(text, str):
        return bytes.fromhex(text)
    parts = (p if isinstance(p, str) else p["repeat"] * p["times"] for p in text)
    return b"".join(map(bytes.fromhex, parts))


def frame(meaning: Json) -> Frame:
    """The frame of a `frame`: protobuf's JSON mapping, where {"repeat": hex, "times": n} stands for long bytes."""
    return json_format.ParseDict(_long_bytes(meaning), Frame())


def delimited(meaning: Json) -> bytes:
    """The bytes of a `frame`, as our own encoder writes them."""
    return delimit(frame(meaning).SerializeToString(deterministic=True))


def _long_bytes(value: Json) -> Json:
    if not isinstance(value, dict):
        return [_long_bytes(item) for item in value] if isinstance(value, list) else value
    if value.keys() == {"repeat", "times"}:
        return base64.b64encode(bytes.fromhex(value["repeat"]) * value["times"]).decode()
    return {key: _long_bytes(item) for key, item in value.items()}


def meaning(sent: Frame) -> Json:
    """The `frame` of a frame."""
    return json_format.MessageToDict(sent, preserving_proto_field_name=True)


def named(name: str) -> Iterator[tuple[str, Json]]:
    """(name, vector) of a file."""
    return ((vector["name"], vector) for vector in load(name))
