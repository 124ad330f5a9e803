"""Nudges: one a device and turn, repeated until that very one is confirmed, or nobody is there any more."""

from __future__ import annotations

from protocol.records import NUDGE, OUTCOMES, SAFE, STORED, UNAVAILABLE
from tests.broker.bench import B, Bench, C, Sent, outcomes, returned

USERS = {"bob": ["b1", "b2"]}


def stored(bench: Bench, *to: str) -> list[Sent]:
    """Rows are stored for these devices; the nudges that come of it."""
    bench.receives(*(returned(number, address) for number, address in enumerate(to)), connector=C)
    bench.store_everything(hear=False)
    return bench.sent(NUDGE)


def test_one_nudge_a_device_and_turn() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    nudges = stored(bench, "bob/b1", "bob/b1", "bob/b2", "bob/b1")
    assert sorted((nudge.to, nudge.session) for nudge in nudges) == [(b"bob/b1", 20), (b"bob/b2", 21)]
    assert len({nudge.attempt for nudge in nudges}) == 2


def test_a_nudge_is_repeated_until_it_is_confirmed() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    (first,) = stored(bench, "bob/b1")
    bench.sent()
    bench.passes(0.4)
    assert not bench.sent()
    bench.passes(0.7)
    repeats = bench.sent(NUDGE)
    assert [(nudge.connector, nudge.to, nudge.session) for nudge in repeats] == [(B, b"bob/b1", 20)] * 2
    assert len(bench.core.nudges) == 1
    bench.hear(repeats[-1])
    assert len(bench.core.nudges) == 0
    bench.sent()
    bench.passes(2.0)
    assert not bench.sent()
    assert first.attempt not in {nudge.attempt for nudge in repeats}


def test_the_confirmation_of_an_earlier_nudge_does_not_silence_a_later_one() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    (first,) = stored(bench, "bob/b1")
    (second,) = stored(bench, "bob/b1")
    bench.hear(first)
    bench.sent()
    bench.passes(0.6)
    (again,) = bench.sent(NUDGE)
    assert again.attempt not in (first.attempt, second.attempt)


def test_a_confirmation_that_nobody_waits_for_is_ignored() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    (nudge,) = stored(bench, "bob/b1")
    bench.hear(nudge)
    bench.sent()
    bench.hear(nudge)
    assert not bench.sent()


def test_a_device_that_has_gone_or_come_anew_is_not_nudged_again() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    stored(bench, "bob/b1", "bob/b2")
    del bench.presence.places["bob"]["b1"]
    bench.goes_online("bob/b2", C, 99)  # it read its inbox when it came
    bench.passes(1.0)
    assert not bench.sent(NUDGE)
    assert len(bench.core.nudges) == 0


def test_a_nudge_for_a_connector_that_cannot_be_sent_to_is_tried_again() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.ports.gone.add(B)
    assert not stored(bench, "bob/b1")
    bench.ports.gone.clear()
    bench.passes(0.6)
    assert len(bench.sent(NUDGE)) == 1


# Who waits for them.


def test_a_copy_is_safe_when_its_connector_has_heard() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    (nudge,) = bench.sent()
    assert nudge.kind == NUDGE
    assert not bench.core.idle
    bench.hear(nudge)
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]
    assert bench.core.idle


def test_a_copy_for_whichever_device_is_safe_when_all_of_them_have() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.receives(returned(7, "bob/"), connector=C)
    bench.store_everything(hear=False)
    first, second = bench.sent(NUDGE)
    bench.hear(first, first)
    assert not bench.sent(OUTCOMES)
    bench.hear(second)
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]


def test_a_later_nudge_that_is_heard_tells_of_earlier_rows_and_an_earlier_one_not_of_later_rows() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    nudges = []
    for attempt in (7, 8, 9):
        bench.receives(returned(attempt, "bob/b1"), connector=C)
        bench.store_everything(hear=False)
        nudges += bench.sent(NUDGE)
    bench.hear(nudges[1])
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE), (8, 0, 1, SAFE)]
    bench.hear(nudges[2])
    assert outcomes(bench.sent()) == [(9, 0, 1, SAFE)]


def test_a_device_that_goes_or_comes_elsewhere_reads_its_inbox_by_itself() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(returned(7, "bob/b1"), returned(8, "bob/b2"), connector=C)
    bench.store_everything(hear=False)
    bench.goes_online("bob/b1", C, 30)
    del bench.presence.places["bob"]["b2"]
    bench.sent()
    bench.passes(0.1)
    assert sorted(outcomes(bench.sent())) == [(7, 0, 1, SAFE), (8, 0, 1, SAFE)]


def test_a_device_that_is_elsewhere_at_the_next_row() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    (old,) = bench.sent(NUDGE)
    bench.goes_online("bob/b1", C, 30)
    bench.receives(returned(8, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    sent = bench.sent()
    assert outcomes(sent) == [(7, 0, 1, SAFE)]  # where it is now, it has read its inbox since
    (new,) = [rec for rec in sent if rec.kind == NUDGE]
    bench.hear(old)
    assert not bench.sent()
    bench.hear(new)
    assert outcomes(bench.sent()) == [(8, 0, 1, SAFE)]


def test_a_device_that_moves_between_two_rows_of_one_turn() -> None:
    bench = Bench(USERS)
    done: list[tuple[int, bool]] = []
    places = [bench.goes_online("bob/b1", B, 20), bench.goes_online("bob/b1", C, 30)]
    for number, place in enumerate(places):
        bench.core.nudges.nudge("bob", {"b1": place}, lambda heard, number=number: done.append((number, heard)))  # type: ignore[misc]
    assert done == [(0, True)]
    bench.core.flush()
    bench.hear(*bench.sent(NUDGE))
    assert done == [(0, True), (1, True)]


def test_a_connector_that_does_not_hear_in_time_leaves_the_copy_to_its_authors_repeat() -> None:
    bench = Bench(USERS, nudge_timeout_s=3.0)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(returned(7, "bob/"), connector=C)
    bench.store_everything(hear=False)
    bench.passes(2.8)
    assert not bench.sent(OUTCOMES)
    bench.passes(0.4)
    sent = bench.sent()
    assert outcomes(sent) == [(7, 0, 1, UNAVAILABLE)]
    assert [rec.attempt for rec in sent if rec.kind == STORED] == [1]
    bench.passes(1.0)
    bench.hear(*bench.sent(NUDGE))  # it is told all the same
    assert len(bench.core.nudges) == 0
    assert not bench.sent()
