"""After a standstill, or without a lease: nothing is taken or given before it is known that a session goes on."""

from __future__ import annotations

import pytest

from connector.core.doubts import MAX_PARKED_BYTES, STANDSTILL_S
from fabric import records
from fabric.records import CLOSE, HEARTBEAT, ONLINE, OUTCOMES, ROUTE, STORE, record
from protocol.sparrow_pb2 import Goodbye
from tests.connector.bench import B1, B2, Bench, Client, copy, text


def stands_still(bench: Bench, seconds: float = STANDSTILL_S + 0.5, later_s: float = 0.001) -> int:
    """This process does nothing for a while; returns the beat that it sends when it goes on.

    What follows comes so much later: 0, in the same turn.
    """
    bench.now += seconds
    bench._time()
    bench.turn()
    beats = {rec.count for rec in bench.ports.sent if rec.kind == HEARTBEAT}
    bench.sent()
    bench.now += later_s
    return max(beats)


def close(bench: Bench, client: Client, broker: str = B1) -> None:
    """Its login has ended."""
    number = client.session.number
    bench.receives(record(CLOSE, to=client.session.key, session=number, flags=10, attempt=1), broker=broker)


def test_what_waited_is_taken_when_all_brokers_were_heard() -> None:
    bench = Bench(up=(B1, B2))
    alice = bench.live("alice/a1")
    beat = stands_still(bench)
    alice.writes(1)
    alice.pings(3)
    bench.heartbeat(B1, beat=beat)
    bench.heartbeat(B2, beat=beat - 1 or 0xFFFF)  # of before
    assert not bench.sent(ROUTE)
    assert not alice.took()
    bench.heartbeat(B2, beat=beat)
    assert [rec.kind for rec in bench.sent()] == [ROUTE]
    assert alice.took_kinds() == ["pong"]


def test_with_an_answer_at_once_there_is_still_a_turn_to_wait_for() -> None:
    """A node's broker answers in the turn that asks; that a client has gone may wait in a socket."""
    bench = Bench()
    alice = bench.live("alice/a1")
    beat = stands_still(bench, later_s=0.0)
    alice.writes(1)
    bench.heartbeat(beat=beat)
    assert not bench.sent(ROUTE)
    bench.passes(0.1)
    assert bench.sent(ROUTE)


def test_more_than_a_turn_has_of_what_waited_is_taken_at_once() -> None:
    bench = Bench(max_frames_per_turn=2, max_frames_per_second=0)
    alice = bench.live("alice/a1")
    beat = stands_still(bench)
    for number in range(7):
        alice.pings(number)
    alice.says(*(text(number) for number in range(1, 8)))
    assert not alice.took()
    bench.heartbeat(beat=beat)
    assert [pong.n for pong in alice.took("pong")] == list(range(7))
    assert len(bench.sent(ROUTE)) == 7


def test_a_session_that_was_ended_meanwhile_takes_and_gives_nothing_more() -> None:
    bench = Bench()
    alice, bob = bench.live("alice/a1/l1"), bench.live("bob/b1/l1")
    bob.took()
    beat = stands_still(bench)
    alice.writes(1)
    bench.receives(copy(bob, 1), copy(alice, 2))
    for client in (alice, bob):
        close(bench, client)
    bench.heartbeat(beat=beat)
    assert alice.goodbye is not None
    assert [frame.WhichOneof("kind") for frame in bob.took()] == ["goodbye"]
    sent = bench.sent()
    assert not [rec for rec in sent if rec.kind in (ROUTE, OUTCOMES)]
    assert len([rec for rec in sent if rec.kind == STORE]) == 2, "copies go back"


def test_a_client_that_leaves_meanwhile_says_nothing_more_and_brokers_get_back_what_is_theirs_at_once() -> None:
    bench = Bench()
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1")
    beat = stands_still(bench)
    alice.writes(1)
    bench.receives(copy(bob, 1), copy(bob, 2))
    for client in (alice, bob):
        client.hangs_up()
    assert [rec.attempt for rec in bench.sent(STORE)] == [101, 102]
    assert not bench.core.doubts.unsure
    bench.heartbeat(beat=beat)
    assert not [rec for rec in bench.sent() if rec.kind in (ROUTE, OUTCOMES)]


def test_what_stands_behind_the_loss_of_the_lease_in_one_batch_is_held_back() -> None:
    bench = Bench()
    bob = bench.live()
    bob.took()
    lost = record(
        HEARTBEAT,
        origin=901,
        attempt=bench.core.links.lease + 1,
        session=bench.core.links.lease,
        body=records.pack_members([(901, B1)]),
    )
    bench.receives(lost, copy(bob, 1))
    assert not bob.took()
    bench.passes(0.2)
    online = bench.only(ONLINE)
    bench.receives(record(records.ONLINE_REPLY, to=online.to, session=online.session))
    bench.page(bob, [])
    assert [frame.WhichOneof("kind") for frame in bob.took()] == ["message"]


@pytest.mark.parametrize("leaves", [False, True])
def test_what_waited_and_cannot_be_read_keeps_nothing_else_back(leaves: bool) -> None:
    bench = Bench()
    ann, bob, carol = (bench.live(f"{name}/d1") for name in ("ann", "bob", "carol"))
    bench.receives(record(records.NOTIFY, to=bob.session.key, session=bob.session.number, attempt=1))
    request = bench.only(records.PAGE).attempt
    for client in (ann, bob, carol):
        client.took()
    beat = stands_still(bench)
    bad = record(records.ROWS, session=bob.session.number, attempt=request, body=b"\x05\x01\x02")
    bench.receives(copy(ann, 1), bad, copy(bob, 2), copy(carol, 3))
    if leaves:
        bob.hangs_up()
        assert [rec.attempt for rec in bench.sent(STORE)] == [102]
    bench.heartbeat(beat=beat)
    assert bench.core.records_unreadable == (not leaves)
    assert not bench.core.doubts.unsure
    assert len(ann.took()) == len(carol.took()) == 1
    if not leaves:
        bench.passes(0.2)
        bench.page(bob, [])
        assert [frame.WhichOneof("kind") for frame in bob.took()] == ["message"]


def test_copies_that_waited_are_given() -> None:
    bench = Bench()
    bob = bench.live()
    bob.took()
    beat = stands_still(bench)
    bench.receives(copy(bob, 1))
    assert not bob.took()
    bench.heartbeat(beat=beat)
    assert bob.took_kinds() == ["message"]


def test_a_login_that_waited_is_looked_at_when_the_end_of_its_connection_may_have_been_seen() -> None:
    bench = Bench()
    before = bench.connect()
    beat = stands_still(bench)
    meanwhile = bench.connect()
    before.login("alice/a1")
    meanwhile.login("bob/b1")
    assert not bench.sent(ONLINE)
    before.hangs_up()
    bench.heartbeat(beat=beat)
    assert bench.only(ONLINE).to == b"bob/b1"


def test_without_a_broker_a_login_that_waited_is_looked_at_a_turn_later_all_the_same() -> None:
    bench = Bench(up=())
    before, after = bench.connect(), bench.connect()
    stands_still(bench, later_s=0.0)
    before.login("alice/a1")
    after.login("bob/b1")
    bench.heartbeat(B1)
    bench.core.tick()
    assert not bench.sent(ONLINE), "what else waits in sockets has not been read"
    before.hangs_up()
    bench.passes(0.1)
    assert bench.only(ONLINE).to == b"bob/b1"


def test_a_broker_that_does_not_answer_is_not_waited_for() -> None:
    bench = Bench(up=(B1, B2))
    alice = bench.live("alice/a1")
    beat = stands_still(bench)
    bench.heartbeat(B2, beat=beat)
    alice.writes(1)
    for _ in range(21):
        bench.core.links.link(B2).heard = bench.now  # type: ignore[union-attr]
        bench.passes(0.1, keep_up=False)
    assert [rec.kind for rec in bench.sent() if rec.kind == ROUTE] == [ROUTE]


def test_a_broker_of_0_1_does_not_say_which_beat_it_answers() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    stands_still(bench)
    alice.writes(1)
    bench.heartbeat()
    assert bench.sent(ROUTE)


def test_with_no_broker_up_there_is_nothing_to_wait_for() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.passes(3.0, keep_up=False)
    bench.now += 5.0
    alice.pings(1)
    assert alice.took_kinds() == ["pong"]


def test_after_a_long_standstill_all_register_again_first_who_has_something_to_say() -> None:
    bench = Bench(rejoin_per_tick=1)
    sessions = [bench.live(f"user{number}/d1/l1") for number in range(4)]
    beat = stands_still(bench, 4.0)
    sessions[3].writes(1)
    bench.heartbeat(beat=beat)
    assert [rec.session for rec in bench.sent(ONLINE)] == [sessions[3].session.number]
    bench.receives(record(records.ONLINE_REPLY, flags=records.LOGIN_ENDED, session=sessions[3].session.number))
    assert sessions[3].goodbye is not None
    assert sessions[3].goodbye.code == Goodbye.LOGGED_OUT
    assert not bench.sent(ROUTE)
    bench.passes(0.1)
    assert bench.registers_again() == [sessions[0].session.number]


def test_without_a_lease_nothing_is_taken_before_the_session_is_registered() -> None:
    bench = Bench()
    alice = bench.live("alice/a1/l1")
    bench.heartbeat(lease=51)
    alice.writes(1)
    assert bench.registers_again(records.AWAY) == [alice.session.number]
    alice.writes(2)
    assert not bench.sent(ROUTE)
    bench.passes(bench.settings.request_timeout_s)
    bench.registers_again()
    assert len(bench.sent(ROUTE)) == 2
    alice.writes(3)
    assert bench.sent(ROUTE)


def test_a_client_that_says_much_meanwhile_is_not_read() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    beat = stands_still(bench)
    alice.raw(b"")
    for number in range(1, 4):
        alice.says(text(number, body=b"x" * (MAX_PARKED_BYTES // 2)))
        assert alice.paused is (number > 1)
    bench.heartbeat(beat=beat)
    assert not alice.paused
    assert len(bench.sent(ROUTE)) == 3


def test_a_turn_that_is_only_late_changes_nothing() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.now += STANDSTILL_S / 2
    alice.writes(1)
    assert bench.sent(ROUTE)


def test_one_that_has_been_told_goodbye_waits_for_nothing() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.core.logins.end(alice.session, Goodbye.MOVE, "the connection is not closed yet")
    stands_still(bench)
    assert not bench.core.doubts.unsure
    alice.hangs_up()
    bench.core.check()
