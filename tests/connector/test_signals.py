"""Signals through a connector: who may send how many, who is given one, and that nothing of them waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.core.doubts import STANDSTILL_S
from fabric import records
from fabric.records import KNOWS_CHANGES, KNOWS_GROUPS, KNOWS_SIGNALS, SIGNAL
from fabric.signal_records import SignalDown, SignalUp
from protocol.allowed import MAX_SIGNAL_BYTES
from protocol.sparrow_pb2 import Frame, Goodbye, Signal
from tests.connector.bench import B1, B2, Bench, Client, copy

S = ("changes", "signals")
GROUP = "~" + "a" * 24


def ready(**settings: object) -> Bench:
    """A broker that knows signals."""
    bench = Bench(**settings)  # type: ignore[arg-type]
    bench.heartbeat(B1, flags=KNOWS_SIGNALS | KNOWS_GROUPS)
    bench.sent()
    return bench


def frame(kind: int = Signal.TYPING, dest: str = "bob", **more: object) -> Frame:
    return Frame(signal=Signal(kind=kind, dest_id=dest, **more))  # type: ignore[arg-type]


def sent(bench: Bench) -> list[SignalUp]:
    return [SignalUp.of(rec.raw) for rec in bench.sent(SIGNAL)]


def gives(bench: Bench, *clients: Client, kind: int = Signal.TYPING, author: str = "alice/a1") -> None:
    """A broker has a signal for these."""
    user, _, device = author.partition("/")
    signal = Signal(kind=kind, dest_id="bob", from_id=user, from_device=device)
    numbers = [client.session.number for client in clients]
    bench.receives(SignalDown(author.encode(), numbers, signal.SerializeToString()).encode())


# From clients.


def test_a_signal_goes_to_the_broker_of_its_destination_with_its_author() -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    alice.says(frame(body=b"x"), frame(1000, GROUP), frame(Signal.STOPPED_TYPING))
    first, own, stopped = sent(bench)
    assert first[:3] == ("bob", b"alice/a1", True)
    assert Signal.FromString(first.signal) == Signal(
        kind=Signal.TYPING, dest_id="bob", body=b"x", from_id="alice", from_device="a1"
    )
    assert own[:3] == (GROUP, b"alice/a1", False), "of clients' own kinds nobody knows what they tell"
    assert stopped.tells_presence
    assert alice.took() == [], "nothing answers one"
    assert len(bench.core.attempts) == 0


def test_of_fields_that_this_release_does_not_know_nothing_is_handed_on() -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    unknown = Signal(kind=Signal.TYPING, dest_id="bob")
    unknown.MergeFromString(b"\xfa\x3f\x05later")
    alice.says(Frame(signal=unknown))
    assert b"later" not in sent(bench)[0].signal


@pytest.mark.parametrize("kind", [3, 999, -1, 7])
def test_kinds_of_later_releases_are_passed_over(kind: int) -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    alice.says(frame(kind), Frame(ping={"n": 1}))  # type: ignore[arg-type]
    assert sent(bench) == []
    assert alice.took_kinds() == ["pong"]


@pytest.mark.parametrize("dest", ["", "Bob", "~", "~short", "b/b1", "x" * 65, "\U0001f600"])
def test_to_whom_there_cannot_be_nothing_is_said(dest: str) -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    alice.says(frame(dest=dest))
    assert sent(bench) == []
    assert alice.took() == []


@pytest.mark.parametrize("wrong", [{"from_id": "bob"}, {"from_device": "b1"}, {"body": bytes(MAX_SIGNAL_BYTES + 1)}])
def test_one_that_is_no_client_s_to_send_ends_the_connection(wrong: dict[str, object]) -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    alice.says(frame(**wrong))  # type: ignore[arg-type]
    assert alice.goodbye is not None
    assert alice.goodbye.code == Goodbye.MALFORMED
    assert sent(bench) == []


def test_so_many_a_second_and_what_is_beyond_is_dropped_without_a_word() -> None:
    bench = ready(max_signals_per_second=3)
    alice, other = bench.live("alice/a1"), bench.live("alice/a2")
    alice.says(*[frame()] * 5)
    other.says(frame())
    assert len(sent(bench)) == 4
    assert alice.took() == []
    bench.passes(1.0)
    bench.sent()
    alice.says(*[frame()] * 5)
    assert len(sent(bench)) == 3
    assert bench.core.signals.dropped == 4


def test_0_is_no_limit() -> None:
    bench = ready(max_signals_per_second=0)
    alice = bench.live("alice/a1")
    alice.says(*[frame()] * 50)
    assert len(sent(bench)) == 50


def test_kinds_that_are_passed_over_cost_as_much() -> None:
    """Who asks for the impossible must not get more of the server's time for it."""
    bench = ready(max_signals_per_second=3)
    alice = bench.live("alice/a1")
    alice.says(*[frame(3)] * 3, frame())
    assert sent(bench) == []


def test_a_broker_that_does_not_know_them_gets_none() -> None:
    bench = Bench()
    alice = bench.live("alice/a1", S)
    alice.says(frame())
    assert bench.sent(SIGNAL) == []
    assert alice.took() == []


def test_they_are_offered_when_all_brokers_know_them() -> None:
    bench = Bench(up=(B1, B2))
    told = []
    for one, two in ((0, 0), (KNOWS_SIGNALS, 0), (KNOWS_SIGNALS, KNOWS_SIGNALS | KNOWS_CHANGES | KNOWS_GROUPS)):
        members = {901: B1, 902: B2}
        bench.heartbeat(B1, 901, members=members, flags=one)
        bench.heartbeat(B2, 902, members=members, flags=two)
        alice = bench.settling("alice/a1", S)
        told.append(list(alice.took("logged_in")[0].understands))
        alice.hangs_up()
    assert told == [[], [], ["signals"]]


def test_without_a_broker_they_are_gone() -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    bench.passes(5.0, keep_up=False)
    bench.sent()
    alice.says(frame())
    assert bench.sent(SIGNAL) == []
    bench.heartbeat(B1, flags=KNOWS_SIGNALS)
    bench.passes(1.0)
    assert bench.sent(SIGNAL) == []


def test_one_that_its_link_does_not_take_is_gone() -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    bench.ports.refusing = {B1}
    alice.says(frame())
    bench.ports.refusing = set()
    bench.passes(5.0)
    assert bench.sent(SIGNAL) == []
    assert alice.took() == []


def test_what_has_waited_while_the_process_stood_still_is_dropped() -> None:
    bench = ready()
    alice = bench.live("alice/a1")
    bench.now += STANDSTILL_S + 0.5
    bench._time()
    assert alice.session.unsure
    alice.says(frame(), Frame(ping={"n": 7}))  # type: ignore[arg-type]
    bench.heartbeat(B1, flags=KNOWS_SIGNALS)
    bench.passes(0.3)
    assert alice.took_kinds() == ["pong"], "what it said is heard"
    assert sent(bench) == []
    alice.says(frame())
    assert len(sent(bench)) == 1


# To clients.


def test_whoever_understands_them_is_given_one_that_does_not_count() -> None:
    bench = ready()
    bob, old = bench.live("bob/b1", S), bench.live("bob/b2", ("changes",))
    gives(bench, bob, old)
    (got,) = bob.took("signal")
    assert (got.kind, got.from_id, got.from_device, got.dest_id) == (Signal.TYPING, "alice", "a1", "bob")
    assert bob.session.wire.counted == 0
    assert not bob.session.unacked
    assert old.took() == []
    assert bench.sent() == [], "nothing answers one"


def test_a_device_is_not_given_its_own() -> None:
    bench = ready()
    bob = bench.live("bob/b1", S)
    gives(bench, bob, author="bob/b1")
    assert bob.took() == []


def test_a_session_that_is_gone_is_nothing() -> None:
    bench = ready()
    bob, carol = bench.live("bob/b1", S), bench.live("carol/c1", S)
    bob.hangs_up()
    bench.sent()
    gives(bench, bob, carol)
    assert len(carol.took("signal")) == 1
    assert bench.sent() == []


def test_who_says_goodbye_is_given_none() -> None:
    bench = ready()
    bob = bench.live("bob/b1", S)
    bench.core.logins.end(bob.session, Goodbye.MOVE, "go")
    gives(bench, bob)
    assert bob.took_kinds() == ["goodbye"]


def _reads_its_inbox(bench: Bench, bob: Client) -> None:
    bench.notify(bob)


def _does_not_ack(bench: Bench, bob: Client) -> None:
    bench.receives(*(copy(bob, number) for number in range(1, 6)))
    bob.took()


def _socket_is_behind(bench: Bench, bob: Client) -> None:
    bob.behind = True


def _is_unsure(bench: Bench, bob: Client) -> None:
    bench.core.doubts.unregistered([bob.session])


@pytest.mark.parametrize("behind", [_reads_its_inbox, _does_not_ack, _socket_is_behind, _is_unsure])
def test_a_session_that_is_behind_is_given_none_and_none_waits_for_it(behind: Callable[[Bench, Client], None]) -> None:
    bench = ready(max_unacked=8, store_after_s=60.0)
    bob = bench.live("bob/b1", S)
    behind(bench, bob)
    gives(bench, bob)
    assert bob.took("signal") == []
    assert bench.core.signals.copies_dropped == 1
    bob.behind = False
    if bob.session.scan.request:
        bench.page(bob)
    bob.acks(bob.session.wire.counted)
    bench.core.doubts.registered(bob.session)
    bench.passes(1.0)
    assert bob.took("signal") == []
    gives(bench, bob)
    assert len(bob.took("signal")) == 1


def test_a_session_with_groups_to_read_is_behind() -> None:
    bench = Bench()
    bench.heartbeat(B1, flags=KNOWS_SIGNALS | KNOWS_GROUPS)
    bob = bench.live("bob/b1", ("groups", "signals"))
    gives(bench, bob)
    assert bob.took() == []


def test_a_record_that_cannot_be_read_harms_no_other() -> None:
    bench = ready()
    bob = bench.live("bob/b1", S)
    good = SignalDown(b"alice/a1", [bob.session.number], b"").encode()
    bench.receives(records.record(SIGNAL, body=b"\x05\x00"), good)
    assert bench.core.records_unreadable == 1
    assert len(bob.took("signal")) == 1


def test_messages_are_what_they_were() -> None:
    """Beside signals a message goes out as ever, in the same turn, and is what is counted."""
    bench = ready()
    bob = bench.live("bob/b1", S)
    signal = SignalDown(b"alice/a1", [bob.session.number], b"").encode()
    bench.receives(signal, copy(bob, 1), signal)
    assert bob.took_kinds() == ["signal", "message", "signal"]
    assert bob.session.wire.counted == 1
