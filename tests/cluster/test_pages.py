"""The comparison itself: it sees what pages lack, show twice, elsewhere or as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from client.state import MessageName as Name
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, About, Message
from tests.cluster.ledger import Ledger, Written, key_of
from tests.cluster.pages import Conversations, Line, compare

STREAM = 9
EDITED, GONE = 2, 3
"""What alice corrects, and what she erases."""


def tell(ledger: Ledger, number: int, kind: int, body: bytes, target: int = 0) -> None:
    """Alice writes it to bob, it is SENT, and bob is shown it."""
    about = About(from_device="a1", stream=STREAM, ids=[target]) if target else None
    outgoing = Outgoing("bob", kind, body, about, OutboundStream(STREAM, "bob"), number, revision=int(kind == EDIT))
    ledger.write(key_of(outgoing), Written("alice/a1", "bob", kind=kind, target=f"text {target}".encode()))
    ledger.settled("alice/a1", outgoing, True, 100 * number)
    message = outgoing.message()
    message.MergeFrom(Message(from_id="alice", from_device="a1", stamp=100 * number))
    ledger.show("bob/b1", message, late=False)


def told() -> Ledger:
    """Alice has written four texts, one edit and one erasure."""
    ledger = Ledger()
    for number in (1, 2, 3, 4):
        tell(ledger, number, TEXT, f"text {number}".encode())
    tell(ledger, 5, EDIT, b"better", EDITED)
    tell(ledger, 6, ERASE, b"", GONE)
    return ledger


def name(number: int) -> Name:
    return ("alice", "a1", STREAM, number)


def lines() -> list[Line]:
    """As they should be."""
    found = [Line(name(number), 100 * number, f"text {number}".encode(), None, False) for number in (1, 2, 3, 4)]
    found[EDITED - 1] = replace(found[EDITED - 1], text=b"better", edit=(1, name(5)))
    found[GONE - 1] = replace(found[GONE - 1], text=b"", erased=True)
    return found


def pages(hers: list[Line], his: list[Line] | None = None) -> Mapping[str, Conversations]:
    return {"alice": {"bob": hers}, "bob": {"alice": hers if his is None else his}}


async def test_all_is_well() -> None:
    found = compare(told(), pages(lines()))
    assert found.wrong == []
    assert (found.paged, found.edited, found.erased, found.elsewhere) == (8, 2, 2, 0)
    # Of what was erased before it came nobody is shown even that.
    assert compare(told(), pages([line for line in lines() if not line.erased])).wrong == []


def changed(at: int, **values: object) -> Callable[[list[Line]], list[Line]]:
    """The line at this place is another one."""
    return lambda found: [*found[:at], replace(found[at], **values), *found[at + 1 :]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda found: found[1:], "is lost"),
        (lambda found: [], "is lost"),
        (lambda found: [*found, found[-1]], "comes 2 times"),
        (lambda found: [found[1], found[0], *found[2:]], "not in the order"),
        (changed(3, stamp=50), "not in the order"),
        (changed(3, stamp=401), "stands at 401"),
        (changed(3, text=b"something else"), "reads b'something else'"),
        (changed(1, text=b"text 2", edit=None), "reads b'text 2'"),
        (changed(2, text=b"text 3"), "erased: True"),
        (changed(2, text=b"text 3", erased=False), "erased: False"),
        (changed(3, text=b"", erased=True), "erased: True"),
        (changed(3, name=("eve", "e1", 1, 1)), "was not written here"),
    ],
)
async def test_what_differs_is_seen(damage: Callable[[list[Line]], list[Line]], word: str) -> None:
    found = compare(told(), pages(damage(lines())))
    assert any(word in wrong for wrong in found.wrong), found.wrong
    # On one side alone, too.
    found = compare(told(), pages(lines(), damage(lines())))
    assert any("is not" in wrong for wrong in found.wrong), found.wrong


async def test_what_took_more_than_one_attempt_may_stand_elsewhere() -> None:
    ledger = told()
    ledger.again.add(name(4))
    found = compare(ledger, pages(changed(3, stamp=450)(lines())))
    assert found.wrong == []
    assert found.elsewhere == 2


async def test_a_line_that_a_device_was_not_shown() -> None:
    ledger = told()
    del ledger.view("bob/b1").stamps[name(1)]
    assert any("was not shown" in wrong for wrong in compare(ledger, pages(lines())).wrong)
