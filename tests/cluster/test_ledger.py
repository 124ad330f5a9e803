"""The ledger itself: it sees what is lost, shown twice or out of order. Without that, the other tests say nothing."""

from __future__ import annotations

from client.state import Delivered
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, About, Message
from tests.cluster.ledger import Ledger, Written

DEVICES = ("alice/a1", "alice/a2", "bob/b1", "bob/b2")


def written(number: int, stream: int = 9) -> tuple[Ledger, Message]:
    """A ledger in which alice has written one message to bob and seen SENT; and the message."""
    ledger = Ledger()
    return ledger, sent(ledger, number, stream)


def sent(ledger: Ledger, number: int, stream: int = 9) -> Message:
    body = f"{stream}/{number}".encode()
    ledger.written[body] = Written("alice/a1", "bob")
    outgoing = Outgoing("bob", TEXT, body, stream=OutboundStream(stream, "bob"), id=number)
    ledger.settled("alice/a1", outgoing, delivered=False)
    return Message(from_id="alice", from_device="a1", stream=stream, id=number, body=body)


async def test_what_is_shown_everywhere_is_not_missing() -> None:
    ledger, message = written(1)
    for device in DEVICES[1:]:
        ledger.show(device, message, late=False)
    assert not ledger.missing(DEVICES)
    assert (ledger.twice, ledger.out_of_order, ledger.late) == (0, 0, 0)


async def test_what_one_device_has_not_shown_is_lost() -> None:
    ledger, message = written(1)
    ledger.show("bob/b1", message, late=False)
    ledger.show("alice/a2", message, late=False)
    assert ledger.missing(DEVICES) == [("bob/b2", b"9/1")]
    assert "lost 1" in ledger.line(DEVICES)


async def test_what_was_not_sent_is_not_lost() -> None:
    ledger = Ledger()
    ledger.written[b"x"] = Written("alice/a1", "bob")
    assert not ledger.missing(DEVICES)
    assert ledger.sent == 0


async def test_what_is_shown_twice() -> None:
    ledger, message = written(1)
    ledger.show("bob/b1", message, late=False)
    ledger.show("bob/b2", message, late=False)
    assert ledger.twice == 0
    ledger.show("bob/b1", message, late=False)
    assert ledger.twice == 1


async def test_what_is_out_of_order_and_what_is_late() -> None:
    ledger = Ledger()
    one, two, three = (sent(ledger, number) for number in (1, 2, 3))
    other = sent(ledger, 1, stream=5)
    for message in (one, three, other):
        ledger.show("bob/b1", message, late=False)
    assert ledger.out_of_order == 0
    ledger.show("bob/b1", two, late=True)
    assert (ledger.out_of_order, ledger.late) == (0, 1)
    ledger.show("bob/b2", three, late=False)
    ledger.show("bob/b2", two, late=False)
    assert ledger.out_of_order == 1


async def test_delivered_is_found_by_its_name() -> None:
    ledger, _ = written(7)
    ledger.delivered("alice/a2", Delivered("a1", 9, (6, 8)))
    assert not ledger.written[b"9/7"].delivered
    ledger.delivered("alice/a2", Delivered("a1", 9, (7,)))
    assert ledger.written[b"9/7"].delivered


async def test_delivered_may_come_before_sent() -> None:
    ledger = Ledger()
    ledger.delivered("alice/a1", Delivered("a1", 9, (7,)))
    sent(ledger, 7)
    assert ledger.written[b"9/7"].delivered


async def test_what_was_erased_need_not_come() -> None:
    ledger, _ = written(1)
    ledger.write(b"edit", Written("alice/a1", "bob", sent=True, kind=EDIT, target=b"9/1"))
    assert len(ledger.missing(("bob/b1",))) == 2
    ledger.write(b"erase", Written("alice/a1", "bob", kind=ERASE, target=b"9/1"))
    assert not ledger.missing(("bob/b1",))
    assert not list(ledger.texts)


async def test_an_edit_of_what_was_erased_may_be_refused() -> None:
    ledger, _ = written(1)
    outgoing = Outgoing("bob", EDIT, b"edit")
    ledger.write(b"edit", Written("alice/a1", "bob", kind=EDIT, target=b"9/1"))
    ledger.refuse(outgoing, "too late")
    assert (ledger.refused, ledger.moot) == (["too late"], 0)
    ledger.written[b"9/1"].erased = True
    ledger.refuse(outgoing, "it was erased")
    assert (ledger.refused, ledger.moot) == (["too late"], 1)


async def test_delivered_before_sent_counts_for_nothing_else() -> None:
    ledger, _ = written(7)
    ledger.delivered("alice/a1", Delivered("a1", 9, (7,), early=True))
    assert not ledger.written[b"9/7"].delivered
    assert ledger.early == {("alice", "a1", 9, 7)}


async def test_of_several_edits_the_highest_counts() -> None:
    ledger, _ = written(1)
    about = About(from_device="a1", stream=9, ids=[1])
    for device, revision in (("a1", 1), ("a2", 2), ("a1", 2)):
        edit = Message(from_id="alice", from_device=device, stream=9, id=5, kind=EDIT, body=b"x", revision=revision)
        edit.about.CopyFrom(about)
        ledger.show("bob/b1", edit, late=False)
    assert ledger.view("bob/b1").edits["alice", "a1", 9, 1][:2] == (2, ("alice", "a2", 9, 5))
