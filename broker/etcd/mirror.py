"""A copy of everything under a prefix: read once, then kept up by a watch that is begun again wherever it ended.

Owns the watch and the revision up to which the copy holds every change. What the keys mean is the views' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from broker.etcd import api_pb2 as api
from broker.etcd.client import RANGE, Etcd, prefix_end
from protocol.errors import ConfigError, SparrowError, UnavailableError

log = logging.getLogger("sparrow.etcd")

PAGE_KEYS = 5_000
PAUSE_S = 0.2
_COMPACTED = "compacted"


class View(Protocol):
    """Who keeps the keys under one part of the prefix. Names are keys without it."""

    def load(self, found: dict[bytes, api.KeyValue]) -> None:
        """All keys there are, also after changes that nobody saw: act on the differences."""

    def put(self, name: bytes, kv: api.KeyValue) -> None:
        """A key was written."""

    def delete(self, name: bytes) -> None:
        """A key is gone."""


class _CompactedError(UnavailableError):
    """The watch has lost its place."""


class Mirror:
    """`run` it as a task. `event` wraps each change of the views (the broker's clock and flush)."""

    def __init__(self, etcd: Etcd, prefix: bytes, event: Callable[[Callable[[], None]], None]) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._event = event
        self._views: list[tuple[bytes, View]] = []
        self._following: asyncio.Task[None] | None = None
        self._cluster = 0
        self.revision = 0
        """The views hold every change up to this one. 0: nothing has been read yet."""
        self.on_moved: Callable[[], None]
        """Told, as part of an event, that `revision` is another. Whoever makes this has to set it."""

    def add(self, part: bytes, view: View) -> None:
        """Give `view` the keys that begin with the prefix and `part`. Before `run`."""
        self._views.append((self._prefix + part, view))

    async def load(self) -> None:
        """Read everything. Raises as `Etcd.call`."""
        found: list[api.KeyValue] = []
        key, end = self._prefix, prefix_end(self._prefix)
        revision = 0
        while True:
            request = api.RangeRequest(key=key, range_end=end, limit=PAGE_KEYS, revision=revision)
            response = await self._etcd.call(RANGE, request)
            revision = revision or response.header.revision
            found.extend(response.kvs)
            if not response.more:
                break
            key = response.kvs[-1].key + b"\0"
        self._cluster = response.header.cluster_id
        self._event(lambda: self._loaded(found, revision))

    def _loaded(self, found: Sequence[api.KeyValue], revision: int) -> None:
        for part, view in self._views:
            view.load({kv.key[len(part) :]: kv for kv in found if kv.key.startswith(part)})
        self.revision = revision
        self.on_moved()

    async def run(self) -> None:
        """Follow, for ever. `load` must have succeeded once."""
        while True:
            self._following = asyncio.create_task(self._follow())
            try:
                await asyncio.wait({self._following})
            finally:
                self._following.cancel()
            if not self._following.cancelled():
                self._following.result()
            await asyncio.sleep(PAUSE_S)

    def restart(self, why: str) -> None:
        """The watch tells less than it should: begin it anew, at another member."""
        if self._following is not None and not self._following.done():
            log.warning("the watch of etcd fell behind at revision %d (%s); it is begun anew", self.revision, why)
            self._etcd.next_member()
            self._following.cancel()

    async def _follow(self) -> None:
        """One life of the watch."""
        try:
            if not await self.same_history():
                log.warning("etcd has another history than before; reading everything again")
                await self.load()
            stream = self._etcd.watch(self._prefix, prefix_end(self._prefix), self.revision + 1)
            async with contextlib.aclosing(stream):  # type: ignore[type-var]
                async for response in stream:
                    self._take(response)
        except _CompactedError:
            log.info("etcd has forgotten what came next; reading everything again")
            with contextlib.suppress(SparrowError):
                await self.load()
        except (UnavailableError, ConfigError):
            pass  # the next call says so, or it works again

    async def same_history(self) -> bool:
        """Whether etcd is the one that we read. One that lost its data would keep a watch waiting for ever."""
        header = (await self._etcd.call(RANGE, api.RangeRequest(key=self._prefix))).header
        return header.revision >= self.revision and header.cluster_id == self._cluster

    def _take(self, response: api.WatchResponse) -> None:
        if response.compact_revision:
            raise _CompactedError(_COMPACTED)
        if response.canceled:
            raise UnavailableError(f"etcd ended the watch: {response.cancel_reason}")
        # etcd never cuts a revision in two. Progress without events says nothing that we need
        # (and up to 3.4.24 and 3.5.7 was told too early).
        if response.events:
            self._event(lambda: self._changed(response.events))

    def _changed(self, events: Sequence[api.Event]) -> None:
        for event in events:
            key = event.kv.key
            for part, view in self._views:
                if key.startswith(part):
                    if event.type == api.Event.PUT:
                        view.put(key[len(part) :], event.kv)
                    else:
                        view.delete(key[len(part) :])
                    break
        self.revision = events[-1].kv.mod_revision
        self.on_moved()
