"""The connector's core as a whole: strangers, silence, breaches, wrong records, what a turn writes, and stopping."""

from __future__ import annotations

import pytest

from connector.core.phases import GREETING, LIVE
from fabric import records
from fabric.records import EVICTED, OFFLINE, REMOVE, ROUTE, SAFE, STORE, record
from protocol.errors import RecordError
from protocol.framing import delimit
from protocol.sparrow_pb2 import Ack, Failed, Frame, Goodbye, Logout
from tests.connector.bench import B1, Bench, Client, copy, ids, text


def code(client: Client) -> int | None:
    return client.goodbye.code if client.goodbye is not None else None


# Strangers.


def test_who_does_not_log_in_in_time_is_let_go_oldest_first() -> None:
    bench = Bench(login_timeout_s=3.0)
    first = bench.connect()
    bench.passes(1.0)
    second = bench.connect()
    second.raw(b"\x05")  # a byte now and then is no login
    bench.passes(2.0)
    assert (code(first), code(second)) == (Goodbye.NOT_LOGGED_IN, None)
    assert first.closed
    second.raw(b"\x0a")
    bench.passes(1.0)
    assert code(second) == Goodbye.NOT_LOGGED_IN


def test_who_has_logged_in_is_no_stranger() -> None:
    bench = Bench(login_timeout_s=3.0)
    alice, waiting = bench.live("alice/a1"), bench.logging_in("bob/b1")
    bench.passes(3.5)
    assert alice.session.phase == LIVE
    assert waiting.session.phase == GREETING


def test_of_too_many_strangers_the_oldest_goes() -> None:
    bench = Bench(max_before_login=3)
    strangers = [bench.connect() for _ in range(5)]
    bench.turn()
    assert [code(stranger) for stranger in strangers] == [Goodbye.TRY_AGAIN] * 2 + [None] * 3
    strangers[2].login("alice/a1")
    bench.connect()
    bench.turn()
    assert code(strangers[3]) is None  # whoever has logged in makes room


def test_of_too_many_strangers_those_go_who_come_from_where_most_do() -> None:
    bench = Bench(max_before_login=4)
    one = bench.connect("192.0.2.9")
    many = [bench.connect("192.0.2.1") for _ in range(3)]
    another = bench.connect("192.0.2.5")
    bench.turn()
    assert [code(stranger) for stranger in (one, *many, another)] == [None, Goodbye.TRY_AGAIN, None, None, None]


@pytest.mark.parametrize("leaves", ["hangs up", "breaks the protocol", "logs out"])
def test_strangers_who_leave_make_room(leaves: str) -> None:
    bench = Bench(max_before_login=2, login_timeout_s=3.0)
    stays = bench.connect()
    for _ in range(5):
        stranger = bench.connect()
        if leaves == "hangs up":
            stranger.hangs_up()
        elif leaves == "logs out":
            stranger.logout()
            stranger.hangs_up()
        else:
            stranger.raw(b"\xff" * 6)
            assert code(stranger) == Goodbye.MALFORMED
            stranger.hangs_up()
    assert code(stays) is None
    bench.passes(4.0)
    assert not bench.core._greeting


# Silence.


def test_two_silent_heartbeats_end_a_session() -> None:
    bench = Bench(heartbeat_s=10.0)
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1")
    bench.passes(15.0)
    alice.pings(1)
    bench.passes(5.0)
    assert bob.session.phase == LIVE
    bench.passes(3.0)
    assert code(bob) == Goodbye.TIMED_OUT
    assert bob.closed
    assert alice.session.phase == LIVE
    bench.passes(15.0)
    assert code(alice) == Goodbye.TIMED_OUT


# Breaches.


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (text(1, from_id="mallory"), Goodbye.MALFORMED),
        (text(1, from_device="m1"), Goodbye.MALFORMED),
        (text(1, stamp=1), Goodbye.MALFORMED),
        (text(300, settled=1), Goodbye.WINDOW_EXCEEDED),
        (Frame(ack=Ack(up_to=5)), Goodbye.MALFORMED),
        (Frame(), Goodbye.MALFORMED),
    ],
)
def test_a_breach_ends_the_session_and_is_one_line_in_the_log(frame: Frame, expected: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.ports.logs.clear()
    alice.says(frame, text(1))
    assert code(alice) == expected
    assert alice.closed
    assert [rec.kind for rec in bench.sent()] == [OFFLINE]  # what came behind the breach is not understood
    bench.core.log.tick()
    assert len(bench.ports.logs) == 1
    assert "alice/a1" in bench.ports.logs[0]
    alice.raw(b"\xff" * 100)
    bench.core.log.tick()
    assert len(bench.ports.logs) == 1


def test_a_breach_takes_copies_in_hand_back() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bob.says(Frame())
    assert [rec.kind for rec in bench.sent()] == [STORE, OFFLINE]


def test_a_frame_before_login() -> None:
    bench = Bench()
    stranger = bench.connect()
    stranger.writes(1)
    assert code(stranger) == Goodbye.NOT_LOGGED_IN
    bench.core.log.tick()
    assert "a stranger" in bench.ports.logs[-1]


def test_what_many_clients_did_wrong_is_one_line_for_each_kind_and_tick() -> None:
    bench = Bench()
    for _ in range(3):
        bench.connect().writes(1)
    for at in range(bench.core.log.MAX_KINDS + 5):
        bench.core.log.add(f"kind {at}")
    bench.ports.logs.clear()
    bench.core.log.tick()
    assert bench.ports.logs[0].endswith("(3 times)")
    assert len(bench.ports.logs) == bench.core.log.MAX_KINDS + 1
    assert bench.ports.logs[-1] == "and 6 more clients let go"
    bench.ports.logs.clear()
    bench.core.log.tick()
    assert not bench.ports.logs


def test_a_frame_that_is_too_large() -> None:
    bench = Bench(max_frame_bytes=2000)
    alice = bench.live("alice/a1")
    alice.raw(delimit(bytes(2001)))
    assert code(alice) == Goodbye.FRAME_TOO_LARGE


def test_what_came_before_goodbye_in_a_turn_is_written_before_it() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    bench.core.attempts.outcome(bench.only(ROUTE).attempt, 0, 1, SAFE)
    alice.says(Frame(logout=Logout()))
    assert alice.took_kinds() == ["receipt", "goodbye"]


def test_a_client_that_does_not_read_is_let_go() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bench.core.too_slow(bob.session)
    bench.turn()
    assert code(bob) == Goodbye.TOO_SLOW
    assert bob.closed
    assert [rec.kind for rec in bench.sent()] == [STORE, OFFLINE]


def test_a_connection_that_is_lost_twice_is_lost_once() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.hangs_up()
    bench.sent()
    alice.hangs_up()
    bench.core.too_slow(alice.session)
    bench.turn()
    assert not bench.sent()
    assert not alice.frames


# Brokers.


@pytest.mark.parametrize("kind", [0, ROUTE, STORE, REMOVE, OFFLINE, records.WHERE, records.LAST_KIND + 1, 255])
def test_a_record_of_another_release_is_passed_over_and_said_once(kind: int) -> None:
    bench = Bench()
    bob = bench.live()
    other = record(kind, flags=0xFF, to=b"bob/b1", by=b"alice/a1", origin=1, attempt=1, session=2, body=b"\xff")
    bench.ports.logs.clear()
    bench.receives(copy(bob, 1), other, copy(bob, 2))
    bench.receives(other, copy(bob, 3))
    assert ids(bob.took("message")) == [1, 2, 3]
    assert bench.ports.logs == [f"a broker sends records of kind {kind}, of another release; they are passed over"]


def test_a_batch_that_cannot_be_read_is_refused_and_nothing_of_it_used() -> None:
    bench = Bench()
    bob = bench.live()
    good = copy(bob, 1)
    with pytest.raises(RecordError, match="cut off"):
        bench.core.batch(B1, records.batch([good, good[:-1]]))
    bench.turn()
    assert not bob.frames


@pytest.mark.parametrize("kind", [records.OUTCOMES, records.ROWS, records.HEARTBEAT])
def test_a_record_whose_body_cannot_be_read_is_passed_over_and_counted(kind: int) -> None:
    bench = Bench()
    bob, carol = bench.settling(), bench.live("carol/c1")
    bad = record(kind, origin=1, session=bob.session.number, attempt=bob.session.scan.request, body=b"\x05\x01\x02")
    bench.ports.logs.clear()
    bench.receives(copy(carol, 1), bad, copy(carol, 2))
    assert ids(carol.took("message")) == [1, 2]
    assert bench.core.records_unreadable == 1
    bench.passes(0.2)
    assert bench.ports.logs == [f"a record of kind {kind} from {B1} cannot be read and is passed over"]


# The turn.


def test_everything_of_one_turn_for_one_session_is_one_write() -> None:
    bench = Bench()
    bob = bench.live()
    writes = bench.ports.writes
    bench.receives(*(copy(bob, number) for number in range(1, 50)))
    assert bench.ports.writes == writes + 1
    assert ids(bob.took("message")) == list(range(1, 50))
    bench.turn()
    assert bench.ports.writes == writes + 1


def test_a_turn_without_anything_to_say_says_nothing() -> None:
    bench = Bench()
    bench.live()
    bench.ports.sent.clear()
    bench.ports.batches.clear()
    writes = bench.ports.writes
    bench.turn()
    assert (bench.ports.writes, bench.ports.batches) == (writes, [])


@pytest.mark.parametrize("first", ["alice/a1", "bob/b1"])
def test_a_connection_that_is_lost_in_a_turn_is_not_written_to_and_the_others_are(first: str) -> None:
    bench = Bench()
    clients = {name: bench.live(name) for name in ("alice/a1", "bob/b1", "carol/c1")}
    bench.core.batch(B1, records.batch([copy(client, 1) for client in clients.values()]))
    clients[first].hangs_up(turn=False)
    bench.turn()
    assert {name: client.took_kinds() for name, client in clients.items() if name != first} == {
        name: ["message"] for name in clients if name != first
    }
    assert [rec.to.decode() for rec in bench.sent(STORE)] == [first]


def test_a_write_that_turns_out_too_slow_in_the_middle_of_a_flush_still_ends_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bob = bench.live()
    write = bench.ports.write

    def slow(handle: object, data: bytes) -> None:
        write(handle, data)
        if handle is bob and bob.session.phase == LIVE:
            bench.core.too_slow(bob.session)

    monkeypatch.setattr(bench.ports, "write", slow)
    bench.receives(copy(bob, 1))
    assert bob.took_kinds() == ["message", "goodbye"]
    assert bob.closed
    bench.turn()
    assert [rec.kind for rec in bench.sent()] == [STORE, OFFLINE]


# Stopping.


def test_stopping_tells_everybody_to_move_and_returns_what_is_in_hand() -> None:
    bench = Bench()
    alice, bob, waiting, stranger = (
        bench.live("alice/a1"),
        bench.live("bob/b1"),
        bench.logging_in("carol/c1"),
        bench.connect(),
    )
    alice.writes(1)
    bench.receives(copy(bob, 1), copy(bob, 2))
    bench.sent()
    bench.core.stop()
    bench.turn()
    assert [code(client) for client in (alice, bob, waiting, stranger)] == [Goodbye.MOVE] * 4
    assert all(client.closed for client in (alice, bob, waiting, stranger))
    sent = bench.sent()
    assert [rec.attempt for rec in sent if rec.kind == STORE] == [101, 102]
    assert {rec.to for rec in sent if rec.kind == OFFLINE} == {b"alice/a1", b"bob/b1", b"carol/c1"}
    assert not bench.core.idle
    bench.stored(bob, 2)
    assert bench.core.idle


def test_a_replaced_session_answers_while_stopping() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bench.core.stop()
    bench.receives(record(records.EVICT, to=b"bob/b1", session=bob.session.number, origin=5, attempt=6))
    assert not bench.sent(EVICTED)
    bench.stored(bob)
    assert (bench.only(EVICTED).origin, bench.core.idle) == (5, True)


def test_nothing_is_taken_from_a_client_that_was_told_to_move() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.core.stop()
    bench.turn()
    bench.sent()
    alice.writes(1)
    assert not bench.sent()


def test_many_are_told_to_move_a_few_at_a_time() -> None:
    bench = Bench(drain_per_second=20)
    clients = [bench.live(f"user{number}/d") for number in range(5)]
    bench.core.stop()
    bench.turn()
    assert sum(code(client) is not None for client in clients) == 2
    assert not bench.core.idle
    clients[-1].hangs_up()
    bench.passes(0.1)
    assert [code(client) for client in clients[:4]] == [Goodbye.MOVE] * 4
    assert bench.core.idle


# What a later release says.


def test_a_result_of_a_later_release_is_try_again() -> None:
    bench = Bench()
    client = bench.logging_in()
    bench.welcome(client, result=records.LATE + 1)
    assert code(client) == Goodbye.TRY_AGAIN


def test_a_close_of_a_later_release_ends_the_session_all_the_same() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(record(records.CLOSE, flags=99, to=b"bob/b1", session=bob.session.number))
    assert code(bob) == Goodbye.LOGGED_OUT


def test_a_state_of_a_later_release_settles_nothing() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.writes(1)
    bench.outcome(bench.only(ROUTE).attempt, records.ADMINS_ONLY + 1)
    (failed,) = alice.took("failed")
    assert (failed.code, failed.retry_after_ms > 0) == (Failed.UNAVAILABLE, True)
