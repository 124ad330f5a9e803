"""The body of FILE messages: what one holds, and what a stranger may put there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import FileReferenceError
from protocol.files import MAX_BODY_BYTES, MAX_NAME, MAX_SIZE, FileReference, parse_file_reference

GOOD: dict[str, Any] = {
    "file": "0123456789abcdef" * 2,
    "name": "holiday.jpg",
    "media_type": "image/jpeg",
    "size": 12,
    "sha256": "0123456789abcdef" * 4,
}
TYPE_PARTS = st.from_regex(r"[A-Za-z0-9_.+-]{1,60}", fullmatch=True)
REFERENCES = st.builds(
    FileReference,
    file=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_NAME),
    media_type=st.builds("{}/{}".format, TYPE_PARTS, TYPE_PARTS),
    size=st.integers(0, MAX_SIZE),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=8), some, max_size=4),
    max_leaves=10,
)


@given(REFERENCES)
def test_what_is_encoded_is_read_again(reference: FileReference) -> None:
    assert parse_file_reference(reference.encode()) == reference


def test_the_longest_name() -> None:
    reference = FileReference(**GOOD | {"name": "n" * MAX_NAME})
    assert parse_file_reference(reference.encode()) == reference


def test_a_body() -> None:
    body = FileReference(**GOOD).encode()
    assert json.loads(body) == GOOD
    later = json.dumps({**GOOD, "preview": {"of": [1, 2.5, None]}}).encode()
    assert parse_file_reference(later) == FileReference(**GOOD)


def parsed(body: bytes) -> FileReference | None:
    """What is read; None for the one error that there may be."""
    try:
        return parse_file_reference(body)
    except FileReferenceError:
        return None


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * MAX_BODY_BYTES)
@example(b'{"size":' + b"9" * 8000 + b"}")
@example(b'{"a":' * 1600)
@example(b"\xff\xfe{}")
@example(b"null")
def test_rubbish(body: bytes) -> None:
    assert parsed(body) is None


@given(st.sampled_from(sorted(GOOD)), JSON)
@example("size", True)
@example("size", 1.0)
@example("size", -1)
@example("size", MAX_SIZE + 1)
@example("name", "\ud800")
@example("name", "x" * (MAX_NAME + 1))
@example("file", "A" * 32)
@example("file", "٣" * 32)
@example("file", "0" * 31 + "\n")
@example("file", "../" * 10 + "ab")
@example("media_type", "text")
@example("media_type", "text/ä")
@example("sha256", "0" * 65)
def test_a_field_of_another_kind(name: str, value: object) -> None:
    found = parsed(json.dumps(GOOD | {name: value}).encode())
    assert found is None or getattr(found, name) == value
    if name in ("file", "sha256", "media_type"):
        assert found is None


@given(st.binary(min_size=1, max_size=40), st.integers(0, 300))
def test_a_body_that_was_tampered_with(rubbish: bytes, at: int) -> None:
    body = FileReference(**GOOD).encode()
    found = parsed(body[:at] + rubbish + body[at + len(rubbish) :])
    assert found is None or found.encode()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_field_that_is_missing(name: str) -> None:
    with pytest.raises(FileReferenceError, match=f"lacks {name}"):
        parse_file_reference(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


def test_what_cannot_be_told() -> None:
    twice = json.dumps(GOOD).replace("{", '{"size": 1, ', 1).encode()
    for body, text in ((twice, "each field once"), (b"[]", "no JSON object"), (b" " * 9000, "more than 8192")):
        with pytest.raises(FileReferenceError, match=text):
            parse_file_reference(body)
    for name, value, text in (
        ("file", "../../etc", "file does not match"),
        ("name", 7, "name is no text"),
        ("size", 2.0, "size is no whole number"),
        ("sha256", None, "sha256 does not match"),
    ):
        with pytest.raises(FileReferenceError, match=text):
            FileReference(**(GOOD | {name: value}))


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    (example_body,) = (line.strip() for line in page.splitlines() if line.startswith('    {"file":'))
    assert parse_file_reference(example_body.encode()).encode() == example_body.encode()
