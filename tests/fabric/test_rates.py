"""What one client may do before others get their turn, and how much of it: frames, messages, logins, connections."""

from __future__ import annotations

import pytest

from connector.buffers import WriteBuffers
from connector.core.core import FRAME_BURST_S
from fabric import records
from fabric.rates import Rate
from protocol.framing import delimit
from protocol.sparrow_pb2 import Failed, Frame, Goodbye, Ping
from tests.connector.bench import Bench, failures, text

PING = delimit(Frame(ping=Ping(n=1)).SerializeToString())


# Buckets.


def test_a_bucket_fills_up_again_and_no_further() -> None:
    rate = Rate(per_second=2.0, at_once=10.0)
    assert rate.take("a", 7.0, 100.0) == 7.0
    assert rate.take("a", 7.0, 100.0) == 3.0
    assert rate.take("a", 7.0, 101.0) == 2.0
    assert rate.take("a", 70.0, 200.0) == 10.0
    assert rate.take("a", 1.0, 199.0) == 0.0  # a clock that is behind gives nothing


def test_buckets_are_each_their_own_and_forgotten_when_full() -> None:
    rate = Rate(per_second=1.0, at_once=2.0)
    assert [rate.once("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rate.once("b", 0.0)
    rate.tick(0.0)
    assert len(rate) == 2
    rate.tick(5.0)  # not yet its time
    assert len(rate) == 2
    rate.tick(10.0)
    assert len(rate) == 0
    assert rate.once("a", 10.0)


def test_a_rate_of_zero_is_no_limit() -> None:
    rate = Rate(per_second=0.0, at_once=0.0)
    assert rate.take("a", 1e9, 0.0) == 1e9
    assert rate.once("a", 0.0)
    assert len(rate) == 0


# Frames.


def test_a_turn_has_so_many_frames_of_one_client_whatever_they_are() -> None:
    bench = Bench(max_frames_per_turn=10, max_frames_per_second=0)
    alice = bench.live("alice/a1")
    wait = bench.core.data(alice.session, PING * 25)
    answered = [len(answers(bench, alice))]
    while wait is not None:
        assert wait == 0.0
        wait = bench.core.data(alice.session, b"")
        answered.append(len(answers(bench, alice)))
    assert answered == [10, 10, 5]


def answers(bench: Bench, client: object) -> list[object]:
    bench.turn()
    return client.took("pong")  # type: ignore[attr-defined, no-any-return]


def test_the_last_frame_that_a_client_may_send_does_not_make_it_wait() -> None:
    bench = Bench(max_frames_per_turn=10, max_frames_per_second=10)
    alice = bench.connect()
    alice.login("alice/a1")
    bench.welcome(alice)
    assert bench.core.data(alice.session, PING * 9) is None  # the Login was one frame, too
    waits = [bench.core.data(alice.session, PING * (int(FRAME_BURST_S * 10) - 10 + 5))]
    while waits[-1] == 0.0:
        waits.append(bench.core.data(alice.session, b""))
    assert waits == [0.0, 0.0, 0.0, pytest.approx(0.5)]


def test_beyond_its_frames_a_second_a_client_waits_and_loses_nothing() -> None:
    bench = Bench(max_frames_per_turn=1000, max_frames_per_second=10)
    alice = bench.live("alice/a1")
    alice.took()
    wait = bench.core.data(alice.session, PING * 100)
    assert wait is not None
    assert 5.0 < wait < 7.0  # 40 at once, and one each tenth of a second
    assert len(answers(bench, alice)) == 100  # what a turn may have; the next has to wait for it
    bench.passes(wait + 0.3)
    assert bench.core.data(alice.session, PING) is None
    assert len(answers(bench, alice)) == 1


def test_a_client_that_breaks_a_rule_is_not_come_back_to() -> None:
    bench = Bench(max_frames_per_turn=2)
    alice = bench.live("alice/a1")
    assert bench.core.data(alice.session, PING + b"\x00" + PING * 5) is None
    bench.turn()
    assert alice.goodbye is not None


# Scans.


def test_passes_that_a_client_asks_for_keep_a_distance() -> None:
    bench = Bench()
    bob = bench.live()
    for n in range(1, 10):
        bob.syncs(n)
        bench.page(bob, [])
        assert bob.took_kinds()[-1] == "synced"
    bench.sent()
    for n in range(10, 50):
        bob.syncs(n)
    assert not bench.sent(records.PAGE)
    bench.passes(0.3)
    assert len(bench.sent(records.PAGE)) == 1


# Messages.


def test_sessions_of_one_account_share_what_it_may_send() -> None:
    bench = Bench(max_messages_per_second=10, max_messages_per_second_of_account=15)
    one, other, stranger = (bench.live(token) for token in ("alice/a1", "alice/a2", "bob/b1"))
    stranger.says(*(text(number) for number in range(1, 11)))
    assert not stranger.took("failed")
    one.says(*(text(number) for number in range(1, 13)))
    other.says(*(text(number) for number in range(1, 13)))
    assert len(failures(one.took("failed"))) == 2
    assert failures(other.took("failed")) == [(number, Failed.TOO_FAST, False) for number in range(6, 13)]
    bench.passes(1.0)
    bench.core.time(bench.now, 0)
    other.says(*(text(number) for number in range(6, 30)))
    assert len(failures(other.took("failed"))) == 24 - 10


def test_what_was_written_without_a_connection_comes_at_once() -> None:
    bench = Bench(max_messages_per_second=10, message_burst_s=20.0)
    alice = bench.live("alice/a1")
    alice.says(*(text(number) for number in range(1, 201)))
    assert not alice.took("failed")


# Logins.


def test_a_device_that_logs_in_again_and_again_is_told_to_wait() -> None:
    bench = Bench(max_logins_per_minute_of_device=3)
    for _ in range(3):
        bench.live("alice/a1")
    again = bench.logging_in("alice/a1")
    assert again.goodbye is not None
    assert again.goodbye.code == Goodbye.TRY_AGAIN
    assert again.goodbye.retry_after_ms >= 1000
    bench.live("alice/a2")
    bench.passes(21.0)
    bench.live("alice/a1")


# Connections.


def test_whoever_has_most_connections_without_a_login_loses_the_oldest() -> None:
    bench = Bench(max_before_login=4)
    honest = bench.connect("1.2.3.4")
    many = [bench.connect("6.6.6.6") for _ in range(4)]
    assert honest.goodbye is None
    assert [one.goodbye is not None for one in many] == [True, False, False, False]
    bench.connect("5.6.7.8")
    assert honest.goodbye is None
    assert [one.goodbye is not None for one in many] == [True, True, False, False]


def test_one_address_has_so_many_connections_without_a_login() -> None:
    bench = Bench(max_before_login_of_address=2)
    many = [bench.connect("6.6.6.6") for _ in range(3)]
    assert [one.goodbye is not None for one in many] == [True, False, False]
    logged_in = bench.connect("6.6.6.6")
    assert many[1].goodbye is not None
    logged_in.login("alice/a1")
    bench.connect("6.6.6.6")
    assert many[2].goodbye is None


def test_behind_a_proxy_clients_are_counted_where_they_come_from() -> None:
    bench = Bench(max_before_login_of_address=2)
    clients = [bench.connect("10.0.0.1") for _ in range(2)]
    for number, client in enumerate(clients):
        bench.core.proxied(client.session, f"1.2.3.{number}")
    more = [bench.connect("10.0.0.1") for _ in range(2)]
    assert not [client for client in clients + more if client.goodbye is not None]
    bench.core.proxied(more[0].session, "1.2.3.0")
    bench.core.proxied(more[1].session, "1.2.3.0")
    bench.turn()
    assert [client.goodbye is not None for client in clients + more] == [True, False, False, False]
    bench.core.proxied(clients[0].session, "1.2.3.9")  # it has gone already


def test_beyond_what_the_process_may_open_clients_are_told_to_come_back() -> None:
    bench = Bench()
    bench.core.max_connections = 2
    kept = [bench.connect() for _ in range(2)]
    away = bench.connect()
    assert away.goodbye is not None
    assert (away.goodbye.code, away.goodbye.retry_after_ms > 1000) == (Goodbye.TRY_AGAIN, True)
    assert not [one for one in kept if one.goodbye is not None]


# What is not read.


class Pile:
    """A connection for which something piles up."""

    def __init__(self, buffers: WriteBuffers) -> None:
        self.buffers = buffers
        self.piled = 0
        self.let_go = False

    def grows(self, size: int) -> None:
        self.piled += size
        self.buffers.grew(self, size)

    def choked(self) -> None:
        self.let_go = True
        size, self.piled = self.piled, 0
        self.buffers.shrank(self, size)


@pytest.mark.parametrize("sizes", [(40, 50, 30), (50, 40, 30)])
def test_who_has_most_that_is_not_read_is_let_go_when_it_is_too_much_for_all(sizes: tuple[int, ...]) -> None:
    buffers = WriteBuffers(100, 60)
    piles = [Pile(buffers) for _ in sizes]
    for pile, size in zip(piles, sizes, strict=True):
        pile.grows(size)
    assert [size for pile, size in zip(piles, sizes, strict=True) if pile.let_go] == [50]
    assert buffers.bytes == 70


def test_who_has_more_than_one_may_have_is_let_go() -> None:
    buffers = WriteBuffers(1000, 60)
    pile = Pile(buffers)
    pile.grows(60)
    assert not pile.let_go
    pile.grows(1)
    assert pile.let_go
    assert buffers.bytes == 0
