"""From a message to its copies: who gets one, what each carries, and where it goes."""

from __future__ import annotations

import pytest

from fabric.records import COPY, NO_SUCH_USER, OTHERS, OUTCOMES, OWN, RECEIPT, SAFE, TRACED, UNAVAILABLE
from store.interface import COMMON, NewRow
from tests.broker.bench import A, B, Bench, C, outcomes, returned, route

USERS = {"alice": ["a1"], "bob": ["b1", "b2"], "carol": []}


def ready(**settings: object) -> Bench:
    """A broker that knows everybody's devices."""
    bench = Bench(USERS, **settings)
    for to in ("bob", "carol"):
        bench.receives(route(9, to=to))
        bench.read_devices()
    bench.store_everything()
    bench.sent()
    return bench


def copies(bench: Bench) -> list[tuple[int, str, int, int, int, int]]:
    """(connector, to, session, flags, index, count) of the copies that were sent."""
    return sorted(
        (rec.connector, rec.to.decode(), rec.session, rec.flags, rec.index, rec.count) for rec in bench.sent(COPY)
    )


def appended(bench: Bench) -> list[tuple[str, str]]:
    """(user, device) of the rows that the store was asked to keep."""
    return sorted((row.user, row.device) for rows in bench.asked("append") for row in rows)


# Who gets a copy.


def test_a_copy_for_each_device_that_is_online_goes_to_its_connector() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.receives(route(5, body=b"the message"))
    sent = bench.sent(COPY)
    assert {(rec.origin, rec.attempt, rec.body) for rec in sent} == {(A, 5, b"the message")}
    bench.ports.sent = sent
    assert copies(bench) == [(B, "bob/b1", 20, 0, 0, 2), (C, "bob/b2", 30, 0, 1, 2)]
    assert not bench.asked("append")
    assert bench.core.routing.routed == 3


def test_a_copy_for_each_device_that_is_offline_is_stored() -> None:
    bench = ready()
    bench.goes_online("bob/b2", C, 30)
    bench.receives(route(5, body=b"the message"))
    assert copies(bench) == [(C, "bob/b2", 30, 0, 1, 2)]
    assert bench.asked("append") == [[NewRow("bob", "b1", 1, b"the message", "alice")]]
    bench.store_everything()
    assert outcomes(bench.sent()) == [(5, 0, 2, SAFE)]


def test_a_user_who_never_logged_in_has_one_common_queue() -> None:
    bench = ready()
    bench.receives(route(5, to="carol"))
    assert appended(bench) == [("carol", COMMON)]
    bench.store_everything()
    assert outcomes(bench.sent()) == [(5, 0, 1, SAFE)]


def test_the_authors_other_devices_get_copies_of_their_own() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("alice/a1", A, 10)
    bench.receives(route(5, to="alice", by="bob/b2"))
    sent = bench.sent(COPY)
    assert {(rec.connector, rec.to, rec.session, rec.flags, rec.count) for rec in sent} == {
        (A, b"alice/a1", 10, OTHERS, 2),
        (B, b"bob/b1", 20, OTHERS | OWN, 2),
    }
    assert {rec.index for rec in sent} == {0, 1}


def test_offline_devices_of_the_author_find_it_in_their_inbox() -> None:
    bench = ready()
    bench.receives(route(5, to="alice", by="bob/b2"))
    assert appended(bench) == [("alice", "a1"), ("bob", "b1")]
    bench.store_everything()
    assert {(index, count, state & 0x7F) for _, index, count, state in outcomes(bench.sent())} == {
        (0, 2, SAFE),
        (1, 2, SAFE),
    }


def test_a_message_to_oneself_goes_to_ones_other_devices_only() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(route(5, to="bob", by="bob/b2"))
    assert copies(bench) == [(B, "bob/b1", 20, OTHERS | OWN, 0, 1)]


def test_a_message_to_oneself_with_one_device_is_safe_at_once() -> None:
    bench = ready()
    bench.receives(route(5, to="alice", by="alice/a1"))
    assert outcomes([bench.only(OUTCOMES)]) == [(5, 0, 0, SAFE)]


def test_nobody_of_that_name() -> None:
    bench = ready()
    bench.receives(route(5, to="ghost"))
    bench.read_devices()
    rec = bench.only(OUTCOMES)
    assert (rec.connector, rec.origin, outcomes([rec])) == (A, A, [(5, 0, 0, NO_SUCH_USER)])


def test_an_author_whose_device_was_removed_meanwhile_still_reaches_all_others() -> None:
    bench = ready()
    bench.receives(route(5, to="alice", by="bob/b9"))
    assert appended(bench) == [("alice", "a1"), ("bob", "b1"), ("bob", "b2")]


# Receipts.


def test_a_receipt_goes_to_every_device_of_the_author() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.receives(route(5, to="bob", by="", body=b"receipt", flags=RECEIPT))
    assert copies(bench) == [(B, "bob/b1", 20, RECEIPT, 0, 2)]
    assert bench.asked("append") == [[NewRow("bob", "b2", 2, b"receipt")]]


def test_a_receipt_for_others_leaves_out_the_device_that_told() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(route(5, to="bob", by="bob/b1", flags=RECEIPT))
    assert copies(bench) == [(B, "bob/b2", 21, RECEIPT, 0, 1)]


@pytest.mark.parametrize(("to", "by"), [("alice", "alice/a1"), ("carol", "")])
def test_a_receipt_for_nobody_else_is_safe(to: str, by: str) -> None:
    bench = ready()
    bench.receives(route(5, to=to, by=by, flags=RECEIPT))
    assert outcomes([bench.only(OUTCOMES)]) == [(5, 0, 0, SAFE)]


def test_a_receipt_for_an_author_who_is_gone() -> None:
    bench = ready()
    bench.receives(route(5, to="ghost", by="", flags=RECEIPT))
    bench.read_devices()
    assert outcomes([bench.only(OUTCOMES)]) == [(5, 0, 0, NO_SUCH_USER)]


def test_a_receipt_is_not_taken_for_a_message_between_the_same_two() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(route(4, to="bob", by="bob/b1"))
    bench.receives(route(5, to="bob", by="bob/b1", flags=RECEIPT))
    first, second = bench.sent(COPY)
    assert (first.flags, second.flags) == (OTHERS | OWN, RECEIPT)


# Lists of devices.


def test_messages_wait_for_a_list_of_devices_and_keep_their_order() -> None:
    bench = Bench(USERS)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.receives(route(1), route(2))
    bench.receives(route(3))
    assert bench.asked("devices") == [["bob"]]
    assert bench.core.routing.waiting == 3
    assert not bench.core.idle
    bench.read_devices()
    assert bench.asked("devices") == [["alice"]]
    bench.read_devices()
    assert [rec.attempt for rec in bench.sent(COPY) if rec.connector == B] == [1, 2, 3]
    assert bench.core.idle


def test_who_waits_is_told_when_the_list_cannot_be_read() -> None:
    bench = Bench(USERS)
    bench.receives(route(1), connector=A)
    bench.receives(route(1), connector=B)
    bench.away("devices")
    assert [(rec.connector, outcomes([rec])) for rec in bench.sent(OUTCOMES)] == [
        (A, [(1, 0, 0, UNAVAILABLE)]),
        (B, [(1, 0, 0, UNAVAILABLE)]),
    ]
    assert bench.core.routing.waiting == 0


def test_who_waits_is_bounded() -> None:
    bench = Bench(USERS, max_waiting_routes=2)
    bench.receives(route(1), route(2), route(3))
    assert outcomes(bench.sent()) == [(3, 0, 0, UNAVAILABLE)]


def test_a_further_device_gets_its_copies_from_t_on() -> None:
    bench = ready(cache_s=2.0)
    for device in ("b1", "b2", "b3"):
        bench.goes_online(f"bob/{device}", B, int(device[1]))
    bench.users["bob"] = ("b1", "b2", "b3")
    for _ in range(25):  # others keep the list in use all the while
        bench.passes(0.1)
        bench.receives(route(1))
        while bench.asked("devices"):
            bench.read_devices()
    bench.sent()
    bench.receives(route(2))
    assert [rec.to for rec in bench.sent(COPY)] == [b"bob/b1", b"bob/b2", b"bob/b3"]


def test_what_was_worked_out_for_two_is_not_used_longer_than_the_lists() -> None:
    bench = ready(cache_s=2.0)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.goes_online("bob/b3", B, 22)
    bench.receives(route(1))
    bench.sent()
    bench.users["bob"] = ("b3",)
    bench.jumps(2.0)
    bench.receives(route(2))
    assert not bench.sent()  # it waits
    while bench.asked("devices"):
        bench.read_devices()
    assert [rec.to for rec in bench.sent(COPY)] == [b"bob/b3"]


def test_what_was_worked_out_is_bounded() -> None:
    bench = Bench({"bob": ["b1"], **{f"user{n}": ["d1"] for n in range(9)}}, max_cached_users=4)
    for number in range(9):
        bench.receives(route(number, by=f"user{number}/d1"))
        while bench.asked("devices"):
            bench.read_devices()
        assert len(bench.core.routing._plans) <= 4
    bench.store_everything()
    assert sorted(attempt for attempt, *_ in outcomes(bench.sent())) == list(range(9))


# Undeliverable.


def test_copies_for_a_connector_that_is_gone_are_stored() -> None:
    bench = ready()
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", C, 30)
    bench.ports.gone.add(B)
    bench.receives(route(5))
    assert copies(bench) == [(C, "bob/b2", 30, 0, 1, 2)]
    assert appended(bench) == [("bob", "b1")]
    bench.store_everything()
    bench.presence.locations["bob"].pop("b1")
    bench.passes(0.1)
    assert outcomes(bench.sent()) == [(5, 0, 2, SAFE)]


def test_a_copy_that_comes_back_is_stored() -> None:
    bench = ready()
    bench.receives(returned(5, "bob/b1", origin=C, index=1, count=3), connector=B)
    assert bench.asked("append") == [[NewRow("bob", "b1", 1, b"hello")]]
    bench.store_everything()
    (rec,) = bench.sent(OUTCOMES)
    assert (rec.connector, rec.origin, outcomes([rec])) == (C, C, [(5, 1, 3, SAFE)])


def test_traced_messages_are_followed() -> None:
    bench = Bench({"alice": ["a1", "a2"], "bob": ["b1", "b2"]})
    location = bench.goes_online("bob/b1")
    bench.receives(route(1, flags=TRACED), route(2))
    while bench.asked("devices"):
        bench.read_devices()
    assert bench.take_traces() == [
        (A, 1, "a copy for alice/a2 goes to the inbox"),
        (A, 1, f"a copy for bob/b1 goes to connector {location.connector:016x}, session {location.session:016x}"),
        (A, 1, "a copy for bob/b2 goes to the inbox"),
    ]
    assert {rec.attempt: rec.flags & TRACED for rec in bench.sent(COPY)} == {1: TRACED, 2: 0}
    bench.store_everything()
    assert bench.take_traces() == [(A, 1, "stored for alice/a2"), (A, 1, "stored for bob/b2")]
    bench.receives(route(3, flags=TRACED))
    bench.away("append")
    assert (A, 3, "could not be stored for bob/b2") in bench.take_traces()
    assert bench.take_traces() == []
