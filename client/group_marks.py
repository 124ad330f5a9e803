"""How far groups were read: kept until the server knows it, and told at most once a second.

Owns when it is told. In a group READ is no message (docs/protocol.md, "Groups"): marks go over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from client.api.conversations import ConversationsApi
from client.engine import Engine
from client.memory import ClientJournal
from protocol.errors import MisuseError, SparrowError

log = logging.getLogger("sparrow.client")

GATHER_S: Final = 1.0
"""What is read within so long is told together."""


class GroupMarks:
    """Of one client."""

    def __init__(self, engine: Engine, api: ConversationsApi, journal: ClientJournal) -> None:
        self._engine = engine
        self._api = api
        self._journal = journal
        self._untold = journal.marks()
        self._telling: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Tell nothing any more; the state file has what was not told."""
        if self._telling is not None:
            self._telling.cancel()

    def read(self, group: str, stamp: int) -> None:
        """All up to this stamp is read."""
        if self._journal.history is not None:
            self._journal.history.read_up_to(group, stamp)
        if stamp > self._untold.get(group, 0):
            self._untold[group] = stamp
            self._journal.put_mark(group, stamp)
        self._engine.core.touch()
        self.tell()

    def tell(self) -> None:
        """Tell what is not told yet, in a moment."""
        if self._untold and (self._telling is None or self._telling.done()):
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while self._untold:
            await asyncio.sleep(GATHER_S)
            for group, stamp in list(self._untold.items()):
                try:
                    await self._api.mark(group, stamp)
                except MisuseError as error:  # not ours any more, or no conversations are kept
                    log.info("%s: how far %s was read is not told: %s", self._engine.user, group, error)
                except SparrowError:
                    return  # with the next login
                if self._untold.get(group) == stamp:
                    del self._untold[group]
                    self._journal.put_mark(group, 0)
                    self._engine.changed()
