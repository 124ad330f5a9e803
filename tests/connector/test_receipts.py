"""DELIVERED on its own way: told for rows that were acked, safe before a row is removed, tried until it is."""

from __future__ import annotations

import pytest

from connector.core.core import RECEIPT_ATTEMPTS
from connector.core.receipts import Receipts
from fabric.records import (
    DELIVERED,
    NO_SUCH_USER,
    NOT_FRIEND,
    OTHERS_BIT,
    QUIET,
    RECEIPT,
    REMOVE,
    ROUTE,
    SAFE,
    UNAVAILABLE,
    UNSEEN,
    unpack_keys,
)
from protocol.sparrow_pb2 import READ, TEXT, About, Message, Receipt
from tests.connector.bench import B1, Bench, Client, Sent, receipt_ids, receipt_row, row, text


def reading(bench: Bench, *rows: tuple[bytes, int, bytes]) -> Client:
    """A session to which these rows were sent, and that is live."""
    client = bench.settling("bob/b1")
    bench.page(client, rows)
    client.took()
    bench.sent()
    return client


def told(rec: Sent) -> tuple[str, str, int, list[int]]:
    """Author, author's device, stream and ids of a receipt on its way."""
    assert rec.kind == ROUTE
    assert rec.flags == RECEIPT
    assert rec.attempt >= RECEIPT_ATTEMPTS
    receipt = Receipt.FromString(rec.body)
    assert receipt.delivered
    assert not receipt.sent
    return rec.to.decode(), receipt.from_device, receipt.stream, list(receipt.ids)


# Rows of the inbox.


def test_a_row_is_removed_only_when_its_delivered_is_safe() -> None:
    bench = Bench()
    bob = reading(bench, row(1))
    assert not bench.sent()
    bob.acks(1)
    rec = bench.only(ROUTE)
    assert told(rec) == ("alice", "a1", 9, [1])
    assert rec.by == b""  # for all devices of the author
    bench.outcome(rec.attempt, SAFE, index=0, count=2)
    assert not bench.sent(REMOVE)
    bench.outcome(rec.attempt, DELIVERED, index=1, count=2)
    removed = bench.only(REMOVE)
    assert (removed.to, unpack_keys(removed.body)) == (b"bob/b1", [b"key1"])
    assert not bob.session.rows


def test_rows_of_one_stream_and_turn_are_told_in_one_receipt() -> None:
    bench = Bench()
    bob = reading(
        bench,
        row(1),
        row(2),
        row(3, stream=5),
        row(4, device="a2"),
        row(5, author="ann", device="d1"),
    )
    bob.acks(5)
    assert sorted(told(rec) for rec in bench.sent(ROUTE)) == [
        ("alice", "a1", 5, [3]),
        ("alice", "a1", 9, [1, 2]),
        ("alice", "a2", 9, [4]),
        ("ann", "d1", 9, [5]),
    ]


@pytest.mark.parametrize(
    "plain", [receipt_row(1), row(1, kind=READ), row(1, author="bob", device="b2")], ids=["receipt", "READ", "own"]
)
def test_rows_that_owe_no_delivered_are_removed_with_the_ack(plain: tuple[bytes, int, bytes]) -> None:
    bench = Bench()
    bob = reading(bench, plain)
    bob.acks(1)
    (removed,) = bench.sent()
    assert (removed.kind, unpack_keys(removed.body)) == (REMOVE, [plain[0]])


def test_a_receipt_that_comes_to_nothing_is_tried_again_under_a_new_number() -> None:
    bench = Bench(receipt_retry_s=2.0)
    bob = reading(bench, row(1))
    bob.acks(1)
    first = bench.only(ROUTE)
    bench.outcome(first.attempt, SAFE, index=0, count=2)
    bench.outcome(first.attempt, UNAVAILABLE, index=1, count=2)
    bench.passes(1.8)
    assert not bench.sent()
    bench.passes(0.4)
    again = bench.only(ROUTE)
    assert told(again) == told(first)
    assert again.attempt != first.attempt
    bench.outcome(first.attempt, SAFE, index=1, count=2)  # late, and of another attempt
    bench.outcome(again.attempt, SAFE, index=1, count=2)
    assert not bench.sent(REMOVE)
    bench.outcome(again.attempt, SAFE, index=0, count=2)
    assert unpack_keys(bench.only(REMOVE).body) == [b"key1"]


def test_a_receipt_without_an_answer_is_tried_again() -> None:
    bench = Bench(receipt_retry_s=2.0)
    bob = reading(bench, row(1))
    bob.acks(1)
    bench.sent()
    for _ in range(3):
        bench.passes(2.1)
        assert len(bench.sent(ROUTE)) == 1


def test_an_author_who_is_gone_keeps_no_row() -> None:
    bench = Bench()
    bob = reading(bench, row(1))
    bob.acks(1)
    bench.outcome(bench.only(ROUTE).attempt, NO_SUCH_USER, count=0)
    assert unpack_keys(bench.only(REMOVE).body) == [b"key1"]


def test_an_author_without_devices_keeps_no_row() -> None:
    bench = Bench()
    bob = reading(bench, row(1))
    bob.acks(1)
    bench.outcome(bench.only(ROUTE).attempt, SAFE, count=0)
    assert unpack_keys(bench.only(REMOVE).body) == [b"key1"]


def test_rows_of_a_session_that_ended_stay_and_come_again_unless_told_in_time() -> None:
    bench = Bench(receipt_retry_s=2.0)
    bob = reading(bench, row(1), row(2, stream=5))
    bob.acks(2)
    one, two = bench.sent(ROUTE)
    bob.hangs_up()
    bench.sent()
    bench.outcome(one.attempt, SAFE)
    assert unpack_keys(bench.only(REMOVE).body) == [b"key1"]
    bench.passes(3.0)
    assert not bench.sent()
    bench.outcome(two.attempt, SAFE)
    assert not bench.sent()
    assert len(bench.core.receipts) == 0


def test_a_receipt_that_no_broker_can_take_waits_for_one() -> None:
    bench = Bench(receipt_retry_s=2.0)
    bob = reading(bench, row(1))
    bench.passes(3.0, keep_up=False)
    bob.acks(1)
    assert not bench.sent()
    bench.heartbeat(B1)
    bench.passes(2.1)
    assert told(bench.sent(ROUTE)[0]) == ("alice", "a1", 9, [1])


def test_a_removal_that_no_broker_can_take_leaves_the_row_to_the_next_pass() -> None:
    bench = Bench()
    bob = reading(bench, receipt_row(1))
    bench.passes(3.0, keep_up=False)
    bob.acks(1)
    assert not bench.sent()
    bench.heartbeat(B1)
    bench.passes(0.1)
    bench.registers_again()
    bench.passes(0.1)
    bench.page(bob, [receipt_row(1)])
    assert list(receipt_ids(bob.took("receipt"))) == [([1], False, True)]
    bob.acks(2)
    assert unpack_keys(bench.only(REMOVE).body) == [b"receipt1"]


@pytest.mark.changes_cores
def test_receipts_and_removals_are_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Receipts, "MAX_IDS", 3)
    bench = Bench()
    bob = reading(bench, *(row(number) for number in range(1, 6)), *(receipt_row(number) for number in range(4)))
    bob.acks(9)
    sent = bench.sent()
    assert [told(rec)[3] for rec in sent if rec.kind == ROUTE] == [[1, 2, 3], [4, 5]]
    assert [len(unpack_keys(rec.body)) for rec in sent if rec.kind == REMOVE] == [3, 1]


# The author's other devices.


def sent_and_delivered(bench: Bench, alice: Client, *numbers: int) -> list[Sent]:
    """These messages are delivered, and the author has other devices: the receipts that go to them."""
    alice.says(*(text(number) for number in numbers))
    for rec in bench.sent(ROUTE):
        bench.core.attempts.outcome(rec.attempt, 0, 1, DELIVERED | OTHERS_BIT)
    bench.turn()
    return bench.sent(ROUTE)


def test_messages_of_one_turn_are_told_to_other_devices_together() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    (rec,) = sent_and_delivered(bench, alice, 1, 2, 3)
    assert told(rec) == ("alice", "a1", 9, [1, 2, 3])
    assert rec.by == b"alice/a1"  # not for the author's own device
    assert not alice.took()
    bench.outcome(rec.attempt, SAFE)
    assert list(receipt_ids(alice.took("receipt"))) == [([1, 2, 3], True, True)]


def test_sent_waits_while_the_other_devices_cannot_be_told() -> None:
    bench = Bench(receipt_retry_s=2.0)
    alice = bench.live("alice/a1")
    (rec,) = sent_and_delivered(bench, alice, 1)
    bench.outcome(rec.attempt, UNAVAILABLE)
    assert not alice.took()
    bench.passes(2.1)
    bench.outcome(bench.only(ROUTE).attempt, SAFE)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, True)]


def test_an_author_who_has_left_is_told_nothing_and_removes_nothing() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    (rec,) = sent_and_delivered(bench, alice, 1)
    alice.hangs_up()
    bench.sent()
    bench.outcome(rec.attempt, SAFE)
    assert not bench.sent()
    assert len(bench.core.receipts) == 0


@pytest.mark.changes_cores
def test_receipts_to_other_devices_are_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Receipts, "MAX_IDS", 2)
    bench = Bench()
    alice = bench.live("alice/a1")
    sent = sent_and_delivered(bench, alice, 1, 2, 3)
    assert [told(rec)[3] for rec in sent] == [[1, 2], [3]]
    for rec in sent:
        bench.outcome(rec.attempt, SAFE)
    assert [ids for ids, _, _ in receipt_ids(alice.took("receipt"))] == [[1, 2], [3]]


def test_a_state_of_a_later_release_is_no_end() -> None:
    bench = Bench()
    bob = reading(bench, row(1))
    bob.acks(1)
    rec = bench.only(ROUTE)
    bench.outcome(rec.attempt, NOT_FRIEND + 1)
    assert not bench.sent(REMOVE)
    bench.passes(bench.settings.receipt_retry_s + 0.2)
    again = bench.only(ROUTE)
    assert told(again) == ("alice", "a1", 9, [1])
    bench.outcome(again.attempt, SAFE)
    assert bench.sent(REMOVE)


def test_delivered_of_a_kind_of_clients_own_names_who_got_it() -> None:
    bench = Bench()
    seen = row(1)
    unseen = Message.FromString(row(2)[2])
    unseen.kind = 1000  # type: ignore[assignment]
    bob = reading(bench, seen, (b"key2", seen[1], unseen.SerializeToString()))
    bob.acks(2)
    first, second = bench.sent(ROUTE)
    assert (told(first), first.by) == (("alice", "a1", 9, [1]), b"")
    assert (second.flags, second.by, second.to) == (RECEIPT | UNSEEN, b"bob/b1", b"alice")
    assert list(Receipt.FromString(second.body).ids) == [2]
    bench.outcome(second.attempt, SAFE, index=0, count=0)
    assert unpack_keys(bench.only(REMOVE).body) == [b"key2"]


def test_a_message_of_a_kind_of_clients_own_says_so() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    for number, kind in enumerate((TEXT, READ, 1000, 2**31 - 1), 1):
        about = About(from_device="b1", stream=1, ids=[1]) if kind == READ else None
        alice.writes(number, kind=kind, about=about, body=b"")
    assert [rec.flags for rec in bench.sent(ROUTE)] == [0, QUIET, UNSEEN, UNSEEN]
