"""The broker core's store port over a store: each call a task, whose end is an event of the broker.

Owns calls under way, how long they take, and whether the store does what is asked. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from broker.timings import Timings
from protocol.errors import SparrowError
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.health import StoreHealth
from store.interface import NewRow, Page, PageQuery, Removal, Store
from store.sessions import NoSession, SessionStart, Standing
from store.timelines import Archived, Edit, Entry, Erasure, HistoryTerms, Mark

log = logging.getLogger("sparrow.broker")

SLOW_S = 2.0
"""A store that has not answered a call by then counts as away, until it does."""
Result = TypeVar("Result")
_WRITES = {"append", "archive", "begin_sessions", "raise_checkpoints", "raise_marks", "remove", "saw"}
_SLOW = f"the store has not answered for {SLOW_S:.0f} s"


def _nothing(result: object) -> None:
    """What follows from a call of which nobody waits for the end."""


class StoreCalls:
    """The core's store port: each call becomes a task; its end is an event of the broker."""

    def __init__(self, store: Store, event: Callable[..., None]) -> None:
        """`event` calls what it is given, with the rest of its arguments, as an event of the broker."""
        self._store = store
        self._event = event
        self._loop = asyncio.get_running_loop()
        self.timings = Timings("store", "calls of the store")
        self._tasks: dict[asyncio.Task[None], float] = {}
        """Calls under way, and when each began; oldest first."""
        self.health = StoreHealth(store, log)
        self._looking: asyncio.Task[None] | None = None
        self._no_space = False

    def _call(self, name: str, work: Awaitable[Result], done: Callable[[Result | None], None]) -> None:
        began = self._loop.time()
        task = asyncio.ensure_future(self._run(name, work, done, began))
        self._tasks[task] = began
        task.add_done_callback(self._tasks.pop)

    async def _run(
        self, name: str, work: Awaitable[Result], done: Callable[[Result | None], None], began: float
    ) -> None:
        try:
            result = await work
        except SparrowError as error:
            self.timings.failed(name)
            self.health.went(writes=name in _WRITES, error=error)
            self._event(done, None)
            return
        self.timings.took(name, self._loop.time() - began)
        if self.health.trouble:
            self.health.went(writes=name in _WRITES)
        self._event(done, result)

    async def _append(self, rows: Sequence[NewRow]) -> bool:
        await self._store.append(rows)
        return True

    def append(self, rows: Sequence[NewRow], done: Callable[[bool | None], None]) -> None:
        """See `StorePort`."""
        self._call("append", self._append(rows), done)

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None:
        """See `StorePort`."""
        self._call("page", self._store.page(queries), done)

    def remove(self, removals: Sequence[Removal]) -> None:
        """See `StorePort`."""
        self._call("remove", self._store.remove(removals), _nothing)

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("devices", self._store.devices(users), done)

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None:
        """See `StorePort`."""
        self._call("verdicts", self._store.verdicts(pairs), done)

    async def _hiders(self, users: Collection[str]) -> Collection[str]:
        return [user for user, profile in (await self._store.profiles(users)).items() if profile.hides_presence]

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        """See `StorePort`."""
        self._call("hiders", self._hiders(users), done)

    def waiting(
        self,
        users: Collection[str],
        done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None],
    ) -> None:
        """See `StorePort`."""
        self._call("waiting", self._store.waiting(users), done)

    def no_space(self) -> bool:
        """See `StorePort`."""
        no_space = self._store.no_space()
        if no_space != self._no_space:
            self._no_space = no_space
            if no_space:
                log.error("store: its disk is nearly full (store.min_free_bytes): messages are refused until it is not")
            else:
                log.warning("store: its disk has room again")
        return no_space

    def free_bytes(self) -> int | None:
        """Bytes that the store's disk still takes; None: it is none of this machine's."""
        return self._store.free_bytes()

    def saw(self, users: Collection[str]) -> None:
        """See `StorePort`."""
        self._call("saw", self._store.saw(dict.fromkeys(users, int(time.time() * 1000))), _nothing)

    def standing(self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]) -> None:
        """See `StorePort`."""
        self._call("standing", self._store.standing(users), done)

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("begin_sessions", self._store.begin_sessions(starts), done)

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        """See `StorePort`."""
        self._call("archive", self._store.timelines.archive(batch), done)

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        """See `StorePort`."""
        self._call("groups", self._store.groups.groups(groups), done)

    def scan_groups(self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]) -> None:
        """See `StorePort`."""
        self._call("scan_groups", self._store.groups.scan(queries), done)

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        """See `StorePort`."""
        self._call("raise_checkpoints", self._store.groups.raise_checkpoints(checkpoints), _nothing)

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        """See `StorePort`."""
        self._call("raise_marks", self._store.timelines.raise_marks(marks), _nothing)

    def terms(self, done: Callable[[HistoryTerms | None], None]) -> None:
        """What the store says of history."""
        self._call("terms", self._store.timelines.terms(), done)

    @property
    def slow(self) -> str:
        """That a call has waited for long; empty if none has."""
        oldest = next(iter(self._tasks.values()), None)
        return "" if oldest is None or self._loop.time() - oldest < SLOW_S else _SLOW

    @property
    def trouble(self) -> str:
        """Why the store does not do what is asked; empty if it does."""
        return self.health.trouble or self.slow

    def look(self) -> None:
        """Find out whether the store is back, where nothing else asks it."""
        if self.health.trouble and not self._tasks and (self._looking is None or self._looking.done()):
            self._looking = asyncio.ensure_future(self.health.look())

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._looking is not None:
            await self._looking
