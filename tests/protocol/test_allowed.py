"""What a client may send: changes, each a name and nothing that nobody needs."""

from __future__ import annotations

import pytest

from protocol.allowed import MAX_ID, MAX_REVISION, not_allowed
from protocol.sparrow_pb2 import EDIT, ERASE, FILE, READ, TEXT, About, Message

TARGET = About(from_device="a1", stream=7, ids=[3])
UNKNOWN = b"\xd2\x3f\x05later"  # field 1018


def why_not(kind: int, body: bytes = b"", about: About | None = TARGET, unknown: bytes = b"", **more: object) -> str:
    """What is said of a message of this kind."""
    fields = {"stream": 7, "id": 4, "settled": 1, "dest_id": "bob", **more}
    message = Message(kind=kind, body=body, about=about, **fields)  # type: ignore[arg-type]
    message.MergeFromString(unknown)
    return not_allowed(message, int(about is not None), kind)


@pytest.mark.parametrize("revision", [1, 2, MAX_REVISION])
def test_an_edit(revision: int) -> None:
    assert not why_not(EDIT, "größer".encode(), revision=revision)
    assert not why_not(EDIT, b"more", revision=revision, unknown=UNKNOWN)


@pytest.mark.parametrize("revision", [0, MAX_REVISION + 1, 2**31, 2**32 - 1])
def test_no_edit_leaves_no_room_for_the_next(revision: int) -> None:
    assert str(MAX_REVISION) in why_not(EDIT, b"last word", revision=revision)


def test_an_edit_is_text() -> None:
    assert "UTF-8" in why_not(EDIT, b"\xff", revision=1)


def test_an_erasure() -> None:
    assert not why_not(ERASE)
    assert not why_not(ERASE, about=About(from_device="other", stream=8, ids=[MAX_ID]))


@pytest.mark.parametrize("more", [{"body": b"x"}, {"revision": 1}, {"mark": 1}, {"unknown": UNKNOWN}])
def test_an_erasure_carries_nothing(more: dict[str, object]) -> None:
    """It reaches whoever has blocked its author."""
    assert why_not(ERASE, **more) == "an ERASE has nothing but what it names"  # type: ignore[arg-type]


def test_nor_does_what_it_names() -> None:
    about = About.FromString(TARGET.SerializeToString() + UNKNOWN)
    assert why_not(ERASE, about=about) == "an ERASE has nothing but what it names"


@pytest.mark.parametrize("kind", [EDIT, ERASE])
@pytest.mark.parametrize(
    "about",
    [
        None,
        About(from_device="a1", ids=[3]),
        About(from_device="a1", stream=7),
        About(from_device="a1", stream=7, ids=[0]),
        About(from_device="a1", stream=7, ids=[2, 3]),
        About(stream=7, ids=[3]),
        About(from_device="A/1", stream=7, ids=[3]),
        About(from_device="a1", stream=7, ids=[4]),
        About(from_device="a1", stream=7, ids=[5]),
        About(from_device="a1", stream=7, ids=[MAX_ID + 1]),
    ],
)
def test_a_change_names_one_earlier_message(kind: int, about: About | None) -> None:
    body, revision = (b"x", 1) if kind == EDIT else (b"", 0)
    assert why_not(kind, body, about, revision=revision)


def test_a_group_is_written_to_edited_and_erased_in_but_nothing_is_read_in_it() -> None:
    group = "~" + "a" * 24
    assert not why_not(TEXT, b"x", None, dest_id=group)
    assert not why_not(EDIT, b"x", revision=1, dest_id=group)
    assert not why_not(ERASE, dest_id=group)
    assert not why_not(READ)
    assert "over HTTP" in why_not(READ, dest_id=group)
    assert why_not(READ, dest_id="~nonsense")


def test_what_a_change_is_made_of_is_carried_by_other_kinds() -> None:
    """As fields of later versions are."""
    for kind, body in ((TEXT, b"x"), (FILE, b"{}"), (READ, b""), (1000, b"")):
        assert not why_not(kind, body, revision=7, mark=9)


@pytest.mark.parametrize("kind", [ERASE + 1, 999, -1])
def test_kinds_of_later_versions_are_not_given_yet(kind: int) -> None:
    assert "1000" in why_not(kind)
