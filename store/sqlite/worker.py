"""A thread with a connection that takes all waiting jobs and runs them in one transaction.

Owns the thread, its queue and the way back to the event loop. Knows no SQL but the transaction's frame.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from protocol.errors import NoSpaceError, SparrowError, StoreError
from store.settings import StoreSettings
from store.sqlite.failures import store_error

_log = logging.getLogger("sparrow.store")
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    rows: int
    size: int
    done: asyncio.Future[Any]


_Outcome = tuple[Any, Exception | None]


class Worker:
    """Runs jobs in batches: one transaction, one commit, one wake-up of the event loop for all that waited.

    A job that fails alone fails for its caller only; what it did until then stands, which `store.interface` allows.
    A failing commit fails for all.
    """

    def __init__(
        self,
        name: str,
        settings: StoreSettings,
        connect: Callable[[], sqlite3.Connection],
        begin: Callable[[sqlite3.Connection], object],
    ) -> None:
        self._name = name
        self._settings = settings
        self._connect = connect
        self._begin = begin
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._open = False
        self._failing = False
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Future[None]
        self.full_at = -math.inf
        """When the disk was found to be full last, by a steady clock."""
        self.commits = 0
        """Transactions committed so far."""

    async def start(self) -> None:
        """Open the connection. Raises what `connect` raises."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._run, args=(opened,), name=self._name, daemon=True).start()
        await opened
        self._open = True

    async def stop(self) -> None:
        """Finish what waits and close the connection."""
        if self._open:
            self._open = False
            self._queue.put(None)
            await self._ended

    async def call(self, work: Callable[[sqlite3.Connection], _T], rows: int = 1, size: int = 0) -> _T:
        """Run `work` in the thread, in a transaction that it may share, and return its result after the commit.

        `rows` and `size` (bytes) say how much it weighs. Raises what `work` raises, and `StoreError`.
        """
        settings = self._settings
        if not self._open:
            raise StoreError(f"store {settings.path} is not open")
        if self._waiting_rows and (
            self._waiting_rows + rows > settings.max_waiting_rows
            or self._waiting_bytes + size > settings.max_waiting_bytes
        ):
            raise StoreError(
                f"store {settings.path} is behind: {self._waiting_rows} rows wait already; try again later "
                "(limits: store.max_waiting_rows, store.max_waiting_bytes)"
            )
        done: asyncio.Future[_T] = self._loop.create_future()
        self._waiting_rows += rows
        self._waiting_bytes += size
        self._queue.put(_Job(work, rows, size, done))
        try:
            async with asyncio.timeout(settings.call_timeout_s):
                return await done
        except TimeoutError:
            raise StoreError(
                f"store {settings.path} has not answered within {settings.call_timeout_s:g} s: is its disk stuck?"
            ) from None

    # In the thread.

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._post(_resolve, opened, None, error)
            return
        try:
            self._post(_resolve, opened, None, None)
            while True:
                batch, last = self._take()
                outcomes = self._transact(connection, batch)
                if not self._post(self._deliver, batch, outcomes) or last:
                    break
        finally:
            connection.close()
            self._post(_resolve, self._ended, None, None)

    def _take(self) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        rows = 0
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            rows += job.rows
            if rows >= self._settings.max_batch_rows:
                return batch, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _transact(self, connection: sqlite3.Connection, batch: list[_Job]) -> list[_Outcome]:
        """One outcome for each job: its result, or its error."""
        outcomes: list[_Outcome] = []
        if not batch:
            return outcomes
        try:
            self._begin(connection)
            outcomes.extend(self._run_job(connection, job) for job in batch)
            connection.execute("COMMIT")
            self.commits += 1
        except Exception as error:
            failure = store_error(self._settings.path, error)
            outcomes = [(None, failure)] * len(batch)
            self._roll_back(connection)
            self._note_failure(failure)
        else:
            self._note_success()
        return outcomes

    def _run_job(self, connection: sqlite3.Connection, job: _Job) -> _Outcome:
        # A caller that gave up meanwhile (the disk hung) does not want it any more.
        if job.done.done():
            return None, None
        try:
            return job.work(connection), None
        except SparrowError as error:
            return None, error
        except Exception as error:
            # SQLite ends the whole transaction on some errors (disk full): then nobody's work is in it.
            if not connection.in_transaction:
                raise
            return None, store_error(self._settings.path, error)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                _log.error("%s: rolling back: %s", self._name, error)

    def _note_failure(self, failure: StoreError) -> None:
        if isinstance(failure, NoSpaceError):
            self.full_at = time.monotonic()
        if not self._failing:
            self._failing = True
            _log.error("%s", failure)

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            _log.warning("store %s works again", self._settings.path)

    def _post(self, function: Callable[..., None], *args: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop was closed without leaving the store
            return False
        return True

    # Back on the event loop.

    def _deliver(self, batch: list[_Job], outcomes: list[_Outcome]) -> None:
        for job, (result, error) in zip(batch, outcomes, strict=True):
            self._waiting_rows -= job.rows
            self._waiting_bytes -= job.size
            _resolve(job.done, result, error)


def _resolve(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
