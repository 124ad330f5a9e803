"""Changes of groups on their way to the application: which are told, and that somebody is out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client import GroupChange, GroupChanged, GroupLeft
from client.api.groups import Changes, Group, MyGroup
from client.following import Following
from client.memory import MemoryJournal
from client.state import GroupBehind
from protocol.errors import GroupsNotOfferedError, NotFoundError, UnavailableError
from protocol.sparrow_pb2 import Hint, LoggedIn

ONE = "~" + "a" * 24


def change(version: int, kind: str = "renamed", user: str = "bob") -> GroupChange:
    return GroupChange(version, version, "bob", kind, user, f"name {version}")


class Core:
    """How far each group was told."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}

    def group_version(self, group: str) -> int:
        return self.versions.get(group, 0)

    def group_at(self, group: str, version: int) -> None:
        self.versions[group] = version

    def group_left(self, group: str) -> bool:
        return self.versions.pop(group, 0) > 0


class Engine:
    """Remembers what is told."""

    user = "alice"

    def __init__(self) -> None:
        self.core = Core()
        self.told: list[Any] = []
        self.tell = self.told.append

    def changed(self) -> None: ...


class Api:
    """A user API with one group."""

    def __init__(self) -> None:
        self.all = [change(1, "made"), change(2), change(3)]
        self.out = False
        self.failures: list[Exception] = []
        self.asked = 0
        self.mine: list[MyGroup] = []

    def _fail(self) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        if self.out:
            raise NotFoundError("you are in no such group")

    async def everything(self) -> list[MyGroup]:
        if self.failures:
            raise self.failures.pop(0)
        return self.mine

    async def one(self, group: str) -> Group:
        self._fail()
        return Group(group, len(self.all), "", "", "all", "all", "nothing", 1, "member", ())

    async def changes(self, group: str, since: int) -> Changes:
        self._fail()
        return Changes(tuple(each for each in self.all if each.version > since)[:2], self.all[-1].version)


class Bench:
    """All of it."""

    def __init__(self) -> None:
        self.engine, self.api, self.journal = Engine(), Api(), MemoryJournal()
        self.following = Following(self.engine, self.api, self.journal)  # type: ignore[arg-type]

    async def notices(self, event: Any) -> list[Any]:
        """What is told when this was noticed."""
        before = len(self.engine.told)
        self.following.noticed(event)
        task = self.following._task
        if task is not None:
            async with asyncio.timeout(10):
                await task
        return self.engine.told[before:]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("client.following.AGAIN_S", 0.01)
    return Bench()


def hint(version: int = 0) -> Hint:
    return Hint(kind=Hint.GROUP_CHANGED, group=ONE, version=version, user_id="bob")


async def test_changes_are_told_page_by_page_and_once(bench: Bench) -> None:
    assert await bench.notices(GroupBehind(ONE, 3)) == [GroupChanged(ONE, each) for each in bench.api.all]
    assert bench.engine.core.versions == {ONE: 3}
    assert await bench.notices(hint(3)) == []
    bench.api.all.append(change(4))
    assert await bench.notices(hint(4)) == [GroupChanged(ONE, change(4))]
    bench.journal.commit()
    assert bench.journal.called() == {ONE: "name 4"}


async def test_who_was_taken_out_is_told_so_once(bench: Bench) -> None:
    await bench.notices(hint(3))
    bench.api.out = True
    assert await bench.notices(hint(4)) == [GroupLeft(ONE)]
    assert await bench.notices(hint()) == []


async def test_who_was_out_again_before_anything_was_told_is_told_so(bench: Bench) -> None:
    bench.api.out = True
    assert await bench.notices(hint(3)) == [GroupLeft(ONE)]


async def test_who_leaves_while_it_is_looked_at_is_told_so(bench: Bench) -> None:
    bench.api.all.append(change(4, "left", "alice"))
    assert (await bench.notices(hint(3)))[-2:] == [GroupChanged(ONE, bench.api.all[-1]), GroupLeft(ONE)]
    assert bench.engine.core.versions == {}
    bench.api.all.append(change(5, "joined", "alice"))
    bench.api.all = bench.api.all[-1:]
    assert await bench.notices(hint(5)) == [GroupChanged(ONE, bench.api.all[-1])]


async def test_an_invitation_is_no_end(bench: Bench) -> None:
    bench.api.out = True
    assert await bench.notices(hint()) == []


async def test_what_has_become_of_groups_while_we_were_away(bench: Bench) -> None:
    bench.api.mine = [MyGroup(ONE, 3, "x", "", "member", None)]
    login = LoggedIn(understands=["groups"])
    assert len(await bench.notices(login)) == 3
    assert await bench.notices(login) == []
    bench.api.mine = [MyGroup(ONE, 0, "", "", None, 9)]
    assert await bench.notices(login) == [GroupLeft(ONE)]
    assert await bench.notices(login) == []


async def test_what_cannot_be_had_is_asked_for_again(bench: Bench) -> None:
    bench.api.failures = [UnavailableError("not now")] * 3
    assert len(await bench.notices(hint(3))) == 3
    bench.api.all.append(change(4))
    bench.api.failures = [UnavailableError("not now")] * 100
    assert await bench.notices(hint(4)) == []
    assert len(bench.api.failures) == 90
    bench.api.failures = []
    assert await bench.notices(GroupBehind(ONE, 4)) == [GroupChanged(ONE, change(4))]


async def test_a_service_that_knows_no_groups_is_not_asked_again(bench: Bench) -> None:
    assert await bench.notices(LoggedIn()) == []
    assert bench.following._task is None
    bench.api.failures = [GroupsNotOfferedError("none")]
    assert await bench.notices(LoggedIn(understands=["groups"])) == []
    assert bench.api.failures == []
