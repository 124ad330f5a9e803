"""Groups at the receiving end: live copies, looks, reads from timelines, Syncs and checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from connector.core import checkpoints
from connector.core.groups import MAX_DIRTY, GroupCatchup
from fabric import records
from fabric.group_records import (
    Checkpoint,
    GroupCopy,
    GroupHeard,
    GroupLook,
    GroupPageRequest,
    GroupRows,
    pack_group_rows,
)
from fabric.records import CHECKPOINT, GROUP_COPY, GROUP_HEARD, GROUP_PAGE, KNOWS_GROUPS, ROUTE, record
from protocol.ids import TRAIL_MS
from protocol.sparrow_pb2 import READ, Failed, Hint, Message
from tests.connector.bench import B1, B2, LEASE, WALL_MS, Bench, Client, ids, text

G = "~" + "a" * 24
H = "~" + "b" * 24
UNDERSTANDS = ("groups",)
HERE = 901
"""Incarnation of the broker B1."""


def words(number: int, group: str = G, author: str = "alice", **more: Any) -> bytes:
    """A group's message, encoded."""
    fields = {"stream": 9, "id": number, "settled": 1, "kind": 1, "body": b"hello %d" % number, **more}
    return Message(
        from_id=author, from_device="a1", dest_id=group, stamp=number, version=3, **fields
    ).SerializeToString()


@dataclass
class Groups:
    """A connector, and a broker that knows groups."""

    bench: Bench
    number: int = 0

    @classmethod
    def new(cls, **settings: Any) -> Groups:
        bench = Bench(up=(), brokers=(B1,), **{"max_unacked": 16, **settings})
        this = cls(bench)
        this.beats()
        bench.sent()
        return this

    def beats(self, clear_ms: int = 0, flags: int = KNOWS_GROUPS) -> None:
        """The broker answers a heartbeat."""
        self.bench.receives(
            record(
                records.HEARTBEAT,
                flags=flags,
                to=clear_ms.to_bytes(8, "little") if clear_ms else b"",
                by=self.bench.core.turn.wall_ms.to_bytes(8, "little"),
                origin=HERE,
                attempt=LEASE,
                session=self.bench.core.links.lease,
                body=records.pack_members({HERE: B1}.items()),
            )
        )

    def logged_in(self, token: str = "bob/b1", **more: Any) -> Client:
        """With the first read of groups on its way, and the inbox at its end."""
        client = self.bench.logging_in(token, understands=UNDERSTANDS, **more)
        self.bench.welcome(client)
        self.bench.page(client)
        return client

    def live(self, token: str = "bob/b1", **more: Any) -> Client:
        """With nothing to catch up with."""
        client = self.logged_in(token, **more)
        if client.session.groups is not None and client.session.groups.request:
            self.gives(client)
        client.took()
        self.bench.sent()
        return client

    def copies(self, *clients: Client, number: int = 1, group: str = G, author: str = "alice/a1") -> int:
        """A live message for these; returns the number by which it is confirmed."""
        self.number += 1
        sessions = [client.session.number for client in clients]
        copy = GroupCopy(group.encode(), author.encode(), self.number, number << 20, sessions, words(number, group))
        self.bench.receives(copy.encode())
        return self.number

    def looks(self, *clients: Client, group: str = G, stamp: int = 5) -> int:
        """There are rows for these."""
        self.number += 1
        sessions = [client.session.number for client in clients]
        self.bench.receives(GroupLook(group.encode(), self.number, stamp, sessions).encode())
        return self.number

    def gives(
        self,
        client: Client,
        messages: Iterable[bytes] = (),
        *,
        end: bool = True,
        failed: bool = False,
        skipped: Iterable[str] = (),
        cursor: bytes = b"",
        began_ms: int = 0,
        request: int | None = None,
    ) -> None:
        """The answer to the read that is asked for."""
        reading = client.session.groups
        assert reading is not None
        page = GroupRows(
            client.session.number,
            reading.request if request is None else request,
            began_ms or self.bench.core.turn.wall_ms,
            cursor,
            end,
            failed,
            pack_group_rows(skipped, messages),
        )
        self.bench.receives(page.encode())

    def asked(self) -> list[GroupPageRequest]:
        """Pages that were asked for since the last call."""
        return [GroupPageRequest.of(sent.raw) for sent in self.bench.sent(GROUP_PAGE)]

    def heard(self) -> list[int]:
        """What was confirmed since the last call."""
        return [n for sent in self.bench.sent(GROUP_HEARD) for n in GroupHeard.of(sent.raw).numbers]

    def kept(self) -> list[Checkpoint]:
        """Checkpoints that were sent since the last call."""
        return [Checkpoint.of(sent.raw) for sent in self.bench.sent(CHECKPOINT)]


def got(client: Client) -> list[int]:
    return ids(client.took("message"))


# Live.


def test_a_copy_goes_to_each_session_and_is_confirmed_once() -> None:
    groups = Groups.new()
    bob, carol = groups.live("bob/b1"), groups.live("carol/c1")
    number = groups.copies(bob, carol)
    assert groups.heard() == [number]
    assert got(bob) == got(carol) == [1]
    assert groups.bench.core.groups.copies == 2


def test_a_message_keeps_its_version_and_destination() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.copies(bob)
    (message,) = bob.took("message")
    assert (message.dest_id, message.version, message.from_id, message.from_device) == (G, 3, "alice", "a1")


def test_nothing_for_who_is_gone_wrote_it_or_knows_no_groups() -> None:
    groups = Groups.new()
    bob, alice = groups.live("bob/b1"), groups.live("alice/a1")
    old = groups.bench.live("carol/c1")
    bob.hangs_up()
    number = groups.copies(bob, alice, old)
    assert number in groups.heard()
    assert not got(alice)
    assert not got(old)


def test_what_there_is_no_room_for_is_read_as_acks_give_room() -> None:
    groups = Groups.new(max_unacked=4)  # half of it for groups
    bob = groups.live()
    for number in (1, 2, 3, 4):
        groups.copies(bob, number=number)
    assert got(bob) == [1, 2]
    assert not groups.asked()
    bob.acks(1)
    (page,) = groups.asked()
    assert (page.group, page.stamp, page.limit) == (G, 3 << 20, 1)
    groups.gives(bob, [words(3)], end=False, cursor=b"c")
    assert not groups.asked()
    bob.acks(3)
    (page,) = groups.asked()
    assert (page.cursor, page.limit) == (b"c", 1)
    groups.gives(bob, [words(4)])
    assert got(bob) == [3, 4]
    assert not groups.bench.core.groups.reading


def test_copies_wait_for_the_end_of_a_read_of_their_group() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob)
    groups.copies(bob, number=8)
    groups.copies(bob, number=7, group=H)
    assert got(bob) == [7]
    groups.gives(bob, [words(5), words(6)])
    assert got(bob) == [5, 6, 8]
    assert not groups.bench.core.groups.reading


@pytest.mark.changes_cores
def test_what_waits_for_a_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupCatchup, "MAX_WAITING", 2)
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob)
    groups.asked()
    for number in (9, 8, 10):
        groups.copies(bob, number=number)
    groups.copies(bob, number=11)
    groups.gives(bob, [words(5)])
    assert got(bob) == [5]
    (page,) = groups.asked()
    assert (page.group, page.stamp) == (G, 8 << 20)


def test_copies_that_waited_and_find_no_room_are_read() -> None:
    groups = Groups.new(max_unacked=8)
    bob = groups.live()
    groups.looks(bob)
    for number in (6, 7, 8):
        groups.copies(bob, number=number)
    groups.asked()
    groups.gives(bob, [words(4), words(5)])
    assert got(bob) == [4, 5, 6, 7]
    assert not groups.asked()
    bob.acks(4)
    (page,) = groups.asked()
    assert page.stamp == 8 << 20


def test_during_a_read_of_everything_a_copy_is_read_behind_it() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    bob.took()
    groups.copies(bob, number=5)
    assert not got(bob)
    groups.bench.sent()
    groups.gives(bob, [words(1)])
    (page,) = groups.asked()
    assert (page.group, page.stamp) == (G, 5 << 20)
    groups.copies(bob, number=6, group=H)
    assert got(bob) == [1, 6]


# Looks.


def test_a_look_is_confirmed_and_read() -> None:
    groups = Groups.new()
    bob, carol = groups.live("bob/b1"), groups.live("carol/c1")
    number = groups.looks(bob, stamp=77)
    sent = groups.bench.ports.sent
    assert groups.heard() == [number]
    groups.bench.ports.sent = sent
    (page,) = groups.asked()
    assert (page.address, page.group, page.stamp, page.began_ms) == (b"bob/b1", G, 77, 0)
    assert carol.session.groups is not None
    assert carol.session.groups.is_clean


def test_a_look_for_all_is_for_every_session() -> None:
    groups = Groups.new()
    groups.live("bob/b1")
    groups.live("carol/c1")
    groups.bench.live("old/o1")
    groups.looks(group="", stamp=9)
    assert {(page.address, page.group, page.stamp) for page in groups.asked()} == {
        (b"bob/b1", "", 9),
        (b"carol/c1", "", 9),
    }


def test_dirty_groups_are_read_one_by_one_each_from_its_lowest_row() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob, group=H, stamp=3)
    groups.looks(bob, group=G, stamp=9)
    groups.looks(bob, group=G, stamp=4)
    groups.looks(bob, group=G, stamp=8)
    (first,) = groups.asked()
    groups.gives(bob)
    (second,) = groups.asked()
    assert [(page.group, page.stamp) for page in (first, second)] == [(H, 3), (G, 4)]


def test_so_many_dirty_groups_are_all() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob, group=G, stamp=1 << 40)
    for number in range(MAX_DIRTY + 1):
        groups.looks(bob, group=f"~{number:024}", stamp=(1 << 30) + number)
    groups.bench.sent()
    groups.gives(bob)
    (page,) = groups.asked()
    assert (page.group, page.stamp) == ("", 1 << 30)


# Reads.


def test_a_login_reads_all_from_where_the_store_says() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    (page,) = groups.asked()
    assert (page.address, page.session, page.group, page.stamp, page.began_ms, page.cursor) == (
        *(b"bob/b1", bob.session.number),
        *("", 0, 0, b""),
    )
    groups.gives(bob, [words(1)], end=False, cursor=b"c1", began_ms=WALL_MS)
    (page,) = groups.asked()
    assert (page.cursor, page.began_ms) == (b"c1", WALL_MS)


def test_an_erased_row_and_a_skipped_group() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    bob.took()
    groups.gives(bob, [words(1, body=b"", erased=True)], skipped=[H])
    hint, message = bob.took()
    assert message.message.erased
    assert (hint.hint.kind, hint.hint.group) == (Hint.SKIPPED, H)


def test_a_page_that_failed_is_asked_for_again() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    groups.gives(bob, [words(1)], end=False, cursor=b"c1")
    groups.asked()
    groups.gives(bob, failed=True)
    assert not groups.asked()
    groups.bench.passes(1.2)
    (page,) = groups.asked()
    assert page.cursor == b"c1"


def test_a_page_that_finds_its_room_taken_is_asked_for_again() -> None:
    groups = Groups.new(max_unacked=8)
    bob = groups.live()
    groups.looks(bob)
    for number in range(1, 5):
        groups.copies(bob, number=number, group=H)
    groups.bench.sent()
    groups.gives(bob, [words(number) for number in range(10, 19)])
    assert 10 not in got(bob)
    assert not groups.bench.core.groups.rows_sent


def test_a_read_that_is_not_answered_is_asked_for_again() -> None:
    groups = Groups.new(request_timeout_s=1.0)
    bob = groups.logged_in()
    (first,) = groups.asked()
    groups.bench.passes(1.3)
    (second,) = groups.asked()
    assert second.request != first.request
    groups.gives(bob, [words(1)], request=first.request)
    assert not got(bob)


def test_a_read_waits_for_a_broker_that_knows_groups() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.beats(flags=0)
    groups.looks(bob)
    groups.bench.passes(0.5)
    assert not groups.asked()
    groups.beats()
    groups.bench.passes(1.5)
    assert len(groups.asked()) == 1


def test_a_broker_that_left_makes_every_session_read_all() -> None:
    groups = Groups.new()
    groups.live()
    bench = groups.bench
    bench.heartbeat(B1, HERE, members={HERE: B1, 902: B2}, flags=KNOWS_GROUPS)
    bench.heartbeat(B1, HERE, members={HERE: B1}, flags=KNOWS_GROUPS)
    bench.passes(0.3)
    (page,) = groups.asked()
    assert (page.group, page.stamp) == ("", 0)


def test_rows_for_who_is_gone() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    request = bob.session.groups.request if bob.session.groups else 0
    bob.hangs_up()
    groups.gives(bob, [words(1)], request=request)
    groups.bench.passes(0.2)
    assert not groups.bench.core.groups.reading


# Sure.


def test_what_a_broker_says_before_it_is_up_is_not_given_where_none_is() -> None:
    """Another broker may have said meanwhile that the session has ended, which nobody could tell us."""
    groups = Groups.new(request_timeout_s=30.0)
    bob = groups.logged_in("bob/b1/l1")
    groups.bench.passes(4.0, keep_up=False)
    assert not groups.bench.core.links.ready
    groups.copies(bob)
    groups.gives(bob, [words(1)])
    assert not got(bob)
    groups.beats()
    groups.bench.passes(0.2)
    assert groups.bench.registers_again() == [bob.session.number]
    assert got(bob) == [1]


# Sync.


def synced(client: Client) -> list[int]:
    return [frame.n for frame in client.took("synced")]


def test_a_sync_of_a_group_is_one_read_of_it() -> None:
    groups = Groups.new()
    bob = groups.live()
    bob.syncs(3, G)
    (page,) = groups.asked()
    assert (page.group, page.stamp) == (G, 0)
    assert not synced(bob)
    groups.gives(bob, [words(1)])
    frames = bob.took()
    assert [frame.WhichOneof("kind") for frame in frames] == ["message", "synced"]
    assert frames[1].synced.n == 3


def test_a_sync_is_answered_by_a_read_that_begins_behind_it() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob)
    bob.syncs(3, G)
    groups.gives(bob)
    assert not synced(bob)
    groups.gives(bob)
    assert synced(bob) == [3]


def test_a_sync_of_everything_waits_for_the_inbox_and_the_groups() -> None:
    groups = Groups.new()
    bob = groups.live()
    bob.syncs(4)
    assert not synced(bob)
    groups.gives(bob)
    assert not synced(bob)
    groups.bench.page(bob)
    assert synced(bob) == [4]


def test_who_syncs_again_and_again_waits() -> None:
    groups = Groups.new()
    bob = groups.live()
    answered = []
    for n in range(1, 6):
        bob.syncs(n, G)
        if bob.session.groups is not None and bob.session.groups.request:
            groups.gives(bob)
        answered += synced(bob)
    assert answered != [1, 2, 3, 4, 5]
    groups.bench.sent()
    groups.bench.passes(1.2)
    groups.gives(bob)
    assert synced(bob) == [5]


def test_syncs_that_wait_are_bounded() -> None:
    groups = Groups.new(group_scan_s=0.0)
    bob = groups.live()
    names = itertools.product("abcdefgh", repeat=3)
    for n, name in enumerate(itertools.islice(names, 2 * MAX_DIRTY)):
        bob.syncs(n + 1, "~" + "".join(name).rjust(24, "z"))
    reading = bob.session.groups
    assert reading is not None
    assert reading.syncs is not None
    assert len(reading.syncs.asked) == MAX_DIRTY


def test_a_sync_of_a_group_by_who_understands_none() -> None:
    groups = Groups.new()
    old = groups.bench.live("carol/c1")
    old.syncs(2, G)
    assert synced(old) == [2]
    assert not groups.asked()


# Checkpoints.


@pytest.mark.changes_cores
def test_a_read_of_everything_moves_the_checkpoint_when_it_is_acked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "KEEP_S", 2.0)
    groups = Groups.new()
    bob = groups.logged_in()
    began = groups.bench.core.turn.wall_ms
    groups.gives(bob, [words(1)], began_ms=began)
    groups.bench.passes(12.0)
    assert not groups.kept()
    bob.acks(1)
    groups.bench.passes(12.0)
    assert groups.kept() == [Checkpoint(b"bob/b1", began)]


def test_a_session_that_ends_keeps_its_checkpoint() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    began = groups.bench.core.turn.wall_ms
    groups.gives(bob, began_ms=began)
    groups.bench.sent()
    bob.hangs_up()
    assert groups.kept() == [Checkpoint(b"bob/b1", began)]


def test_a_session_that_ends_in_the_middle_of_a_read_keeps_none() -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    groups.gives(bob, [words(1)], end=False)
    groups.bench.sent()
    bob.hangs_up()
    assert not groups.kept()


def test_clear_moves_the_checkpoint_while_nothing_is_to_be_read() -> None:
    groups = Groups.new()
    bob = groups.live()
    clear = groups.bench.core.turn.wall_ms + 5_000
    groups.beats(clear)
    groups.bench.passes(12.0)
    groups.bench.sent()
    bob.hangs_up()
    assert groups.kept() == [Checkpoint(b"bob/b1", clear)]


def test_clear_moves_no_checkpoint_past_what_is_dirty() -> None:
    groups = Groups.new()
    bob = groups.live()
    groups.looks(bob)
    groups.beats(groups.bench.core.turn.wall_ms + 5_000)
    groups.bench.passes(12.0)
    before = groups.bench.core.turn.wall_ms
    bob.hangs_up()
    assert all(kept.ms < before - 11_000 for kept in groups.kept())


def test_nobody_is_clear_while_a_broker_is_not_heard() -> None:
    groups = Groups.new()
    groups.live()
    groups.beats(WALL_MS)
    assert groups.bench.core.links.clear_ms == WALL_MS
    groups.bench.heartbeat(B1, HERE, members={HERE: B1, 902: B2}, flags=KNOWS_GROUPS)
    assert groups.bench.core.links.clear_ms == 0


def test_a_fresh_client_has_what_is_written_from_now_on_and_moves_no_checkpoint() -> None:
    groups = Groups.new()
    bob = groups.logged_in(fresh=True)
    assert not groups.asked()
    groups.copies(bob)
    assert got(bob) == [1]
    groups.bench.core.turn.wall_ms += 1000
    bob.syncs(1, G)
    (page,) = groups.asked()
    assert page.stamp >> 20 >= WALL_MS
    groups.gives(bob)
    groups.bench.sent()
    bob.hangs_up()
    assert not groups.kept()
    assert TRAIL_MS


# Up.


def test_a_message_to_a_group_is_an_attempt_without_a_user() -> None:
    groups = Groups.new()
    alice = groups.live("alice/a1")
    alice.says(text(1, G))
    route = groups.bench.only(ROUTE)
    assert (route.to, route.by) == (G.encode(), b"alice/a1")


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (records.NOT_MEMBER, Failed.NOT_MEMBER),
        (records.ADMINS_ONLY, Failed.NOT_ALLOWED),
        (records.GROUP_BUSY, Failed.TOO_FAST),
    ],
)
def test_what_a_group_refuses(state: int, code: int) -> None:
    groups = Groups.new()
    alice = groups.live("alice/a1")
    alice.says(text(1, G))
    route = groups.bench.only(ROUTE)
    groups.bench.outcome(route.attempt, state)
    (failed,) = alice.took("failed")
    assert failed.code == code
    assert bool(failed.retry_after_ms) == (state == records.GROUP_BUSY)


def test_read_to_a_group_is_refused_here() -> None:
    groups = Groups.new()
    alice = groups.live("alice/a1")
    alice.says(text(1, G, kind=READ, body=b""))
    failed = alice.took("failed")
    assert [one.code for one in failed] == [Failed.NOT_ALLOWED] or groups.bench.sent(ROUTE)


@pytest.mark.parametrize("kind", [GROUP_COPY, records.GROUP_LOOK, records.GROUP_ROWS])
def test_records_that_cannot_be_read_are_passed_over(kind: int) -> None:
    groups = Groups.new()
    bob = groups.logged_in()
    request = bob.session.groups.request if bob.session.groups else 0
    bad = record(kind, to=b"\xff", session=bob.session.number, attempt=request, body=b"\x05\xff\xff")
    groups.bench.receives(bad)
    assert groups.bench.core.records_unreadable == 1
    groups.bench.passes(0.2)
