"""Who may write to whom, as brokers enforce it."""

from __future__ import annotations

import pytest

from fabric.records import (
    BLOCKED,
    BLOCKS,
    COPY,
    NOT_FRIEND,
    OTHERS,
    OWN,
    QUIET,
    RECEIPT,
    ROUTE,
    SAFE,
    TRACED,
    UNAVAILABLE,
    UNSEEN,
    record,
)
from store.contacts import Verdict
from tests.broker.bench import A, B, Bench, outcomes, route

USERS = {"alice": ["a1", "a2"], "bob": ["b1"], "carol": ["c1"]}
AB, BA = ("alice", "bob"), ("bob", "alice")


def ready(**settings: object) -> Bench:
    """Bob is online, and all devices are known."""
    bench = Bench(USERS, **settings)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("alice/a2", A, 21)
    for to, by in (AB, BA):
        bench.core.devices.get(to)
        bench.core.devices.get(by)
    bench.core.flush()
    bench.read_devices()
    return bench


def judged(bench: Bench, verdict: Verdict, pair: tuple[str, str] = AB) -> None:
    assert bench.store.judge is not None
    bench.store.judge[pair] = verdict
    bench.core.changed(pair)
    bench.core.flush()
    while bench.asked("devices"):
        bench.read_devices()


def written(bench: Bench, attempt: int = 1, flags: int = 0) -> list[int] | int:
    """Sessions that Alice's message to Bob goes to, or the state of its one outcome."""
    bench.receives(route(attempt, flags=flags))
    while bench.asked("devices"):
        bench.read_devices()
    sent = bench.sent()
    copies = [rec.session for rec in sent if rec.kind == COPY]
    if copies:
        return copies
    ((number, _, count, state),) = outcomes(sent)
    assert (number, count) == (attempt, 0)
    return state


@pytest.mark.parametrize(
    ("verdict", "anyone", "friends"),
    [
        (Verdict.STRANGER, [21, 20], NOT_FRIEND),
        (Verdict.FRIEND, [21, 20], [21, 20]),
        (Verdict.BLOCKED, BLOCKED, BLOCKED),
        (Verdict.BLOCKS, BLOCKS, BLOCKS),
    ],
)
def test_what_comes_of_each_verdict(verdict: Verdict, anyone: list[int] | int, friends: list[int] | int) -> None:
    for who_may_write, expected in (("anyone", anyone), ("friends", friends)):
        bench = ready(who_may_write=who_may_write)
        judged(bench, verdict)
        assert written(bench) == expected


def test_a_silent_block_tells_sent_and_only_ones_own_devices_get_a_copy() -> None:
    bench = ready(blocks_are_silent=True)
    judged(bench, Verdict.BLOCKED)
    bench.receives(route(1))
    while bench.asked("devices"):
        bench.read_devices()
    copy = bench.only(COPY)
    assert (copy.session, copy.count, copy.flags) == (21, 1, OWN | OTHERS)
    bench.users["alice"] = ("a1",)
    bench.core.changed(["alice"])
    assert written(bench, 3) == SAFE
    judged(bench, Verdict.BLOCKS)
    assert written(bench, 4) == BLOCKS  # who has blocked knows it


def test_what_may_be_unseen_is_delivered_quietly_but_for_friends() -> None:
    bench = ready()
    for verdict, quiet in ((Verdict.STRANGER, QUIET), (Verdict.FRIEND, 0)):
        judged(bench, verdict)
        for flags, expected in ((UNSEEN, quiet), (0, 0), (QUIET, QUIET), (UNSEEN | TRACED, quiet | TRACED)):
            bench.receives(route(1, flags=flags))
            while bench.asked("devices"):
                bench.read_devices()
            assert [rec.flags & (QUIET | UNSEEN | TRACED) for rec in bench.sent(COPY)] == [expected] * 2


@pytest.mark.parametrize("verdict", list(Verdict))
def test_delivered_of_what_may_be_unseen_is_for_friends(verdict: Verdict) -> None:
    bench = ready()
    judged(bench, verdict, BA)
    receipt = record(ROUTE, flags=RECEIPT | UNSEEN, to=b"bob", by=b"alice/a1", attempt=7)
    bench.receives(receipt)
    while bench.asked("devices"):
        bench.read_devices()
    sent = bench.sent()
    if verdict is Verdict.FRIEND:
        assert [rec.session for rec in sent if rec.kind == COPY] == [20]
    else:
        assert outcomes(sent) == [(7, 0, 0, SAFE)]


def test_receipts_of_what_may_be_unseen_wait_for_the_verdict() -> None:
    bench = ready()
    bench.store.judge = None
    bench.receives(record(ROUTE, flags=RECEIPT | UNSEEN, to=b"bob", by=b"alice/a1", attempt=7))
    assert (bench.asked("verdicts"), bench.sent()) == ([[BA]], [])
    bench.answer("verdicts", {BA: Verdict.FRIEND})
    assert bench.only(COPY).session == 20


def test_receipts_and_notes_to_oneself_are_nobodys_business() -> None:
    bench = ready(who_may_write="friends")
    judged(bench, Verdict.BLOCKED)
    assert written(bench, 1, RECEIPT) == [20]
    bench.receives(route(2, to="alice"))
    while bench.asked("devices"):
        bench.read_devices()
    assert bench.only(COPY).session == 21


def test_a_change_holds_at_once() -> None:
    bench = ready()
    assert written(bench) == [21, 20]
    judged(bench, Verdict.BLOCKED)
    assert written(bench, 2) == BLOCKED
    judged(bench, Verdict.STRANGER)
    assert written(bench, 3) == [21, 20]


def test_a_message_waits_for_its_verdict_and_reads_are_shared() -> None:
    bench = ready()
    bench.store.judge = None
    bench.receives(route(1), route(2), route(3, to="carol"))
    assert bench.asked("verdicts") == [[AB]]  # Carol's devices are being read
    bench.read_devices()
    assert bench.asked("verdicts") == [[AB], [("alice", "carol")]]
    assert not bench.sent()
    bench.answer("verdicts", {AB: Verdict.FRIEND})
    assert sorted(rec.attempt for rec in bench.sent(COPY)) == [1, 1, 2, 2]
    bench.away("verdicts")
    assert outcomes(bench.sent()) == [(3, 0, 0, UNAVAILABLE)]


def test_while_the_store_is_away_what_is_known_holds_as_long_as_presence_vouches_for_it() -> None:
    bench = ready(cache_s=2.0)
    assert written(bench) == [21, 20]
    for number in range(40):
        bench.passes(0.1)
        for done in [bench.presence.barriers.pop() for _ in bench.presence.barriers[:]]:
            done(True)
        bench.receives(route(number + 2))
        assert [rec.session for rec in bench.sent(COPY)] == [21, 20]
    assert not bench.asked("devices")
    bench.store.judge = None
    bench.passes(2.5)  # now presence is away as well
    bench.receives(route(99))
    assert not bench.sent(COPY)


def test_when_anybody_may_have_changed_every_verdict_is_read_anew() -> None:
    bench = ready()
    assert written(bench) == [21, 20]
    assert bench.store.judge is not None
    bench.store.judge[AB] = Verdict.BLOCKED
    bench.core.changed(None)
    assert written(bench, 2) == BLOCKED


def test_what_is_remembered_is_bounded() -> None:
    bench = Bench({"bob": ["b1"], **{f"user{n}": ["d1"] for n in range(20)}}, max_cached_users=4)
    for number in range(20):
        bench.receives(route(number, to=f"user{number}", by="bob/b1"))
        while bench.asked("devices"):
            bench.read_devices()
        assert len(bench.core.policy._of) <= 5
        assert len(bench.core.policy._entries) <= 4
