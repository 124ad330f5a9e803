"""Statements on their way to Cassandra, as seen from the event loop.

Owns how many there are at once, and the way back from the driver's threads: one wake-up of the loop for all answers
that have come since the last. Knows no statement.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from cassandra import InvalidRequest
from cassandra.cluster import EXEC_PROFILE_DEFAULT

from protocol.errors import SparrowError, StoreError
from store.cassandra.addresses import where
from store.cassandra.connecting import SERIAL, SERIAL_READ, Connection
from store.cassandra.failures import store_error, too_much_to_read
from store.settings import StoreSettings

_log = logging.getLogger("sparrow.store")

Rows = list[Any]


class _Group:
    """Statements whose answers are waited for together."""

    __slots__ = ("answers", "done", "left")

    def __init__(self, size: int, done: asyncio.Future[list[Rows | Exception]]) -> None:
        self.answers: list[Rows | Exception] = [[]] * size
        self.left = size
        self.done = done


class Requests:
    """Runs statements, `cassandra_max_requests` at once."""

    def __init__(self, settings: StoreSettings, connection: Connection) -> None:
        self._settings = settings
        self._session = connection.session
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._waiting: deque[tuple[_Group, int, Any, Any]] = deque()
        # Filled by the driver's threads, emptied on the loop.
        self._answered: deque[tuple[_Group, int, Rows | Exception]] = deque()
        self._failing = False

    async def run(self, statements: Sequence[Any], *, serially: bool = False) -> list[Rows]:
        """The rows of each statement. Raises the first one's error, as ours. `serially`: reads, each of one partition,
        that finish what conditional statements have begun there."""
        answers = await self.outcomes(statements, SERIAL_READ if serially else EXEC_PROFILE_DEFAULT)
        for answer in answers:
            if isinstance(answer, Exception):
                raise store_error(self._settings, answer) from answer
        return answers  # type: ignore[return-value]

    async def each(self, statements: Sequence[Any]) -> list[Rows | SparrowError]:
        """The rows of each statement, or its error, as ours. Raises `StoreError` after `call_timeout_s`."""
        answers = await self.outcomes(statements)
        return [store_error(self._settings, one) if isinstance(one, Exception) else one for one in answers]

    async def conditionals(self, statements: Sequence[Any]) -> list[dict[str, Any]]:
        """The answers to conditional statements: `[applied]`, and what stands there. Raises as `run` does."""
        answers = await self.outcomes(statements, SERIAL)
        for answer in answers:
            if isinstance(answer, Exception):
                raise store_error(self._settings, answer) from answer
        return [rows[0] for rows in answers]  # type: ignore[index]

    async def conditional(self, statement: Any) -> dict[str, Any]:
        """The answer to one conditional statement. Raises as `run` does."""
        (answer,) = await self.conditionals([statement])
        return answer

    async def outcomes(self, statements: Sequence[Any], profile: Any = EXEC_PROFILE_DEFAULT) -> list[Rows | Exception]:
        """The rows, or the driver's error, of each statement. Raises `StoreError` after `call_timeout_s`."""
        if not statements:
            return []
        done: asyncio.Future[list[Rows | Exception]] = self._loop.create_future()
        group = _Group(len(statements), done)
        for at, statement in enumerate(statements):
            if self._in_flight < self._settings.cassandra_max_requests:
                self._send(group, at, statement, profile)
            else:
                self._waiting.append((group, at, statement, profile))
        try:
            async with asyncio.timeout(self._settings.call_timeout_s):
                return await done
        except TimeoutError:
            raise StoreError(
                f"store {where(self._settings)} has not done it within {self._settings.call_timeout_s:g} s: "
                "is it overloaded? (store.call_timeout_s)"
            ) from None

    def _send(self, group: _Group, at: int, statement: Any, profile: Any) -> None:
        self._in_flight += 1
        answered = partial(self._answer, group, at)
        try:
            self._session.execute_async(statement, execution_profile=profile).add_callbacks(answered, answered)
        except Exception as error:
            answered(error)

    def _answer(self, group: _Group, at: int, answer: Rows | Exception | None) -> None:
        """Take an answer, in a thread of the driver or on the loop."""
        self._answered.append((group, at, [] if answer is None else answer))
        if len(self._answered) == 1:
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop was closed without leaving the store
                self._answered.clear()

    def _drain(self) -> None:
        while self._answered:
            group, at, answer = self._answered.popleft()
            self._in_flight -= 1
            self._note(answer)
            group.answers[at] = answer
            group.left -= 1
            if group.left == 0 and not group.done.done():
                group.done.set_result(group.answers)
        while self._waiting and self._in_flight < self._settings.cassandra_max_requests:
            group, at, statement, profile = self._waiting.popleft()
            if not group.done.done():  # else its caller has given up
                self._send(group, at, statement, profile)

    def _note(self, answer: Rows | Exception) -> None:
        """Log when it begins to fail, and when it works again."""
        failed = isinstance(answer, Exception)
        if failed and (isinstance(answer, SparrowError | InvalidRequest) or too_much_to_read(answer)):
            return
        if failed != self._failing:
            self._failing = failed
            if isinstance(answer, Exception):
                _log.error("%s", store_error(self._settings, answer))
            else:
                _log.warning("store %s works again", where(self._settings))
