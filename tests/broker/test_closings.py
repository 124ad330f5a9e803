"""Sessions that are to end: told until their connectors confirm it."""

from __future__ import annotations

import pytest

from broker.core.closings import ANSWER_S, KEEP_S
from fabric.records import CLOSE, CLOSED, OK, UNCONFIRMED, Record, record
from protocol.sparrow_pb2 import Goodbye
from tests.broker.bench import A, B, Bench, Sent

REPEAT_S = 0.5


def closing(bench: Bench, to: bytes = b"bob/b1", body: bytes = b"") -> list[Record]:
    """The user API asks."""
    answers = bench.asks(record(CLOSE, to=to, attempt=8, flags=Goodbye.LOGGED_OUT, body=body))
    bench.pass_barrier()
    return answers


def confirm(bench: Bench, rec: Sent) -> None:
    bench.receives(record(CLOSED, to=rec.to, session=rec.session, attempt=rec.attempt), connector=rec.connector)


def said(answers: list[Record]) -> tuple[int, bytes]:
    """(flags, body) of the one answer."""
    ((_, flags, *_, body),) = answers
    return flags, body


def test_it_is_told_again_until_it_is_confirmed() -> None:
    bench = Bench(notify_repeat_s=REPEAT_S)
    bench.goes_online("bob/b1", A, 20)
    answers = closing(bench, body=b"login")
    first = bench.only(CLOSE)
    assert (first.connector, first.session, first.flags, first.body) == (A, 20, Goodbye.LOGGED_OUT, b"login")
    bench.passes(REPEAT_S)
    again = bench.only(CLOSE)
    assert (again.session, again.body) == (20, b"login")
    assert again.attempt != first.attempt
    confirm(bench, first)  # the answer to the first says nothing of what has come since
    assert not answers
    confirm(bench, again)
    assert said(answers) == (OK, b"")
    bench.passes(2 * REPEAT_S)
    assert not bench.sent(CLOSE)
    assert not len(bench.core.closings)


def test_whoever_asks_hears_soon_that_it_goes_on() -> None:
    bench = Bench(notify_repeat_s=REPEAT_S)
    bench.goes_online("bob/b1", A, 20)
    bench.ports.gone.add(A)
    answers = closing(bench)
    bench.passes(ANSWER_S + 0.1)
    assert said(answers) == (OK, UNCONFIRMED)
    bench.ports.gone.clear()
    bench.passes(REPEAT_S)
    assert bench.only(CLOSE).session == 20


@pytest.mark.parametrize("elsewhere", [True, False])
def test_presence_tells_of_a_connector_that_confirms_nothing(elsewhere: bool) -> None:
    """It is told for a while yet: whoever replaced the session may not have been able to tell it."""
    bench = Bench(notify_repeat_s=REPEAT_S)
    bench.goes_online("bob/b1", A, 20)
    answers = closing(bench)
    bench.sent()
    if elsewhere:
        bench.goes_online("bob/b1", B, 21)
    else:
        bench.presence.locations.clear()
    bench.passes(REPEAT_S)
    assert said(answers) == (OK, b"")
    assert [(rec.connector, rec.session) for rec in bench.sent(CLOSE)] == [(A, 20)]
    bench.passes(KEEP_S + 1)
    bench.sent()
    bench.passes(1.0)
    assert not bench.sent(CLOSE)


def test_one_that_is_told_by_another_number_is_not_taken_for_it() -> None:
    bench = Bench()
    bench.goes_online("bob/b1", A, 20)
    answers = closing(bench)
    rec = bench.only(CLOSE)
    bench.receives(record(CLOSED, to=rec.to, session=99, attempt=rec.attempt))
    assert not answers
