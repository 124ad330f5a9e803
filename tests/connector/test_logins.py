"""Who is here: login, its refusals, replacement, leaving, and registering again."""

from __future__ import annotations

import pytest

from connector.core.phases import BEHIND, LIVE
from fabric.records import (
    AGAIN,
    AWAY,
    CLOSE,
    CLOSED,
    DISABLED,
    EVICT,
    EVICTED,
    HINT,
    LATE,
    LOGIN_ENDED,
    NO_DEVICE,
    OFFLINE,
    OK,
    ONLINE,
    PAGE,
    PREDECESSOR,
    STORE,
    STORED,
    TAKEN,
    pack_spared,
    pack_terms,
    record,
    unpack_login,
)
from protocol.framing import delimit
from protocol.sparrow_pb2 import Frame, Goodbye, Hint, Login, Ping
from tests.connector.bench import B1, B2, ELSEWHERE, LEASE, WALL_MS, Bench, Client, copy, row


def evict(bench: Bench, client: Client, origin: int = ELSEWHERE, attempt: int = 99, to: bytes = b"") -> None:
    """Presence names another session for the client's device."""
    session = client.session
    bench.receives(
        record(EVICT, to=to or session.key, session=session.number, origin=origin, attempt=attempt), broker=B1
    )


def code(client: Client) -> int | None:
    return client.goodbye.code if client.goodbye is not None else None


# Coming.


def test_who_is_welcome_is_not_asked_for_again() -> None:
    bench = Bench(request_timeout_s=1.0)
    bench.live("alice/a1")
    bench.passes(1.5)
    assert not bench.sent(ONLINE)


def test_a_client_is_told_how_long_messages_wait_if_a_broker_tells() -> None:
    bench = Bench()
    alice, bob, eve = (bench.logging_in(name) for name in ("alice/a1", "bob/b1", "eve/e1"))
    bench.welcome(alice, terms=pack_terms(86_400_000))
    bench.welcome(bob)
    bench.welcome(eve, terms=b"\x03bad")
    assert [frame.inbox_ttl_ms for frame in alice.took("logged_in")] == [86_400_000]
    assert [frame.inbox_ttl_ms for frame in bob.took("logged_in")] == [0], "a broker of 0.1"
    assert not eve.frames
    assert bench.core.records_unreadable == 1


def test_login_asks_presence_first_and_welcomes_after_it() -> None:
    bench = Bench(max_frame_bytes=5000, heartbeat_s=30.0, max_unacked=77)
    alice = bench.logging_in("alice/a1")
    rec = bench.only(ONLINE)
    assert (rec.to, rec.session, rec.attempt, rec.flags) == (b"alice/a1", alice.session.number, LEASE, 0)
    assert not alice.frames
    bench.welcome(alice, previous=12)
    (frame,) = alice.took("logged_in")
    assert (frame.user_id, frame.device_id, frame.session) == ("alice", "a1", alice.session.number)
    assert (frame.previous_session, frame.server_time_ms) == (12, WALL_MS + int(bench.now * 1000))
    assert (frame.heartbeat_ms, frame.max_unacked, frame.max_frame_bytes, frame.max_message_bytes) == (
        30000,
        77,
        5000,
        3976,
    )
    assert (frame.max_unsettled_per_stream, frame.max_unsettled_per_connection) == (256, 4096)


def test_a_token_that_is_not_valid() -> None:
    bench = Bench()
    alice = bench.connect()
    alice.login("nonsense")
    assert code(alice) == Goodbye.BAD_TOKEN
    assert alice.closed
    assert not bench.sent()
    bench.passes(0.1)
    assert bench.ports.logs[-1] == "a login was refused: the token is not valid"


@pytest.mark.parametrize("why", ["no broker", "no lease", "full", "stopping"])
def test_logins_that_cannot_be_taken_now(why: str) -> None:
    bench = Bench(up=(B1,) if why in ("full", "stopping") else (), max_sessions=1)
    if why == "no lease":
        bench.heartbeat(lease=0)
    elif why == "full":
        bench.live("bob/b1")
    elif why == "stopping":
        bench.core.stop()
    alice = bench.connect()
    alice.login("alice/a1")
    assert alice.goodbye is not None
    assert (alice.goodbye.code, alice.goodbye.retry_after_ms > 0) == (Goodbye.TRY_AGAIN, True)
    assert not bench.sent(ONLINE)


@pytest.mark.parametrize(
    ("result", "goodbye"),
    [(NO_DEVICE, Goodbye.DEVICE_REMOVED), (AWAY, Goodbye.TRY_AGAIN), (TAKEN, Goodbye.TRY_AGAIN)],
)
def test_presence_refuses(result: int, goodbye: int) -> None:
    bench = Bench()
    alice = bench.logging_in()
    bench.welcome(alice, result)
    assert code(alice) == goodbye
    assert alice.goodbye is not None
    assert (alice.goodbye.retry_after_ms > 0) == (goodbye == Goodbye.TRY_AGAIN)
    assert alice.closed
    assert not bench.core.sessions


def test_presence_that_does_not_answer() -> None:
    bench = Bench(request_timeout_s=2.0)
    alice = bench.logging_in()
    bench.passes(1.9)
    assert not alice.frames
    bench.passes(0.3)
    assert code(alice) == Goodbye.TRY_AGAIN
    bench.sent()
    bench.welcome(alice)  # too late
    assert [frame.WhichOneof("kind") for frame in alice.frames] == ["goodbye"]


def test_who_leaves_before_presence_answers_is_not_registered_later() -> None:
    bench = Bench(request_timeout_s=1.0)
    alice = bench.logging_in()
    alice.hangs_up()
    assert [rec.kind for rec in bench.sent()] == [ONLINE, OFFLINE]
    bench.passes(5.0)
    assert not bench.sent()


def test_every_session_has_a_number_of_its_own() -> None:
    bench = Bench()
    numbers = {bench.live("alice/a1").session.number for _ in range(5)}
    assert len(numbers) == 5
    assert 0 not in numbers


def test_a_client_may_ping_and_leave_while_it_waits() -> None:
    bench = Bench()
    alice = bench.logging_in()
    alice.pings(5)
    (pong,) = alice.took("pong")
    assert pong.n == 5
    alice.logout()
    assert code(alice) == Goodbye.LOGGED_OUT
    bench.sent()
    bench.welcome(alice)
    assert not bench.sent(PAGE)


def test_login_and_a_message_at_once_is_a_breach() -> None:
    bench = Bench()
    alice = bench.connect()
    alice.raw(
        delimit(Frame(login=Login(token="alice/a1")).SerializeToString())
        + delimit(Frame(ping=Ping(n=1)).SerializeToString())
        + delimit(Frame(login=Login(token="alice/a1")).SerializeToString())
    )
    assert alice.took_kinds() == ["pong", "goodbye"]
    assert not bench.core.sessions


# Leaving.


@pytest.mark.parametrize("how", ["hangs up", "logs out"])
def test_a_session_that_ends_gives_up_its_place(how: str) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.hangs_up() if how == "hangs up" else alice.logout()
    rec = bench.only(OFFLINE)
    assert (rec.to, rec.session) == (b"alice/a1", alice.session.number)
    assert code(alice) == (None if how == "hangs up" else Goodbye.LOGGED_OUT)
    alice.hangs_up()
    assert not bench.sent()
    assert not bench.core.sessions
    assert not bench.core.connections


def test_without_a_broker_a_session_just_ends() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.passes(3.0, keep_up=False)
    alice.logout()
    assert code(alice) == Goodbye.LOGGED_OUT
    assert not bench.core.sessions


def test_a_stranger_who_leaves_was_never_registered() -> None:
    bench = Bench()
    bench.connect().hangs_up()
    stranger = bench.connect()
    stranger.logout()
    assert code(stranger) == Goodbye.NOT_LOGGED_IN
    stranger.hangs_up()
    assert not bench.sent()
    assert not bench.core.connections


# Replacement.


def test_a_session_that_is_replaced_is_told_and_its_successor_too() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    evict(bench, alice, attempt=99)
    assert code(alice) == Goodbye.REPLACED
    assert alice.closed
    sent = bench.sent()
    assert [rec.kind for rec in sent] == [OFFLINE, EVICTED]
    assert (sent[1].origin, sent[1].attempt) == (ELSEWHERE, 99)


def test_evicted_comes_only_when_the_copies_in_hand_are_stored() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2))
    evict(bench, bob)
    assert [rec.kind for rec in bench.sent()] == [STORE, STORE, OFFLINE]
    assert not bench.core.idle
    bench.stored(bob, 1)
    assert not bench.sent()
    bench.stored(bob, 1)
    assert bench.only(EVICTED).attempt == 99
    assert bench.core.idle


def test_copies_that_are_never_confirmed_do_not_keep_a_successor_for_ever() -> None:
    bench = Bench(request_timeout_s=2.0)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    evict(bench, bob)
    bench.sent()
    bench.passes(1.9)
    assert not bench.sent(EVICTED)
    bench.passes(0.3)
    assert bench.only(EVICTED).attempt == 99
    bench.stored(bob, 1)  # after all
    assert not bench.sent()


def test_copies_that_went_back_before_the_end_have_as_long_from_the_end_on() -> None:
    bench = Bench(request_timeout_s=2.0)
    bob = bench.settling()
    bench.page(bob, [row(1)], end=False)
    bench.receives(copy(bob, 2))  # behind: it goes back to be stored
    assert bench.sent(STORE)
    bench.passes(1.5)
    evict(bench, bob)
    bench.passes(1.5)
    assert not bench.sent(EVICTED)
    bench.passes(0.7)
    assert bench.only(EVICTED).attempt == 99


def test_every_successor_that_asks_is_answered() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    evict(bench, bob, attempt=98)
    evict(bench, bob, attempt=99)
    bench.sent()
    bench.stored(bob)
    assert [rec.attempt for rec in bench.sent(EVICTED)] == [98, 99]
    evict(bench, bob, attempt=100)  # long gone
    assert [rec.attempt for rec in bench.sent(EVICTED)] == [100]


def test_a_place_that_somebody_took_over_without_asking_is_given_up_without_an_answer() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    evict(bench, alice, origin=0, attempt=0)
    assert code(alice) == Goodbye.REPLACED
    assert not bench.sent(EVICTED)


def test_a_session_is_not_evicted_in_the_name_of_another_device() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    evict(bench, alice, to=b"alice/a2")
    assert not alice.closed
    assert bench.only(EVICTED).attempt == 99


def test_evicted_of_another_connector_or_of_no_session_is_not_ours() -> None:
    bench = Bench()
    bob = bench.settling(result=PREDECESSOR)
    bench.page(bob)
    bench.receives(record(EVICTED, origin=ELSEWHERE, attempt=bob.session.number))
    bench.receives(record(EVICTED, origin=bench.core.incarnation, attempt=4242))
    assert bob.session.phase != LIVE


def test_stored_for_a_session_that_nobody_knows_is_ignored() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(record(STORED, session=4242, attempt=5))
    assert bob.session.phase == LIVE
    assert bench.core.idle


# Again.


def test_registering_again_after_another_lease_then_reading_again() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.heartbeat(lease=51)
    bench.passes(0.1)
    rec = bench.only(ONLINE)
    assert (rec.to, rec.session, rec.attempt, rec.flags) == (b"alice/a1", alice.session.number, 51, AGAIN)
    bench.welcome(alice)
    assert len(bench.sent(PAGE)) == 1  # nobody would have notified it in between
    assert not alice.took()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (TAKEN, Goodbye.TRY_AGAIN),
        (NO_DEVICE, Goodbye.DEVICE_REMOVED),
        (LOGIN_ENDED, Goodbye.LOGGED_OUT),
        (DISABLED, Goodbye.LOGGED_OUT),
    ],
)
def test_registering_again_ends_a_session_that_may_not_go_on(result: int, expected: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.heartbeat(lease=51)
    bench.passes(0.1)
    bench.welcome(alice, result)
    assert code(alice) == expected
    assert alice.closed


def test_registering_again_is_tried_until_presence_answers() -> None:
    bench = Bench(request_timeout_s=2.0)
    alice = bench.live("alice/a1")
    bench.heartbeat(lease=51)
    bench.passes(0.1)
    bench.welcome(alice, AWAY)
    assert not alice.closed
    bench.sent()
    bench.passes(2.1)
    assert bench.only(ONLINE).flags == AGAIN
    bench.passes(2.1)
    assert bench.only(ONLINE).flags == AGAIN
    bench.welcome(alice, OK)
    bench.page(alice)
    assert alice.session.phase == LIVE
    bench.sent()
    bench.passes(5.0)
    assert not bench.sent()


def test_registering_and_reading_again_are_spread_over_time() -> None:
    bench = Bench(rejoin_per_tick=3)
    clients = [bench.live(f"user{number}/d1") for number in range(8)]
    bench.heartbeat(lease=51)
    counts = []
    for _ in range(4):
        bench.passes(0.1)
        counts.append(len(bench.sent(ONLINE)))
    assert counts == [3, 3, 2, 0]
    assert len(clients) == 8


def test_who_waits_to_register_again_waits_once_however_often_brokers_come_and_go() -> None:
    bench = Bench(rejoin_per_tick=1)
    for number in range(3):
        bench.live(f"user{number}/d1")
    for incarnation in range(300, 310):
        bench.heartbeat(incarnation=incarnation, lease=incarnation)
    assert len(bench.core.logins._rejoin) == 3
    sent = []
    for _ in range(10):
        bench.passes(0.1)
        sent += bench.sent(ONLINE)
    assert len({rec.session for rec in sent}) == len(sent) == 3


def test_who_left_does_not_register_again() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    bench.heartbeat(lease=51)
    alice.hangs_up()
    bench.sent()
    bench.passes(0.1)
    assert not bench.sent()
    assert not bench.core.logins._rejoin


def test_who_was_registered_under_a_lease_that_is_gone_before_the_answer_registers_again() -> None:
    bench = Bench(up=(B1, B2))
    bob = bench.logging_in("bob/b1")
    bench.heartbeat(B2, lease=51)  # one broker finds the lease gone while another's answer is on its way
    bench.passes(0.3)
    assert not bench.sent(ONLINE)[1:]
    bench.welcome(bob)
    bench.sent()
    bench.passes(0.1)
    rec = bench.only(ONLINE)
    assert (rec.session, rec.attempt, rec.flags) == (bob.session.number, 51, AGAIN)


def test_a_session_that_is_behind_reads_again_in_the_end_when_a_broker_was_lost() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [], end=False, cursor=b"c1")
    assert bob.session.phase == BEHIND
    bench.heartbeat(incarnation=333)
    bench.passes(0.1)
    bench.registers_again()
    bench.page(bob)
    assert bench.only(PAGE).by == b""


# What the user API and brokers say to a session.


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (Goodbye.LOGGED_OUT, Goodbye.LOGGED_OUT),
        (Goodbye.DEVICE_REMOVED, Goodbye.DEVICE_REMOVED),
        (99, Goodbye.LOGGED_OUT),
    ],
)
def test_a_session_is_closed(flags: int, expected: int) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    number = alice.session.number
    bench.receives(record(CLOSE, flags=flags, to=b"alice/a2", session=number))
    bench.receives(record(CLOSE, flags=flags, to=b"alice/a1", session=number + 1))
    assert not alice.closed
    bench.receives(record(CLOSE, flags=flags, to=b"alice/a1", session=number))
    assert code(alice) == expected
    assert alice.closed
    assert bench.only(OFFLINE).session == number


def test_a_session_that_is_logging_in_is_closed() -> None:
    bench = Bench()
    alice = bench.logging_in("alice/a1")
    bench.receives(record(CLOSE, flags=Goodbye.DEVICE_REMOVED, to=b"alice/a1", session=alice.session.number))
    assert code(alice) == Goodbye.DEVICE_REMOVED


def test_a_hint_is_passed_on_to_a_session_that_is_welcome() -> None:
    bench = Bench()
    hint = Hint(kind=Hint.FRIEND_ASKED, user_id="bob")
    alice = bench.live("alice/a1")
    eve = bench.logging_in("eve/e1")
    for client in (alice, eve):
        bench.receives(
            record(HINT, to=client.session.key, session=client.session.number, body=hint.SerializeToString())
        )
    bench.receives(record(HINT, to=b"bob/b1", session=alice.session.number, body=b""))
    bench.receives(record(HINT, to=b"alice/a1", session=0, body=b""))
    assert alice.took("hint") == [hint]
    assert not eve.frames


# The log.


def test_a_session_is_told_of_when_it_begins_and_ends() -> None:
    bench = Bench()
    client = bench.connect()
    client.says(Frame(login=Login(token="alice/a1", client="x" * 100)))
    assert bench.ports.sessions == []
    bench.welcome(client, previous=42)
    assert bench.ports.sessions == [f"alice/a1 began, {'x' * 64}, after 42"]
    client.logout()
    client.hangs_up()
    assert bench.ports.sessions[1:] == ["alice/a1 ended: goodbye"]


def test_a_lost_connection_ends_its_session() -> None:
    bench = Bench()
    client = bench.live("alice/a1")
    client.hangs_up()
    assert bench.ports.sessions == ["alice/a1 began, test, after 0", "alice/a1 ended: the connection was lost"]


def test_who_was_not_let_in_is_not_told_of() -> None:
    """Else strangers could fill a disk."""
    bench = Bench()
    for token, result in (("nobody", OK), ("alice/a1", NO_DEVICE), ("alice/a1", AWAY)):
        client = bench.logging_in(token)
        if client.session.number:
            bench.welcome(client, result)
        client.hangs_up()
    assert bench.ports.sessions == []


# Logins that come late.


def test_no_login_on_a_connection_whose_client_has_closed_its_end() -> None:
    bench = Bench()
    client = bench.connect()
    client.silent_s = None
    client.login("alice/a1")
    assert not bench.sent(ONLINE)
    assert client.closed


def test_no_login_that_has_waited_in_the_socket_for_too_long() -> None:
    bench = Bench(login_timeout_s=10.0)
    client = bench.connect()
    client.silent_s = 10.5
    client.login("alice/a1")
    assert not bench.sent(ONLINE)
    assert code(client) == Goodbye.NOT_LOGGED_IN


def test_login_start_and_try_go_to_the_broker() -> None:
    bench = Bench()
    bench.logging_in("alice/a1/l7", start=2**64 - 1, tries=2**64 - 1)
    assert unpack_login(bench.only(ONLINE).body) == ("l7", 2**64 - 1, 2**63 - 1)
    bench.logging_in("bob/b1")
    assert unpack_login(bench.only(ONLINE).body) == ("", 0, 0)


def test_an_earlier_try_is_replaced_before_it_begins() -> None:
    bench = Bench()
    client = bench.logging_in(start=1, tries=1)
    bench.welcome(client, LATE)
    assert code(client) == Goodbye.REPLACED


@pytest.mark.parametrize(
    ("result", "understands", "expected"),
    [
        (LOGIN_ENDED, (), Goodbye.LOGGED_OUT),
        (DISABLED, (), Goodbye.LOGGED_OUT),
        (DISABLED, ("later", "disabled"), Goodbye.ACCOUNT_DISABLED),
    ],
)
def test_a_client_hears_why_in_words_that_it_knows(result: int, understands: tuple[str, ...], expected: int) -> None:
    bench = Bench()
    client = bench.logging_in(understands=understands)
    bench.welcome(client, result)
    assert code(client) == expected
    live = bench.connect()
    live.login("bob/b1", understands=understands)
    bench.welcome(live)
    close = Goodbye.ACCOUNT_DISABLED if result == DISABLED else Goodbye.LOGGED_OUT
    bench.receives(record(CLOSE, to=b"bob/b1", session=live.session.number, flags=int(close)))
    assert code(live) == expected


# The end of a login.


@pytest.mark.parametrize(("spare", "goes_on"), [("", False), ("l1", True), ("l2", False)])
def test_a_close_is_confirmed_and_spares_the_login_that_stands(spare: str, goes_on: bool) -> None:
    bench = Bench()
    bob = bench.live("bob/b1/l1")
    bench.receives(
        record(CLOSE, to=b"bob/b1", session=bob.session.number, flags=10, attempt=5, body=pack_spared(spare))
    )
    closed = bench.only(CLOSED)
    assert (closed.to, closed.session, closed.attempt) == (b"bob/b1", bob.session.number, 5)
    assert (bob.goodbye is None) is goes_on
    # Once more, and of one that is not here.
    bench.receives(record(CLOSE, to=b"eve/e1", session=77, flags=10, attempt=6))
    assert bench.only(CLOSED).attempt == 6


def test_a_session_ends_when_its_token_is_overdue() -> None:
    bench = Bench(token_overdue_s=100.0, heartbeat_s=10_000.0)
    bob = bench.live()  # its token is good for 60 s
    bench.core._next_sweep = 0.0
    bench.passes(60 + 100.0 - 1.0)
    assert bob.goodbye is None
    bench.passes(12.0)
    bench.core._next_sweep = 0.0
    bench.passes(0.1)
    assert code(bob) == Goodbye.BAD_TOKEN
