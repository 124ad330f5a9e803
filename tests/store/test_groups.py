"""What every engine must do for groups: `store.groups`, and timelines whose conversation is a group."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from store import Store
from store.contacts import Change
from store.groups import MAX_INVITATIONS, GroupChange, GroupQuery, Invitation, Link, Member, MyGroup, Role
from store.interface import File
from store.membership import after, made
from store.timelines import Archived, Erasure, HistoryQuery, Mark, Marks, Result
from tests.store.conftest import OpenEngine
from tests.store.group_helpers import (
    EDIT,
    ERASE,
    FILE,
    G,
    H,
    about,
    circle,
    edit_of,
    edit_row,
    gname,
    ids,
    paged,
    pages,
    scan,
    scanned,
)
from tests.store.helpers import make_user
from tests.store.timeline_helpers import NOW_MS, SECOND, keep, results, stamp

DAY_MS = 86_400_000
DAY = DAY_MS << 20


# Membership.


async def test_a_group_as_it_is_made_and_changed(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        await there.change("role", "bob", "admin", actor="alice")
        await there.change("renamed", value="família")
        await there.change("picture", value="file1")
        for setting in ("who_may_write=admins", "who_may_add=admins", "newcomers_see=history"):
            await there.change("settings", value=setting)
        await there.remove("carol")
        found = await store.groups.groups([G, H])
        assert found == {G: there.now, H: None}
        group = found[G]
        assert group is not None
        assert group.members == {"alice": Member("alice", Role.OWNER, 1), "bob": Member("bob", Role.ADMIN, 2)}
        assert (group.open, group.admins_write, group.admins_add, group.version) == (True, True, True, 10)
        told = await store.groups.changes(G, 0, 100)
        assert [one.version for one in told] == list(range(1, 11))
        assert told[0] == GroupChange(1, NOW_MS, "alice", "made", "alice", "friends")
        assert [one.kind for one in await store.groups.changes(G, 7, 2)] == ["settings", "settings"]
        assert await store.groups.changes(H, 0, 9) == []
        assert await store.groups.groups([]) == {}


async def test_a_group_is_made_once(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await store.groups.make(*made(G, "alice", "friends", NOW_MS))
        assert await store.groups.groups([G]) == {G: there.now}
        assert [one.group for one in await store.groups.of_user("alice")] == [G]


async def test_of_two_writers_one_makes_a_version(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        there = await circle(store, "bob", "carol")
        changes = [
            GroupChange(4, NOW_MS, "alice", kind, user) for kind, user in (("removed", "bob"), ("added", "dave"))
        ]
        made_of = [after(there.now, change) for change in changes]
        done = await asyncio.gather(
            *[
                engine.groups.change(group, change)
                for engine, group, change in zip((store, other), made_of, changes, strict=True)
            ]
        )
        assert sorted(done) == [False, True]
        winner = done.index(True)
        assert await store.groups.groups([G]) == {G: made_of[winner]}
        assert await store.groups.changes(G, 3, 9) == [changes[winner]]
        # Who lost left nothing behind.
        assert [one.left_ms for one in await store.groups.of_user("bob")] == [NOW_MS if winner == 0 else 0]
        assert len(await store.groups.of_user("dave")) == winner


async def test_many_writers_one_after_the_other(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        await circle(store)

        async def add(engine: Store, user: str) -> None:
            while True:
                group = (await engine.groups.groups([G]))[G]
                assert group is not None
                change = GroupChange(group.version + 1, NOW_MS, "alice", "added", user)
                if await engine.groups.change(after(group, change), change):
                    return

        users = [f"user{number}" for number in range(8)]
        await asyncio.gather(*[add((store, other)[number % 2], user) for number, user in enumerate(users)])
        group = (await store.groups.groups([G]))[G]
        assert group is not None
        assert sorted(group.members) == sorted(["alice", *users])
        assert group.version == 9
        assert sorted(one.version for one in await other.groups.changes(G, 0, 99)) == list(range(1, 10))


async def test_a_change_that_is_repeated(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        change = await there.change("removed", "bob")
        assert await store.groups.change(there.now, change)
        assert not await store.groups.change(there.now, change._replace(actor="carol"))
        await there.add("bob")
        # Late, and long overtaken: it was made all the same.
        assert await store.groups.change(there.now, change)
        assert await store.groups.groups([G]) == {G: there.now}
        assert await store.groups.of_user("bob") == [MyGroup(G)]
        stale = GroupChange(9, NOW_MS, "", "renamed", value="x")
        assert not await store.groups.change(replace(there.now, version=9), stale)
        assert not await store.groups.change(replace(there.now, group=H, version=5), stale)
        assert (await store.groups.groups([H]))[H] is None


async def test_lists_of_groups(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        first = await circle(store, "bob")
        await circle(store, "bob", group=H)
        await first.remove("bob", ms=NOW_MS - 5)
        assert await store.groups.of_user("bob") == [MyGroup(G, NOW_MS - 5), MyGroup(H)]
        assert await store.groups.of_user("bob", after=G) == [MyGroup(H)]
        assert await store.groups.of_user("bob", limit=1) == [MyGroup(G, NOW_MS - 5)]
        assert await store.groups.of_user("nobody") == []
        found = []
        after_ = ""
        while some := await store.groups.all_groups(after_, 1):
            found += some
            after_ = some[-1]
        assert sorted(found) == [G, H]


async def test_a_closed_group(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1))
        await there.change("closed", actor="alice", ms=NOW_MS)
        group = (await store.groups.groups([G]))[G]
        assert group is not None
        assert (group.closed, group.members) == (True, {})
        assert await store.groups.of_user("bob") == [MyGroup(G, NOW_MS)]
        assert await ids(store, "bob") == []
        assert await scanned(store, "bob") == []
        assert await ids(store, "alice", own=True) == [1]


async def test_who_was_a_member(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        await there.remove("bob")
        await there.change("left", "carol", actor="carol")
        assert await store.groups.was_member(G, "bob")
        assert await store.groups.was_member(G, "carol")
        assert not await store.groups.was_member(G, "alice")
        assert not await store.groups.was_member(G, "dave")
        assert not await store.groups.was_member(H, "bob")
        await there.add("bob")
        assert not await store.groups.was_member(G, "bob")


# Invitations and links.


async def test_invitations(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        first = Invitation(G, "bob", "alice", 5)
        assert await store.groups.invite(first)
        # Nobody can push an invitation to the front by repeating it.
        assert await store.groups.invite(Invitation(G, "bob", "mallory", 9))
        assert await store.groups.invite(Invitation(H, "bob", "alice", 3))
        assert await store.groups.invitations("bob") == [Invitation(H, "bob", "alice", 3), first]
        assert await store.groups.invitations("alice") == []
        assert await store.groups.drop_invitation("bob", G)
        assert not await store.groups.drop_invitation("bob", G)
        assert await store.groups.invitations("bob") == [Invitation(H, "bob", "alice", 3)]


async def test_nobody_is_buried_in_invitations(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        groups = [f"~{number:024d}" for number in range(MAX_INVITATIONS + 1)]
        for number, group in enumerate(groups[:-1]):
            assert await store.groups.invite(Invitation(group, "bob", "mallory", number))
        assert not await store.groups.invite(Invitation(groups[-1], "bob", "mallory", 99))
        assert await store.groups.invite(Invitation(groups[0], "bob", "mallory", 99))
        assert len(await store.groups.invitations("bob")) == MAX_INVITATIONS
        await store.groups.drop_invitation("bob", groups[3])
        assert await store.groups.invite(Invitation(groups[-1], "bob", "alice", 99))
        await store.groups.forget_user("bob")
        assert await store.groups.invitations("bob") == []


async def test_links(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        link = Link(G, "one", "ab" * 32, NOW_MS + 1000, 2, "alice")
        ended = Link(G, "two", "cd" * 32, NOW_MS - 1000, 5, "alice")
        for each in (link, ended):
            await store.groups.add_link(each)
        assert sorted(await store.groups.links(G)) == [link, ended]
        assert await store.groups.links(H) == []
        assert await store.groups.find_link(link.digest) == link
        assert await store.groups.find_link("ef" * 32) is None
        assert not await store.groups.use_link(G, "two", NOW_MS)
        assert not await store.groups.use_link(G, "none", NOW_MS)
        assert not await store.groups.use_link(H, "one", NOW_MS)
        assert await store.groups.use_link(G, "one", NOW_MS)
        # A repeat gives no uses back.
        await store.groups.add_link(link)
        assert await store.groups.find_link(link.digest) == link._replace(uses_left=1)
        await store.groups.drop_link(G, "one")
        await store.groups.drop_link(G, "one")
        assert await store.groups.find_link(link.digest) is None
        assert not await store.groups.use_link(G, "one", NOW_MS)
        assert await store.groups.links(G) == [ended]


async def test_a_link_is_used_no_more_often_than_it_may(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        await store.groups.add_link(Link(G, "one", "ab" * 32, NOW_MS + 1000, 3, "alice"))
        used = await asyncio.gather(*[(store, other)[n % 2].groups.use_link(G, "one", NOW_MS) for n in range(8)])
        assert sum(used) == 3


# Who sees what.


async def test_members_page_and_others_do_not(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, *[there.text(number) for number in range(1, 6)])
        assert await ids(store, "bob") == [5, 4, 3, 2, 1]
        assert await ids(store, "alice", limit=2) == [5, 4, 3, 2, 1]
        assert await ids(store, "carol") == []
        assert await store.timelines.message(G, gname(1), "carol") is None
        assert await store.timelines.listed("carol", G) is None
        assert await store.timelines.unread("carol", [G]) == {G: 0}
        assert await store.timelines.raise_marks([Mark("carol", G, stamp(), True)]) == [False]
        await store.timelines.hide("carol", G, stamp(9))
        assert await store.timelines.conversations("carol", "", 9) == []
        assert await scanned(store, "carol") == []
        found = await store.timelines.message(G, gname(3), "bob")
        assert found is not None
        assert (found.body, found.stamp) == (b"3", stamp(3))


async def test_the_version_says_who_sees_it_not_the_stamp(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        old = there.text(1)
        await there.add("carol")
        # Of an earlier version, and a later stamp; and the other way round.
        await keep(store, old._replace(stamp=stamp(500)), there.text(2, stamp=stamp(-500)))
        assert await ids(store, "carol") == [2]
        assert await scanned(store, "carol") == [2]
        assert await ids(store, "bob") == [1, 2]
        assert await scanned(store, "bob") == [2, 1]
        assert await store.timelines.unread("carol", [G]) == {G: 1}
        listed = await store.timelines.listed("carol", G)
        assert listed is not None
        assert listed.newest is not None
        assert listed.newest.name.id == 2


async def test_newcomers_see_what_was_open_when_it_was_written(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1))
        await there.see("history")
        await keep(store, there.text(2))
        await there.see("nothing")
        await keep(store, there.text(3))
        await there.see("history")
        await keep(store, there.text(4))
        await there.add("carol")
        await keep(store, there.text(5))
        for limit in (1, 2, 50):
            assert await ids(store, "carol", limit=limit) == [5, 4, 2]
            assert await scanned(store, "carol", limit=limit) == [2, 4, 5]
        # What was seen stays seen, however the setting is changed.
        await there.see("nothing")
        assert await ids(store, "carol") == [5, 4, 2]
        assert await ids(store, "bob") == [5, 4, 3, 2, 1]


async def test_who_was_removed_sees_nothing_and_has_a_gap_when_back(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        await keep(store, there.text(1), there.text(2, author="bob"))
        await there.remove("bob")
        await keep(store, there.text(3))
        assert await ids(store, "bob") == []
        assert await scanned(store, "bob", "new") == []
        assert await store.timelines.message(G, gname(1), "bob") is None
        # One's own words stay one's own (P7).
        assert await ids(store, "bob", own=True) == [2]
        assert (await store.timelines.message(G, gname(2, "bob"), "bob")) is not None
        assert await results(store, Erasure(G, gname(2, "bob"), stamp(9), "bob")) == [Result.KEPT]
        await there.see("history")
        await keep(store, there.text(4))
        await there.add("bob")
        await keep(store, there.text(5))
        assert await ids(store, "bob") == [5, 4, 2, 1]
        assert await ids(store, "carol") == [5, 4, 3, 2, 1]
        assert await scanned(store, "bob") == [1, 2, 4, 5]


async def test_a_name_whose_first_row_is_hidden_and_second_is_not(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        first = there.text(1)
        await keep(store, first, there.text(2))
        await there.add("carol")
        again = there.text(1, stamp=stamp(3))
        await keep(store, again, there.text(4))
        assert await scanned(store, "carol") == [1, 4]
        assert await ids(store, "carol") == [4, 1]
        assert await ids(store, "carol", limit=1) == [4, 1]
        found = await store.timelines.message(G, gname(1), "carol")
        assert found is not None
        assert (found.stamp, found.body) == (stamp(3), b"1")
        assert await store.timelines.unread("carol", [G]) == {G: 2}
        # Who sees both, sees it once, at its first place.
        for limit in (1, 2, 3, 50):
            assert await scanned(store, "bob", limit=limit) == [1, 2, 4]
            assert await ids(store, "bob", limit=limit) == [4, 2, 1]
        # But a scan that begins behind the first is not without it (G3).
        assert await scanned(store, "bob", since=stamp(2)) == [2, 1, 4]
        rows = await scan(store, "bob", since=stamp(3))
        assert [(row.version, row.settled, row.message.stamp) for row in rows] == [(3, 1, stamp(3)), (3, 4, stamp(4))]


async def test_the_same_stamp_in_another_version(open_engine: OpenEngine) -> None:
    """Within two minutes a connector repeats a name under its first stamp (R-B)."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        first = there.text(1)
        await keep(store, first)
        await there.add("carol")
        again = there.text(1)
        await keep(store, again, again, first)
        for limit in (1, 50):
            assert await scanned(store, "carol", limit=limit) == [1]
            assert await scanned(store, "bob", limit=limit) == [1]
            assert await ids(store, "carol", limit=limit) == [1]
            assert await ids(store, "bob", limit=limit) == [1]


async def test_a_repeat_soon_after_stands_with_the_first(open_engine: OpenEngine) -> None:
    """And its broker is told where: from there on it is read by who could not take it."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        first, again = stamp(), stamp(30)
        assert again > first
        (answer,) = await store.timelines.archive([there.text(1, stamp=first)])
        assert answer == Archived(Result.KEPT)
        (answer,) = await store.timelines.archive([there.text(1, stamp=again)])
        assert answer == Archived(Result.KEPT, stamp=first)
        together = await store.timelines.archive([there.text(2, stamp=first), there.text(2, stamp=again)])
        assert list(together) == [Archived(Result.KEPT), Archived(Result.KEPT, stamp=first)]
        assert [row.message.stamp for row in await scan(store, "bob")] == [first, first]


async def test_a_repeat_long_after_is_a_row(open_engine: OpenEngine) -> None:
    """The first attempt was durable too late to count: devices are past it."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1, stamp=stamp() - 3600 * SECOND))
        await keep(store, there.text(1, stamp=stamp(5)))
        assert await scanned(store, "bob", since=stamp(0)) == [1]
        assert await scanned(store, "bob") == [1]
        assert await ids(store, "bob") == [1]


async def test_a_name_has_one_body(open_engine: OpenEngine) -> None:
    """P6: not another one for other members, or in another version, or as another kind."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1, b"yes"))
        await there.add("carol")
        other = [there.text(1, b"no"), there.text(1, b"yes", kind=1000), there.text(1, b"yes", about=about(gname(9)))]
        for answer in await results(store, *other):
            assert answer in (Result.NOT_ALLOWED, Result.KEPT)
        await keep(store, there.text(1, b"yes"))
        for reader in ("bob", "carol"):
            assert [row.message.body for row in await scan(store, reader)] == [b"yes"]
            assert [one.body for one in await paged(store, reader)] == [b"yes"]


async def test_what_cannot_be(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        good = there.text(1)
        bad = [
            good._replace(version=0),
            good._replace(version=2**60),
            good._replace(settled=-1),
            good._replace(conversation="~short"),
            good._replace(conversation=f"{G}+alice"),
            good._replace(name=gname(2**60)),
            good._replace(conversation="alice+bob"),
        ]
        assert set(await results(store, *bad)) == {Result.NOT_ALLOWED}
        assert await results(store, good._replace(stamp=0)) == [Result.FAILED]
        assert await ids(store, "bob") == []


# Scans.


async def test_a_scan_leaves_out_what_the_device_wrote(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1), there.text(2, author="bob"), there.text(3, name=gname(3, device="laptop")))
        assert await scanned(store, "alice", "phone") == [2, 3]
        assert await scanned(store, "alice", "laptop") == [1, 2]
        assert await scanned(store, "bob", "phone") == [1, 3]


async def test_a_scan_of_all_groups(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        first, second = await circle(store, "bob"), await circle(store, "bob", group=H)
        await keep(store, *[first.text(n) for n in (5, 3, 1)], *[second.text(n) for n in (2, 4)])
        for limit in (1, 2, 3, 50):
            found = await scan(store, "bob", limit=limit)
            by_group = {group: [row.message.name.id for row in found if row.group == group] for group in (G, H)}
            assert by_group == {G: [1, 3, 5], H: [2, 4]}
            assert [row.group for row in found] == sorted([row.group for row in found])
        assert await scanned(store, "bob", group=H) == [2, 4]
        assert await scanned(store, "bob", group=G, since=stamp(3)) == [3, 5]
        assert await scanned(store, "bob", since=stamp(5)) == [5]
        assert await scanned(store, "bob", since=stamp(6)) == []
        assert await store.groups.scan([]) == []
        both = await store.groups.scan([GroupQuery("bob", "d", G, 1), GroupQuery("bob", "d", H, 1)])
        assert [len(page.rows) for page in both] == [3, 2]


async def test_a_cursor_gives_no_right(open_engine: OpenEngine) -> None:
    """P5: who may see what is looked up for each page."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, *[there.text(n) for n in range(1, 5)])
        (first,) = await store.groups.scan([GroupQuery("bob", "d", since=1, limit=2)])
        again = GroupQuery("mallory", "d", since=1, after=first.next)
        assert (await store.groups.scan([again]))[0].rows == ()
        await there.remove("bob")
        assert (await store.groups.scan([replace(again, user="bob")]))[0].rows == ()
        page = await store.timelines.page(HistoryQuery(G, "alice", limit=2))
        assert (await store.timelines.page(HistoryQuery(G, "bob", page.next))).messages == ()


async def test_a_position_that_is_none_begins_again(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1))
        for noise in (b"x", b"?" * 58, bytes(58), b"\xff" * 100):
            (page,) = await store.groups.scan([GroupQuery("bob", "d", since=1, after=noise)])
            assert {row.message.name.id for row in page.rows} <= {1}


async def test_a_page_touches_few_rows(open_engine: OpenEngine) -> None:
    """Much that is hidden: pages that are empty, and not the last."""
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, *[there.text(n, b"") for n in range(1, 1101)])
        await there.add("carol")
        await keep(store, there.text(2000))
        found = await pages(store, "carol")
        assert [row.message.name.id for page in found for row in page.rows] == [2000]
        assert len(found) >= 3
        assert await ids(store, "carol", limit=500) == [2000]


async def test_erased_rows_of_a_scan(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1), there.text(2), there.text(3))
        erase = there.text(4, b"", kind=ERASE, about=about(gname(1)))
        await keep(store, Erasure(G, gname(1), stamp(4), "alice"), erase, Erasure(G, gname(3), stamp(4), "operator"))
        rows = {row.message.name.id: row.message for row in await scan(store, "bob")}
        assert sorted(rows) == [1, 2, 3, 4]
        assert (rows[1].body, rows[1].erased_by) == (b"", "alice")
        assert (rows[3].body, rows[3].erased_by) == (b"", "operator")
        assert (rows[4].kind, rows[4].body, rows[4].about, rows[4].erased_by) == (ERASE, b"", about(gname(1)), "")
        # Pages and counts pass over it.
        assert await ids(store, "bob") == [3, 2, 1]
        assert await store.timelines.unread("bob", [G]) == {G: 1}
        # Nothing brings it back: no repeat, no later version (P8).
        await there.add("carol")
        await keep(store, there.text(1))
        assert [row.message.body for row in await scan(store, "carol")] == [b""]


async def test_what_is_erased_before_it_comes(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, Erasure(G, gname(1), stamp(4), "alice"))
        assert await scanned(store, "bob") == []
        await keep(store, there.text(1, b"secret"))
        (row,) = await scan(store, "bob")
        assert (row.message.body, row.message.erased_by, row.version) == (b"", "alice", 2)


async def test_edits_in_a_scan(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        first, second = edit_row(there, 2, gname(1)), edit_row(there, 3, gname(1))
        await keep(store, there.text(1), edit_of(first, gname(1), 1, b"one"), first)
        rows = {row.message.name.id: row.message for row in await scan(store, "bob")}
        assert (rows[1].body, rows[1].revision) == (b"one", 1)
        assert (rows[2].kind, rows[2].body, rows[2].revision, rows[2].erased_by) == (EDIT, b"one", 1, "")
        assert rows[2].about == about(gname(1))
        await keep(store, edit_of(second, gname(1), 2, b"two"), second)
        rows = {row.message.name.id: row.message for row in await scan(store, "bob")}
        assert (rows[1].body, rows[1].revision) == (b"two", 2)
        assert (rows[2].body, rows[2].erased_by) == (b"", "superseded")
        assert (rows[3].body, rows[3].revision) == (b"two", 2)
        assert await ids(store, "bob") == [1]
        assert await store.timelines.unread("bob", [G]) == {G: 1}
        await keep(store, Erasure(G, gname(1), stamp(9), "alice"))
        told = [(row.message.body, row.message.erased_by) for row in await scan(store, "bob")]
        assert told == [(b"", "alice")] * 3


async def test_an_edit_that_was_refused_says_nothing(open_engine: OpenEngine) -> None:
    """Somebody who sends the row of an EDIT without the edit, of a message of another's, or with the text in it."""
    async with open_engine() as store:
        there = await circle(store, "bob", "mallory")
        await keep(store, there.text(1), there.text(2, kind=1000))
        rows = [
            edit_row(there, 11, gname(1), author="mallory"),
            edit_row(there, 12, gname(2))._replace(body=b"not a text"),
            there.text(13, b"smuggled", kind=EDIT, about=b"\xff\xff"),
            there.text(14, b"smuggled", kind=EDIT),
            there.text(15, b"smuggled", kind=ERASE, about=about(gname(1))),
        ]
        await keep(store, *rows)
        found = {row.message.name.id: row.message for row in await scan(store, "bob")}
        assert sorted(found) == [1, 2, 11, 12, 13, 14, 15]
        assert found[1].body == b"1"
        assert {found[number].body for number in range(11, 16)} == {b""}
        assert {found[number].erased_by for number in range(11, 15)} == {"superseded"}


async def test_an_edit_whose_target_is_not_there_yet(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        row = edit_row(there, 2, gname(1))
        await keep(store, edit_of(row, gname(1), 1, b"new"), row)
        ((only,), *_) = [page.rows for page in await pages(store, "bob")]
        assert only.message.body == b"new"


# Where a scan begins.


async def test_from_the_checkpoint_less_the_trail(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "bob", "d", "e")
        there = await circle(store, "bob")
        ago = [3 * 3600, 3600, 300, 1]
        born = (await store.list_devices("bob"))[0].created_ms
        await keep(store, *[there.text(n, stamp=(born - 1000 * s) << 20) for n, s in enumerate(ago, 1)])
        # Nothing that was before the device was born, but for the trail.
        assert await scanned(store, "bob", since=0, began_ms=born) == [3, 4]


async def test_checkpoints_only_rise(open_engine: OpenEngine) -> None:
    clock = NOW_MS / 1000 - 40 * 86_400
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, *[there.text(n, stamp=(NOW_MS - n * 3_600_000) << 20) for n in (1, 2, 3, 4)])
    async with _at(open_engine, clock) as store:
        await make_user(store, "bob", "d", "e")
    async with open_engine() as store:
        assert await scanned(store, "bob", since=0) == [4, 3, 2, 1]
        hour = 3_600_000
        await store.groups.raise_checkpoints({("bob", "d"): NOW_MS - hour - hour // 2, ("nobody", "x"): NOW_MS})
        assert await scanned(store, "bob", since=0) == [1]
        assert await scanned(store, "bob", "e", since=0) == [4, 3, 2, 1]
        await store.groups.raise_checkpoints({("bob", "d"): NOW_MS - 3 * hour})
        assert await scanned(store, "bob", since=0) == [1]
        # A clock that is ahead hides nothing.
        await store.groups.raise_checkpoints({("bob", "d"): NOW_MS + 1000 * hour})
        await keep(store, there.text(9, stamp=NOW_MS << 20))
        assert await scanned(store, "bob", since=0) == [9]
        await store.groups.raise_checkpoints({})
        await store.groups.forget_user("bob")


async def test_nothing_is_kept_for_a_device_that_is_gone(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "bob", "d")
        await store.remove_device("bob", "d")
        await store.groups.raise_checkpoints({("bob", "d"): NOW_MS, ("bob", "never"): NOW_MS})
        assert await store.list_devices("bob") == []
        assert await store.devices(["bob"]) == {"bob": ()}


def _at(open_engine: OpenEngine, clock: float) -> Store:
    store = open_engine()
    store._clock = lambda: clock  # type: ignore[attr-defined]
    return store


async def _aged(open_engine: OpenEngine) -> None:
    """bob's device is forty days old."""
    async with _at(open_engine, NOW_MS / 1000 - 40 * 86_400) as store:
        await make_user(store, "bob", "d")


async def test_where_history_is_kept_seven_days_are_enough(open_engine: OpenEngine) -> None:
    await _aged(open_engine)
    async with open_engine() as store:
        old, quiet = await circle(store, "bob"), await circle(store, "bob", group=H)
        await keep(
            store,
            old.text(1, stamp=stamp() - 9 * DAY),
            old.text(2, stamp=stamp() - 6 * DAY),
            quiet.text(3, stamp=stamp()),
        )
        found = await pages(store, "bob", since=0, limit=1)
        assert [row.message.name.id for page in found for row in page.rows] == [2, 3]
        assert [page.skipped for page in found] == [(G,), *[()] * (len(found) - 1)]
        (one,) = await pages(store, "bob", since=0, group=H)
        assert one.skipped == ()
        # Who has asked from a stamp on, gets it.
        assert await scanned(store, "bob", since=stamp() - 10 * DAY) == [1, 2, 3]


async def test_skipped_is_said_only_of_what_may_be_seen(open_engine: OpenEngine) -> None:
    await _aged(open_engine)
    async with open_engine() as store:
        there = await circle(store, "alice2")
        await keep(store, there.text(1, stamp=stamp() - 9 * DAY))
        await there.add("bob")
        await keep(store, there.text(2))
        (page,) = await pages(store, "bob", since=0)
        assert (page.skipped, [row.message.name.id for row in page.rows]) == ((), [2])


# Lists, marks, counts.


async def test_groups_are_among_the_conversations(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there, other = await circle(store, "bob"), await circle(store, "bob", group=H)
        await keep(store, there.text(1), there.text(2), *[_letter(n) for n in (1, 2, 3)])
        found = await store.timelines.conversations("bob", "", 50)
        assert [one.other for one in found] == ["alice", "zoe", G, H]
        assert [one.conversation for one in found][2:] == [G, H]
        assert [one.newest.name.id if one.newest else None for one in found][2:] == [2, None]
        for limit in (1, 2, 3):
            some, after_ = [], ""
            while page := await store.timelines.conversations("bob", after_, limit):
                some += page
                after_ = page[-1].other
            assert some == found
        await other.remove("bob")
        assert [one.other for one in await store.timelines.conversations("bob", G, 9)] == []


def _letter(number: int):  # type: ignore[no-untyped-def]
    from store.timelines import conversation_of
    from tests.store.timeline_helpers import entry, name

    author = ("alice", "bob", "zoe")[number - 1]
    pair = conversation_of("zoe" if number == 3 else "alice", "bob")
    return entry(number, conversation=pair, name=name(number, author))


async def test_a_hidden_group_comes_back_with_what_is_new(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        await keep(store, there.text(1))
        await store.timelines.hide("bob", G, stamp(1))
        assert await store.timelines.conversations("bob", "", 9) == []
        (hidden,) = await store.timelines.conversations("bob", "", 9, hidden=True)
        assert hidden == await store.timelines.listed("bob", G)
        assert len(await store.timelines.conversations("alice", "", 9)) == 1
        await keep(store, there.text(2))
        assert len(await store.timelines.conversations("bob", "", 9)) == 1


async def test_marks_of_members(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        await keep(store, there.text(1), there.text(2))
        raised = [Mark("bob", G, stamp(1), True), Mark("carol", G, stamp(2), False), Mark("eve", G, stamp(2), True)]
        assert await store.timelines.raise_marks(raised) == [True, True, False]
        assert await store.timelines.raise_marks(raised) == [False, False, False]
        marks = {"alice": Marks(), "bob": Marks(stamp(1), stamp(1)), "carol": Marks(stamp(2), 0)}
        assert await store.groups.marks(G) == marks
        listed = await store.timelines.listed("bob", G)
        assert listed is not None
        assert (listed.mine, listed.others) == (Marks(stamp(1), stamp(1)), Marks())
        assert await store.timelines.unread("bob", [G]) == {G: 1}
        assert await store.timelines.unread("carol", [G, "carol+dave", H]) == {G: 0, "carol+dave": 0, H: 0}
        await there.remove("carol")
        assert sorted(await store.groups.marks(G)) == ["alice", "bob"]
        assert await store.groups.marks(H) == {}


async def test_unread_is_what_others_wrote(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        for user in ("alice", "bob", "mallory"):
            await make_user(store, user)
        there = await circle(store, "bob", "mallory")
        await keep(store, there.text(1), there.text(2, author="bob"), there.text(3, author="mallory"))
        await keep(store, there.text(4, kind=3), there.text(5, kind=1000))
        assert await store.timelines.unread("bob", [G]) == {G: 3}
        # P3: whom one has blocked does not even raise a count.
        await store.change_contact("bob", "mallory", Change.BLOCK)
        assert await store.timelines.unread("bob", [G]) == {G: 2}
        assert await store.timelines.unread("mallory", [G]) == {G: 3}
        await store.change_contact("bob", "mallory", Change.UNBLOCK)
        await store.change_contact("bob", "mallory", Change.BLOCK_SILENTLY)
        assert await store.timelines.unread("bob", [G]) == {G: 2}
        # And they go on reading each other.
        assert await ids(store, "bob") == [5, 4, 3, 2, 1]


async def test_a_file_of_a_group(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob")
        for number, owner in ((1, "alice"), (2, "mallory")):
            await store.create_file(File(f"f{number}", owner, "n", "m/x", 1, NOW_MS, NOW_MS + DAY_MS, frozenset(), ""))
        await keep(store, there.text(1, kind=FILE, file="f1"))
        await keep(store, there.text(2, kind=FILE, file="f2"))
        assert await store.timelines.may_read_file("f1", "bob")
        # Somebody else's file: naming it gives nobody a right (P7).
        assert not await store.timelines.may_read_file("f2", "bob")
        assert not await store.timelines.may_read_file("f1", "carol")
        await there.add("carol")
        assert not await store.timelines.may_read_file("f1", "carol")
        await keep(store, there.text(1, kind=FILE, file="f1"))
        assert await store.timelines.may_read_file("f1", "carol")
        await there.remove("bob")
        assert not await store.timelines.may_read_file("f1", "bob")
        kept = await store.file("f1")
        assert kept is not None
        assert kept.expires_ms > NOW_MS + 300 * DAY_MS
        await keep(store, Erasure(G, gname(1), stamp(9), "alice"))
        assert not await store.timelines.may_read_file("f1", "carol")
        assert await store.file("f1") is None


# How long, how much, and ends.


@pytest.mark.parametrize("days", [0, 7])
async def test_rows_live_for_as_long_as_an_inbox(open_engine: OpenEngine, days: int) -> None:
    """29 days away, where history is kept for less, or not at all."""
    await _aged(open_engine)
    async with open_engine() as store:
        await store.timelines.set_keep_days(days, 1)
        there = await circle(store, "bob", ms=NOW_MS - 50 * DAY_MS)
        ago = [29, 20, 6, 0]
        assert await results(store, *[there.text(n, stamp=stamp() - n * DAY) for n in ago]) == [Result.KEPT] * 4
        row = edit_row(there, 100, gname(29), stamp=stamp() - 29 * DAY + SECOND)
        await keep(store, edit_of(row, gname(29), 1, b"edited"), row, Erasure(G, gname(20), stamp(), "alice"))
        await store.purge()
        found = await pages(store, "bob", since=0)
        told = [(row.message.name.id, row.message.body) for page in found for row in page.rows]
        if days:
            assert told == [(6, b"6"), (0, b"0")]
            assert found[0].skipped == (G,)
        else:
            assert told == [(29, b"edited"), (100, b"edited"), (20, b""), (6, b"6"), (0, b"0")]
            assert found[0].skipped == ()
        assert await ids(store, "bob") == [0, 6, 20, 29]


async def test_what_is_older_than_both_is_shown_no_more(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.timelines.set_keep_days(0, 1)
        there = await circle(store, "bob")
        await keep(store, there.text(1))
    async with _at(open_engine, NOW_MS / 1000 + 31 * 86_400) as store:
        assert await ids(store, "bob") == []
        assert await scanned(store, "bob") == []
        assert await store.timelines.unread("bob", [G]) == {G: 0}
        assert await store.timelines.message(G, gname(1), "bob") is None


async def test_rows_count_against_their_author(open_engine: OpenEngine) -> None:
    """P1: whoever may write in a group fills no more than one person may."""
    from store import HistorySettings

    history = HistorySettings(keep_days=365, max_rows_per_day_of_author=5)
    async with open_engine(history=history) as store:
        there = await circle(store, "bob")
        assert await results(store, *[there.text(n) for n in range(1, 8)]) == [Result.KEPT] * 5 + [Result.FULL] * 2
        assert await results(store, there.text(9, author="bob"), there.text(1)) == [Result.KEPT, Result.KEPT]
        assert sorted(await ids(store, "bob")) == [1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize("keep_words", [True, False])
async def test_an_account_ends(open_engine: OpenEngine, keep_words: bool) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        row = edit_row(there, 2, gname(1, "bob"), author="bob")
        await keep(store, there.text(1, author="bob"), edit_of(row, gname(1, "bob"), 1, b"e"), row, there.text(3))
        await store.timelines.raise_marks([Mark("bob", G, stamp(3), True)])
        await there.change("left", "bob", actor="bob")
        await store.timelines.forget_author("bob", keep_words)
        await store.groups.forget_user("bob")
        assert await store.groups.of_user("bob") == []
        found = {row.message.name.id: row.message for row in await scan(store, "carol")}
        assert sorted(found) == [1, 2, 3]
        assert [found[n].body for n in (1, 2)] == ([b"e", b"e"] if keep_words else [b"", b""])
        assert found[1].erased_by == ("" if keep_words else "bob")
        assert found[3].body == b"3"
        assert await store.groups.was_member(G, "bob")


async def test_former_members_are_forgotten_with_the_rows(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        there = await circle(store, "bob", "carol")
        await there.remove("bob")
        await store.groups.purge()
        assert await store.groups.of_user("bob") == [MyGroup(G, NOW_MS)]
        assert (await store.groups.counts()).groups in (None, 1)
