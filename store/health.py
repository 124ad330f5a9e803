"""Whether a store does what is asked of it, by what was lately tried.

Owns the reasons why not, and the trial of what has failed where nobody else tries. Whoever calls a store tells it here
how each call went: reading and writing one by one, since a disk that is full can be read.
"""

from __future__ import annotations

import logging

from protocol.errors import SparrowError
from store.interface import Store

_NOBODY = "-"
"""Whose time of being online last nobody asks for: what is written of it is a write, and changes nothing."""

_FULL = "the disk of the store is nearly full (store.min_free_bytes)"


class StoreHealth:
    """Of one process's store. Used in one event loop."""

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store = store
        self._log = log
        self.reading = ""
        """Why it could not be read when that was last tried; empty: it could."""
        self.writing = ""
        """The same of writing."""

    @property
    def trouble(self) -> str:
        """The first of both; empty: it does all."""
        return self.reading or self.writing

    @property
    def full(self) -> str:
        """That its disk takes hardly anything more; empty if it does. Then messages are refused, and logins are not."""
        return _FULL if self._store.no_space() else ""

    def went(self, *, writes: bool, error: SparrowError | None = None) -> None:
        """A call has ended: what it was, and why it has failed."""
        before, why = self.trouble, "" if error is None else str(error)
        if writes:
            self.writing = why
        else:
            self.reading = why
        if why and not before:
            self._log.error("store: %s", why)
        elif before and not self.trouble:
            self._log.info("store: works again")

    async def look(self, *, reads: bool = False) -> None:
        """Try what has failed once more; `reads`: and to read in any case."""
        if reads or self.reading:
            await self._try(writes=False)
        if self.writing:
            await self._try(writes=True)

    async def _try(self, *, writes: bool) -> None:
        try:
            await (self._store.saw({_NOBODY: 0}) if writes else self._store.account(_NOBODY))
        except SparrowError as error:
            self.went(writes=writes, error=error)
        else:
            self.went(writes=writes)
