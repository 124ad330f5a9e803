"""When a broker's store counts as away, and how it is found to be back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest

from broker import calls as calling
from broker.calls import StoreCalls
from protocol.errors import StoreError

GUARD_S = 30


class Questionable:
    """A store of which little is asked, and whose answers to `devices` and `append` the test gives."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[dict[str, None]]] = []
        self.tried: list[str] = []
        self.full = False

    async def devices(self, users: Collection[str]) -> dict[str, None]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def append(self, rows: Collection[object]) -> None:
        await self.devices(())

    async def account(self, user: str) -> None:
        self.tried.append("read")

    async def saw(self, seen: object) -> None:
        self.tried.append("write")
        if self.full:
            raise StoreError("full")

    def no_space(self) -> bool:
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.01)


async def ask(calls: StoreCalls, store: Questionable) -> asyncio.Future[dict[str, None]]:
    """One more call; its answer is the test's."""
    count = len(store.asked)
    calls.devices(("alice",), lambda _: None)
    await until(lambda: len(store.asked) > count)
    return store.asked[-1]


async def test_a_call_that_fails_and_one_that_succeeds() -> None:
    store = Questionable()
    calls = StoreCalls(store, lambda call: call())  # type: ignore[arg-type]
    assert not calls.trouble
    calls.look()
    (await ask(calls, store)).set_exception(StoreError("gone"))
    await until(lambda: calls.trouble == "gone")
    assert not store.tried  # nobody needed to
    await calls.settle()
    calls.look()
    await calls.settle()
    assert not calls.trouble
    calls.look()
    await calls.settle()
    assert store.tried == ["read"]


async def test_a_disk_that_is_full_can_be_read_and_is_no_better_for_it(caplog: pytest.LogCaptureFixture) -> None:
    store = Questionable()
    calls = StoreCalls(store, lambda call, result: None)  # type: ignore[arg-type]
    store.full = True
    calls.append((), lambda _: None)
    await until(lambda: store.asked)
    store.asked[0].set_exception(StoreError("full"))
    await until(lambda: calls.trouble)
    with caplog.at_level("INFO", "sparrow.broker"):
        caplog.clear()
        for _ in range(5):
            (await ask(calls, store)).set_result({})
            await calls.settle()
            calls.look()
            await calls.settle()
        assert (calls.trouble, calls.health.reading, calls.health.writing) == ("full", "", "full")
        assert not caplog.text
        store.full = False
        calls.look()
        await calls.settle()
        assert not calls.trouble
    assert store.tried == ["write"] * 6
    assert caplog.text.count("works again") == 1


async def test_a_call_that_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "SLOW_S", 0.0)
    store = Questionable()
    calls = StoreCalls(store, lambda call: call())  # type: ignore[arg-type]
    answer = await ask(calls, store)
    assert "has not answered" in calls.trouble
    assert not calls.health.trouble
    answer.set_result({})
    await until(lambda: not calls.trouble)
