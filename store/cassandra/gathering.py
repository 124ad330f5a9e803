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


class _Round(Generic[Key, Value]):
    """What is read together."""

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.done: asyncio.Future[Mapping[Key, Value | SparrowError]] = asyncio.get_running_loop().create_future()


class Gathering(Generic[Key, Value]):
    """Reads by key. `read` gives each key its value, or the error of this key alone."""

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value | SparrowError]]]) -> None:
        self._read = read
        self._next: _Round[Key, Value] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self, keys: Collection[Key]) -> dict[Key, Value]:
        """The value of each key. Raises the first one's error, or what `read` raises."""
        if not keys:
            return {}
        if self._next is None:
            self._next = _Round()
        mine = self._next
        mine.keys.update(dict.fromkeys(keys))
        if self._reading is None:
            self._reading = asyncio.create_task(self._run())
        # Whoever gives up must not end it for the others.
        found = await asyncio.shield(mine.done)
        values: dict[Key, Value] = {}
        for key in keys:
            value = found[key]
            if isinstance(value, SparrowError):
                raise value
            values[key] = value
        return values

    async def _run(self) -> None:
        try:
            while self._next is not None:
                now, self._next = self._next, None
                await self._read_all(now)
        finally:
            self._reading = None

    async def _read_all(self, now: _Round[Key, Value]) -> None:
        try:
            found = await self._read(list(now.keys))
        except SparrowError as error:
            found = dict.fromkeys(now.keys, error)
        except asyncio.CancelledError:
            now.done.cancel()
            raise
        except Exception as error:
            now.done.set_exception(error)
            now.done.exception()  # whoever waits may be gone
            return
        now.done.set_result(found)
