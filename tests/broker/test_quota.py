"""What may wait for a user: how much of whom, what it costs to know, and what is refused with which outcome."""

from __future__ import annotations

from typing import Any

import pytest

from broker.settings import BrokerSettings
from fabric.authorship import author_of
from fabric.records import INBOX_BUSY, INBOX_FULL, NO_SPACE, NOTIFY, OTHERS_BIT, RECEIPT, SAFE
from protocol.framing import varint
from protocol.sparrow_pb2 import Message
from tests.broker.bench import A, B, Bench, outcomes, returned, route

USERS = {"alice": ["a1"], "bob": ["b1"], "carol": ["c1"], "dave": ["d1"]}
SMALL: dict[str, Any] = {
    "inbox_max_rows": 100,
    "inbox_max_bytes": 100_000,
    "inbox_max_rows_of_author": 20,
    "inbox_max_bytes_of_author": 20_000,
}
MAX = 20
"""Rows of one author, where each has less than a thousandth of the bytes."""


class Counting(Bench):
    """A bench whose store counts what was stored, at once if `counts`."""

    def __init__(self, users: dict[str, list[str]] | None = None, *, counts: bool = True, **changes: Any) -> None:
        super().__init__(users or USERS, **{**SMALL, **changes})
        self.counts = counts
        self.kept: dict[str, dict[str, tuple[int, int]]] = {}
        self.looks = self.attempts = 0

    def stores(self, *encoded: bytes, connector: int = A) -> list[int]:
        """What becomes of these."""
        self.receives(*encoded, connector=connector)
        while (
            self.asked("append")
            or (self.counts and self.asked("waiting"))
            or self.presence.barriers
            or self.asked("devices")
        ):
            if self.counts and self.asked("waiting"):
                self.looks += 1
                (users,) = self.asked("waiting")
                self.answer("waiting", {user: dict(self.kept.get(user, {})) for user in users})
                continue
            for row in [row for append in self.asked("append") for row in append]:
                rows, size = self.kept.setdefault(row.user, {}).get(row.author, (0, 0))
                self.kept[row.user][row.author] = (rows + 1, size + len(row.body))
            if self.asked("append"):
                self.answer("append", True)
            elif self.presence.barriers:
                self.pass_barrier()
            else:
                self.read_devices()
        sent = self.sent()
        self.hear(*[rec for rec in sent if rec.kind == NOTIFY])
        return [state & ~OTHERS_BIT for *_, state in outcomes([*sent, *self.sent()])]


def writes(bench: Counting, author: str = "alice", to: str = "bob", count: int = 1, size: int = 5) -> list[int]:
    device = USERS.get(author, ["d"])[0]
    found = []
    for _ in range(count):
        bench.attempts += 1
        found += bench.stores(route(bench.attempts, to, f"{author}/{device}", body=b"x" * size))
    return found


def counts(bench: Counting, **waiting: tuple[int, int]) -> None:
    """The store answers the oldest question, by author."""
    (users,) = bench.asked("waiting")
    bench.answer("waiting", dict.fromkeys(users, waiting))


# How much of whom.


def test_one_author_comes_to_their_limit_exactly() -> None:
    bench = Counting()
    assert writes(bench, count=MAX + 3) == [SAFE] * MAX + [INBOX_FULL] * 3
    # Others, and other receivers, are not hurt.
    assert writes(bench, "carol") == [SAFE]
    assert writes(bench, to="dave") == [SAFE]


def test_bytes_count_as_rows_do() -> None:
    bench = Counting()
    assert writes(bench, count=22, size=1000) == [SAFE] * 20 + [INBOX_FULL] * 2
    bench = Counting()
    assert writes(bench, size=20_001) == [INBOX_FULL]
    assert writes(bench, size=19_999) == [SAFE]


def test_many_authors_leave_room_for_one_more() -> None:
    """Each may have a part of what is left: a flood from many accounts does not keep a friend out."""
    users = {"bob": ["b1"], **{f"user{number}": ["d"] for number in range(60)}}
    bench = Counting(
        users,
        inbox_max_rows=10**6,
        inbox_max_rows_of_author=10**5,
        inbox_max_bytes=10**6,
        inbox_max_bytes_of_author=2 * 10**5,
    )
    for number in range(59):
        while writes(bench, f"user{number}", size=2000) == [SAFE]:
            pass
    watched = bench.core.quota._watched["bob"]
    assert 880_000 < watched.bytes < 950_000
    assert watched.authors["user0"][1] == 200_000
    assert watched.authors["user1"][1] < 140_000
    assert writes(bench, "user59", size=500) == [SAFE]


def test_without_a_part_for_each() -> None:
    bench = Counting(inbox_max_rows_of_author=100, inbox_max_bytes_of_author=100_000)
    assert writes(bench, count=101) == [SAFE] * 100 + [INBOX_FULL]
    assert writes(bench, "carol") == [INBOX_FULL]


def test_ones_own_other_devices_count_and_are_not_filled_by_others() -> None:
    users = {**USERS, "alice": ["a1", "a2"]}
    bench = Counting(users)
    for author in ("bob", "carol", "dave"):
        writes(bench, author, to="alice", count=MAX)
    assert writes(bench, "dave", to="alice") == [INBOX_FULL] * 2
    bench.goes_online("bob/b1")
    states = [bench.stores(route(number, "bob"))[0] for number in range(1, MAX + 3)]
    assert states == [SAFE] * MAX + [INBOX_FULL] * 2


def test_receipts_are_counted_and_never_refused() -> None:
    bench = Counting()
    writes(bench, count=MAX + 1)
    states = [bench.stores(route(number, "bob", "carol/c1", flags=RECEIPT))[0] for number in range(1, 150)]
    assert set(states) == {SAFE}
    assert bench.core.quota._watched["bob"].authors[""] == (149, 149 * 5)
    assert writes(bench, "carol") == [INBOX_FULL]


def test_somebody_who_is_there_makes_room_in_seconds() -> None:
    bench = Counting()
    bench.goes_online("bob/b1", B)
    body = signed(b"x", "alice")
    states = [bench.stores(returned(number, "bob/b1", body=body), connector=B)[0] for number in range(1, MAX + 3)]
    assert states == [SAFE] * MAX + [INBOX_BUSY] * 2


def test_the_other_copies_of_what_was_refused_are_not_stored() -> None:
    """They would take room from messages that can be SENT."""
    users = {**USERS, "alice": ["a1", "a2"]}
    bench = Counting(users)
    bench.goes_online("bob/b1")
    writes(bench, count=MAX)
    bench.presence.locations.clear()
    writes(bench, "carol", count=5)  # bob is watched, too
    before = dict(bench.kept["bob"])
    assert writes(bench) == [INBOX_FULL, INBOX_FULL]
    assert bench.kept["bob"] == before


# What it costs to know.


def test_little_is_not_asked_about() -> None:
    """Far below the limits the store is not asked at all."""
    normal = BrokerSettings()
    bench = Counting(**{name: getattr(normal, name) for name in SMALL})
    for number in range(300):
        bench.stores(route(number))
    bench.passes(5)
    assert not bench.looks
    assert not bench.core.quota.watched


def test_a_count_that_shows_little_ends_the_watch() -> None:
    bench = Counting(counts=False)
    assert writes(bench, count=3) == [SAFE] * 3
    assert bench.asked("waiting") == [["bob"]]
    counts(bench, alice=(3, 15))
    assert not bench.core.quota.watched
    assert writes(bench, count=1) == [SAFE]
    assert not bench.asked("waiting")


def test_what_was_taken_while_the_store_counts_counts() -> None:
    bench = Counting(counts=False)
    writes(bench, count=3)
    assert bench.asked("waiting") == [["bob"]]
    writes(bench, count=5)
    counts(bench, alice=(12, 60))
    # The first copy made the broker look; the second was on its way, and the third came meanwhile: the store has
    # counted the second as well, which the broker cannot know.
    assert writes(bench, count=5) == [SAFE] + [INBOX_FULL] * 4


def test_what_is_on_its_way_when_the_store_counts_counts() -> None:
    """One batch of many: the store counts before any of it is there."""
    bench = Counting(counts=False)
    bench.receives(*(route(number) for number in range(MAX + 10)))
    while not bench.asked("append"):
        bench.read_devices()
    counts(bench)
    states = bench.stores(route(100))
    assert sorted(states) == [SAFE] * (MAX + 1) + [INBOX_FULL] * 10
    # It is forgotten when it is there, or could not be put there.
    assert not bench.core.quota._watched["bob"].flying


def test_room_that_was_made_is_found_within_seconds() -> None:
    bench = Counting(counts=False)
    bench.goes_online("bob/b2")
    writes(bench, count=MAX + 1)
    counts(bench, alice=(20, 100))
    assert writes(bench) == [INBOX_FULL]
    assert not bench.asked("waiting")  # it was asked just now
    bench.passes(2.1)
    assert writes(bench) == [INBOX_FULL]
    assert bench.asked("waiting") == [["bob"]]
    counts(bench, alice=(2, 10))
    assert writes(bench, count=2) == [SAFE, SAFE]


def test_where_nobody_is_the_store_is_asked_more_rarely() -> None:
    bench = Counting(counts=False)
    writes(bench, count=MAX + 1)
    counts(bench, alice=(20, 100))
    bench.passes(10)
    assert writes(bench) == [INBOX_FULL]
    assert not bench.asked("waiting")
    bench.passes(11)
    assert writes(bench) == [INBOX_FULL]
    assert bench.asked("waiting") == [["bob"]]


def test_what_other_brokers_have_stored_is_found_at_the_next_count() -> None:
    """So the limit is passed by a sixteenth of it for each broker, and what is on its way."""
    bench = Counting(counts=False)
    writes(bench, count=2)
    counts(bench, alice=(18, 90))
    assert writes(bench, count=3) == [SAFE] + [INBOX_FULL] * 2


def test_one_question_at_a_time_and_a_rest_between_them() -> None:
    bench = Counting(counts=False)
    writes(bench, to="bob", count=3)
    writes(bench, to="dave", count=3)
    assert bench.asked("waiting") == [["bob"]]
    bench.passes(1.0)
    counts(bench, alice=(19, 100))
    bench.passes(3.5)
    assert not bench.asked("waiting")
    bench.passes(1.0)
    assert bench.asked("waiting") == [["dave"]]


def test_a_store_that_cannot_count_is_asked_again() -> None:
    bench = Counting(counts=False)
    writes(bench, count=3)
    bench.away("waiting")
    assert writes(bench, count=MAX) == [SAFE] * (MAX - 2) + [INBOX_FULL] * 2
    bench.passes(21)
    writes(bench)
    counts(bench)
    assert writes(bench) == [SAFE]


def test_who_gets_nothing_more_is_forgotten_and_asked_about_anew() -> None:
    bench = Counting(counts=False)
    writes(bench, count=MAX)
    counts(bench, alice=(20, 100))
    bench.passes(70)
    assert not bench.core.quota.watched
    writes(bench)
    counts(bench, alice=(20, 100))
    assert writes(bench) == [INBOX_FULL]


def test_users_who_got_little_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    users = {**USERS, **{f"user{number}": ["d"] for number in range(20)}}
    bench = Counting(users, counts=False, max_cached_users=50)
    for number in range(20):
        writes(bench, to=f"user{number}")
    assert len(bench.core.quota._left) == 20
    object.__setattr__(bench.core.quota._settings, "max_cached_users", 10)
    bench.passes(1.1)
    assert not bench.core.quota._left
    # A question about somebody who was forgotten meanwhile is none.
    writes(bench, to="bob", count=3)
    bench.core.quota._watched.clear()
    counts(bench, alice=(1, 1))
    assert not bench.core.quota.watched


# The disk.


def test_a_full_disk_takes_receipts_only() -> None:
    bench = Counting()
    bench.store.full = True
    bench.passes(1.1)
    assert writes(bench) == [NO_SPACE]
    assert bench.stores(route(5, "bob", "carol/c1", flags=RECEIPT)) == [SAFE]
    bench.goes_online("bob/b1", B)
    assert bench.stores(returned(7, "bob/b1"), connector=B) == [NO_SPACE]
    bench.store.full = False
    bench.passes(1.1)
    assert bench.stores(returned(8, "bob/b1"), connector=B) == [SAFE]
    assert bench.core.storage.refused[NO_SPACE] == 2


# Whose row it is.


def signed(raw: bytes, user: str, device: str = "a1") -> bytes:
    """What a connector makes of a client's bytes."""
    suffix = b"\x22" + varint(len(user)) + user.encode() + b"\x2a" + varint(len(device)) + device.encode()
    return raw + suffix + b"\x49" + bytes(8)


def test_rows_name_their_author() -> None:
    bench = Counting()
    assert bench.stores(route(1, "bob"), route(2, "bob", "carol/c1", flags=RECEIPT)) == [SAFE, SAFE]
    bench.stores(returned(3, "bob/b1", body=signed(b"raw", "carol")), connector=B)
    bench.stores(returned(4, "bob/b1", flags=RECEIPT, body=signed(b"raw", "carol")), connector=B)
    assert {author: rows for author, (rows, _) in bench.kept["bob"].items()} == {"alice": 1, "carol": 1, "": 2}


@pytest.mark.parametrize("length", [1, 2, 33, 34, 35, 42, 63, 64])
@pytest.mark.parametrize("device", ["a", "b" * 31, "c" * 32])
def test_the_author_of_any_message(length: int, device: str) -> None:
    user = "u" * length
    hostile = signed(b"", "mallory", "m1")
    for body in (b"", b"\x22\x07mallory\x2a\x02m1" * 3, hostile, b"\x2a" * 50, b"\x22" * 50):
        raw = Message(stream=1, id=1, settled=1, dest_id="bob", kind=1, body=body).SerializeToString()  # type: ignore[arg-type]
        message = signed(raw, user, device)
        assert Message.FromString(message).from_id == user
        assert author_of(message) == user


@pytest.mark.parametrize(
    "message", [b"", b"x", b"hello", b"\x22", b"\x22\x01a", b"\x2a" * 12, b"\x22\x05a\x2a\x01b" + bytes(9)]
)
def test_what_nobody_has_signed_has_no_author(message: bytes) -> None:
    assert author_of(message) == ""
