"""How two users stand: the state machine, and both engines that keep it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MisuseError, NotFoundError
from store import StoreSettings, open_store
from store.contacts import Change, Relation, Verdict, change, pair_of, seen_by
from store.sqlite import schema
from tests.store.conftest import OpenEngine

A, B = "alice", "bob"
ASK, ACCEPT, DECLINE, CANCEL, REMOVE = Change.ASK, Change.ACCEPT, Change.DECLINE, Change.CANCEL, Change.REMOVE
BLOCK, UNBLOCK, FORGET, SILENTLY = Change.BLOCK, Change.UNBLOCK, Change.FORGET, Change.BLOCK_SILENTLY

steps = st.lists(st.tuples(st.sampled_from([(A, B), (B, A)]), st.sampled_from(Change)), max_size=12)


def play(*done: tuple[str, Change]) -> tuple[str, str]:
    """After these, what Alice sees of Bob and Bob of Alice, as words."""
    bits = 0
    for who, what in done:
        bits = change(who, B if who == A else A, bits, what)
    return words(seen_by(A, B, bits, 0)), words(seen_by(B, A, bits, 0))


def words(relation: Relation) -> str:
    return " ".join(name for name in ("friend", "asked", "asks", "blocks", "blocked") if getattr(relation, name))


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([(A, ASK)], ("asked", "asks")),
        ([(B, ASK)], ("asks", "asked")),
        ([(A, ASK), (B, ACCEPT)], ("friend", "friend")),
        ([(A, ASK), (B, ASK)], ("friend", "friend")),
        ([(A, ASK), (B, DECLINE)], ("", "")),
        ([(A, ASK), (A, CANCEL)], ("", "")),
        ([(A, ASK), (B, CANCEL)], ("asked", "asks")),
        ([(A, ASK), (A, DECLINE)], ("asked", "asks")),
        ([(A, ASK), (B, ACCEPT), (A, REMOVE)], ("", "")),
        ([(A, ASK), (B, ACCEPT), (A, ASK)], ("friend", "friend")),
        ([(A, ASK), (B, ACCEPT), (B, BLOCK)], ("blocked", "blocks")),
        ([(B, BLOCK), (A, ASK)], ("asked blocked", "blocks")),
        ([(B, BLOCK), (A, ASK), (B, UNBLOCK)], ("asked", "asks")),
        ([(A, ASK), (B, BLOCK)], ("blocked", "blocks")),
        ([(A, BLOCK), (B, BLOCK), (A, UNBLOCK)], ("blocked", "blocks")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY)], ("friend blocked", "blocks")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (A, ASK)], ("friend blocked", "blocks")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (A, REMOVE)], ("blocked", "blocks")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (B, UNBLOCK)], ("", "")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (B, UNBLOCK), (A, ASK)], ("asked", "asks")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (A, SILENTLY)], ("blocks blocked", "blocks blocked")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (A, SILENTLY), (B, UNBLOCK)], ("blocks", "blocked")),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY), (B, BLOCK)], ("blocked", "blocks")),
        ([(A, ASK), (B, SILENTLY)], ("asked blocked", "blocks")),
        ([(A, ASK), (A, SILENTLY)], ("blocks", "blocked")),
        ([(B, SILENTLY)], ("blocked", "blocks")),
        ([(A, ASK), (B, ACCEPT), (B, BLOCK), (A, FORGET)], ("", "")),
    ],
)
def test_what_comes_of_it(done: list[tuple[str, Change]], expected: tuple[str, str]) -> None:
    assert play(*done) == expected


def test_what_cannot_be() -> None:
    with pytest.raises(NotFoundError, match='"alice" does not ask'):
        play((B, ACCEPT))
    with pytest.raises(NotFoundError):
        play((A, ASK), (A, ACCEPT))
    with pytest.raises(NotFoundError):
        play((B, BLOCK), (A, ASK), (B, ACCEPT))
    with pytest.raises(MisuseError, match="unblock them first"):
        play((A, BLOCK), (A, ASK))
    with pytest.raises(MisuseError, match="name another user"):
        pair_of(A, A)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], (Verdict.STRANGER, Verdict.STRANGER)),
        ([(A, ASK)], (Verdict.STRANGER, Verdict.STRANGER)),
        ([(A, ASK), (B, ACCEPT)], (Verdict.FRIEND, Verdict.FRIEND)),
        ([(A, BLOCK)], (Verdict.BLOCKS, Verdict.BLOCKED)),
        ([(A, BLOCK), (B, BLOCK)], (Verdict.BLOCKED, Verdict.BLOCKED)),
        ([(A, ASK), (B, ACCEPT), (B, SILENTLY)], (Verdict.BLOCKED, Verdict.BLOCKS)),
    ],
)
def test_who_may_write_to_whom(done: list[tuple[str, Change]], expected: tuple[Verdict, Verdict]) -> None:
    bits = 0
    for who, what in done:
        bits = change(who, B if who == A else A, bits, what)
    assert (seen_by(A, B, bits, 0).verdict, seen_by(B, A, bits, 0).verdict) == expected


@given(steps)
def test_the_two_sides_agree_whatever_they_do(done: list[tuple[tuple[str, str], Change]]) -> None:
    bits = 0
    for (who, other), what in done:
        try:
            after = change(who, other, bits, what)
        except MisuseError:
            continue
        assert change(who, other, after, what) == after, "done once more it changes nothing"
        bits = after
        mine, theirs = seen_by(A, B, bits, 0), seen_by(B, A, bits, 0)
        assert (mine.friend and not mine.blocked) == (theirs.friend and not theirs.blocked)
        assert mine.blocked == theirs.blocks
        assert mine.asks == (theirs.asked and not mine.blocks)
        assert not (mine.friend and (mine.asked or mine.asks or mine.blocks))


# The engines.


async def test_both_sides_see_it(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        before, after = await store.change_contact(A, B, ASK)
        assert (words(before), words(after)) == ("", "asked")
        assert after.since_ms > 0
        again = await store.change_contact(A, B, ASK)
        assert again == (after, after)
        assert words(await store.contact(B, A)) == "asks"
        before, after = await store.change_contact(B, A, ACCEPT)
        assert (words(before), words(after)) == ("asks", "friend")
        assert words(await store.contact(A, B)) == "friend"
        await store.change_contact(A, B, REMOVE)
        assert words(await store.contact(A, B)) == words(await store.contact(B, A)) == ""
        with pytest.raises(NotFoundError):
            await store.change_contact(B, A, ACCEPT)
        with pytest.raises(MisuseError):
            await store.change_contact(A, A, ASK)
    async with open_engine() as store:
        assert words(await store.contact(A, "nobody")) == ""


async def test_who_is_blocked_silently_sees_no_change(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.change_contact(A, B, ASK)
        _, friends = await store.change_contact(B, A, ACCEPT)
        await store.change_contact("carol", A, ASK)
        listed = await store.contacts(A, "", 10)
        await asyncio.sleep(0.01)
        for _ in range(2):
            _, after = await store.change_contact(B, A, SILENTLY)
            assert words(after) == "blocks"
        blocked = await store.contact(A, B)
        assert (words(blocked), blocked.since_ms) == ("friend blocked", friends.since_ms)
        assert [(other, one.friend, one.since_ms) for other, one in await store.contacts(A, "", 10)] == [
            (other, one.friend, one.since_ms) for other, one in listed
        ]
        assert await store.verdicts([(A, B), (B, A)]) == {(A, B): Verdict.BLOCKED, (B, A): Verdict.BLOCKS}
        await store.change_contact(B, A, UNBLOCK)
        assert words(await store.contact(A, B)) == words(await store.contact(B, A)) == ""


async def test_lists_go_by_id_and_in_pages(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        others = [f"user{number:02}" for number in range(25)]
        await asyncio.gather(*(store.change_contact("m", other, ASK) for other in others))
        await store.change_contact("user03", "m", DECLINE)
        await store.change_contact("a", "m", ASK)
        await store.change_contact("user07", "m", BLOCK)  # which nobody tells m
        await store.change_contact("zoe", "m", BLOCK)
        found: list[str] = []
        pages = 0
        after = ""
        while True:
            page = await store.contacts("m", after, 10)
            found += [other for other, _ in page]
            pages += 1
            if len(page) < 10:
                break
            after = page[-1][0]
        assert found == ["a", *(other for other in others if other not in ("user03", "user07"))]
        assert pages == 3
        assert [(other, words(relation)) for other, relation in await store.contacts("user07", "", 10)] == [
            ("m", "blocks")
        ]
        assert await store.contacts("nobody", "", 10) == []


async def test_verdicts_of_many(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.change_contact(A, B, ASK)
        await store.change_contact(B, A, ACCEPT)
        await store.change_contact("carol", A, BLOCK)
        pairs = [(A, B), (B, A), (A, "carol"), ("carol", A), (B, "carol"), (A, A)]
        assert await store.verdicts(pairs) == {
            (A, B): Verdict.FRIEND,
            (B, A): Verdict.FRIEND,
            (A, "carol"): Verdict.BLOCKED,
            ("carol", A): Verdict.BLOCKS,
            (B, "carol"): Verdict.STRANGER,
            (A, A): Verdict.STRANGER,
        }
        assert await store.verdicts([]) == {}


async def test_of_two_at_once_one_comes_after_the_other(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        for number in range(10):
            other = f"user{number}"
            await asyncio.gather(store.change_contact(A, other, ASK), store.change_contact(other, A, ASK))
            assert words(await store.contact(A, other)) == "friend"
            await asyncio.gather(store.change_contact(A, other, BLOCK), store.change_contact(other, A, BLOCK))
            assert words(await store.contact(A, other)) == "blocks blocked"


async def test_when_somebody_was_seen_last(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.saw({})
        await store.saw({A: 2000, B: 1000})
        await store.saw({A: 1500, B: 1700})
        many = [f"user{number}" for number in range(25)]
        await store.saw(dict.fromkeys(many, 7))
        assert await store.last_seen([A, B, "nobody", *many]) == {A: 2000, B: 1700, **dict.fromkeys(many, 7)}
        assert await store.last_seen([]) == {}


async def test_of_a_deleted_account_no_contact_is_left(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_account(A, "hash")
        for number in range(3):
            await store.change_contact(A, f"user{number}", ASK)
            await store.change_contact(f"user{number}", A, ACCEPT)
        await store.change_contact("zoe", A, BLOCK)
        await store.change_contact("user1", "user2", ASK)
        await store.saw({A: 5})
        for _ in range(2):
            await store.delete_account(A)
            assert await store.contacts("user0", "", 10) == []
            assert words(await store.contact("zoe", A)) == ""
            assert await store.last_seen([A]) == {}
        assert [other for other, _ in await store.contacts("user1", "", 10)] == ["user2"]


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "sparrow.db"
    connection = sqlite3.connect(path)
    connection.executescript(schema.STEPS[0])
    connection.execute("INSERT INTO accounts VALUES ('alice', 'hash', 5)")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    async with open_store(StoreSettings(path=str(path))) as store:
        account = await store.account(A)
        assert account is not None
        assert account.created_ms == 5
        await store.change_contact(A, B, ASK)
