"""Which conversations a user has muted: in both engines."""

from __future__ import annotations

import asyncio
import time

from protocol.errors import StoreError
from store.timelines import FOR_EVER_MS
from tests.store.conftest import OpenEngine
from tests.store.helpers import make_user

HOUR_MS = 3_600_000
GROUP = "~k3v9q0x2m7w1c8zt"


def later(ms: int = HOUR_MS) -> int:
    return int(time.time() * 1000) + ms


async def test_until_a_time_or_for_ever(open_engine: OpenEngine) -> None:
    until = later()
    async with open_engine() as store:
        mute, mutes = store.timelines.mute, store.timelines.mutes
        assert await mutes("alice") == {}
        assert await mute("alice", "bob", 0, 9)  # is none
        assert await mutes("alice") == {}
        for _ in range(2):
            assert await mute("alice", "bob", until, 9)
            assert await mute("alice", GROUP, FOR_EVER_MS, 9)
            assert await mute("alice", "alice", until, 9)
        assert await mutes("alice") == {"bob": until, GROUP: FOR_EVER_MS, "alice": until}
        assert await mutes("bob") == {}
        assert await mute("alice", "bob", until + 1, 9)
        assert await mute("alice", GROUP, until, 9)
        for _ in range(2):
            assert await mute("alice", "alice", later(-1), 9)
    async with open_engine() as store:
        assert await store.timelines.mutes("alice") == {"bob": until + 1, GROUP: until}
        assert await store.timelines.mute("alice", "bob", 0, 9)
        assert await store.timelines.mutes("alice") == {GROUP: until}


async def test_time_goes_by(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        now = time.time()
        store._clock = lambda: now  # type: ignore[attr-defined]
        until = int(now * 1000) + HOUR_MS
        assert await store.timelines.mute("alice", "bob", until, 1)
        assert not await store.timelines.mute("alice", "carol", until, 1)
        now += 3599.9
        assert await store.timelines.mutes("alice") == {"bob": until}
        now += 0.2
        assert await store.timelines.mutes("alice") == {}
        # What is over counts no more.
        assert await store.timelines.mute("alice", "carol", until + HOUR_MS, 1)
        assert await store.timelines.mutes("alice") == {"carol": until + HOUR_MS}


async def test_no_more_than_so_many(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        mute = store.timelines.mute
        for other in ("b", "c", "d"):
            assert await mute("alice", other, FOR_EVER_MS, 3)
        assert not await mute("alice", "e", FOR_EVER_MS, 3)
        assert await mute("alice", "c", later(), 3)  # one that is muted already
        assert await mute("alice", "e", 0, 3)
        assert set(await store.timelines.mutes("alice")) == {"b", "c", "d"}
        assert await mute("bob", "e", FOR_EVER_MS, 3)
        assert await mute("alice", "b", 0, 3)
        assert await mute("alice", "e", FOR_EVER_MS, 3)


async def test_devices_at_once(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        others = [f"user{number}" for number in range(6)]
        done = await asyncio.gather(
            *[store.timelines.mute("alice", other, FOR_EVER_MS, 9) for other in others], return_exceptions=True
        )
        muted = {other for other, one in zip(others, done, strict=True) if not isinstance(one, StoreError)}
        assert set(await store.timelines.mutes("alice")) >= muted
        assert muted


async def test_an_account_that_ends(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice")
        for user in ("alice", "bob"):
            assert await store.timelines.mute(user, "carol", FOR_EVER_MS, 9)
        for _ in range(2):
            await store.timelines.forget_author("alice", keep_words=True)
        assert await store.timelines.mutes("alice") == {}
        assert await store.timelines.mutes("bob") == {"carol": FOR_EVER_MS}


async def test_a_user_who_mutes_and_unmutes_leaves_nothing_behind(open_engine: OpenEngine) -> None:
    """Names that never were, one behind the other: nothing grows by it."""
    async with open_engine() as store:
        for number in range(30):
            assert await store.timelines.mute("alice", f"nobody{number}", FOR_EVER_MS, 2)
            assert await store.timelines.mute("alice", f"nobody{number}", 0, 2)
        assert await store.timelines.mute("alice", "bob", FOR_EVER_MS, 2)
        assert await store.timelines.mutes("alice") == {"bob": FOR_EVER_MS}
