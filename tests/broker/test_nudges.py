"""Nudges: one a device and turn, repeated until that very one is confirmed, or nobody is there any more."""

from __future__ import annotations

from protocol.records import NUDGE, NUDGED, record
from tests.broker.bench import B, Bench, C, Sent, returned

USERS = {"bob": ["b1", "b2"]}


def stored(bench: Bench, *to: str) -> list[Sent]:
    """Rows are stored for these devices; the nudges that come of it."""
    bench.receives(*(returned(number, address) for number, address in enumerate(to)), connector=C)
    bench.store_everything()
    return bench.sent(NUDGE)


def confirm(bench: Bench, nudge: Sent) -> None:
    bench.receives(record(NUDGED, to=nudge.to, session=nudge.session, attempt=nudge.attempt), connector=B)


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
    bench.passes(0.4)
    assert not bench.sent()
    bench.passes(0.7)
    repeats = bench.sent(NUDGE)
    assert [(nudge.connector, nudge.to, nudge.session) for nudge in repeats] == [(B, b"bob/b1", 20)] * 2
    assert len(bench.core.nudges) == 1
    confirm(bench, repeats[-1])
    assert len(bench.core.nudges) == 0
    bench.passes(2.0)
    assert not bench.sent()
    assert first.attempt not in {nudge.attempt for nudge in repeats}


def test_the_confirmation_of_an_earlier_nudge_does_not_silence_a_later_one() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    (first,) = stored(bench, "bob/b1")
    (second,) = stored(bench, "bob/b1")
    confirm(bench, first)
    bench.passes(0.6)
    (again,) = bench.sent(NUDGE)
    assert again.attempt not in (first.attempt, second.attempt)


def test_a_confirmation_that_nobody_waits_for_is_ignored() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    (nudge,) = stored(bench, "bob/b1")
    confirm(bench, nudge)
    confirm(bench, nudge)
    assert not bench.sent()


def test_a_device_that_has_gone_or_come_anew_is_not_nudged_again() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    stored(bench, "bob/b1", "bob/b2")
    del bench.presence.places["bob"]["b1"]
    bench.goes_online("bob/b2", C, 99)  # it read its inbox when it came
    bench.passes(1.0)
    assert not bench.sent()
    assert len(bench.core.nudges) == 0


def test_a_nudge_for_a_connector_that_cannot_be_sent_to_is_tried_again() -> None:
    bench = Bench(USERS, nudge_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.ports.gone.add(B)
    assert not stored(bench, "bob/b1")
    bench.ports.gone.clear()
    bench.passes(0.6)
    assert len(bench.sent(NUDGE)) == 1
