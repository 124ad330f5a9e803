"""Sessions come and go: named durably first, then in presence; the one that is replaced is told before the reply."""

from __future__ import annotations

import pytest

from broker.core.state import Location, Rank, Swapped
from fabric.records import (
    AGAIN,
    AWAY,
    CLOSE,
    DISABLED,
    EVICT,
    EVICTED,
    LATE,
    LOGIN_ENDED,
    NO_DEVICE,
    OFFLINE,
    OK,
    ONLINE,
    ONLINE_REPLY,
    PREDECESSOR,
    TAKEN,
    pack_login,
    record,
    unpack_terms,
)
from protocol.sparrow_pb2 import Goodbye
from store.sessions import NoSession, SessionStart, Standing
from tests.broker.bench import A, B, Bench, C

LEASE = 50


def online(session: int = 20, to: str = "bob/b1", flags: int = 0) -> bytes:
    return record(ONLINE, flags=flags, to=to.encode(), session=session, attempt=LEASE)


def reply(bench: Bench) -> tuple[int, int, int, int]:
    """(connector, session, result, previous session) of the one reply."""
    rec = bench.only(ONLINE_REPLY)
    return rec.connector, rec.session, rec.flags, rec.attempt


# Coming.


def test_a_session_is_named_durably_then_in_presence_then_welcome() -> None:
    bench = Bench()
    bench.receives(online(20), connector=B)
    assert bench.asked("begin_sessions") == [[SessionStart("bob", "b1", 20)]]
    assert not bench.presence.onlines
    bench.answer("begin_sessions", [13])
    (call,) = bench.presence.onlines
    assert (call.user, call.device, call.location, call.lease, call.again) == (
        "bob",
        "b1",
        Location(B, 20),
        LEASE,
        False,
    )
    assert not bench.sent()
    call.done(Swapped(None))
    bench.core.flush()
    assert reply(bench) == (B, 20, OK, 13)


def test_whoever_is_welcome_is_told_how_long_a_message_waits() -> None:
    bench = Bench(inbox_ttl_ms=86_400_000)
    bench.receives(online(20))
    bench.answer("begin_sessions", [0])
    bench.presence.onlines[0].done(Swapped(None))
    bench.core.flush()
    assert unpack_terms(bench.only(ONLINE_REPLY).body) == (86_400_000, 48)


def test_sessions_of_one_turn_are_named_in_one_call() -> None:
    bench = Bench()
    bench.receives(online(20, "bob/b1"), online(21, "ann/d1"), online(22, "eve/e1"))
    (starts,) = bench.asked("begin_sessions")
    assert [start.session for start in starts] == [20, 21, 22]
    bench.answer("begin_sessions", [0, NoSession.NO_DEVICE, 7])
    assert [call.user for call in bench.presence.onlines] == ["bob", "eve"]
    rec = bench.only(ONLINE_REPLY)
    assert (rec.session, rec.flags) == (21, NO_DEVICE)


def test_without_the_store_nobody_is_named() -> None:
    bench = Bench()
    bench.receives(online(20), online(21, "ann/d1"))
    bench.away("begin_sessions")
    assert [(rec.session, rec.flags) for rec in bench.sent(ONLINE_REPLY)] == [(20, AWAY), (21, AWAY)]
    assert not bench.presence.onlines


def test_without_presence_nobody_is_welcome() -> None:
    bench = Bench()
    bench.receives(online(20))
    bench.answer("begin_sessions", [0])
    bench.presence.onlines[0].done(None)
    bench.core.flush()
    assert reply(bench) == (A, 20, AWAY, 0)


# Replacement.


def test_the_session_that_is_replaced_is_told_whom_to_answer() -> None:
    bench = Bench()
    bench.receives(online(20), connector=B)
    bench.answer("begin_sessions", [13])
    bench.presence.onlines[0].done(Swapped(Location(C, 13)))
    bench.core.flush()
    sent = bench.sent()
    assert [rec.kind for rec in sent] == [EVICT, ONLINE_REPLY]
    evict, welcome = sent
    assert (evict.connector, evict.to, evict.session, evict.origin, evict.attempt) == (C, b"bob/b1", 13, B, 20)
    assert (welcome.connector, welcome.flags, welcome.attempt) == (B, PREDECESSOR, 13)


def test_a_replacement_on_the_same_connector_is_evicted_before_the_reply() -> None:
    bench = Bench()
    bench.receives(online(20), connector=B)
    bench.answer("begin_sessions", [13])
    bench.presence.onlines[0].done(Swapped(Location(B, 13)))
    bench.core.flush()
    assert [rec.kind for rec in bench.sent()] == [EVICT, ONLINE_REPLY]
    assert bench.ports.batches == [B]


def test_evicted_is_passed_on_to_the_connector_that_waits() -> None:
    bench = Bench()
    bench.receives(record(EVICTED, origin=B, attempt=20), connector=C)
    rec = bench.only(EVICTED)
    assert (rec.connector, rec.origin, rec.attempt) == (B, B, 20)


def test_a_session_whose_connector_is_gone_counts_as_evicted() -> None:
    bench = Bench()
    bench.ports.gone.add(C)
    bench.receives(online(20), connector=B)
    bench.answer("begin_sessions", [13])
    bench.presence.onlines[0].done(Swapped(Location(C, 13)))
    bench.core.flush()
    sent = bench.sent()
    assert {rec.connector for rec in sent} == {B}
    assert {rec.kind for rec in sent} == {ONLINE_REPLY, EVICTED}


def test_a_location_that_was_taken_through_another_broker_is_given_up() -> None:
    bench = Bench()
    bench.core.superseded("bob", "b1", Location(C, 13))
    bench.core.flush()
    rec = bench.only(EVICT)
    assert (rec.connector, rec.to, rec.session, rec.origin, rec.attempt) == (C, b"bob/b1", 13, 0, 0)


def test_a_location_that_was_taken_from_a_connector_that_is_gone_needs_no_answer() -> None:
    bench = Bench()
    bench.ports.gone.add(C)
    bench.core.superseded("bob", "b1", Location(C, 13))
    bench.core.flush()
    assert not bench.sent()


# Again and away.


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (Swapped(None), OK),
        (Swapped(Location(B, 20)), OK),
        (Swapped(Location(C, 21), taken=True), TAKEN),
        (None, AWAY),
    ],
)
def test_registering_again(found: Swapped | None, result: int) -> None:
    bench = Bench()
    bench.receives(online(20, flags=AGAIN), connector=B)
    assert not bench.asked("begin_sessions")  # the session has its name
    (call,) = bench.presence.onlines
    assert call.again
    call.done(found)
    bench.core.flush()
    assert reply(bench)[2] == result
    assert not bench.sent(EVICT)


def test_a_session_that_ends_gives_up_its_own_location_only() -> None:
    bench = Bench()
    bench.receives(record(OFFLINE, to=b"bob/b1", session=20), connector=B)
    assert bench.presence.offlines == [("bob", "b1", Location(B, 20))]


# Removed while logging in.


def read_standing(bench: Bench) -> list[str]:
    """The store answers its oldest read of what stands, with what `users` says."""
    (asked,) = bench.asked("standing")
    found = {user: Standing(False, dict.fromkeys(bench.users[user], "")) for user in asked if user in bench.users}
    return list(bench.answer("standing", {user: found.get(user) for user in asked}))


def test_a_device_that_is_removed_while_it_logs_in_is_let_go() -> None:
    bench = Bench({"bob": ["b1"], "ann": ["d1"]}, recent_login_s=10.0)
    bench.receives(online(20), connector=B)
    bench.receives(online(21, "bob/b2"), online(22, "ann/d1"), connector=C)
    bench.core.changed(["bob"])
    assert not bench.asked("standing")
    bench.passes(0.1)
    assert read_standing(bench) == ["bob"]
    (closed,) = bench.sent()
    assert (closed.connector, closed.kind, closed.to, closed.session) == (C, CLOSE, b"bob/b2", 21)
    assert closed.flags == Goodbye.DEVICE_REMOVED
    bench.passes(0.2)
    assert not bench.asked("standing")


def test_after_a_while_a_login_is_not_looked_at_again() -> None:
    bench = Bench({"bob": []}, recent_login_s=1.0)
    bench.receives(online(20), connector=B)
    bench.passes(1.2)
    bench.core.changed(["bob"])
    bench.passes(0.2)
    assert not bench.asked("standing")


def test_when_anybody_may_have_changed_every_recent_login_is_looked_at_and_until_the_store_answers() -> None:
    bench = Bench({"bob": ["b1"]})
    bench.receives(online(20), online(22, "ann/d1"), connector=B)
    bench.core.changed(None)
    bench.passes(0.1)
    bench.away("standing")
    bench.passes(0.1)
    assert sorted(read_standing(bench)) == ["ann", "bob"]
    assert [(rec.kind, rec.to) for rec in bench.sent()] == [(CLOSE, b"ann/d1")]


# Last seen.


def test_who_comes_and_goes_is_kept_now_and_then() -> None:
    bench = Bench(seen_interval_s=5.0)
    bench.receives(online(20), connector=B)
    bench.answer("begin_sessions", [0])
    bench.presence.onlines.pop().done(Swapped(None))
    bench.passes(0.1)
    assert bench.asked("saw") == [["bob"]]
    bench.receives(record(OFFLINE, to=b"bob/b1", session=20), record(OFFLINE, to=b"bob/b2", session=21), connector=B)
    bench.passes(4.5)
    assert len(bench.asked("saw")) == 1
    bench.passes(0.6)
    assert bench.asked("saw") == [["bob"], ["bob"]]
    bench.passes(10)
    assert len(bench.asked("saw")) == 2


# Of which login a session is.


def of(login: str, session: int = 20, to: str = "bob/b1", start: int = 0, tries: int = 0, flags: int = 0) -> bytes:
    """A session of this login wants to be registered."""
    body = pack_login(login, start, tries)
    return record(ONLINE, flags=flags, to=to.encode(), session=session, attempt=LEASE, body=body)


def test_login_and_try_go_to_the_store_and_to_presence() -> None:
    bench = Bench()
    bench.receives(of("l1", start=7, tries=3), connector=B)
    assert bench.asked("begin_sessions") == [[SessionStart("bob", "b1", 20, "l1", 7, 3)]]
    bench.answer("begin_sessions", [0])
    (call,) = bench.presence.onlines
    assert call.rank == Rank(7, 3)
    call.done(Swapped(Location(A, 19), taken=True))
    bench.core.flush()
    assert reply(bench) == (B, 20, LATE, 0)


@pytest.mark.parametrize(
    ("why", "result"),
    [
        (NoSession.NO_DEVICE, NO_DEVICE),
        (NoSession.DISABLED, DISABLED),
        (NoSession.LOGGED_OUT, LOGIN_ENDED),
        (NoSession.LATE, LATE),
    ],
)
def test_why_there_is_no_session(why: NoSession, result: int) -> None:
    bench = Bench()
    bench.receives(of("l1"), connector=B)
    bench.answer("begin_sessions", [why])
    assert reply(bench) == (B, 20, result, 0)
    assert not bench.presence.onlines


REFUSED = [
    (None, NO_DEVICE),
    (Standing(False, {"b2": "l1"}), NO_DEVICE),
    (Standing(True, {"b1": "l1"}), DISABLED),
    (Standing(False, {"b1": "l2"}), LOGIN_ENDED),
    (Standing(False, {"b1": ""}), LOGIN_ENDED),
]


@pytest.mark.parametrize(("standing", "result"), REFUSED)
def test_who_registers_again_is_held_against_what_stands(standing: Standing | None, result: int) -> None:
    bench = Bench()
    bench.receives(of("l1", flags=AGAIN), of("l5", 21, "ann/d1", flags=AGAIN), connector=B)
    assert not bench.asked("begin_sessions"), "the session has its name"
    for call in bench.presence.onlines:
        assert call.again
        call.done(Swapped(None))
    bench.core.flush()
    assert not bench.sent()
    assert bench.answer("standing", {"bob": standing, "ann": Standing(False, {"d1": "l5"})}) == ["bob", "ann"]
    assert [(rec.session, rec.flags) for rec in bench.sent(ONLINE_REPLY)] == [(20, result), (21, OK)]
    assert bench.presence.offlines == [("bob", "b1", Location(B, 20))]


@pytest.mark.parametrize(("standing", "result"), REFUSED)
def test_a_login_that_ends_while_its_session_begins_is_seen_when_presence_has_it(
    standing: Standing | None, result: int
) -> None:
    """Whoever ends it looks in presence after it has ended; so whoever is there first is seen by the other."""
    bench = Bench()
    bench.receives(of("l1"), connector=B)
    bench.answer("begin_sessions", [13])
    bench.presence.onlines.pop().done(Swapped(Location(A, 19)))
    bench.core.flush()
    assert not bench.sent()
    bench.answer("standing", {"bob": standing})
    sent = bench.sent()
    assert [(rec.connector, rec.session) for rec in sent if rec.kind == EVICT] == [(A, 19)], "its location is taken"
    assert [(rec.session, rec.flags) for rec in sent if rec.kind == ONLINE_REPLY] == [(20, result)]


@pytest.mark.parametrize("flags", [0, AGAIN])
def test_without_the_store_nobody_is_welcome(flags: int) -> None:
    bench = Bench()
    bench.receives(of("l1", flags=flags), connector=B)
    if not flags:
        bench.answer("begin_sessions", [13])
    bench.presence.onlines.pop().done(Swapped(None))
    bench.core.flush()
    bench.away("standing")
    assert reply(bench) == (B, 20, AWAY, 0)


def test_a_connector_of_0_1_tells_no_login() -> None:
    bench = Bench()
    bench.receives(online(21, flags=AGAIN), connector=B)
    bench.presence.onlines.pop().done(Swapped(None))
    bench.core.flush()
    assert reply(bench) == (B, 21, OK, 0)
