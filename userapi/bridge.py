"""The store, for code that blocks: one event loop in a thread of its own.

Owns that thread. Each worker process opens its own, after the fork.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import uvloop

from protocol.errors import NoSpaceError, StoreError
from store import Store
from store.health import StoreHealth

_log = logging.getLogger("sparrow.userapi")
_T = TypeVar("_T")


class StoreBridge:
    """Calls an asynchronous store from any thread."""

    def __init__(self, store: Store, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self.health = StoreHealth(store, _log)
        """Used in the loop alone."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store-bridge", daemon=True)

    def open(self) -> None:
        """Start the thread and open the store. Raises what entering the store raises."""
        self._thread.start()
        try:
            self._run(self._store.__aenter__, None)
        except BaseException:
            self._stop()
            raise

    def close(self) -> None:
        """Close the store and end the thread."""
        try:
            self._run(self._store.__aexit__, None, None, None, None)
        finally:
            self._stop()

    def call(self, method: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """Await a method of the store. Raises what it raises, and `StoreError` after the timeout."""
        return self._run(method, self._timeout_s, *arguments)

    def call_within(self, timeout_s: float, method: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """As `call`, with another timeout."""
        return self._run(method, min(timeout_s, self._timeout_s), *arguments)

    def call_until_done(self, method: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """As `call`, however long it takes: for the operator's commands."""
        return self._run(method, None, *arguments)

    def together(self, *calls: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Await several at once; returns what each does, in their order. Raises the first error."""

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(call() for call in calls))

        return self.call(all_of_them)

    @property
    def store(self) -> Store:
        return self._store

    def _run(self, method: Callable[..., Awaitable[_T]], timeout_s: float | None, *arguments: object) -> _T:
        async def call() -> _T:
            try:
                return await method(*arguments)
            except NoSpaceError:
                raise
            except StoreError as error:
                # What it was, only the store knows; the next look finds out what works.
                self.health.went(writes=False, error=error)
                self.health.went(writes=True, error=error)
                raise

        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise StoreError(f"the store has not answered within {timeout_s} s") from None

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
