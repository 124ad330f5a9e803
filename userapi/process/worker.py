"""gunicorn's worker of ours: one event loop that holds all connections, and lanes of threads for requests.

Owns the worker's life and end. (gunicorn's own worker with threads, gthread, gives a connection that has sent a byte to
a thread until its request is done, so that eight slow ones stop it.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from types import FrameType
from typing import Any, cast

import uvloop
from gunicorn.workers.base import Worker as GunicornsWorker

from fabric.facts import BY_STRANGERS
from userapi.process.front import Front

_log = logging.getLogger("sparrow.userapi")

LOOK_S = 0.25
"""How often deadlines are looked at, and whether the arbiter lives."""
LINGER_S = 1.0
"""A stopping worker lets connections stand so long on which the next request may be on its way already."""


class Worker(GunicornsWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process. Its application is `userapi.server`'s, which has the settings."""

    def init_process(self) -> None:
        """See gunicorn's."""
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(_unexpected)
        asyncio.set_event_loop(self._loop)
        super().init_process()

    def init_signals(self) -> None:
        """Have signals handled in the loop; all else is gunicorn's way."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(number, self._told_to_stop, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        self._loop.add_signal_handler(signal.SIGWINCH, lambda: None)
        # Not in the loop: the arbiter sends it to a worker whose loop stands still.
        signal.signal(signal.SIGABRT, self._abort)

    def run(self) -> None:
        """Serve until we are told to stop, or the arbiter is gone."""
        app = self.app
        front = Front(app.settings, self.wsgi, app.counts, app.certificate, self._loop)
        self._loop.run_until_complete(self._serve(front))

    def _told_to_stop(self, number: int) -> None:
        self.alive = False
        self._grace_s = 0.0 if number != signal.SIGTERM else self._grace_s
        self._stopping.set()

    _grace_s = float("inf")

    def _abort(self, number: int, frame: FrameType | None) -> None:
        self.cfg.worker_abort(self)
        sys.exit(1)

    async def _serve(self, front: Front) -> None:
        for door, listener in zip(self.app.doors, self.sockets, strict=True):
            front.listen(cast(socket.socket, listener.sock), door=door)
        while self.alive:
            self.notify()
            if self.ppid != os.getppid():
                # Somebody else may want the port at once.
                _log.error("the process that manages this one is gone: it ends")
                break
            front.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()
        front.close_listeners()
        await self._finish(front)

    async def _finish(self, front: Front) -> None:
        """What is in hand, for as long as there is."""
        begun = front.now()
        grace_s = min(self._grace_s, self.cfg.graceful_timeout)
        for connection in front.connections():
            connection.stop(now=False)
        while (passed := front.now() - begun) < grace_s:
            self.notify()
            front.look()
            if passed >= min(LINGER_S, grace_s):
                for connection in front.connections():
                    connection.stop(now=True)
            if not front.connections():
                break
            await asyncio.sleep(0.02)
            grace_s = min(grace_s, self._grace_s)
        for connection in front.connections():
            connection.abort()
        await asyncio.sleep(0)


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError | ssl.SSLError):
        return  # of a connection, which is lost
    _log.error("%s", context.get("message"), exc_info=error, extra=BY_STRANGERS)
