"""What the user API asks of a broker, and the answers."""

from __future__ import annotations

import pytest

from fabric.records import (
    ANSWER,
    CHANGED,
    CLOSE,
    CLOSED,
    FAILED,
    HINT,
    LAST_KIND,
    OK,
    ROUTE,
    WHERE,
    Record,
    pack_keys,
    record,
)
from protocol.sparrow_pb2 import Goodbye, Hint
from tests.broker.bench import A, B, Bench


def answered(answers: list[Record]) -> tuple[int, int, bytes]:
    """(request, flags, body) of the one answer."""
    ((kind, flags, *_, attempt, _, body),) = answers
    assert kind == ANSWER
    return attempt, flags, body


@pytest.mark.parametrize(("told", "flags"), [(True, OK), (False, FAILED)])
def test_a_change_is_answered_when_no_broker_can_miss_it(told: bool, flags: int) -> None:
    bench = Bench()
    answers = bench.asks(record(CHANGED, attempt=7, body=pack_keys([b"bob", b"ann"])))
    assert not answers
    ((users, done),) = bench.presence.told
    assert users == ["bob", "ann"]
    done(told)
    assert answered(answers) == (7, flags, b"")


def test_a_change_drops_the_lists_of_devices() -> None:
    bench = Bench({"bob": ["b1"], "ann": ["a1"]})
    for user in ("bob", "ann"):
        bench.core.devices.get(user)
    bench.core.flush()
    bench.read_devices()
    assert bench.core.devices.get("bob") is not None
    bench.core.changed(["bob"])
    assert bench.core.devices.get("bob") is None
    assert bench.core.devices.get("ann") is not None


def test_closing_all_sessions_of_a_user_waits_until_presence_is_up_to_date() -> None:
    bench = Bench()
    answers = bench.asks(record(CLOSE, to=b"bob", attempt=8, flags=Goodbye.LOGGED_OUT))
    assert not answers
    bench.goes_online("bob/b1", A, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.goes_online("bobby/b1", B, 22)
    bench.pass_barrier()
    told = bench.sent()
    assert sorted((rec.connector, rec.kind, rec.to, rec.session, rec.flags) for rec in told) == [
        (A, CLOSE, b"bob/b1", 20, Goodbye.LOGGED_OUT),
        (B, CLOSE, b"bob/b2", 21, Goodbye.LOGGED_OUT),
    ]
    assert not answers
    for rec in told:
        bench.receives(record(CLOSED, to=rec.to, session=rec.session, attempt=rec.attempt), connector=rec.connector)
    assert answered(answers) == (8, OK, b"")


def test_nobody_is_there_to_be_closed() -> None:
    bench = Bench()
    answers = bench.asks(record(CLOSE, to=b"bob", attempt=8))
    bench.pass_barrier()
    assert answered(answers) == (8, OK, b"")


def test_closing_one_device() -> None:
    bench = Bench()
    bench.goes_online("bob/b1", A, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.asks(record(CLOSE, to=b"bob/b2", attempt=8, flags=Goodbye.DEVICE_REMOVED))
    bench.pass_barrier()
    closed = bench.only(CLOSE)
    assert (closed.connector, closed.session, closed.flags) == (B, 21, Goodbye.DEVICE_REMOVED)


def test_without_presence_whoever_is_known_is_closed_and_the_answer_says_that_there_may_be_more() -> None:
    bench = Bench()
    bench.goes_online("bob/b1", A, 20)
    answers = bench.asks(record(CLOSE, to=b"bob", attempt=8))
    bench.pass_barrier(False)
    assert bench.only(CLOSE).session == 20
    assert answered(answers) == (8, FAILED, b"")


def test_a_hint_goes_to_every_session_of_the_user() -> None:
    bench = Bench()
    bench.goes_online("bob/b1", A, 20)
    bench.goes_online("bob/b2", B, 21)
    body = Hint(kind=Hint.FRIEND_ASKED, user_id="alice").SerializeToString()
    assert answered(bench.asks(record(HINT, to=b"bob", attempt=9, body=body))) == (9, OK, b"")
    assert sorted((rec.connector, rec.kind, rec.to, rec.session, rec.body) for rec in bench.sent()) == [
        (A, HINT, b"bob/b1", 20, body),
        (B, HINT, b"bob/b2", 21, body),
    ]
    assert answered(bench.asks(record(HINT, to=b"nobody", attempt=10, body=body))) == (10, OK, b"")


def test_who_is_online() -> None:
    bench = Bench()
    bench.goes_online("bob/b1")
    asked = record(WHERE, attempt=3, body=pack_keys([b"ann", b"bob"]))
    assert answered(bench.asks(asked)) == (3, OK, b"\x00\x01")


@pytest.mark.parametrize("kind", [ROUTE, LAST_KIND + 1])
def test_an_ask_of_another_release_is_answered_so_that_others_are_asked(kind: int) -> None:
    bench = Bench()
    known = record(WHERE, attempt=4, body=pack_keys([b"bob"]))
    other, answer = bench.asks(record(kind, to=b"bob", attempt=3), known)
    assert answered([other]) == (3, FAILED, b"")
    assert answered([answer]) == (4, OK, b"\x00")
    assert bench.ports.logs == [f"the user API sends records of kind {kind}, of another release; they are passed over"]


def test_an_ask_that_cannot_be_read_is_passed_over() -> None:
    bench = Bench()
    assert bench.asks(record(WHERE, body=pack_keys([b"\xff"]))) == []
    assert bench.core.records_unreadable == 1
