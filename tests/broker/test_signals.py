"""Signals through a broker: to whom they go, what they cost whom, and that nobody learns what became of one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from broker.core.signals import Dropped
from fabric.heartbeats import Heartbeat, HeartbeatReply
from fabric.records import HEARTBEAT, SIGNAL, record
from fabric.signal_records import SignalDown, SignalUp
from protocol.sparrow_pb2 import Signal
from store.contacts import Verdict
from store.groups import Group, Member, Role
from tests.broker.bench import A, B, Bench, C

G = "~" + "a" * 24
USERS = {"alice": ["a1", "a2"], "bob": ["b1"], "carol": ["c1"]}


def beats(bench: Bench, connector: int, knows: bool = True) -> None:
    bench.receives(Heartbeat(connector, 50, 1, True, True, knows).encode(), connector=connector)
    *_, (_, _, answered) = bench.presence.kept
    answered(50)
    bench.core.flush()


def ready(connectors: Iterable[int] = (A, B, C), **settings: object) -> Bench:
    """Connectors know signals; alice, her other device, bob and carol are online."""
    bench = Bench(USERS, **settings)  # type: ignore[arg-type]
    for connector in connectors:
        beats(bench, connector)
    for address, connector, session in (
        ("alice/a1", A, 10),
        ("alice/a2", A, 11),
        ("bob/b1", B, 20),
        ("carol/c1", C, 30),
    ):
        bench.goes_online(address, connector, session)
    bench.sent()
    return bench


def signal(to: str = "bob", by: str = "alice/a1", kind: int = Signal.TYPING, body: bytes = b"") -> bytes:
    user, _, device = by.partition("/")
    encoded = Signal(kind=kind, dest_id=to, body=body, from_id=user, from_device=device).SerializeToString()
    return SignalUp(to, by.encode(), kind < 1000, encoded).encode()


def given(bench: Bench) -> list[tuple[int, list[int]]]:
    """(connector, sessions) of what was handed out since the last call; nothing else was said."""
    sent = bench.sent()
    assert {rec.kind for rec in sent} <= {SIGNAL}, "nobody is told what becomes of one"
    return [(rec.connector, list(SignalDown.of(rec.raw).sessions)) for rec in sent]


def group(*users: str, version: int = 3, **more: object) -> Group:
    """`alice` owns it."""
    roles = {user: Member(user, Role.MEMBER, 1) for user in users} | {"alice": Member("alice", Role.OWNER, 1)}
    return Group(G, version, "team", 0, roles, **more)  # type: ignore[arg-type]


def known(bench: Bench, found: Group | None) -> None:
    """The store answers who is in the group."""
    assert bench.answer("groups", {G: found}) == [G]
    bench.passes(0.2)


# To one person.


def test_it_waits_for_a_verdict_and_then_goes_once() -> None:
    bench = ready()
    bench.receives(signal())
    assert given(bench) == []
    bench.passes(0.1)
    assert given(bench) == [(B, [20])]
    bench.passes(5.0)
    assert given(bench) == []
    assert len(bench.core.signals) == 0


def test_what_is_known_goes_at_once_as_it_came() -> None:
    bench = ready()
    bench.receives(signal())
    bench.passes(0.1)
    bench.sent()
    bench.receives(signal(body=b"x"))
    (sent,) = bench.sent(SIGNAL)
    down = SignalDown.of(sent.raw)
    assert down.author == b"alice/a1"
    assert Signal.FromString(down.signal).body == b"x"
    assert (bench.core.signals.handed_out, bench.core.signals.copies) == (2, 2)


def test_all_devices_of_whom_it_is_for_and_none_of_the_author() -> None:
    bench = ready()
    bench.goes_online("bob/b2", A, 21)
    bench.receives(signal())
    bench.passes(0.1)
    assert sorted(given(bench)) == [(A, [21]), (B, [20])]


def test_to_oneself_it_goes_to_the_other_devices() -> None:
    bench = ready()
    bench.receives(signal("alice", kind=1000))
    assert given(bench) == [(A, [11])]


@pytest.mark.parametrize("to", ["dave", "nobody"])
def test_of_who_is_not_there_nothing_is_asked(to: str) -> None:
    """Who tries names makes no work for the store."""
    bench = ready()
    bench.store.judge = bench.store.hiding = None
    bench.receives(signal(to))
    assert not any(bench.store.calls.values())
    assert bench.core.signals.dropped[Dropped.NOBODY] == 1


@pytest.mark.parametrize("verdict", [Verdict.BLOCKED, Verdict.BLOCKS])
@pytest.mark.parametrize("silent", [False, True])
def test_between_those_who_block_each_other_nothing_goes(verdict: Verdict, silent: bool) -> None:
    bench = ready(blocks_are_silent=silent)
    bench.store.judge = {("alice", "bob"): verdict}
    bench.receives(signal())
    bench.passes(0.2)
    bench.receives(signal())
    assert given(bench) == []
    assert bench.core.signals.dropped[Dropped.NOT_ALLOWED] == 2


def test_where_friends_alone_may_write_they_alone_are_signalled() -> None:
    bench = ready(who_may_write="friends")
    bench.store.judge = {("alice", "carol"): Verdict.FRIEND}
    bench.receives(signal("bob"), signal("carol"))
    bench.passes(0.2)
    assert given(bench) == [(C, [30])]


def test_a_block_counts_from_when_it_is_told() -> None:
    bench = ready()
    bench.receives(signal())
    bench.passes(0.2)
    assert len(given(bench)) == 1
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(signal())
    bench.passes(0.2)
    assert given(bench) == []


def test_who_hides_is_seen_typing_by_nobody() -> None:
    bench = ready()
    bench.store.hiding = {"alice"}
    bench.receives(signal(), signal("alice"), signal(kind=Signal.STOPPED_TYPING))
    bench.passes(0.2)
    assert given(bench) == []
    assert bench.core.signals.dropped[Dropped.NOT_ALLOWED] == 3


def test_own_kinds_of_who_hides_go_as_their_messages_do() -> None:
    bench = ready()
    bench.store.hiding = {"alice"}
    bench.receives(signal(kind=1000))
    bench.passes(0.2)
    assert given(bench) == [(B, [20])]


def test_who_hides_is_shown_who_types_to_them() -> None:
    bench = ready()
    bench.store.hiding = {"bob"}
    bench.receives(signal())
    bench.passes(0.2)
    assert given(bench) == [(B, [20])]


# In groups.


def test_in_a_group_it_goes_to_all_who_are_there_but_the_author() -> None:
    bench = ready()
    bench.goes_online("carol/c2", B, 31)
    bench.receives(signal(G))
    assert given(bench) == []
    known(bench, group("bob", "carol", "dave"))
    assert sorted(given(bench)) == [(B, [20, 31]), (C, [30])]
    assert len(bench.core.memberships._entries) == 1


@pytest.mark.parametrize(
    "found", [None, group("bob"), group("bob", "carol", admins_write=True), group("bob", "carol", closed=True)]
)
def test_who_may_not_write_there_signals_nothing_there(found: Group | None) -> None:
    bench = ready()
    bench.receives(signal(G, by="carol/c1"))
    known(bench, found)
    bench.passes(2.0)
    assert given(bench) == []
    assert len(bench.core.signals) == 0


def test_where_admins_write_they_signal() -> None:
    bench = ready()
    bench.receives(signal(G))
    known(bench, group("bob", admins_write=True))
    assert given(bench) == [(B, [20])]


def test_a_group_may_be_so_large_and_no_larger() -> None:
    bench = ready(max_signal_group_members=3)
    bench.receives(signal(G))
    known(bench, group("bob", "carol"))
    assert len(given(bench)) == 2
    bench.core.changed([G])
    bench.receives(signal(G))
    known(bench, group("bob", "carol", "dave", version=4))
    assert given(bench) == []


@pytest.mark.parametrize("verdict", [Verdict.BLOCKED, Verdict.BLOCKS])
def test_in_a_group_the_blocked_signal_nothing_to_who_blocks_them(verdict: Verdict) -> None:
    bench = ready(who_may_write="friends")
    bench.store.judge = {("alice", "bob"): verdict}
    bench.receives(signal(G))
    known(bench, group("bob", "carol"))
    assert given(bench) == [(C, [30])], "in a group strangers are told, too"


def test_a_block_between_members_counts_from_when_it_is_told() -> None:
    bench = ready(cache_s=60.0)
    bench.receives(signal(G))
    known(bench, group("bob", "carol"))
    assert len(given(bench)) == 2
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(signal(G))
    bench.passes(0.2)
    assert given(bench) == [(C, [30])]


def test_what_is_known_of_members_takes_no_room_of_messages() -> None:
    bench = ready(max_cached_users=4, cache_s=60.0)
    bench.receives(signal("bob"))
    bench.passes(0.2)
    for number in range(10):
        bench.goes_online(f"user{number}/d", B, 100 + number)
    bench.receives(signal(G))
    known(bench, group("bob", *(f"user{number}" for number in range(10))))
    bench.passes(0.3)
    assert list(bench.core.policy._entries) == [("alice", "bob")]


def test_members_in_use_are_read_again_in_time() -> None:
    bench = ready(cache_s=2.0)
    bench.receives(signal(G))
    known(bench, group("bob", "carol"))
    bench.sent()
    bench.store.judge = None
    bench.passes(1.1)
    bench.receives(signal(G))
    assert len(given(bench)) == 2
    bench.passes(0.1)
    (pairs,) = bench.asked("verdicts")
    assert sorted(pairs) == [("alice", "bob"), ("alice", "carol")]


def test_with_nobody_there_nothing_more_is_asked() -> None:
    bench = ready()
    bench.store.judge = None
    del bench.presence.locations["bob"]
    bench.receives(signal(G))
    known(bench, group("bob", "dave"))
    assert not bench.asked("verdicts")
    assert bench.core.signals.dropped[Dropped.NOBODY] == 1


# Other releases.


def test_a_connector_that_has_not_said_that_it_knows_them_gets_none() -> None:
    bench = ready(connectors=(A, C))
    beats(bench, B, knows=False)
    bench.sent()
    bench.receives(signal("bob"), signal("carol"))
    bench.passes(0.2)
    assert given(bench) == [(C, [30])]


def test_it_says_that_it_knows_them() -> None:
    bench = Bench()
    beats(bench, A)
    assert HeartbeatReply.of(bench.only(HEARTBEAT).raw).knows_signals


# Harm.


def test_one_that_the_store_does_not_answer_in_time_is_dropped() -> None:
    bench = ready()
    bench.store.judge = None
    bench.receives(signal())
    bench.passes(1.2)
    assert len(bench.core.signals) == 0
    assert len(bench.asked("verdicts")) == 1, "and it has asked once"
    bench.answer("verdicts", {("alice", "bob"): Verdict.STRANGER})
    bench.passes(0.3)
    assert given(bench) == []


def test_a_store_that_is_away_is_asked_once_for_each() -> None:
    bench = ready()
    bench.store.judge = None
    bench.receives(signal())
    bench.away("verdicts")
    bench.passes(1.2)
    assert not bench.asked("verdicts")
    assert bench.core.signals.dropped[Dropped.NOT_KNOWN] == 1


def test_so_many_may_wait() -> None:
    bench = ready(max_waiting_signals=3)
    bench.store.judge = None
    bench.receives(*[signal()] * 5)
    assert len(bench.core.signals) == 3
    assert bench.core.signals.dropped[Dropped.NOT_KNOWN] == 2


UNIT = 640 + len(Signal(kind=1, dest_id="bob", from_id="alice", from_device="a1").SerializeToString())
"""What a signal of alice's to bob costs."""


def test_so_much_somebody_may_signal_and_what_is_beyond_is_dropped() -> None:
    bench = ready(signal_author_bytes_per_second=UNIT, cache_s=60.0)
    bench.receives(*[signal()] * 10)
    bench.passes(0.2)
    assert len(given(bench)) == 4, "what four seconds are worth"
    bench.receives(signal(by="carol/c1"))
    bench.passes(0.2)
    assert len(given(bench)) == 1, "another person's are their own"
    bench.passes(2.0)
    bench.receives(*[signal()] * 10)
    assert 2 <= len(given(bench)) <= 3
    assert bench.core.signals.dropped[Dropped.TOO_MUCH] >= 13


@pytest.mark.parametrize("away", ["offline", "blocked", "many devices"])
def test_what_is_left_tells_nothing_of_who_is_there(away: str) -> None:
    """An accomplice counts what still comes: as much, whatever has become of the rest."""
    left = []
    for special in (False, True):
        bench = ready(signal_author_bytes_per_second=UNIT, cache_s=60.0)
        if special and away == "offline":
            del bench.presence.locations["bob"]
        elif special and away == "blocked":
            bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
        elif special:
            for number in range(20):
                bench.goes_online(f"bob/x{number}", B, 100 + number)
        bench.receives(signal("carol", kind=1000), *[signal(kind=1000)] * 2)
        bench.passes(0.3)
        bench.sent()
        bench.receives(*[signal("carol", kind=1000)] * 20)
        left.append(len(given(bench)))
    assert left[0] == left[1] > 0


def test_who_asks_the_store_for_much_has_soon_had_enough() -> None:
    bench = ready(signal_author_bytes_per_second=UNIT)
    bench.store.judge = None
    for number in range(50):
        bench.goes_online(f"user{number}/d", B, 1000 + number)
        bench.receives(signal(f"user{number}"))
    asked = [pair for pairs in bench.asked("verdicts") for pair in pairs]
    assert len(asked) == 4
    groups = ready(signal_author_bytes_per_second=UNIT)
    groups.receives(*[signal("~" + letter * 24) for letter in "abcdefghij"])
    assert sum(map(len, groups.asked("groups"))) <= 4


def test_a_signal_to_a_group_is_paid_for_all_its_members() -> None:
    bench = ready(signal_author_bytes_per_second=2.5 * UNIT)
    bench.receives(signal(G))
    known(bench, group("bob", "carol", *(f"user{number}" for number in range(8))))
    assert len(given(bench)) == 2
    bench.receives(*[signal(G)] * 5)
    assert given(bench) == [], "ten people are what four seconds are worth"


def test_a_group_has_a_budget_of_its_own() -> None:
    bench = ready(signal_group_bytes_per_second=UNIT)
    bench.receives(signal(G))
    known(bench, group("bob", "carol"))
    bench.receives(*[signal(G)] * 20, *[signal(G, by="bob/b1")] * 20)
    bench.passes(0.2)
    assert 0 < len(given(bench)) < 40
    bench.receives(signal())
    bench.passes(0.2)
    assert given(bench) == [(B, [20])], "elsewhere its members go on"


def test_one_that_a_connector_does_not_take_is_gone() -> None:
    bench = ready()
    bench.receives(signal())
    bench.ports.gone = {B}
    bench.passes(0.2)
    bench.ports.gone = set()
    bench.passes(5.0)
    assert given(bench) == []
    assert not bench.asked("append")


def test_a_record_that_cannot_be_read_harms_no_other() -> None:
    bench = ready()
    bench.receives(signal())
    bench.passes(0.2)
    bench.sent()
    bench.receives(
        record(SIGNAL, to=b"\xff", by=b"alice/a1"),
        record(SIGNAL, to=b"Not A User", by=b"alice/a1"),
        record(SIGNAL, to=b"bob", by=b"\xff"),
        signal(),
    )
    assert bench.core.records_unreadable == 3
    assert given(bench) == [(B, [20])]


def test_messages_wait_for_no_signal() -> None:
    """Plans and what messages wait for are theirs alone: a signal is in none of it."""
    bench = ready()
    bench.receives(signal(), signal(G))
    assert bench.core.routing.waiting == bench.core.groups.waiting == 0
    assert not bench.core.routing._plans
    assert bench.core.idle
