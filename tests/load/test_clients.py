"""Load clients against an exchange in memory: the client's half of the promise, and that a broken one is seen."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from load.ledger import Tally, Verdict
from load.streams import Out
from load.traffic import Pace
from protocol.sparrow_pb2 import READ, TEXT, Failed, Goodbye, Message
from tests.load.exchange import Exchange


def verdict(exchange: Exchange) -> Verdict:
    """Of all conversations."""
    made = Verdict(mixed_up=exchange.world.mixed_up)
    by_user = {link.client.user: link.client for link in exchange.links.values()}
    for out in exchange.world.streams.values():
        heard = by_user[out.dest].ins.get(out.key)
        made.conversation(out.next - 1, out.open, out.refused, heard.tally if heard else Tally())
    return made


def writes(exchange: Exchange, out: Out, count: int) -> None:
    for _ in range(count):
        out.owner.say(out, exchange.now)
    exchange.settle()


def test_texts_arrive_and_are_told_of() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 10)
    counts = exchange.world.counts
    assert (counts.sent, counts.received, counts.sent_acks, counts.delivered_acks) == (10, 10, 10, 10)
    assert verdict(exchange) == Verdict()


def test_what_is_read_is_told_to_its_author() -> None:
    exchange = Exchange()
    exchange.world.read_after = lambda: 0.0
    alice, bob = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 5)
    writes(exchange, bob.out_to("alice"), 3)
    assert exchange.world.counts.read_acks == 8
    reads = [message for message in exchange.written(bob) if message.kind == READ]
    assert [number for read in reads for number in read.about.ids] == [1, 2, 3, 4, 5]
    # READs and texts to one user share a stream.
    assert len({message.stream for message in exchange.written(bob)}) == 1
    assert verdict(exchange) == Verdict()


def test_the_window_is_kept_and_what_waits_goes_in_order() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    exchange.stalls = True
    out = alice.out_to("bob")
    writes(exchange, out, 300)
    assert [message.id for message in exchange.written(alice)] == list(range(1, 257))
    assert len(out.backlog) == 44
    exchange.go_on()
    assert [message.id for message in exchange.written(alice)] == list(range(1, 301))
    assert all(message.id < message.settled + 256 for message in exchange.written(alice))
    assert verdict(exchange) == Verdict()


def test_repeats_have_the_same_body_and_wait_longer_each_time() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    exchange.says_sent = False
    writes(exchange, alice.out_to("bob"), 1)
    times = []
    for _ in range(80):
        exchange.now += 1.0
        before = len(exchange.written(alice))
        alice.overdue()
        exchange.settle()
        times += [exchange.now - 100.0] * (len(exchange.written(alice)) - before)
    assert times == [3.0, 6.0, 12.0, 24.0, 48.0, 78.0]
    assert len({message.body for message in exchange.written(alice)}) == 1
    assert exchange.world.counts.repeated_on_the_wire == 6
    assert verdict(exchange) == Verdict(unanswered=1)


def test_after_a_reconnect_what_is_open_goes_again_before_what_is_new() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    out = alice.out_to("bob")
    exchange.stalls = True
    writes(exchange, out, 3)
    exchange.breaks(alice)
    alice.say(out, exchange.now)
    exchange.stalls = False
    exchange.join(alice)
    assert [message.id for message in exchange.written(alice)] == [1, 2, 3, 4]
    assert not out.open
    assert verdict(exchange) == Verdict()


def test_failed_for_now_is_tried_again_not_before_that_time() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    out = alice.out_to("bob")
    exchange.stalls = True
    writes(exchange, out, 1)
    link = exchange.links["alice"]
    link.wire.failed(out.number, 1, Failed.UNAVAILABLE, "not now", 2000)
    exchange.settle()
    exchange.stalls = False
    for second in (1.0, 1.0):
        assert out.open, second
        exchange.now += second
        alice.overdue()
        exchange.settle()
    assert not out.open
    assert exchange.world.counts.refused_for_now == 1
    assert verdict(exchange) == Verdict()


def test_failed_for_good_is_an_exception_and_not_a_loss() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    out = alice.out_to("bob")
    exchange.stalls = True
    writes(exchange, out, 1)
    exchange.links["alice"].wire.failed(out.number, 1, Failed.BLOCKED, "no")
    exchange.settle()
    assert exchange.world.errors == {"Failed: BLOCKED": 1}
    assert verdict(exchange) == Verdict()


@pytest.mark.parametrize("code", ["REPLACED", "DEVICE_REMOVED", "MALFORMED", "MOVE"])
def test_a_goodbye_says_whether_to_come_back(code: str) -> None:
    exchange = Exchange()
    alice = exchange.person("alice")
    alice.wanted = True
    exchange.links["alice"].wire.goodbye(Goodbye.Code.Value(code), "so it is")
    exchange.settle()
    assert alice.wanted == (code in ("MALFORMED", "MOVE"))
    assert exchange.world.counts.exceptions == (code != "MOVE")


# A server that breaks the promise.


def test_a_lost_message_is_seen() -> None:
    exchange = Exchange(lambda message: [] if message.id == 3 else [message.SerializeToString()])
    alice, bob = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 5)
    for _ in range(15):
        exchange.now += 1.0
        bob.overdue()
        exchange.settle()
    assert exchange.world.counts.syncs >= 1
    assert verdict(exchange) == Verdict(lost=1)


def test_the_last_message_lost_is_seen() -> None:
    exchange = Exchange(lambda message: [] if message.id == 5 else [message.SerializeToString()])
    alice, _ = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 5)
    assert verdict(exchange) == Verdict(lost=1)


def renamed(message: Message, number: int) -> bytes:
    """The same content under another number."""
    other = Message()
    other.CopyFrom(message)
    other.id = number
    return other.SerializeToString()


def test_one_under_two_names_is_seen() -> None:
    def rule(message: Message) -> Iterable[bytes]:
        return [message.SerializeToString(), renamed(message, 3)] if message.id == 2 else [message.SerializeToString()]

    exchange = Exchange(rule)
    alice, _ = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 2)
    assert verdict(exchange) == Verdict(twice=1, mixed_up=1)


def test_two_that_have_changed_their_names_are_seen() -> None:
    exchange = Exchange(lambda message: [renamed(message, 3 - message.id)])
    alice, _ = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 2)
    assert verdict(exchange) == Verdict(out_of_order=1, mixed_up=2)


def test_one_at_somebody_else_is_seen() -> None:
    exchange = Exchange()
    alice, bob, eve = (exchange.person(user) for user in ("alice", "bob", "eve"))
    exchange.rule = lambda message: exchange.links["eve"].wire.message(message.SerializeToString()) or []
    writes(exchange, alice.out_to("bob"), 2)
    assert (bob.ins, len(eve.ins)) == ({}, 1)
    assert verdict(exchange) == Verdict(lost=2, mixed_up=1)


def test_a_repeat_on_the_wire_breaks_nothing() -> None:
    exchange = Exchange(lambda message: [message.SerializeToString()] * 2)
    alice, _ = exchange.person("alice"), exchange.person("bob")
    writes(exchange, alice.out_to("bob"), 4)
    assert exchange.world.counts.repeated_on_the_wire == 4
    assert verdict(exchange) == Verdict()


def test_what_is_left_over_from_another_run_is_passed_over() -> None:
    exchange = Exchange()
    bob = exchange.person("bob")
    stranger = Message(stream=7, id=1, settled=1, dest_id="bob", kind=TEXT, body=bytes(30))
    exchange.links["bob"].wire.message(stranger.SerializeToString())
    exchange.settle()
    assert exchange.world.counts.foreign == 1
    assert bob.ins == {}
    assert exchange.links["bob"].wire.unacked == 0


def test_who_was_away_by_will_does_not_count_as_slow_and_who_was_thrown_out_does() -> None:
    exchange = Exchange()
    alice, bob = exchange.person("alice"), exchange.person("bob")
    out = alice.out_to("bob")
    for away, one_way, after_absence in ((True, 0, 1), (False, 1, 1)):
        exchange.breaks(alice)
        alice.away = away
        exchange.now += 5.0
        alice.say(out, exchange.now)
        exchange.now += 5.0
        exchange.join(alice)
        assert (len(exchange.world.one_way), len(exchange.world.after_absence)) == (one_way, after_absence)
        assert len(exchange.world.to_sent) == one_way
    assert exchange.world.one_way.highest == 5.0
    assert len(bob.ins) == 1
    assert verdict(exchange) == Verdict()


# Coordinated omission.


def test_a_server_that_stands_still_for_a_while_is_seen_in_every_text_that_had_to_wait() -> None:
    exchange = Exchange()
    alice, _ = exchange.person("alice"), exchange.person("bob")
    out, pace = alice.out_to("bob"), Pace(100.0, exchange.now)

    def until(seconds: float) -> None:
        exchange.now += seconds
        for at in pace.due(exchange.now):
            alice.say(out, at)
        exchange.settle()

    for _ in range(1000):
        until(0.01)
    exchange.stalls = True
    for _ in range(1000):
        until(0.01)
    assert len(out.open) == 256, "the window keeps the rest from leaving at all"
    exchange.go_on()
    for _ in range(1000):
        until(0.01)
    one_way = exchange.world.one_way
    assert len(one_way) == exchange.world.counts.received == 3001
    # A third of all texts were meant for the ten seconds of the stall, and waited five on average; counted from when
    # they left, all but the 256 in flight would have taken no time at all.
    waited = sum(count for border_ms, count in one_way.buckets_ms() if border_ms > 1000)
    assert 880 <= waited <= 920
    p90 = one_way.percentile_s(90)
    assert p90 is not None
    assert p90 == pytest.approx(7.0, rel=0.05)
    assert verdict(exchange) == Verdict()
