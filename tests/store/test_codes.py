"""Codes for a new password, and invitations to register: the same from every engine."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import AlreadyExistsError, NotFoundError, OutdatedError
from store.codes import Invitation, ResetCode, read_reset_code
from tests.store.conftest import ENGINES, OpenEngine

HOUR_MS = 3_600_000


def in_an_hour() -> int:
    return int(time.time() * 1000) + HOUR_MS


def invitation(name: str = "i1", uses: int = 1, *, ends_ms: int | None = None, note: str = "") -> Invitation:
    ends = in_an_hour() if ends_ms is None else ends_ms
    return Invitation(name, f"digest of {name}", ends - HOUR_MS, ends, uses, note)


def test_a_cell_is_read_as_it_was_written() -> None:
    for code in (ResetCode("d", 7), ResetCode("d", 7, used=True)):
        assert read_reset_code(code.written()) == code
    assert read_reset_code("") is None
    assert read_reset_code(None) is None


async def test_a_code_sets_one_password_and_ends_all_logins(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        codes = store.codes
        await store.create_account("alice", "old")
        for device in ("d1", "d2"):
            await store.add_device("alice", device, "")
        await store.begin_login("alice", "d1", "login")
        checked = await store.account("alice")
        assert await codes.reset_code("alice") is None
        await codes.put_reset_code("alice", ResetCode("first", in_an_hour()))
        newest = ResetCode("second", in_an_hour())
        await codes.put_reset_code("alice", newest)
        assert await codes.reset_code("alice") == newest

        assert not await codes.reset_password("alice", "first", "new")  # another one took its place
        assert not await codes.reset_password("bob", "second", "new")
        assert not await codes.reset_password("", "second", "new")
        answers = await asyncio.gather(*(codes.reset_password("alice", "second", f"new {n}") for n in range(4)))
        assert sorted(answers) == [False, False, False, True]
        account = await store.account("alice")
        assert account is not None
        assert account.password_hash == f"new {answers.index(True)}"
        assert await codes.reset_code("alice") == ResetCode("second", newest.ends_ms, used=True)
        assert [one.logged_in for one in await store.list_devices("alice")] == [False, False]
        with pytest.raises(OutdatedError):
            await store.begin_login("alice", "d2", "late", checked)
        await store.begin_login("alice", "d2", "right", account)


class Late:
    """Requests of which something happens behind the first reads."""

    def __init__(self, real: Any, happens: Callable[[], Awaitable[None]]) -> None:
        self._real = real
        self._happens: Callable[[], Awaitable[None]] | None = happens

    async def run(self, statements: Sequence[Any]) -> Any:
        rows = await self._real.run(statements)
        happens, self._happens = self._happens, None
        if happens is not None:
            await happens()
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def test_a_login_that_came_between_ends_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ENGINES["cassandra"](tmp_path) as store:
        await store.create_account("alice", "old")
        await store.add_device("alice", "d1", "")
        checked = await store.account("alice")
        await store.codes.put_reset_code("alice", ResetCode("code", in_an_hour()))

        async def logs_in() -> None:
            await store.begin_login("alice", "d1", "login", checked)

        codes: Any = store.codes
        monkeypatch.setattr(codes, "_requests", Late(codes._requests, logs_in))
        assert await codes.reset_password("alice", "code", "new")
        assert [one.logged_in for one in await store.list_devices("alice")] == [False]


async def test_what_ends_a_code(open_engine: OpenEngine) -> None:
    now_ms = int(time.time() * 1000)
    async with open_engine() as store:
        codes = store.codes
        for user in ("alice", "bob", "carol", "dave"):
            await store.create_account(user, "old")
            await codes.put_reset_code(user, ResetCode("code", now_ms - 1 if user == "alice" else in_an_hour()))
        await store.change_password("bob", "old", "newer")
        await store.set_disabled("carol", True)
        await store.delete_account("dave")
        for user in ("alice", "bob", "carol", "dave"):
            assert not await codes.reset_password(user, "code", "stolen"), user
        await codes.put_reset_code("carol", ResetCode("another", in_an_hour()))
        assert not await codes.reset_password("carol", "another", "stolen")  # she is disabled still
        for user in ("dave", "nobody", ""):
            with pytest.raises(NotFoundError):
                await codes.put_reset_code(user, ResetCode("code", in_an_hour()))
            assert await codes.reset_code(user) is None
        assert (account := await store.account("carol")) is not None
        assert account.password_hash == "old"


async def test_an_invitation_has_so_many_uses(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        codes = store.codes
        await codes.add_invitation(invitation(uses=2, note="the choir"))
        used = await asyncio.gather(*(codes.use_invitation("digest of i1", f"u{n}") for n in range(4)))
        assert sorted(one or "" for one in used) == ["", "", "i1", "i1"]
        winner = f"u{used.index('i1')}"
        assert await codes.use_invitation("digest of i1", winner) == "i1"  # a repeat
        (kept,) = await codes.invitations("", 10)
        assert (kept.invitation, kept.uses, kept.note, len(kept.used_by)) == ("i1", 2, "the choir", 2)
        for _ in range(2):  # once more changes nothing
            await codes.return_use("digest of i1", winner)
        await codes.return_use("digest of i1", "somebody else")
        assert await codes.use_invitation("digest of i1", "v1") == "i1"
        assert await codes.use_invitation("digest of i1", "v2") is None
        assert await codes.use_invitation("another digest", "v2") is None


async def test_invitations_are_listed_until_they_end(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        codes = store.codes
        now_ms = int(time.time() * 1000)
        for number in range(5):
            await codes.add_invitation(invitation(f"i{number}"))
        await codes.add_invitation(invitation("ended", ends_ms=now_ms - 1))
        await codes.add_invitation(invitation("i9"))
        assert await codes.use_invitation("digest of ended", "alice") is None
        assert await codes.withdraw_invitation("i1")
        assert not await codes.withdraw_invitation("i1")
        assert not await codes.withdraw_invitation("nothing")
        assert await codes.use_invitation("digest of i1", "alice") is None
        first = await codes.invitations("", 3)
        rest = await codes.invitations(first[-1].invitation, 3)
        assert [one.invitation for one in (*first, *rest)] == ["i0", "i2", "i3", "i4", "i9"]
        assert await codes.count_invitations() in (5, 6)  # the ended one may take its second


async def test_with_which_invitation_an_account_was_made(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_account("alice", "hash", "i1")
        await store.create_account("alice", "hash", "i1")
        await store.create_account("bob", "hash")
        with pytest.raises(AlreadyExistsError):
            await store.create_account("alice", "other", "i2")
        await store.delete_account("alice")
        found = [await store.codes.invitation_of(user) for user in ("alice", "bob", "nobody", "")]
        assert found == ["i1", "", None, None]
