"""Whose account somebody's is whom an OpenID provider knows: the same from every engine."""

import asyncio

import pytest

from protocol.errors import NotFoundError
from store.subjects import Subject
from tests.store.conftest import OpenEngine

ALICE, BOB = Subject("https://id.example.net", "4711"), Subject("https://id.example.net", "4712")
ELSEWHERE = Subject("https://id.example.org", "4711")


async def test_a_subject_leads_to_one_account(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        subjects = store.subjects
        for user in ("alice", "bob"):
            await store.create_account(user, f"hash of {user}")
        assert await subjects.user_of(ALICE) is None
        with pytest.raises(NotFoundError):
            await subjects.link(ALICE, "carol")
        assert await subjects.user_of(ALICE) is None
        for _ in range(2):
            assert await subjects.link(ALICE, "alice") == "alice"
        # The same text of another issuer is somebody else.
        assert await subjects.user_of(ELSEWHERE) is None
        # Nobody comes to another's account, nor does an account change its owner.
        assert await subjects.link(ALICE, "bob") == "alice"
        assert await subjects.of("bob") == []
        assert await subjects.link(ELSEWHERE, "alice") == "alice"
        assert await subjects.of("alice") == [ALICE, ELSEWHERE]

        assert not await subjects.unlink(ALICE, "bob")
        assert await subjects.user_of(ALICE) == "alice"
        assert await subjects.unlink(ALICE, "alice")
        assert not await subjects.unlink(ALICE, "alice")
        assert await subjects.user_of(ALICE) is None
        assert await subjects.of("alice") == [ELSEWHERE]
        assert await subjects.link(ALICE, "bob") == "bob"
    async with open_engine() as store:
        assert await store.subjects.user_of(ALICE) == "bob"


async def test_of_two_at_once_one_wins(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        users = [f"user{number}" for number in range(4)]
        for user in users:
            await store.create_account(user, f"hash of {user}")
        winners = await asyncio.gather(*(store.subjects.link(ALICE, user) for user in users))
        assert len(set(winners)) == 1
        assert await store.subjects.user_of(ALICE) == winners[0]
        assert [await store.subjects.of(user) for user in users if user != winners[0]] == [[]] * 3


async def test_the_end_of_an_account_is_that_of_its_subjects(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        for user in ("alice", "bob"):
            await store.create_account(user, f"hash of {user}")
        await store.subjects.link(ALICE, "alice")
        await store.subjects.link(BOB, "bob")
        for _ in range(2):
            await store.delete_account("alice")
            assert await store.subjects.user_of(ALICE) is None
            assert await store.subjects.of("alice") == []
        with pytest.raises(NotFoundError):
            await store.subjects.link(ALICE, "alice")
        assert await store.subjects.user_of(BOB) == "bob"
        assert await store.subjects.link(ALICE, "bob") == "bob"


async def test_what_a_release_of_before_has_left_of_an_account(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine() as store:
        for user in ("alice", "bob"):
            await store.create_account(user, f"hash of {user}")
        await store.subjects.link(ALICE, "alice")
        with monkeypatch.context() as patch:
            patch.setattr("store.sqlite.subjects.forget", lambda *_, **__: None)
            patch.setattr("store.cassandra.subjects.CassandraSubjects.forget", lambda *_: asyncio.sleep(0))
            await store.delete_account("alice")
        assert await store.subjects.user_of(ALICE) == "alice"
        assert await store.account("alice") is None
        assert await store.subjects.link(ALICE, "bob") == "bob"
        assert await store.subjects.user_of(ALICE) == "bob"
