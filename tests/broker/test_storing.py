"""Into the inbox: the order of the steps before *safe*, what happens when one fails, and what is bounded."""

from __future__ import annotations

import pytest

from broker.core.storing import Storage
from fabric.records import DELIVERED, NOTIFY, OTHERS, OTHERS_BIT, OUTCOMES, RECEIPT, SAFE, STORED, UNAVAILABLE
from store.interface import COMMON, NewRow
from tests.broker.bench import A, B, Bench, C, outcomes, returned

USERS = {"alice": ["a1"], "bob": ["b1", "b2"]}


def rows(bench: Bench) -> list[list[tuple[str, str, bytes]]]:
    """Appends that wait for an answer."""
    return [[(row.user, row.device, row.body) for row in append] for append in bench.asked("append")]


# The steps.


def test_append_then_barrier_then_device_then_notify_and_when_it_is_heard_safe() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), connector=B)
    assert bench.asked("append") == [[NewRow("bob", "b1", 1, b"hello")]]
    assert not bench.presence.barriers
    assert not bench.asked("devices")

    bench.answer("append", True)
    assert len(bench.presence.barriers) == 1
    assert not bench.asked("devices")

    bench.pass_barrier()
    assert bench.asked("devices") == [["bob"]]
    assert not bench.sent()

    bench.read_devices()
    notify = bench.only(NOTIFY)
    assert (notify.connector, notify.to, notify.session) == (B, b"bob/b1", 20)

    bench.hear(notify)
    kinds = {rec.kind: rec for rec in bench.sent()}
    assert set(kinds) == {OUTCOMES, STORED}
    assert (kinds[OUTCOMES].connector, outcomes([kinds[OUTCOMES]])) == (A, [(7, 0, 1, SAFE)])
    assert (kinds[STORED].connector, kinds[STORED].session, kinds[STORED].attempt) == (B, 20, 1)
    assert bench.core.idle


def test_the_device_is_notified_where_it_is_after_the_append_not_where_it_was() -> None:
    bench = Bench(USERS)
    bench.receives(returned(7, "bob/b1"), connector=B)
    bench.answer("append", True)
    bench.goes_online("bob/b1", C, 33)  # the barrier is there to learn of this
    bench.pass_barrier()
    bench.read_devices()
    notify = bench.only(NOTIFY)
    assert (notify.connector, notify.session) == (C, 33)


def test_nobody_is_notified_for_a_device_that_is_offline() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(returned(7, "bob/b1"), connector=B)
    bench.store_everything()
    sent = bench.sent()
    assert not [rec for rec in sent if rec.kind == NOTIFY]
    assert outcomes(sent) == [(7, 0, 1, SAFE)]


def test_a_row_in_the_common_queue_notifies_every_device() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.receives(returned(7, "bob/"), connector=B)
    bench.store_everything()
    assert {(rec.connector, rec.to) for rec in bench.sent(NOTIFY)} == {(B, b"bob/b1"), (C, b"bob/b2")}


@pytest.mark.parametrize("now", [("b2",), (), None], ids=["removed", "last one removed", "account gone"])
def test_a_device_that_was_removed_meanwhile_leaves_its_copy_to_the_common_queue(now: tuple[str, ...] | None) -> None:
    bench = Bench(USERS)
    bench.receives(returned(7, "bob/b1"), connector=B)
    bench.answer("append", True)
    bench.pass_barrier()
    bench.answer("devices", {"bob": now})
    assert rows(bench) == [[("bob", COMMON, b"hello")]]
    assert not bench.sent()  # not safe yet
    bench.store_everything()
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]


def test_an_append_that_took_too_long_is_done_anew() -> None:
    bench = Bench(USERS, row_max_age_s=120.0)
    bench.receives(returned(7, "bob/b1"), connector=B)
    bench.answer("append", True)
    bench.jumps(121.0)
    bench.pass_barrier()
    bench.read_devices()
    assert rows(bench) == [[("bob", "b1", b"hello")]]
    assert not bench.sent()
    bench.store_everything()
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]


def test_an_append_that_took_long_but_not_too_long_counts() -> None:
    bench = Bench(USERS, row_max_age_s=120.0)
    bench.receives(returned(7, "bob/b1"), connector=B)
    bench.jumps(119.0)
    bench.store_everything()
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]


# Failures.


@pytest.mark.parametrize("step", ["append", "barrier", "devices"])
def test_a_step_that_fails_is_told_to_author_and_returner(step: str) -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), returned(8, "bob/b1"), connector=B)
    if step == "append":
        bench.away("append")
    else:
        bench.answer("append", True)
        bench.pass_barrier(ok=step != "barrier")
        if step == "devices":
            bench.away("devices")
    sent = bench.sent()
    assert outcomes(sent) == [(7, 0, 1, UNAVAILABLE), (8, 0, 1, UNAVAILABLE)]
    (stored,) = (rec for rec in sent if rec.kind == STORED)
    assert (stored.connector, stored.session, stored.attempt) == (B, 20, 2)  # settled, if not well
    assert not [rec for rec in sent if rec.kind == NOTIFY]
    assert bench.core.idle
    bench.receives(returned(9, "bob/b1"), connector=B)
    bench.store_everything()
    assert outcomes(bench.sent()) == [(9, 0, 1, SAFE)]


# What an answer carries.


def test_the_answer_names_attempt_index_and_count_and_whether_the_author_has_other_devices() -> None:
    bench = Bench(USERS)
    bench.receives(returned(7, "bob/b1", index=2, count=5, flags=OTHERS, origin=C), connector=B)
    bench.store_everything()
    rec = bench.only(OUTCOMES)
    assert (rec.connector, rec.origin, outcomes([rec])) == (C, C, [(7, 2, 5, SAFE | OTHERS_BIT)])


def test_what_was_stored_is_never_told_to_be_delivered() -> None:
    bench = Bench(USERS)
    bench.receives(*(returned(number, "bob/b1", flags=number % 8) for number in range(8)), connector=B)
    bench.store_everything()
    found = outcomes(bench.sent())
    assert len(found) == 8
    assert not [state for *_, state in found if state & ~OTHERS_BIT == DELIVERED]


def test_a_receipt_is_stored_as_one() -> None:
    bench = Bench(USERS)
    bench.receives(returned(7, "bob/b1", flags=RECEIPT), connector=B)
    assert bench.asked("append") == [[NewRow("bob", "b1", 2, b"hello")]]


def test_answers_of_one_turn_travel_together_for_each_connector() -> None:
    bench = Bench(USERS)
    bench.receives(returned(1, "bob/b1", origin=A), returned(2, "bob/b2", origin=C, session=21), connector=B)
    bench.receives(returned(3, "bob/b1", origin=A), connector=B)
    bench.answer("append", True)
    bench.answer("append", True)
    bench.presence.barriers.pop(0)(True)
    bench.presence.barriers.pop(0)(True)
    for asked, done in bench.store.calls["devices"]:
        done({user: tuple(USERS[user]) for user in asked})
    bench.store.calls["devices"].clear()
    bench.core.flush()
    sent = bench.sent()
    assert {(rec.connector, tuple(outcomes([rec]))) for rec in sent if rec.kind == OUTCOMES} == {
        (A, ((1, 0, 1, SAFE), (3, 0, 1, SAFE))),
        (C, ((2, 0, 1, SAFE),)),
    }
    assert {(rec.session, rec.attempt) for rec in sent if rec.kind == STORED} == {(20, 2), (21, 1)}


# Batches and bounds.


def test_what_comes_in_one_turn_is_one_append_one_barrier_and_one_look_at_each_user() -> None:
    bench = Bench(USERS)
    bench.receives(*(returned(n, f"{('bob/b1', 'bob/b2', 'alice/a1')[n % 3]}") for n in range(9)), connector=B)
    assert [len(append) for append in rows(bench)] == [9]
    bench.answer("append", True)
    assert len(bench.presence.barriers) == 1
    bench.pass_barrier()
    assert bench.asked("devices") == [["bob", "alice"]]


def test_appends_are_bounded_in_size_and_in_number() -> None:
    bench = Bench(USERS, max_batch_rows=3, max_appends_in_flight=2)
    bench.receives(*(returned(number, "bob/b1") for number in range(10)), connector=B)
    assert [len(append) for append in rows(bench)] == [3, 3]
    bench.answer("append", True)
    assert [len(append) for append in rows(bench)] == [3, 3]
    bench.away("append")
    assert [len(append) for append in rows(bench)] == [3, 1]
    bench.store_everything()
    states = {attempt: state for attempt, _, _, state in outcomes(bench.sent())}
    assert states == {number: UNAVAILABLE if 3 <= number < 6 else SAFE for number in range(10)}
    assert bench.core.storage.stored == 7


def test_rows_on_their_way_are_bounded() -> None:
    bench = Bench(USERS, max_storing_rows=3)
    bench.receives(*(returned(number, "bob/b1") for number in range(5)), connector=B)
    sent = bench.sent()
    assert outcomes(sent) == [(3, 0, 1, UNAVAILABLE), (4, 0, 1, UNAVAILABLE)]
    assert [rec.attempt for rec in sent if rec.kind == STORED] == [2]
    bench.store_everything()
    bench.receives(returned(9, "bob/b1"), connector=B)
    bench.store_everything()
    assert [attempt for attempt, *_ in outcomes(bench.sent())] == [0, 1, 2, 9]


def test_bytes_on_their_way_are_bounded() -> None:
    bench = Bench(USERS, max_storing_bytes=1000)
    bench.receives(*(returned(number, "bob/b1", body=bytes(400)) for number in range(4)), connector=B)
    assert [attempt for attempt, *_ in outcomes(bench.sent())] == [2, 3]
    bench.store_everything()
    assert bench.core.storage._bytes == 0
    assert bench.core.storage.rows == 0


def test_a_stop_waits_for_what_is_on_its_way() -> None:
    bench = Bench(USERS)
    bench.receives(returned(1, "bob/b1"), connector=B)
    storage: Storage = bench.core.storage
    for step in ("append", "barrier", "devices"):
        assert not bench.core.idle
        assert storage.rows == 1
        if step == "barrier":
            bench.pass_barrier()
        elif step == "append":
            bench.answer("append", True)
        else:
            bench.read_devices()
    assert bench.core.idle
