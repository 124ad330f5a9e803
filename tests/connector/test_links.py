"""Links to brokers: who is up, who serves whom, the lease, and what one turn sends."""

from __future__ import annotations

import pytest

from connector.core.links import Links
from fabric import records
from fabric.records import HEARTBEAT, OUTCOMES, PAGE, ROUTE, SAFE, UNWELL, unpack_outcomes
from protocol.errors import InvalidIdError
from protocol.sparrow_pb2 import Failed, Goodbye
from tests.connector.bench import B1, B2, ELSEWHERE, INCARNATION, LEASE, TICK_S, Bench, copy, failures, text

USERS = [f"user{number}" for number in range(200)]


def ready(bench: Bench) -> bool:
    """Whether logins can be taken."""
    return bench.core.links.ready


def served_by(bench: Bench) -> dict[str, str]:
    """User → broker."""
    routes = {user: bench.core.links.for_user(user) for user in USERS}
    return {user: route[0].endpoint for user, route in routes.items() if route is not None}


def fall_silent(bench: Bench, broker: str) -> None:
    """Long enough to be taken for lost; the others are heard."""
    links = bench.core.links
    for _ in range(round(bench.settings.link_timeout_s / TICK_S) + 2):
        for endpoint in bench.settings.brokers:
            if endpoint != broker:
                links.link(endpoint).heard = bench.now
        bench.passes(TICK_S, keep_up=False)


# Up and down.


def test_logins_can_be_taken_once_a_broker_is_up_and_a_lease_is_held() -> None:
    bench = Bench(up=())
    assert not ready(bench)
    bench.heartbeat(lease=0)  # presence is away: no lease was granted
    assert not ready(bench)
    bench.heartbeat(lease=LEASE)
    assert ready(bench)
    assert bench.ports.logs == [f"broker up: {B1}"]


def test_heartbeats_go_to_every_broker_with_incarnation_and_lease() -> None:
    bench = Bench(up=(), link_heartbeat_s=0.25)
    bench.passes(0.1)
    beats = [(beat.broker, beat.origin, beat.attempt) for beat in bench.ports.sent]
    assert beats == [(B1, INCARNATION, 0), (B2, INCARNATION, 0)]
    bench.heartbeat()
    bench.ports.sent.clear()
    bench.passes(1.0)
    later = [(beat.broker, beat.attempt) for beat in bench.sent(HEARTBEAT)]
    assert later == [(B1, LEASE), (B2, LEASE)] * 3  # each 0.25 s, as far as ticks of 0.1 s allow


def test_a_silent_broker_is_lost_and_comes_back() -> None:
    bench = Bench(link_timeout_s=2.0)
    bench.passes(1.9, keep_up=False)
    assert ready(bench)
    bench.passes(0.2, keep_up=False)
    assert not ready(bench)
    assert bench.core.links.for_user("bob") is None
    bench.heartbeat()
    assert ready(bench)
    assert bench.ports.logs == [f"broker up: {B1}", f"broker lost: {B1}", f"broker up: {B1}"]


def test_a_lost_broker_fails_its_attempts_for_now_and_all_sessions_read_again() -> None:
    bench = Bench()
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1")
    alice.writes(1)
    fall_silent(bench, B1)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]
    bench.sent()
    bench.heartbeat()
    bench.passes(0.1)
    assert set(bench.registers_again()) == {alice.session.number, bob.session.number}
    bench.passes(1.0)
    assert {page.session for page in bench.sent(PAGE)} == {alice.session.number, bob.session.number}


def test_a_broker_that_was_restarted_unnoticed_is_lost_all_the_same() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    bench.heartbeat(incarnation=333)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]
    assert ready(bench)
    bench.passes(0.1)
    assert bench.registers_again() == [alice.session.number]
    assert bench.only(PAGE).session == alice.session.number


def test_attempts_at_other_brokers_go_on_when_one_is_lost() -> None:
    bench = Bench(up=(B1, B2))
    alice = bench.live("alice/a1")
    where = served_by(bench)
    dests = [next(user for user in USERS if where[user] == broker) for broker in (B1, B2)]
    alice.writes(1, dests[0], stream=1)
    alice.writes(1, dests[1], stream=2)
    fall_silent(bench, B2)
    (failed,) = alice.took("failed")
    assert failed.stream == 2


# Members.


def test_a_broker_that_leaves_the_members_makes_sessions_read_again_linked_or_not() -> None:
    bench = Bench(brokers=(B1,))
    bench.heartbeat(members=[901, 555])
    bob = bench.live()
    bench.heartbeat(members=[901, 555])
    bench.passes(0.1)
    assert not bench.sent(PAGE)
    bench.heartbeat(members=[901])
    bench.passes(0.1)
    assert bench.only(PAGE).session == bob.session.number
    assert ready(bench)  # the one we are linked to is well


def test_a_broker_that_joins_changes_nothing() -> None:
    bench = Bench()
    bench.live()
    bench.heartbeat(members=[901, 556])
    bench.passes(0.1)
    assert not bench.sent()


def test_a_list_of_members_that_is_cut_off_is_passed_over() -> None:
    bench = Bench(up=())
    bench.receives(records.record(HEARTBEAT, origin=901, attempt=LEASE, session=LEASE, body=b"1234567"))
    assert bench.core.records_unreadable == 1
    assert not bench.core.links.ready


# The lease.


def test_another_lease_registers_every_session_again() -> None:
    bench = Bench()
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1")
    bench.heartbeat(lease=51)
    bench.passes(0.1)
    again = bench.sent(records.ONLINE)
    assert [(rec.session, rec.attempt, rec.flags) for rec in again] == [
        (alice.session.number, 51, records.AGAIN),
        (bob.session.number, 51, records.AGAIN),
    ]


def test_an_answer_to_an_earlier_heartbeat_does_not_bring_an_old_lease_back() -> None:
    bench = Bench()
    bench.live()
    bench.heartbeat(lease=51)
    bench.passes(0.1)
    bench.sent()
    bench.heartbeat(lease=52, asked=LEASE)  # of two brokers that both found the lease gone, the second
    bench.passes(0.1)
    assert bench.core.links.lease == 51
    assert not bench.sent()


# Who serves whom.


def test_users_are_spread_over_the_brokers_that_are_up_and_keep_theirs() -> None:
    bench = Bench(up=(B1, B2))
    before = served_by(bench)
    assert 60 < sum(broker == B1 for broker in before.values()) < 140
    fall_silent(bench, B2)
    assert set(served_by(bench).values()) == {B1}
    bench.heartbeat(B2)
    assert served_by(bench) == before  # only those of the lost broker had moved


def test_who_serves_whom_does_not_depend_on_the_connector() -> None:
    assert served_by(Bench(up=(B1, B2))) == served_by(Bench(up=(B2, B1), brokers=(B2, B1)))


def test_a_user_id_that_is_none_is_refused() -> None:
    bench = Bench()
    with pytest.raises(InvalidIdError):
        bench.core.links.for_user("Robert'); --")


@pytest.mark.changes_cores
def test_the_cache_of_routes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Links, "MAX_CACHED_USERS", 50)
    bench = Bench(up=(B1, B2))
    first = served_by(bench)
    for user in USERS:
        bench.core.links.for_user(user)
        assert 0 < len(bench.core.links._routes) <= 50
    assert served_by(bench) == first


# The turn.


def test_everything_of_one_turn_for_one_broker_is_one_batch() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.ports.batches.clear()
    alice.says(text(1), text(2), text(3))
    assert bench.ports.batches == [B1]
    assert [rec.kind for rec in bench.sent()] == [ROUTE] * 3


def test_outcomes_of_one_turn_travel_together_for_each_origin() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2), copy(bob, 3, origin=8888))
    bob.acks(3)
    found = {rec.origin: list(unpack_outcomes(rec.body)) for rec in bench.sent(OUTCOMES)}
    assert {origin: [entry[0] for entry in entries] for origin, entries in found.items()} == {
        ELSEWHERE: [101, 102],
        8888: [103],
    }


def test_a_batch_that_a_link_refuses_is_failed_for_now_where_an_author_waits() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.ports.refusing.add(B1)
    alice.writes(1)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]
    bench.ports.refusing.clear()
    alice.writes(1)
    attempt = bench.only(ROUTE).attempt
    bench.outcome(attempt, SAFE)
    (receipt,) = alice.took("receipt")
    assert (list(receipt.ids), receipt.sent) == ([1], True)


def test_an_outcome_goes_by_another_link_when_its_own_is_down() -> None:
    bench = Bench(up=(B1, B2), store_after_s=100.0)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    fall_silent(bench, B1)
    bench.sent()
    bob.acks(1)
    assert bench.only(OUTCOMES).broker == B2


def test_an_outcome_that_no_link_can_take_is_left_to_the_author_who_repeats() -> None:
    bench = Bench(store_after_s=100.0)
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2))
    fall_silent(bench, B1)
    bench.sent()
    bob.acks(1)
    bench.heartbeat()
    bench.passes(0.1)
    bob.acks(2)
    bench.registers_again()
    assert [attempt for attempt, *_ in unpack_outcomes(bench.only(OUTCOMES).body)] == [102]


# Brokers that are learnt of.

B3 = "tcp://broker-3:1"


def test_a_broker_that_another_tells_of_is_connected_to_and_serves_its_share() -> None:
    bench = Bench(brokers=(B1,))
    bench.heartbeat(members={901: B1, 902: B2})
    assert bench.ports.links == [f"+{B2}"]
    assert set(served_by(bench).values()) == {B1}
    bench.heartbeat(B2, members={901: B1, 902: B2})
    assert served_by(bench) == served_by(Bench(up=(B1, B2)))
    assert bench.ports.links == [f"+{B2}"]


def test_a_learnt_broker_is_left_when_it_is_down_and_nobody_names_it() -> None:
    bench = Bench(brokers=(B1,))
    both = {901: B1, 902: B2}
    bench.heartbeat(members=both)
    bench.heartbeat(B2, members=both)
    bench.heartbeat(members={901: B1})
    assert f"-{B2}" not in bench.ports.links  # it answers still
    for _ in range(3):
        bench.passes(bench.settings.link_timeout_s / 2, keep_up=False)
        bench.heartbeat(members={901: B1})
    assert bench.ports.links == [f"+{B2}", f"-{B2}"]
    bench.receives(records.record(HEARTBEAT, origin=902, attempt=LEASE, session=LEASE), broker=B2)  # a late one
    assert set(served_by(bench).values()) == {B1}


def test_a_learnt_broker_that_is_down_and_named_is_kept() -> None:
    bench = Bench(brokers=(B1,))
    both = {901: B1, 902: B2}
    bench.heartbeat(members=both)
    bench.heartbeat(B2, members=both)
    bench.now += bench.settings.link_timeout_s
    bench.heartbeat(members=both)
    bench.passes(0.2, keep_up=False)
    assert bench.ports.links == [f"+{B2}"]


def test_with_no_broker_up_the_learnt_ones_are_kept() -> None:
    bench = Bench(brokers=(B1,))
    bench.heartbeat(members={901: B1, 902: B2})
    bench.passes(5.0, keep_up=False)
    assert bench.ports.links == [f"+{B2}"]
    bench.heartbeat(B2)
    assert ready(bench)


def test_configured_brokers_are_never_left() -> None:
    bench = Bench(up=(B1, B2))
    bench.heartbeat(members={901: B1})
    bench.now += bench.settings.link_timeout_s
    bench.heartbeat(members={901: B1})
    bench.passes(0.2, keep_up=False)
    assert bench.ports.links == []


def test_a_broker_under_another_name_is_not_connected_to_twice() -> None:
    bench = Bench(brokers=(B1,))
    bench.heartbeat(members={901: "tcp://its-other-name:1"})
    assert bench.ports.links == []


def test_hashing_is_over_what_brokers_call_themselves() -> None:
    bench = Bench(up=(B1, B2))
    names = {901: B2, 902: B3}
    bench.heartbeat(members=names)
    bench.heartbeat(B2, members=names)
    other = Bench(brokers=(B2, B3), up=(B2, B3))
    renamed = {B1: B2, B2: B3}
    assert {user: renamed[broker] for user, broker in served_by(bench).items()} == served_by(other)


def test_two_configured_names_of_one_broker_are_one_link_until_it_is_lost() -> None:
    bench = Bench(up=(B1,), brokers=(B1, B2))
    bench.heartbeat(B2, incarnation=901)
    assert bench.ports.links == [f"-{B2}"]
    assert bench.ports.logs[-1] == f"broker reached twice: {B2} is not needed"  # it is not taken for up
    assert set(served_by(bench).values()) == {B1}
    bench.heartbeat(members={901: B2, 903: B3})
    assert bench.ports.links == [f"-{B2}", f"+{B3}"]  # the twin is not learnt anew
    bench.passes(5.0, keep_up=False)
    assert bench.ports.links == [f"-{B2}", f"+{B3}", f"+{B2}"]
    bench.heartbeat(B2, incarnation=901)
    assert set(served_by(bench).values()) == {B2}


def test_a_link_that_finds_itself_at_anothers_broker_is_lost() -> None:
    bench = Bench(up=(B1, B2))
    alice = bench.live("alice/a1")
    dest = next(user for user, broker in served_by(bench).items() if broker == B2)
    alice.writes(1, dest)
    bench.heartbeat(B2, incarnation=901)
    assert failures(alice.took("failed")) == [(1, Failed.UNAVAILABLE, False)]
    assert f"-{B2}" in bench.ports.links


def test_a_learnt_twin_is_simply_left() -> None:
    bench = Bench(brokers=(B1,))
    bench.heartbeat(members={901: B1, 902: B2})
    bench.heartbeat(B2, incarnation=901)
    assert bench.ports.links == [f"+{B2}", f"-{B2}"]
    bench.passes(5.0, keep_up=False)
    assert bench.ports.links == [f"+{B2}", f"-{B2}"]


def test_a_broker_that_leaves_gets_no_new_users_but_is_heard() -> None:
    bench = Bench(up=(B1, B2))
    bench.heartbeat(B2, members={901: B1})
    assert set(served_by(bench).values()) == {B1}
    bench.heartbeat(B1, members={902: B2})  # both: better than nobody
    assert set(served_by(bench).values()) == {B1, B2}


# Unwell.


def brokers_of(bench: Bench, count: int = 40) -> set[str]:
    """Which brokers serve these users."""
    found = [bench.core.links.for_user(f"user{number}") for number in range(count)]
    return {link.endpoint for link, _ in filter(None, found)}


def test_what_it_is_able_to_goes_by_its_brokers() -> None:
    bench = Bench(up=())
    links = bench.core.links
    assert links.no_broker == links.no_storing == links.no_logins == "no broker is up"
    bench = Bench(up=(B1, B2))
    links = bench.core.links
    assert (links.no_broker, links.no_storing, links.no_logins) == ("", "", "")
    bench.heartbeat(B1, flags=UNWELL)
    assert links.no_storing == links.no_logins == ""  # the other one can
    bench.heartbeat(B2, flags=UNWELL)
    assert links.no_broker == ""
    assert links.no_storing == links.no_logins == "no broker can use its store, or presence: their logs say why"
    bench.heartbeat(B2)
    links.lease = 0
    assert links.no_logins == "no broker has given a lease"


def test_a_broker_whose_store_does_not_answer_serves_only_if_no_other_can() -> None:
    bench = Bench(up=(B1, B2))
    assert brokers_of(bench) == {B1, B2}
    bench.heartbeat(B1, flags=UNWELL)
    assert brokers_of(bench) == {B2}
    assert bench.ports.logs[-1] == f"broker unwell, its store or presence does not answer: {B1}"
    bench.heartbeat(B1, flags=UNWELL)
    bench.heartbeat(B2, flags=UNWELL)
    assert brokers_of(bench) == {B1, B2}
    bench.heartbeat(B1)
    assert brokers_of(bench) == {B1}
    assert bench.ports.logs[-1] == f"broker well again: {B1}"
    bench.heartbeat(B2)
    assert brokers_of(bench) == {B1, B2}


# Clocks, and what brokers know.


@pytest.mark.parametrize("ahead_ms", [61_000, -61_000])
def test_where_a_broker_has_another_time_no_logins_are_taken(ahead_ms: int) -> None:
    """A stamp of ours would be no place in a timeline (docs/design/history.md, rule R-B)."""
    bench = Bench(up=(B1, B2))
    bench.heartbeat(B2, ahead_ms=ahead_ms)
    assert bench.core.links.apart == [B2]
    assert bench.core.links.no_logins == f"our clock is too far from that of {B2}"
    assert not bench.core.links.ready
    assert (
        bench.ports.logs[-1] == f"the clock of broker {B2} is {ahead_ms // 1000} s ahead of ours: no logins are taken"
    )
    client = bench.logging_in()
    assert client.goodbye is not None
    assert client.goodbye.code == Goodbye.TRY_AGAIN
    bench.heartbeat(B2, ahead_ms=59_000)
    assert bench.core.links.ready
    assert bench.ports.logs[-1] == f"the clock of broker {B2} is near ours again"


def test_changes_are_offered_where_every_broker_knows_them() -> None:
    bench = Bench(up=(B1, B2))
    bench.heartbeat(B1, flags=records.KNOWS_CHANGES)
    assert not bench.core.links.know_changes
    bench.heartbeat(B2, flags=records.KNOWS_CHANGES)
    assert bench.core.links.know_changes
    client = bench.logging_in()
    bench.welcome(client, terms=records.pack_terms(0, 12))
    (logged_in,) = client.took("logged_in")
    assert (list(logged_in.understands), logged_in.edit_hours) == (["changes"], 12)
