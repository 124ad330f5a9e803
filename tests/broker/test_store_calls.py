"""When a broker's store counts as away, and how it is found to be back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest

from broker import server
from broker.server import StoreCalls
from protocol.errors import StoreError

GUARD_S = 30


class Questionable:
    """A store of which only `devices` is asked, and whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[dict[str, None]]] = []

    async def devices(self, users: Collection[str]) -> dict[str, None]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


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
    assert calls.well()
    calls.look()
    assert not store.asked  # nobody needs to ask
    (await ask(calls, store)).set_exception(StoreError("gone"))
    await until(lambda: not calls.well())
    calls.look()
    await until(lambda: len(store.asked) == 2)
    calls.look()  # while one is under way there is no need for another
    store.asked[1].set_result({})
    await until(calls.well)
    assert len(store.asked) == 2
    await calls.settle()


async def test_a_call_that_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOW_S", 0.0)
    store = Questionable()
    calls = StoreCalls(store, lambda call: call())  # type: ignore[arg-type]
    answer = await ask(calls, store)
    assert not calls.well()
    answer.set_result({})
    await until(calls.well)
