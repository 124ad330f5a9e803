"""The broker's core as a whole: heartbeats, what it passes on, wrong records, what a turn sends and cannot send."""

from __future__ import annotations

import pytest

from fabric import records
from fabric.records import (
    COPY,
    HEARTBEAT,
    KNOWS_CHANGES,
    KNOWS_GROUPS,
    KNOWS_SIGNALS,
    OFFLINE,
    OUTCOME,
    OUTCOMES,
    REMOVE,
    ROUTE,
    SAFE,
    STORED,
    UNWELL,
    pack_members,
    record,
)
from protocol.errors import RecordError
from tests.broker.bench import INCARNATION, A, B, Bench, C, outcomes, returned, route

USERS = {"alice": ["a1"], "bob": ["b1"]}


# Heartbeats.


@pytest.mark.parametrize(("kept", "told"), [(50, 50), (51, 51), (None, 50)], ids=["kept", "a new one", "away"])
def test_a_heartbeat_keeps_the_lease_and_is_answered(kept: int | None, told: int) -> None:
    bench = Bench()
    bench.ports.brokers = {INCARNATION: "tcp://here:1", 901: "tcp://there:2"}
    bench.receives(record(HEARTBEAT, origin=B, attempt=50), connector=B)
    ((connector, lease, done),) = bench.presence.kept
    assert (connector, lease) == (B, 50)
    assert not bench.sent()
    done(kept)
    bench.core.flush()
    rec = bench.only(HEARTBEAT)
    assert (rec.connector, rec.origin, rec.attempt, rec.session) == (B, INCARNATION, told, 50)
    assert rec.body == pack_members([(INCARNATION, "tcp://here:1"), (901, "tcp://there:2")])


# Passing on.


def test_outcomes_are_passed_on_to_their_origin_unread() -> None:
    bench = Bench()
    body = OUTCOME.pack(5, 1, 2, SAFE) + OUTCOME.pack(6, 0, 1, SAFE)
    bench.receives(record(OUTCOMES, origin=A, body=body), record(OUTCOMES, origin=C, body=body[:13]), connector=B)
    assert {(rec.connector, rec.origin, rec.body) for rec in bench.sent()} == {(A, A, body), (C, C, body[:13])}


# Wrong records.


@pytest.mark.parametrize("kind", [0, COPY, STORED, records.ROWS, records.HINT, records.LAST_KIND + 1, 255])
def test_a_record_of_another_release_is_passed_over_and_said_once(kind: int) -> None:
    bench = Bench()
    other = record(kind, flags=0xFF, to=b"bob", by=b"alice/a1", origin=B, attempt=1, session=2, body=b"\xff")
    outcome = record(OUTCOMES, origin=C, body=OUTCOME.pack(5, 0, 1, SAFE))
    for _ in range(2):
        bench.receives(outcome, other, outcome)
        assert [rec.kind for rec in bench.sent()] == [OUTCOMES] * 2
    assert bench.ports.logs == [f"a connector sends records of kind {kind}, of another release; they are passed over"]


def test_a_batch_that_cannot_be_read_is_refused() -> None:
    bench = Bench(USERS)
    with pytest.raises(RecordError, match="version"):
        bench.core.batch(A, b"\x02")
    with pytest.raises(RecordError, match="cut off"):
        bench.core.batch(A, records.batch([route()])[:-1])
    bench.core.flush()
    assert not bench.asked("devices")


@pytest.mark.parametrize(
    "bad",
    [
        record(ROUTE, to=b"\xff", by=b"alice/a1", attempt=1),
        record(ROUTE, to=b"bob", by=b"\xff/a1", attempt=1),
        record(OFFLINE, to=b"\xff/b1", session=1),
        record(REMOVE, to=b"bob/b1", body=b"\x05x"),
        record(records.PAGE, to=b"\xff/b1", session=1, attempt=1, count=5),
    ],
)
def test_a_record_that_cannot_be_read_is_passed_over_and_counted(bad: bytes) -> None:
    bench = Bench(USERS)
    outcome = record(OUTCOMES, origin=C, body=OUTCOME.pack(5, 0, 1, SAFE))
    for _ in range(3):
        bench.receives(outcome, bad, outcome)
        assert [rec.kind for rec in bench.sent()] == [OUTCOMES] * 2
    assert bench.core.records_unreadable == 3
    assert len(bench.ports.logs) == 1


def test_an_ask_that_cannot_be_read_is_passed_over_and_counted() -> None:
    bench = Bench(USERS)
    answers: list[bytes] = []
    good = record(records.WHERE, attempt=1, body=records.pack_keys([b"bob"]))
    bench.core.ask(records.batch([record(records.CHANGED, attempt=2, body=b"\x05x"), good]), answers.append)
    bench.core.ask(records.batch([record(records.CLOSE, attempt=3, to=b"\xff"), good]), answers.append)
    assert len(answers) == 2
    assert bench.core.records_unreadable == 2


# The turn.


def known(**settings: int) -> Bench:
    """A broker that knows everybody's devices."""
    bench = Bench(USERS, **settings)
    bench.goes_online("bob/b1", B, 20)
    bench.receives(route())
    bench.read_devices()
    bench.read_devices()
    bench.sent()
    bench.ports.batches.clear()
    return bench


def test_everything_of_one_turn_for_one_connector_is_one_batch() -> None:
    bench = known()
    bench.receives(*(route(number) for number in range(20)), record(OUTCOMES, origin=B, body=b""))
    assert bench.ports.batches == [B]
    assert [rec.attempt for rec in bench.sent(COPY)] == list(range(20))


def test_a_turn_without_anything_to_send_sends_nothing() -> None:
    bench = known()
    bench.core.flush()
    bench.passes(1.0)
    assert not bench.ports.batches


# What cannot be sent.


def test_what_a_connector_does_not_take_is_stored_and_the_rest_is_nobodys() -> None:
    bench = known()
    bench.ports.gone.add(B)
    bench.receives(route(5), record(OUTCOMES, origin=B, body=b""), connector=A)
    assert len(bench.asked("append")) == 1
    assert not bench.sent()
    bench.store_everything()
    assert not bench.sent()
    bench.presence.locations.clear()  # its lease has run out
    bench.passes(0.1)
    assert outcomes(bench.sent()) == [(5, 0, 1, SAFE)]


def test_answers_for_an_author_whose_connector_is_gone_are_dropped() -> None:
    bench = known()
    bench.ports.gone.add(A)
    bench.receives(returned(5, "bob/b1", origin=A), connector=B)
    bench.store_everything()
    assert {(rec.connector, rec.kind) for rec in bench.sent()} == {(B, records.NOTIFY), (B, STORED)}
    assert bench.core.idle


def test_copies_that_cannot_be_sent_and_not_be_stored_either_are_told() -> None:
    bench = known(max_storing_rows=1)
    bench.ports.gone.add(B)
    bench.receives(route(5), route(6), route(7), connector=A)
    assert outcomes(bench.sent()) == [(6, 0, 1, records.UNAVAILABLE), (7, 0, 1, records.UNAVAILABLE)]


KNOWS = KNOWS_CHANGES | KNOWS_GROUPS | KNOWS_SIGNALS


def test_heartbeats_tell_whether_the_store_answers() -> None:
    bench = Bench()
    for well, flags in ((True, KNOWS), (False, UNWELL | KNOWS)):
        bench.ports.store_answers = well
        bench.receives(record(HEARTBEAT, origin=B, attempt=50), connector=B)
        _, _, done = bench.presence.kept.pop()
        done(50)
        bench.core.flush()
        assert bench.only(HEARTBEAT).flags == flags
