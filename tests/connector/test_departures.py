"""Who has left: that presence hears of it, whatever becomes of the brokers that were told."""

from __future__ import annotations

import pytest

from connector.core import departures
from connector.core.departures import AGAIN_S, KEEP_S
from fabric.records import (
    AWAY,
    DISABLED,
    LATE,
    LOGIN_ENDED,
    NO_DEVICE,
    NOTIFY,
    OFFLINE,
    OK,
    PREDECESSOR,
    TAKEN,
    record,
)
from tests.connector.bench import B1, B2, Bench, Client


def gone(bench: Bench, token: str = "alice/a1") -> Client:
    """One whose end brokers were told a moment ago."""
    client = bench.live(token)
    client.hangs_up()
    assert bench.only(OFFLINE).session == client.session.number
    return client


def first_broker_leaves(bench: Bench) -> None:
    """The other one says so."""
    bench.heartbeat(B2, members={901: B1, 902: B2})
    bench.heartbeat(B2, members={902: B2})
    bench.passes(0.1)


def answered_after_its_end(result: int) -> tuple[Bench, Client]:
    """A session whose client hung up while it was logging in."""
    bench = Bench()
    alice = bench.logging_in()
    alice.hangs_up()
    bench.sent()
    bench.welcome(alice, result)
    return bench, alice


@pytest.mark.parametrize("result", [OK, PREDECESSOR, AWAY])
def test_a_session_that_presence_names_after_its_end(result: int) -> None:
    bench, alice = answered_after_its_end(result)
    offline = bench.only(OFFLINE)
    assert (offline.to, offline.session) == (b"alice/a1", alice.session.number)


@pytest.mark.parametrize("result", [TAKEN, LATE, NO_DEVICE, DISABLED, LOGIN_ENDED])
def test_a_session_that_presence_does_not_name(result: int) -> None:
    bench, _ = answered_after_its_end(result)
    assert bench.sent() == []


def test_a_row_for_who_is_not_here() -> None:
    bench = Bench()
    bench.receives(record(NOTIFY, to=b"bob/b1", session=77, attempt=1))
    offline = bench.only(OFFLINE)
    assert (offline.to, offline.session) == (b"bob/b1", 77)


def test_whatever_comes_at_once_is_answered_once() -> None:
    bench = Bench()
    for number in range(1, 50):
        bench.receives(record(NOTIFY, to=b"bob/b1", session=77, attempt=number))
    assert len(bench.sent(OFFLINE)) == 1
    bench.passes(AGAIN_S)
    bench.receives(record(NOTIFY, to=b"bob/b1", session=77, attempt=50))
    assert len(bench.sent(OFFLINE)) == 1


@pytest.mark.parametrize("address", [b"no user/b1", b"\xff/b1", b""])
def test_an_address_that_is_none_is_passed_over(address: bytes) -> None:
    bench = Bench()
    bench.receives(record(NOTIFY, to=address, session=77, attempt=1))
    bench.passes(1)
    assert bench.sent(OFFLINE) == []
    assert bench.core.records_unreadable == 1


def test_when_a_broker_is_lost_another_one_is_told() -> None:
    bench = Bench(up=(B1, B2), link_timeout_s=2.0)
    alice = gone(bench)
    first_broker_leaves(bench)
    assert [(rec.to, rec.session) for rec in bench.sent(OFFLINE)] == [(b"alice/a1", alice.session.number)]
    bench.passes(0.5)
    assert bench.sent(OFFLINE) == []


def test_who_left_while_no_broker_was_up_is_told_of_later() -> None:
    bench = Bench(brokers=(B1,), link_timeout_s=2.0)
    alice = bench.live("alice/a1")
    bench.passes(3.0, keep_up=False)
    bench.sent()
    alice.hangs_up()
    bench.passes(2 * KEEP_S, keep_up=False)
    assert bench.sent(OFFLINE) == []
    bench.heartbeat()
    bench.passes(0.1)
    assert bench.only(OFFLINE).session == alice.session.number


def test_what_is_long_ago_is_forgotten() -> None:
    bench = Bench(up=(B1, B2))
    gone(bench)
    bench.passes(KEEP_S + 1)
    first_broker_leaves(bench)
    assert bench.sent(OFFLINE) == []


@pytest.mark.changes_cores
def test_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "MAX_KEPT", 2)
    bench = Bench(up=(B1, B2))
    left = [gone(bench, f"user{number}/a1") for number in range(4)]
    first_broker_leaves(bench)
    assert [rec.session for rec in bench.sent(OFFLINE)] == [each.session.number for each in left[2:]]
