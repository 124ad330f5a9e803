"""Reads of many callers put together: what is asked for while one is under way goes with the next.

Owns the order: a read begins after it was asked for, so it sees what was durable by then. Knows no statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from protocol.errors import SparrowError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Gathering(Generic[Key, Value]):
    """Reads by key. `read` answers for all keys that it is given."""

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._read = read
        self._waiting: dict[Key, asyncio.Future[Value]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, keys: Collection[Key]) -> dict[Key, Value]:
        """The value of each key. Raises what `read` raises."""
        if not keys:
            return {}
        loop = asyncio.get_running_loop()
        wanted = {key: self._waiting.setdefault(key, loop.create_future()) for key in keys}
        if self._reading is None:
            self._reading = asyncio.create_task(self._run())
        # Not `gather`, which would cancel what others wait for, too.
        await asyncio.wait(wanted.values())
        return {key: future.result() for key, future in wanted.items()}

    async def _run(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting, {}
                await self._read_some(some)
        finally:
            self._reading = None

    async def _read_some(self, some: Mapping[Key, asyncio.Future[Value]]) -> None:
        try:
            found = await self._read(list(some))
        except BaseException as error:
            for future in some.values():
                future.set_exception(error if isinstance(error, SparrowError) else asyncio.CancelledError())
                # Whoever waits may be gone.
                future.exception()
            if not isinstance(error, SparrowError):
                raise
            return
        for key, future in some.items():
            future.set_result(found[key])
