"""The receiving end: live copies to devices, acks back as outcomes, and every way in which a copy goes back."""

from __future__ import annotations

import pytest

from connector.core.phases import BEHIND, LIVE, SETTLING
from fabric.records import (
    COPY,
    DELIVERED,
    OFFLINE,
    OTHERS,
    OTHERS_BIT,
    OUTCOMES,
    OWN,
    PAGE,
    RECEIPT,
    SAFE,
    STORE,
    TRACED,
)
from protocol.sparrow_pb2 import Goodbye, Message, Receipt
from tests.connector.bench import (
    ELSEWHERE,
    INCARNATION,
    Bench,
    Client,
    copy,
    ids,
    kept_message,
    outcomes,
    receipt_ids,
    row,
)


def returned(bench: Bench) -> list[int]:
    """Attempts of the copies that were sent back."""
    return [rec.attempt for rec in bench.sent(STORE)]


def padded(number: int, size: int) -> bytes:
    """An encoded message of exactly this size."""
    shorter = len(kept_message(number, body=bytes(size // 2)))
    body = kept_message(number, body=bytes(size // 2 + size - shorter))
    assert len(body) == size
    return body


# Out, and acked.


def test_a_live_copy_goes_to_the_device_as_it_is() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2))
    messages = bob.took("message")
    assert ids(messages) == [1, 2]
    assert messages[0].SerializeToString() == kept_message(1)
    writes = bench.ports.writes
    bench.receives(copy(bob, 3), copy(bob, 4))
    assert bench.ports.writes == writes + 1


def test_nothing_is_delivered_before_the_ack_and_one_ack_covers_many() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in (1, 2, 3)))
    assert not bench.sent()
    bob.acks(2)
    rec = bench.only(OUTCOMES)
    assert rec.origin == ELSEWHERE
    assert outcomes(rec) == [(101, 0, 1, DELIVERED), (102, 0, 1, DELIVERED)]
    bob.acks(3)
    assert outcomes(bench.only(OUTCOMES)) == [(103, 0, 1, DELIVERED)]


def test_the_same_ack_again_is_nothing_new() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bob.acks(1)
    bench.sent()
    bob.acks(1)
    assert not bench.sent()


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        (0, DELIVERED),
        (OTHERS, DELIVERED | OTHERS_BIT),
        (OWN | OTHERS, SAFE | OTHERS_BIT),
        (RECEIPT, SAFE),
        (RECEIPT | OTHERS, SAFE | OTHERS_BIT),
    ],
)
def test_what_an_ack_means_depends_on_the_copy(flags: int, state: int) -> None:
    bench = Bench()
    bob = bench.live()
    body = Receipt(stream=9, ids=[1], delivered=True).SerializeToString() if flags & RECEIPT else None
    bench.receives(copy(bob, 1, flags=flags, index=2, count=4, body=body))
    assert bob.took_kinds() == ["receipt" if flags & RECEIPT else "message"]
    bob.acks(1)
    assert outcomes(bench.only(OUTCOMES)) == [(101, 2, 4, state)]


def test_an_ack_of_a_copy_of_our_own_attempt_needs_no_broker() -> None:
    bench = Bench()
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1")
    alice.writes(1)
    attempt = bench.only(5).attempt
    bench.receives(copy(bob, 1, origin=INCARNATION, attempt=attempt))
    bob.acks(1)
    assert not bench.sent()
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, True)]


# Back to be stored.


def test_a_copy_that_is_not_acked_in_time_goes_back_and_the_session_falls_behind() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.live()
    bench.receives(copy(bob, 1, flags=OTHERS, index=1, count=3))
    bench.passes(0.4)
    assert not bench.sent()
    bench.passes(0.2)
    back, page = bench.sent()
    assert (back.kind, page.kind) == (STORE, PAGE)  # to be stored first, read second
    assert (back.to, back.session, back.origin, back.attempt) == (b"bob/b1", bob.session.number, ELSEWHERE, 101)
    assert (back.flags, back.index, back.count, back.body) == (OTHERS, 1, 3, kept_message(1))
    assert bob.session.phase == BEHIND


def test_only_what_is_overdue_goes_back() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bench.passes(0.3)
    bench.receives(copy(bob, 2))
    bench.passes(0.3)
    assert returned(bench) == [101]
    bench.passes(0.3)
    assert returned(bench) == [102]


def test_who_is_in_time_keeps_nobody_from_being_looked_at() -> None:
    bench = Bench(store_after_s=0.5)
    bob, carol = bench.live("bob/b1"), bench.live("carol/c1")
    bench.receives(copy(bob, 1), copy(carol, 2))
    for acked in (1, 2, 3):
        bench.passes(0.2)
        bob.acks(acked)
        bench.receives(copy(bob, acked + 2))
    assert returned(bench) == [102]


def test_an_ack_of_a_copy_that_went_back_is_not_delivered() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2))
    bench.passes(0.6)
    assert returned(bench) == [101, 102]
    bob.acks(2)
    assert not bench.sent(OUTCOMES)  # its row will be acked, and told, in its turn


def test_a_copy_behind_rows_that_are_not_acked_goes_back_too() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.settling()
    bench.page(bob, [row(1)])
    bench.page(bob)
    assert bob.session.phase == LIVE
    bench.receives(copy(bob, 2))
    bench.sent()
    bench.passes(0.7)
    assert returned(bench) == [102]


def test_a_copy_for_a_session_that_is_behind_goes_back_at_once() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [row(1)], end=False)
    assert bob.session.phase == BEHIND
    bob.took()
    bench.sent()
    bench.receives(copy(bob, 2))
    assert returned(bench) == [102]
    assert not bob.took()


def test_with_the_end_of_the_inbox_in_sight_copies_wait_for_it() -> None:
    bench = Bench()
    bob = bench.settling()
    assert bob.session.phase == SETTLING
    bench.receives(copy(bob, 2), copy(bob, 3))
    assert bob.took_kinds() == ["logged_in"]
    bench.page(bob, [row(1)])
    assert ids(bob.took("message")) == [1, 2, 3]
    assert bob.session.phase == LIVE


def test_copies_that_wait_go_back_when_the_end_is_not_in_sight_after_all() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.receives(copy(bob, 2), copy(bob, 3))
    bench.sent()
    bench.page(bob, [row(1)], end=False)
    assert returned(bench) == [102, 103]
    assert ids(bob.took("message")) == [1]


def test_copies_that_wait_too_long_go_back() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.settling()
    bench.receives(copy(bob, 2))
    bench.sent()
    bench.passes(0.6)
    assert returned(bench) == [102]
    bench.page(bob)
    bench.stored(bob)
    assert not bob.took("message")


def test_a_store_first_server_keeps_nothing_live() -> None:
    bench = Bench(store_after_s=0.0)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    assert returned(bench) == [101]
    assert not bob.took()


# Windows.


def test_the_window_of_frames() -> None:
    bench = Bench(max_unacked=4)
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in range(1, 7)))
    assert ids(bob.took("message")) == [1, 2, 3, 4]
    assert returned(bench) == [105, 106]
    assert bob.session.phase == BEHIND


def test_the_window_of_bytes() -> None:
    bench = Bench(max_unacked_bytes=1000)
    bob = bench.live()
    bench.receives(copy(bob, 1, body=padded(1, 600)), copy(bob, 2, body=padded(2, 400)), copy(bob, 3))
    assert ids(bob.took("message")) == [1, 2]
    assert returned(bench) == [103]


def test_copies_that_wait_count_in_both_windows() -> None:
    bench = Bench(max_unacked=4, max_unacked_bytes=1000)
    bob = bench.settling()
    bench.sent()
    bench.receives(*(copy(bob, number) for number in range(1, 6)))
    assert returned(bench) == [105]
    ann = bench.settling("ann/d1")
    bench.sent()
    bench.receives(copy(ann, 1, body=padded(1, 1000)), copy(ann, 2))
    assert returned(bench) == [102]


def test_all_unacked_copies_of_all_sessions_are_bounded() -> None:
    bench = Bench(max_buffered_bytes=1000)
    bob, ann = bench.live("bob/b1"), bench.live("ann/d1")
    bench.receives(copy(bob, 1, body=padded(1, 700)), copy(ann, 2, body=padded(2, 400)))
    assert ids(bob.took("message")) == [1]
    assert not ann.took("message")
    assert returned(bench) == [102]
    bob.acks(1)
    ann.acks(0)
    bench.stored(ann)
    bench.page(ann)
    bench.receives(copy(ann, 3, body=padded(3, 700)))
    assert ids(ann.took("message")) == [3]


@pytest.mark.parametrize("how", ["acked", "overdue", "hangs up", "logs out", "replaced"])
def test_no_way_out_leaves_bytes_behind(how: str) -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in range(1, 9)))
    if how == "acked":
        bob.acks(8)
    elif how == "overdue":
        bench.passes(0.6)
        assert len(returned(bench)) == 8
        bob.acks(8)
    elif how == "hangs up":
        bob.hangs_up()
    elif how == "logs out":
        bob.acks(3)
        bob.logout()
    else:
        bench.core.logins.end(bob.session, Goodbye.REPLACED, "")
        bench.turn()
    assert bench.core.delivery.buffered_bytes == 0
    assert bob.session.unacked_bytes == 0
    assert not bob.session.unacked
    bench.passes(0.1)
    assert not bench.core.delivery._waiting


# Copies for nobody.


def test_a_copy_for_a_session_that_is_not_here_goes_back_and_presence_is_told() -> None:
    bench = Bench()
    bob = bench.live()
    number = bob.session.number
    bob.hangs_up()
    bench.passes(1.0)
    bench.sent()
    bench.receives(copy(bob, 1))
    back, offline = bench.sent()
    assert (back.kind, back.attempt) == (STORE, 101)
    assert (offline.kind, offline.to, offline.session) == (OFFLINE, b"bob/b1", number)


def test_a_copy_for_another_device_under_a_sessions_number_is_not_given_to_it() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1, to=b"bob/b2"))
    assert not bob.took()
    assert [rec.to for rec in bench.sent(STORE)] == [b"bob/b2"]


def test_a_session_that_ends_returns_every_copy_before_it_gives_up_its_place() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in (1, 2, 3)))
    bob.acks(1)
    bench.sent()
    bob.hangs_up()
    sent = bench.sent()
    assert [(rec.kind, rec.attempt) for rec in sent] == [(STORE, 102), (STORE, 103), (OFFLINE, 0)]


def test_a_copy_that_no_broker_can_take_back_is_left_to_its_author_who_repeats() -> None:
    bench = Bench(store_after_s=100.0)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bench.passes(3.0, keep_up=False)  # the broker is gone
    bob.hangs_up()
    assert bench.core.idle  # nothing that a stop, or a next session of the device, would wait for
    bench.heartbeat()
    assert not bench.sent(STORE)


def test_copies_of_a_burst_reach_a_live_client_in_the_order_of_the_link() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in range(1, 101)))
    bob.acks(100)
    bench.receives(*(copy(bob, number) for number in range(101, 201)))
    assert ids(bob.took("message")) == list(range(1, 201))
    assert [attempt for rec in bench.sent(OUTCOMES) for attempt, *_ in outcomes(rec)] == list(range(201 - 100, 201))


def test_a_copy_is_not_parsed() -> None:
    bench = Bench()
    bob: Client = bench.live()
    body = kept_message(1) + b"\xd2\x3f\x05later"
    bench.receives(copy(bob, 1, body=body, kind=COPY))
    (message,) = bob.took("message")
    assert isinstance(message, Message)
    assert message.SerializeToString() == body


def test_traced_copies_are_followed() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1, flags=TRACED), copy(bob, 2, flags=TRACED), copy(bob, 3))
    bob.acks(1)
    bob.hangs_up()
    assert [text for _, _, text in bench.core.turn.traces] == [
        "written to bob/b1",
        "written to bob/b1",
        "acked by bob/b1",
        "requeued for bob/b1",
    ]
    assert all(rec.flags & TRACED for rec in bench.sent(STORE) if rec.attempt == 102)


@pytest.mark.parametrize("flags", [0, OWN, OTHERS, RECEIPT])
def test_flags_of_a_later_release_are_ignored_and_come_back_with_a_copy(flags: int) -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1, flags=flags | 0xE0), copy(bob, 2, flags=flags))
    bob.acks(2)
    (_, _, _, first), (_, _, _, second) = outcomes(bench.only(OUTCOMES))
    assert first == second
    bench.receives(copy(bob, 3, flags=flags | 0xE0))
    bob.hangs_up()
    assert bench.only(STORE).flags == flags | 0xE0
