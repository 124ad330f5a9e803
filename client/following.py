"""Changes of groups: fetched, and told before the messages that were written behind them.

Owns what is asked for when. Which messages wait, and for how long, is `client.holding`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from client import events
from client.api.groups import GroupsApi
from client.engine import Engine
from client.memory import ClientJournal
from client.state import Event, GroupBehind
from protocol import sparrow_pb2 as pb
from protocol.errors import GroupsNotOfferedError, NotFoundError, SparrowError

log = logging.getLogger("sparrow.client")

FIRST_CHANGES: Final = 50
"""Of a group that is new on this device, so many of its latest changes are told."""
AGAIN_S: Final = 1.0
"""The changes of a group are asked for no oftener, and again after so long where they could not be had."""
TRIES: Final = 10
"""In a row; then with the next login, hint or message."""


class Following:
    """Of one client."""

    def __init__(self, engine: Engine, api: GroupsApi, journal: ClientJournal) -> None:
        self._engine = engine
        self._journal = journal
        self._api = api
        self._wanted: dict[str, int] = {}
        """Group → up to which version."""
        self._list = False
        self._asked: dict[str, float] = {}
        """Group → when its changes were asked for last."""
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Ask for nothing any more."""
        if self._task is not None:
            self._task.cancel()

    def noticed(self, event: Event) -> None:
        """See `Engine.noticed`."""
        if isinstance(event, pb.LoggedIn):
            self._list = "groups" in event.understands
        elif isinstance(event, GroupBehind):
            self._want(event.group, event.version)
        elif isinstance(event, pb.Hint) and event.kind == pb.Hint.GROUP_CHANGED and event.group:
            # Without a version it is our own membership that has changed.
            self._want(event.group, event.version or self._engine.core.group_version(event.group) + 1)
        if (self._list or self._wanted) and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _want(self, group: str, version: int) -> None:
        self._wanted[group] = max(version, self._wanted.get(group, 0))

    async def _run(self) -> None:
        failures = 0
        while (self._list or self._wanted) and failures < TRIES:
            try:
                if self._list:
                    self._list = False
                    await self._look_at_all()
                while self._wanted:
                    group, version = next(iter(self._wanted.items()))
                    await self._catch_up(group, version)
                    if self._wanted.get(group) == version:
                        del self._wanted[group]
                failures = 0
            except SparrowError as error:
                failures += 1
                log.info("%s: changes of groups cannot be had now: %s", self._engine.user, error)
                await asyncio.sleep(AGAIN_S)

    async def _look_at_all(self) -> None:
        """Hints get lost while we are away."""
        try:
            found = await self._api.everything()
        except GroupsNotOfferedError:
            return
        for each in found:
            known = self._engine.core.group_version(each.group)
            if each.left_ms is None and each.version > known:
                self._want(each.group, each.version)
            elif each.left_ms is not None and known:
                self._left(each.group)

    async def _catch_up(self, group: str, version: int) -> None:
        core, loop = self._engine.core, asyncio.get_running_loop()
        if core.group_version(group) >= max(version, 1):
            return
        wait_s = self._asked.get(group, float("-inf")) + AGAIN_S - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._asked[group] = loop.time()
        try:
            reached = await self._tell_changes(group)
        except NotFoundError:
            self._left(group)
            return
        core.group_at(group, reached)
        self._engine.changed()

    async def _tell_changes(self, group: str) -> int:
        """Tell all that are not told; returns up to which version. What is told twice after a crash is harmless."""
        since = self._engine.core.group_version(group)
        if not since:
            since = max(0, (await self._api.one(group)).version - FIRST_CHANGES)
        while True:
            page = await self._api.changes(group, since)
            for change in page.changes:
                if change.kind in ("made", "renamed"):
                    self._journal.put_called(group, change.value or "")
                self._engine.tell(events.GroupChanged(group, change))
                since = max(since, change.version)
            if not page.changes or since >= page.version:
                return max(since, page.version)

    def _left(self, group: str) -> None:
        """We are not in it (any more); an invitation to it may have come, or gone."""
        was_in = self._engine.core.group_left(group)
        self._engine.changed()
        if was_in:
            self._engine.tell(events.GroupLeft(group))
