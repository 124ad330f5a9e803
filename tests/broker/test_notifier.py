"""Notifications: one a device and turn, repeated until that very one is confirmed, or nobody is there any more."""

from __future__ import annotations

from fabric.records import NOTIFY, OUTCOMES, SAFE, STORED, UNAVAILABLE
from tests.broker.bench import B, Bench, C, Sent, outcomes, returned

USERS = {"bob": ["b1", "b2"]}


def stored(bench: Bench, *to: str) -> list[Sent]:
    """Rows are stored for these devices; the notifications that come of it."""
    bench.receives(*(returned(number, address) for number, address in enumerate(to)), connector=C)
    bench.store_everything(hear=False)
    return bench.sent(NOTIFY)


def test_one_notification_a_device_and_turn() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    notifications = stored(bench, "bob/b1", "bob/b1", "bob/b2", "bob/b1")
    assert sorted((notify.to, notify.session) for notify in notifications) == [(b"bob/b1", 20), (b"bob/b2", 21)]
    assert len({notify.attempt for notify in notifications}) == 2


def test_a_notification_is_repeated_until_it_is_confirmed() -> None:
    bench = Bench(USERS, notify_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    (first,) = stored(bench, "bob/b1")
    bench.sent()
    bench.passes(0.4)
    assert not bench.sent()
    bench.passes(0.7)
    repeats = bench.sent(NOTIFY)
    assert [(notify.connector, notify.to, notify.session) for notify in repeats] == [(B, b"bob/b1", 20)] * 2
    assert len(bench.core.notifier) == 1
    bench.hear(repeats[-1])
    assert len(bench.core.notifier) == 0
    bench.sent()
    bench.passes(2.0)
    assert not bench.sent()
    assert first.attempt not in {notify.attempt for notify in repeats}


def test_the_confirmation_of_an_earlier_notification_does_not_silence_a_later_one() -> None:
    bench = Bench(USERS, notify_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    (first,) = stored(bench, "bob/b1")
    (second,) = stored(bench, "bob/b1")
    bench.hear(first)
    bench.sent()
    bench.passes(0.6)
    (again,) = bench.sent(NOTIFY)
    assert again.attempt not in (first.attempt, second.attempt)


def test_a_confirmation_that_nobody_waits_for_is_ignored() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    (notify,) = stored(bench, "bob/b1")
    bench.hear(notify)
    bench.sent()
    bench.hear(notify)
    assert not bench.sent()


def test_a_device_that_has_gone_or_come_anew_is_not_notified_again() -> None:
    bench = Bench(USERS, notify_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    stored(bench, "bob/b1", "bob/b2")
    del bench.presence.locations["bob"]["b1"]
    bench.goes_online("bob/b2", C, 99)  # it read its inbox when it came
    bench.passes(1.0)
    assert not bench.sent(NOTIFY)
    assert len(bench.core.notifier) == 0


def test_a_notification_for_a_connector_that_cannot_be_sent_to_is_tried_again() -> None:
    bench = Bench(USERS, notify_repeat_s=0.5)
    bench.goes_online("bob/b1", B, 20)
    bench.ports.gone.add(B)
    assert not stored(bench, "bob/b1")
    bench.ports.gone.clear()
    bench.passes(0.6)
    assert len(bench.sent(NOTIFY)) == 1


# Who waits for them.


def test_a_copy_is_safe_when_its_connector_has_heard() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    (notify,) = bench.sent()
    assert notify.kind == NOTIFY
    assert not bench.core.idle
    bench.hear(notify)
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]
    assert bench.core.idle


def test_a_copy_for_whichever_device_is_safe_when_all_of_them_have() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.receives(returned(7, "bob/"), connector=C)
    bench.store_everything(hear=False)
    first, second = bench.sent(NOTIFY)
    bench.hear(first, first)
    assert not bench.sent(OUTCOMES)
    bench.hear(second)
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE)]


def test_a_later_notification_that_is_heard_tells_of_earlier_rows_and_an_earlier_one_not_of_later_rows() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    notifications = []
    for attempt in (7, 8, 9):
        bench.receives(returned(attempt, "bob/b1"), connector=C)
        bench.store_everything(hear=False)
        notifications += bench.sent(NOTIFY)
    bench.hear(notifications[1])
    assert outcomes(bench.sent()) == [(7, 0, 1, SAFE), (8, 0, 1, SAFE)]
    bench.hear(notifications[2])
    assert outcomes(bench.sent()) == [(9, 0, 1, SAFE)]


def test_a_device_that_goes_or_comes_elsewhere_reads_its_inbox_by_itself() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(returned(7, "bob/b1"), returned(8, "bob/b2"), connector=C)
    bench.store_everything(hear=False)
    bench.goes_online("bob/b1", C, 30)
    del bench.presence.locations["bob"]["b2"]
    bench.sent()
    bench.passes(0.1)
    assert sorted(outcomes(bench.sent())) == [(7, 0, 1, SAFE), (8, 0, 1, SAFE)]


def test_a_device_that_is_elsewhere_at_the_next_row() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(returned(7, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    (old,) = bench.sent(NOTIFY)
    bench.goes_online("bob/b1", C, 30)
    bench.receives(returned(8, "bob/b1"), connector=C)
    bench.store_everything(hear=False)
    sent = bench.sent()
    assert outcomes(sent) == [(7, 0, 1, SAFE)]  # where it is now, it has read its inbox since
    (new,) = [rec for rec in sent if rec.kind == NOTIFY]
    bench.hear(old)
    assert not bench.sent()
    bench.hear(new)
    assert outcomes(bench.sent()) == [(8, 0, 1, SAFE)]


def test_a_device_that_moves_between_two_rows_of_one_turn() -> None:
    bench = Bench(USERS)
    done: list[tuple[int, bool]] = []
    locations = [bench.goes_online("bob/b1", B, 20), bench.goes_online("bob/b1", C, 30)]
    for number, location in enumerate(locations):
        bench.core.notifier.notify("bob", {"b1": location}, lambda heard, number=number: done.append((number, heard)))  # type: ignore[misc]
    assert done == [(0, True)]
    bench.core.flush()
    bench.hear(*bench.sent(NOTIFY))
    assert done == [(0, True), (1, True)]


def test_a_connector_that_does_not_hear_in_time_leaves_the_copy_to_its_authors_repeat() -> None:
    bench = Bench(USERS, notify_timeout_s=3.0)
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
    bench.hear(*bench.sent(NOTIFY))  # it is told all the same
    assert len(bench.core.notifier) == 0
    assert not bench.sent()
