"""The examples in docs/protocol.md: two dialogues, every byte explained.

Owns the text between the marks there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from protocol.framing import varint
from protocol.sparrow_pb2 import Frame
from tests.vectors.files import Json, named, unhex

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
EXAMPLES = {"two people": "example", "a group": "example of a group"}
"""Dialogue → what its marks say."""
WIDTH = 36


def written(dialogue: str) -> str:
    """An example as the document has it."""
    text = DOCUMENT.read_text("utf-8")
    at, end = _place(text, dialogue)
    return text[at:end]


def write() -> None:
    """Put the examples into the document."""
    for dialogue in EXAMPLES:
        text = DOCUMENT.read_text("utf-8")
        at, end = _place(text, dialogue)
        DOCUMENT.write_text(text[:at] + rendered(dialogue) + text[end:], "utf-8")


def _place(text: str, dialogue: str) -> tuple[int, int]:
    begin = f"<!-- {EXAMPLES[dialogue]}: begin (python -m tests.vectors writes it) -->\n"
    return text.index(begin) + len(begin), text.index(f"<!-- {EXAMPLES[dialogue]}: end -->")


def rendered(dialogue: str) -> str:
    """An example as its dialogue has it."""
    return "".join(_steps(dict(named("dialogues"))[dialogue]["steps"]))


def _steps(steps: list[Json]) -> Iterator[str]:
    for step in steps:
        if step["step"] not in ("client", "server"):
            continue
        who = step["device"].partition("/")[0].capitalize()
        arrow = f"{who} → server" if step["step"] == "client" else f"server → {who}"
        yield f"\n**{arrow}: `{next(iter(step['frame']))}`.** {step.get('note', '')}".rstrip() + "\n\n```\n"
        yield from _frame(unhex(step["hex"]))
        yield "```\n"


def _frame(data: bytes) -> Iterator[str]:
    size = data[0] if data[0] < 0x80 else data[0] - 0x80 + (data[1] << 7)
    head = varint(size)
    yield _line(head, 0, f"a frame of {size} bytes")
    yield from _fields(data[len(head) :], Frame, 1)


def _fields(data: bytes, of: type[Message], depth: int) -> Iterator[str]:
    """One line for each field. Understands what our own encoder writes; no more."""
    at = 0
    while at < len(data):
        tag, at_value = _varint(data, at)
        field: Any = of.DESCRIPTOR.fields_by_number[tag >> 3]
        if tag & 7 == 0:
            value, end = _varint(data, at_value)
            yield _line(data[at:end], depth, f"{field.name} {_number(field, value)}")
        elif tag & 7 == 1:
            end = at_value + 8
            yield _line(
                data[at:end], depth, f"{field.name} {_number(field, int.from_bytes(data[at_value:end], 'little'))}"
            )
        else:
            size, start = _varint(data, at_value)
            end = start + size
            inside = data[start:end]
            if field.message_type is not None:
                yield _line(data[at:start], depth, f"{field.name}, {size} bytes" if size else field.name)
                yield from _fields(inside, GetMessageClass(field.message_type), depth + 1)
            else:
                yield _line(data[at:end], depth, f"{field.name} {_value(field, inside)}")
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def _number(field: Any, value: int) -> str:
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true"
    if field.name in ("stream", "session", "previous_session"):
        return f"0x{value:016x}"
    return f"{value:,}".replace(",", " ") if field.name == "stamp" else str(value)


def _value(field: Any, inside: bytes) -> str:
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return f'"{inside.decode()}"'
    if field.type == FieldDescriptor.TYPE_FIXED64:
        return str([int.from_bytes(inside[i : i + 8], "little") for i in range(0, len(inside), 8)])
    values, at = [], 0
    while at < len(inside):
        value, at = _varint(inside, at)
        values.append(value)
    return str(values)


def _line(data: bytes, depth: int, text: str) -> str:
    hexed = "  " * depth + data.hex(" ")
    if len(hexed) <= WIDTH:
        return f"{hexed:<{WIDTH}}  {text}\n"
    return f"{hexed}\n{'':<{WIDTH}}  {text}\n"
