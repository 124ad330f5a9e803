"""Files on their way, while the chat goes on.

Owns the tasks, and how far each has come. Draws nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from client.api.files import Told
from protocol.errors import SparrowError
from sparrow.chat.text import short

Work: TypeAlias = Callable[[Told], Awaitable[None]]
"""Does it, and tells how far it is."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Transfer:
    """One file."""

    name: str
    """The file's name as it was given: clean it before it is shown."""
    up: bool
    """To the server."""
    done: int = 0
    """Bytes."""
    total: int = 0

    @property
    def percent(self) -> int:
        """How far it is; 0 until its size is known."""
        return 100 * self.done // self.total if self.total else 0


class Transfers:
    """All that are running. `show` is called when one has come a percent further, `say` with what went wrong."""

    def __init__(self, show: Callable[[Transfer], object], say: Callable[[str], object]) -> None:
        self._show = show
        self._say = say
        self._tasks: dict[asyncio.Task[None], Transfer] = {}

    @property
    def running(self) -> list[Transfer]:
        """Oldest first."""
        return list(self._tasks.values())

    def start(self, name: str, *, up: bool, work: Work) -> None:
        """Begin one."""
        transfer = Transfer(name, up)

        def progress(done: int, total: int) -> None:
            before = transfer.percent
            transfer.done, transfer.total = done, total
            if transfer.percent != before:
                self._show(transfer)

        task = asyncio.create_task(self._run(transfer, work, progress))
        self._tasks[task] = transfer
        task.add_done_callback(self._ended)

    async def _run(self, transfer: Transfer, work: Work, progress: Told) -> None:
        try:
            await work(progress)
        except SparrowError as error:
            self._say(f"{short(transfer.name)}: {error}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        transfer = self._tasks.pop(task)
        if not task.cancelled() and task.exception() is not None:
            self._say(f"{short(transfer.name)} has failed, which is a bug: {task.exception()!r}")
        self._show(transfer)

    def cancel(self) -> int:
        """End all; returns how many there were."""
        for task in self._tasks:
            task.cancel()
        return len(self._tasks)

    async def finish(self) -> None:
        """Wait until there is none."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
