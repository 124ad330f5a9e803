"""What a stranger writes that not everybody can read: refused on the way in, in nobody's way on the way out."""

from __future__ import annotations

import pytest

from fabric import records
from fabric.rows import RowKind
from protocol.framing import message_frame
from protocol.sparrow_pb2 import READ, About, Failed, Goodbye, Message
from tests.connector.bench import Bench, failures, kept_message, receipt_row, row, text

GROUPS = b"\xc3\x3e" * 100 + b"\xc4\x3e" * 100


@pytest.mark.parametrize("tail", [GROUPS, b"\xc3\x3e\x00\x01\xc4\x3e", b"\xc0\x3e\x81" + b"\x80" * 8 + b"\x7e"])
def test_a_message_that_not_everybody_can_read_ends_its_authors_session(tail: bytes) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.raw(message_frame(text(1).message.SerializeToString() + tail))
    goodbye = alice.goodbye
    assert goodbye is not None
    assert goodbye.code == Goodbye.MALFORMED
    assert not bench.sent(records.ROUTE)


@pytest.mark.parametrize(
    "wrong",
    [
        text(1, kind=0),
        text(1, kind=4),
        text(1, kind=999),
        text(1, kind=-1),
        text(1, body=b"\xff"),
        text(2**53, settled=2**53),
        text(1, kind=READ, body=b""),
        text(1, kind=READ, body=b"", about=About(from_device="?", stream=1, ids=[1])),
    ],
)
def test_a_message_that_nobody_may_send_fails_for_good_and_the_session_goes_on(wrong: object) -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    alice.says(wrong, text(2))  # type: ignore[arg-type]
    assert alice.goodbye is None
    ((number, code, final),) = failures(alice.took("failed"))
    assert (code, final) == (Failed.NOT_ALLOWED, True)
    assert number in (1, 2**53)
    assert len(bench.sent(records.ROUTE)) == 1
    assert bench.core.attempts.failed[Failed.NOT_ALLOWED] == 1


@pytest.mark.parametrize("kind", [RowKind.MESSAGE, RowKind.RECEIPT])
def test_a_row_that_cannot_be_read_is_passed_over_and_those_behind_it_are_not(kind: int) -> None:
    bench = Bench()
    bob = bench.settling()
    bench.ports.logs.clear()
    bench.page(bob, [row(1), (b"bad", kind, b"\x08"), receipt_row(2), row(3)])
    assert bob.took_kinds() == ["logged_in", "message", "receipt", "message"]
    assert bench.core.catchup.rows_unreadable == 1
    bob.acks(3)
    bench.turn()
    assert not bob.session.unacked_bytes
    bench.passes(0.2)
    assert bench.ports.logs == ["a row in the inbox of bob/b1 cannot be read and is passed over"]


def test_a_row_of_an_older_release_that_not_everybody_can_read_is_given_as_everybody_can() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [(b"key", RowKind.MESSAGE, kept_message(1) + GROUPS[:80] + GROUPS[-80:])])
    (message,) = bob.took("message")
    assert message == Message.FromString(kept_message(1))
    assert not bob.session.buffered
    bob.acks(1)
    bench.turn()
    assert bob.session.rows == {b"key"}
