"""What somebody has read who hides their presence: for their own devices alone (P5)."""

from __future__ import annotations

from fabric.records import CHANGE, COPY, QUIET, SAFE, UNAVAILABLE
from protocol.sparrow_pb2 import READ, Message
from store.timelines import Mark
from tests.broker.bench import A, B, Bench, outcomes, route

USERS = {"alice": ["a1", "a2"], "bob": ["b1"]}


def ready(**settings: object) -> Bench:
    """Alice's other device and bob are online, and alice hides."""
    bench = Bench(USERS, **settings)  # type: ignore[arg-type]
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("alice/a2", A, 21)
    bench.store.hiding = {"alice"}
    return bench


def read(attempt: int = 5, mark: int = 0) -> bytes:
    """Alice has read something of bob's."""
    message = Message(kind=READ, from_id="alice", from_device="a1", dest_id="bob", mark=mark)
    return route(attempt, flags=QUIET, body=message.SerializeToString())


def learn(bench: Bench) -> None:
    """The store answers all reads of devices."""
    while bench.asked("devices"):
        bench.read_devices()


def receivers(bench: Bench) -> list[bytes]:
    return [rec.to for rec in bench.sent(COPY)]


def test_a_read_of_one_who_hides_goes_to_their_own_devices() -> None:
    bench = ready()
    bench.receives(read())
    learn(bench)
    assert receivers(bench) == [b"alice/a2"]


def test_all_else_of_theirs_goes_where_it_is_for() -> None:
    bench = ready()
    bench.receives(route(5), route(6, flags=QUIET | CHANGE))
    learn(bench)
    assert sorted(receivers(bench)) == [b"alice/a2", b"alice/a2", b"bob/b1", b"bob/b1"]


def test_what_others_read_is_told_to_one_who_hides() -> None:
    bench = ready()
    bench.receives(route(5, to="alice", by="bob/b1", flags=QUIET))
    learn(bench)
    assert b"alice/a2" in receivers(bench)


def test_their_mark_is_theirs_alone() -> None:
    bench = ready(keep_days=1)
    bench.receives(read(mark=7))
    learn(bench)
    bench.passes(1.0)
    assert bench.asked("raise_marks") == [[Mark("alice", "alice+bob", 7, False)]]


def test_a_read_waits_until_it_is_known() -> None:
    bench = ready()
    bench.store.hiding = None
    bench.receives(read(5), route(6))
    learn(bench)
    assert len(receivers(bench)) == 2, "of the text"
    bench.answer("hiders", ["alice"])
    assert receivers(bench) == [b"alice/a2"]


def test_while_nobody_knows_a_read_fails_for_now() -> None:
    bench = ready()
    bench.store.hiding = None
    bench.receives(read())
    learn(bench)
    bench.away("hiders")
    assert outcomes(bench.sent()) == [(5, 0, 0, UNAVAILABLE)]


def test_a_change_counts_when_it_is_told() -> None:
    bench = ready()
    bench.receives(read())
    learn(bench)
    bench.sent()
    bench.store.hiding = set()
    bench.core.changed(["alice"])
    bench.receives(read(6))
    learn(bench)
    assert sorted(receivers(bench)) == [b"alice/a2", b"bob/b1"]


def test_with_one_device_a_read_of_one_who_hides_is_safe_at_once() -> None:
    bench = Bench({"alice": ["a1"], "bob": ["b1"]})
    bench.store.hiding = {"alice"}
    bench.receives(read())
    learn(bench)
    assert outcomes(bench.sent()) == [(5, 0, 0, SAFE)]
