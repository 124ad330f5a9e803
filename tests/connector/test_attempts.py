"""The author's end: what an attempt carries, what SENT needs, and every way in which one fails."""

from __future__ import annotations

import pytest

from connector.core.attempts import no_room
from connector.settings import MESSAGE_OVERHEAD_BYTES, ConnectorSettings
from fabric.authorship import author_of
from fabric.records import (
    BLOCKED,
    BLOCKS,
    CHANGE,
    DELIVERED,
    HISTORY_FULL,
    INBOX_BUSY,
    INBOX_FULL,
    NO_SPACE,
    NO_SUCH_USER,
    NOT_ALLOWED,
    NOT_FRIEND,
    OTHERS_BIT,
    QUIET,
    RECEIPT,
    ROUTE,
    SAFE,
    TRACED,
    UNAVAILABLE,
)
from protocol.ids import stamp_ms
from protocol.sparrow_pb2 import EDIT, ERASE, READ, About, Failed, Message, Receipt
from tests.connector.bench import B1, ELSEWHERE, WALL_MS, Bench, Client, failures, receipt_ids, text


def attempt_of(bench: Bench, client: Client, number: int = 1, dest: str = "bob") -> int:
    """The client writes; the attempt that comes of it."""
    client.writes(number, dest)
    return bench.only(ROUTE).attempt


# What leaves.


def test_an_attempt_carries_the_message_as_it_came_its_author_and_a_stamp() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    about = About(from_device="b1", stream=4, ids=[1, 2])
    alice.writes(3, "bob", stream=17, settled=2, kind=READ, body=b"", about=about)
    rec = bench.only(ROUTE)
    assert (rec.to, rec.by, rec.flags, rec.session) == (b"bob", b"alice/a1", QUIET, alice.session.number)
    sent = Message.FromString(rec.body)
    assert (sent.stream, sent.id, sent.settled, sent.kind, sent.about) == (17, 3, 2, READ, about)
    assert (sent.from_id, sent.from_device, sent.dest_id) == ("alice", "a1", "bob")
    assert author_of(rec.body) == "alice"
    assert sent.stamp >> 20 == WALL_MS + int(bench.now * 1000)


def test_fields_and_kinds_of_later_versions_are_carried() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    unknown = b"\xd2\x3f\x05later"  # field 1018, length-delimited
    body = text(1, kind=1077).message.SerializeToString() + unknown
    alice.raw(bytes((len(body) + 2, 0x12, len(body))) + body)
    sent = bench.only(ROUTE).body
    assert unknown in sent
    assert Message.FromString(sent).kind == 1077


def test_a_repeat_is_an_attempt_of_its_own_with_a_later_stamp() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.says(text(1), text(1), text(2))
    first, again, second = bench.sent(ROUTE)
    assert len({first.attempt, again.attempt, second.attempt}) == 3
    stamps = [Message.FromString(rec.body).stamp for rec in (first, again, second)]
    assert stamps == sorted(set(stamps))


def test_stamps_follow_a_clock_that_steps_back() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    first_ms = stamp_ms(Message.FromString(bench.only(ROUTE).body).stamp)
    bench.core.time(bench.now, first_ms - 600_000)
    alice.writes(2)
    assert stamp_ms(Message.FromString(bench.only(ROUTE).body).stamp) == first_ms - 600_000


@pytest.mark.parametrize(("state", "delivered"), [(SAFE, False), (DELIVERED, True)])
def test_sent_tells_the_stamp_and_delivered_rides_along(state: int, delivered: bool) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    rec = bench.only(ROUTE)
    bench.outcome(rec.attempt, state)
    (receipt,) = alice.took("receipt")
    assert (receipt.stream, list(receipt.ids), receipt.sent, receipt.delivered) == (9, [1], True, delivered)
    assert list(receipt.stamps) == [Message.FromString(rec.body).stamp]


def test_sent_needs_every_copy_and_one_delivered_is_delivered() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, DELIVERED, index=0, count=3)
    bench.outcome(attempt, SAFE, index=2, count=3)
    assert not alice.took()
    bench.outcome(attempt, SAFE, index=1, count=3)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, True)]


def test_an_outcome_that_comes_twice_counts_once() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    for _ in range(3):
        bench.outcome(attempt, SAFE, index=0, count=2)
    assert not alice.took()
    bench.outcome(attempt, SAFE, index=1, count=2)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, False)]


def test_copies_of_two_attempts_at_one_message_do_not_add_up() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    first, again = attempt_of(bench, alice), attempt_of(bench, alice)
    bench.outcome(first, SAFE, index=0, count=2)
    bench.outcome(again, SAFE, index=1, count=2)
    assert not alice.took()
    bench.outcome(again, SAFE, index=0, count=2)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, False)]


def test_sent_of_one_turn_and_stream_is_one_frame() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.says(text(1), text(2), text(1, stream=5))
    one, two, other = bench.sent(ROUTE)
    for rec in (one, two, other):
        bench.core.attempts.outcome(rec.attempt, 0, 1, SAFE)
    bench.turn()
    found = {(receipt.stream, tuple(receipt.ids)) for receipt in alice.took("receipt")}
    assert found == {(9, (1, 2)), (5, (1,))}


def test_sent_waits_until_delivered_is_safe_at_the_authors_other_devices() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, DELIVERED | OTHERS_BIT, index=0, count=2)
    bench.outcome(attempt, SAFE | OTHERS_BIT, index=1, count=2)
    assert not alice.took()
    told = bench.only(ROUTE)
    assert (told.flags, told.to, told.by) == (RECEIPT, b"alice", b"alice/a1")
    bench.outcome(told.attempt, SAFE)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, True)]


def test_sent_without_delivered_does_not_wait_for_other_devices() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, SAFE | OTHERS_BIT)
    assert list(receipt_ids(alice.took("receipt"))) == [([1], True, False)]
    assert not bench.sent()


@pytest.mark.parametrize("state", [SAFE, DELIVERED, DELIVERED | OTHERS_BIT, UNAVAILABLE, NO_SUCH_USER])
def test_a_session_that_has_ended_hears_nothing_more(state: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    alice.hangs_up()
    bench.sent()
    writes = bench.ports.writes
    bench.outcome(attempt, state)
    assert bench.ports.writes == writes
    assert not bench.sent()
    assert len(bench.core.attempts) == 0


@pytest.mark.parametrize("origin", [ELSEWHERE, 0])
def test_outcomes_of_another_life_of_this_connector_are_not_ours(origin: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, SAFE, origin=origin)
    assert not alice.took()


def test_an_outcome_of_an_attempt_that_is_over_is_ignored() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, SAFE)
    alice.took()
    bench.outcome(attempt, UNAVAILABLE)
    bench.outcome(424242, SAFE)
    assert not alice.took()


# Failed.


@pytest.mark.parametrize(
    ("state", "code", "final"),
    [
        (UNAVAILABLE, Failed.UNAVAILABLE, False),
        (NO_SUCH_USER, Failed.NO_SUCH_USER, True),
        (BLOCKED, Failed.BLOCKED, True),
        (BLOCKS, Failed.BLOCKED, True),
        (NOT_FRIEND, Failed.NOT_FRIEND, True),
        (NOT_ALLOWED, Failed.NOT_ALLOWED, True),
    ],
)
@pytest.mark.parametrize("others", [0, OTHERS_BIT])
def test_a_copy_that_fails_fails_the_message(state: int, code: int, final: bool, others: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, SAFE, index=1, count=2)
    bench.outcome(attempt, state | others, index=0, count=2)
    assert failures(alice.took("failed")) == [(1, code, final)]
    assert len(bench.core.attempts) == 0


def test_an_attempt_does_not_fail_at_its_first_bad_copy() -> None:
    """What else becomes of it counts: all of it is tried again (docs/design/history.md, rule R-C)."""
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, UNAVAILABLE, index=2, count=3)
    bench.outcome(attempt, DELIVERED, index=0, count=3)
    assert not alice.took("failed")
    bench.outcome(attempt, DELIVERED, index=1, count=3)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]


def test_it_fails_when_it_has_waited_for_two_seconds() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    first, second = attempt_of(bench, alice), attempt_of(bench, alice, 2)
    bench.outcome(first, UNAVAILABLE, index=0, count=2)
    bench.passes(1.0)
    bench.outcome(second, NO_SPACE, index=0, count=2)
    bench.outcome(second, NO_SPACE, index=0, count=2)
    bench.passes(0.8)
    assert not alice.took("failed")
    bench.passes(0.3)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]
    bench.passes(1.0)
    assert failures(alice.took("failed")) == [(2, Failed.NO_SPACE, False)]


def test_of_two_copies_that_fail_one_for_good_counts() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, UNAVAILABLE, index=0, count=2)
    bench.outcome(attempt, NOT_ALLOWED, index=1, count=2)
    assert failures(alice.took("failed")) == [(1, Failed.NOT_ALLOWED, True)]


# DELIVERED before SENT.


def early(alice: Client) -> list[tuple[int, bool]]:
    """Ids of the receipts that are early, and that they tell DELIVERED."""
    found: list[Receipt] = alice.took("receipt")
    assert not [receipt for receipt in found if receipt.sent and receipt.early]
    return [(number, receipt.delivered) for receipt in found if receipt.early for number in receipt.ids]


def test_what_is_delivered_and_not_kept_is_told_at_once() -> None:
    bench = Bench()
    alice = bench.live("alice/a1", ["changes"])
    counted = alice.session.wire.counted
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, DELIVERED, index=0, count=2)
    bench.outcome(attempt, UNAVAILABLE, index=1, count=2)
    assert early(alice) == [(1, True)]
    assert alice.session.wire.counted == counted, "it does not count"
    assert alice.session.wire.unsettled == {(9, 1)}


def test_what_is_delivered_and_not_kept_yet_is_told_after_half_a_second() -> None:
    bench = Bench()
    alice = bench.live("alice/a1", ["changes"])
    first, second = attempt_of(bench, alice), attempt_of(bench, alice, 2)
    for attempt in (first, second):
        bench.outcome(attempt, DELIVERED, index=0, count=2)
    bench.outcome(second, SAFE, index=1, count=2)
    bench.passes(0.3)
    assert not early(alice)
    bench.passes(0.3)
    assert early(alice) == [(1, True)]
    bench.passes(2.0)
    assert not early(alice), "once is enough"


def test_older_clients_are_told_nothing_early() -> None:
    """They would count it."""
    bench = Bench()
    alice = bench.live("alice/a1")
    attempt = attempt_of(bench, alice)
    bench.outcome(attempt, DELIVERED, index=0, count=2)
    bench.passes(1.0)
    bench.outcome(attempt, UNAVAILABLE, index=1, count=2)
    assert not early(alice)


def test_nobody_is_told_early_who_has_left() -> None:
    bench = Bench()
    alice = bench.live("alice/a1", ["changes"])
    bench.outcome(attempt_of(bench, alice), DELIVERED, index=0, count=2)
    alice.hangs_up()
    bench.passes(1.0)
    assert not alice.took()


# Stamps of repeats.


def stamp_of(bench: Bench) -> int:
    return Message.FromString(bench.only(ROUTE).body).stamp


@pytest.mark.parametrize("how", ["failed", "lost", "forgotten"])
def test_a_repeat_has_the_stamp_of_its_first_attempt(how: str) -> None:
    bench = Bench(attempt_timeout_s=1.0)
    alice = bench.live("alice/a1")
    alice.writes(1)
    rec = bench.only(ROUTE)
    first = Message.FromString(rec.body).stamp
    if how == "failed":
        bench.outcome(rec.attempt, UNAVAILABLE)
        bench.passes(1.0)
    elif how == "forgotten":
        bench.passes(2.0)
    else:
        bench.passes(3.0, keep_up=False)
        bench.heartbeat()
        bench.passes(0.2)
        bench.registers_again()
    bench.sent()
    alice.writes(1)
    assert stamp_of(bench) == first
    alice.writes(2)
    assert stamp_of(bench) > first


def test_a_stamp_is_too_old_after_a_while() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    rec = bench.only(ROUTE)
    first = Message.FromString(rec.body).stamp
    bench.outcome(rec.attempt, UNAVAILABLE)
    bench.passes(51.0)
    bench.sent()
    alice.writes(1)
    assert stamp_of(bench) > first + (50_000 << 20)


def test_what_failed_for_good_leaves_no_stamp() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.outcome(attempt_of(bench, alice), NO_SUCH_USER)
    assert not bench.core.attempts._stamps


def test_changes_are_told_from_messages_and_reads() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    about = About(from_device="a1", stream=17, ids=[1])
    alice.writes(2, stream=17, kind=EDIT, body=b"better", about=about, revision=1)
    alice.writes(3, stream=17, kind=ERASE, body=b"", about=about)
    assert [rec.flags for rec in bench.sent(ROUTE)] == [QUIET | CHANGE] * 2


@pytest.mark.parametrize(
    ("state", "code", "retry_ms"),
    [
        (INBOX_FULL, Failed.INBOX_FULL, 3_600_000),
        (INBOX_BUSY, Failed.INBOX_FULL, 5_000),
        (NO_SPACE, Failed.NO_SPACE, 60_000),
        (HISTORY_FULL, Failed.HISTORY_FULL, 3_600_000),
        (99, Failed.UNAVAILABLE, 1_000),  # of a later version
    ],
)
@pytest.mark.parametrize("others", [0, OTHERS_BIT])
def test_where_there_is_no_room_the_author_is_told_when_to_try_again(
    state: int, code: int, retry_ms: int, others: int
) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.outcome(attempt_of(bench, alice), state | others)
    (failed,) = alice.took("failed")
    assert (failed.code, failed.retry_after_ms) == (code, retry_ms)


def test_a_time_to_try_again_is_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 would mean that it is final."""
    told = no_room(ConnectorSettings(inbox_full_retry_s=0.0001, inbox_busy_retry_s=0.0001, no_space_retry_s=0.0001))
    assert all(retry_ms > 0 for _, _, retry_ms in told.values())


@pytest.mark.parametrize("dest", ["", "Bob", "bob/b1", "x" * 65, "ü"])
def test_a_destination_that_is_no_user_id_is_refused_without_asking(dest: str) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1, dest)
    assert failures(alice.took("failed")) == [(1, Failed.NO_SUCH_USER, True)]
    assert not bench.sent()


def test_a_message_may_be_as_large_as_was_told_and_no_larger() -> None:
    bench = Bench(max_frame_bytes=4096)
    alice = bench.live("alice/a1")
    limit = 4096 - MESSAGE_OVERHEAD_BYTES
    head = text(1, body=bytes(1000)).message.ByteSize() - 1000
    alice.writes(1, body=bytes(limit - head))
    alice.writes(2, body=bytes(limit - head + 1))
    assert failures(alice.took("failed")) == [(2, Failed.TOO_LARGE, True)]
    rec = bench.only(ROUTE)
    assert len(Message.FromString(rec.body).body) == limit - head
    assert len(rec.body) < 4096  # with what was added it still goes into a frame


def test_without_a_broker_a_message_fails_for_now() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.passes(3.0, keep_up=False)
    alice.took()
    alice.writes(1)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]


def test_what_failed_for_now_stays_in_the_window_what_failed_for_good_does_not() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    for number, state in ((1, UNAVAILABLE), (2, NO_SUCH_USER)):
        bench.outcome(attempt_of(bench, alice, number), state)
    assert alice.session.wire.unsettled == {(9, 1)}


# Too fast.


def test_a_second_of_messages_may_come_at_once_and_then_so_many_a_second() -> None:
    bench = Bench(max_messages_per_second=10)
    alice = bench.live("alice/a1")
    alice.says(*(text(number) for number in range(1, 13)))
    assert len(bench.sent(ROUTE)) == 10
    assert failures(alice.took("failed")) == [(11, Failed.TOO_FAST, False), (12, Failed.TOO_FAST, False)]
    bench.passes(0.4)
    alice.says(*(text(number) for number in range(13, 20)))
    passed, refused = len(bench.sent(ROUTE)), len(alice.took("failed"))
    assert (3 <= passed <= 4, passed + refused) == (True, 7)


def test_quiet_hours_are_not_saved_up() -> None:
    bench = Bench(max_messages_per_second=10)
    alice = bench.live("alice/a1")
    bench.passes(30.0)
    alice.says(*(text(number) for number in range(1, 100)))
    assert 10 <= len(bench.sent(ROUTE)) <= 20


def test_the_first_message_is_never_too_fast() -> None:
    bench = Bench(max_messages_per_second=1)
    alice = bench.live("alice/a1")
    alice.writes(1)
    assert len(bench.sent(ROUTE)) == 1


def test_part_of_a_message_is_not_lost_from_a_budget() -> None:
    bench = Bench(max_messages_per_second=1)
    alice = bench.live("alice/a1")
    alice.writes(1)
    for number, seconds in ((2, 0.6), (3, 0.4), (4, 0.6)):
        bench.passes(seconds)
        alice.writes(number)
    # What had come together by the second, which was refused, was there for the third.
    assert [number for number, *_ in failures(alice.took("failed"))] == [2, 4]


def test_repeats_of_what_is_under_way_are_bounded() -> None:
    bench = Bench(max_unsettled_per_connection=4, max_unsettled_per_stream=4)
    alice = bench.live("alice/a1")
    for _ in range(10):
        alice.writes(1)
    sent = bench.sent(ROUTE)
    assert len(sent) == 8
    assert failures(alice.took("failed")) == [(1, Failed.TOO_FAST, False)] * 2
    bench.outcome(sent[0].attempt, SAFE)
    bench.passes(1.0)
    alice.writes(2)
    assert len(bench.sent(ROUTE)) == 1


# Forgotten.


def test_an_attempt_without_an_outcome_is_forgotten_in_the_end() -> None:
    bench = Bench(attempt_timeout_s=5.0)
    alice = bench.live("alice/a1")
    old = attempt_of(bench, alice, 1)
    bench.passes(4.0)
    young = attempt_of(bench, alice, 2)
    bench.passes(1.0)
    assert len(bench.core.attempts) == 1
    bench.outcome(old, SAFE)
    bench.outcome(young, SAFE)
    assert list(receipt_ids(alice.took("receipt"))) == [([2], True, False)]
    assert alice.session.attempts == 0


# Traces.


def traces(bench: Bench) -> list[str]:
    """What has happened to attempts that are traced, since the last call."""
    found, bench.core.turn.traces = bench.core.turn.traces, []
    assert {origin for origin, _, _ in found} <= {bench.core.incarnation}
    return [text for _, _, text in found]


@pytest.mark.parametrize(
    ("state", "told"), [(DELIVERED, "SENT and DELIVERED"), (SAFE, "SENT"), (UNAVAILABLE, "Failed: UNAVAILABLE")]
)
def test_what_a_traced_author_writes_is_followed(state: int, told: str) -> None:
    bench = Bench()
    alice, carol = bench.live("alice/a1"), bench.live("carol/c1")
    bench.core.trace("alice", 60.0)
    carol.writes(1)
    alice.writes(1)
    first, second = bench.sent(ROUTE)
    assert (first.flags & TRACED, second.flags & TRACED) == (0, TRACED)
    assert traces(bench) == [f"stream 9, id 1, from alice/a1 to bob: given to {B1}"]
    bench.outcome(first.attempt, state)
    bench.outcome(second.attempt, state)
    bench.outcome(second.attempt, state)
    assert traces(bench) == [f"its author is told {told}"]


def test_a_traced_attempt_whose_broker_is_lost() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.core.trace("alice", 60.0)
    alice.writes(1)
    traces(bench)
    bench.core.attempts.link_lost(bench.core.links.link(B1))  # type: ignore[arg-type]
    assert traces(bench) == ["its author is told Failed, since the broker was lost"]


def test_a_trace_ends_and_nothing_of_it_is_left() -> None:
    bench = Bench(attempt_timeout_s=2.0)
    alice = bench.live("alice/a1")
    bench.core.trace("alice", 1.0)
    alice.writes(1)
    bench.passes(3.0)
    assert not bench.core.attempts.traced
    assert not bench.core.attempts._traced
    bench.sent()
    alice.writes(2)
    assert not bench.only(ROUTE).flags & TRACED
