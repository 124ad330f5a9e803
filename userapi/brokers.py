"""The links to brokers: a question goes to one broker after another until one has answered.

Owns the ZeroMQ sockets of one process, which live in the event loop of its store bridge. Knows records; what they are
asked for is `userapi.asks`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from typing import cast

import zmq
import zmq.asyncio

from fabric.curve import LinkKeys, read_link_keys
from fabric.records import ANSWER, ATTEMPT, BODY, FAILED, FLAGS, KIND, USER_API, Record, batch, parse, record
from fabric.socket import secure
from protocol.errors import RecordError, UnavailableError
from userapi.settings import UserApiSettings

REST_S = 1.0
LOOK_AGAIN_S = 0.01
NEXT_KEY_S = 0.05
"""Until the next of several keys that a broker may have is tried."""

_log = logging.getLogger("sparrow.userapi")


class Brokers:
    """Asks brokers. Made anywhere; used in one event loop."""

    def __init__(self, settings: UserApiSettings) -> None:
        """Raises `ConfigError` if a key cannot be read."""
        self._timeout_s = settings.broker_timeout_s
        self._keys = read_link_keys(settings.curve_key_file, settings.broker_public_key_file)
        self._context: zmq.asyncio.Context | None = None
        self._links: dict[str, _Link] = {}
        self._order = list(settings.brokers)
        """The one that answered last is in front."""
        self._resting: dict[str, float] = {}
        """Until when those are left alone that did not answer, so that nobody waits for them in vain."""
        self._requests = itertools.count(1)
        self._away = False

    async def ask(self, kind: int, *, to: bytes = b"", flags: int = 0, body: bytes = b"") -> bytes:
        """The body of the answer. Raises `UnavailableError` when no broker did what was asked."""
        now = asyncio.get_running_loop().time()
        for endpoint in [endpoint for endpoint in self._order if self._resting.get(endpoint, 0.0) <= now]:
            request = next(self._requests)
            encoded = record(kind, to=to, flags=flags, attempt=request, body=body)
            answer = await self._ask(endpoint, request, encoded)
            if answer is not None and not answer[FLAGS] & FAILED:
                self._answered(endpoint)
                return answer[BODY]
        if not self._away:
            self._away = True
            _log.error("no broker answers, of %s", ", ".join(self._order) or "none: set userapi.brokers")
        raise UnavailableError("no broker answers")

    def _answered(self, endpoint: str) -> None:
        if self._away:
            self._away = False
            _log.info("brokers answer again")
        if self._order[0] != endpoint:
            self._order.remove(endpoint)
            self._order.insert(0, endpoint)

    async def _ask(self, endpoint: str, request: int, encoded: bytes) -> Record | None:
        link = self._link(endpoint)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await link.ask(request, encoded)
        except TimeoutError:
            self._resting[endpoint] = asyncio.get_running_loop().time() + REST_S
            if self._links.get(endpoint) is link:
                # Once refused, for want of an allowed key, ZeroMQ does not try again by itself.
                del self._links[endpoint]
                link.close()
            return None

    def _link(self, endpoint: str) -> _Link:
        if self._context is None:
            self._context = zmq.asyncio.Context()
        link = self._links.get(endpoint)
        if link is None:
            link = self._links[endpoint] = _Link(self._context, endpoint, self._keys)
        return link

    async def close(self) -> None:
        """Close all links."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        if self._context is not None:
            self._context.term()
            self._context = None


class _Link:
    """The socket to one broker, and what was asked there."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str, keys: LinkKeys | None) -> None:
        self._asked: dict[int, asyncio.Future[Record]] = {}
        self._context, self._endpoint, self._keys = context, endpoint, keys
        self._tries = 0
        self._watched: zmq.asyncio.Socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._open()

    def _open(self) -> None:
        context, endpoint, keys = self._context, self._endpoint, self._keys
        self._socket = socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, USER_API + secrets.token_bytes(8))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
        if keys is not None:
            secure(socket, keys, self._tries)
        if keys is not None and len(keys.brokers) > 1:
            self._watched = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
            self._tasks.append(asyncio.create_task(self._watch(self._watched)))
        socket.connect(endpoint)
        self._tasks.append(asyncio.create_task(self._read(socket)))

    async def _watch(self, watched: zmq.asyncio.Socket) -> None:
        """When the broker has another of the keys that we know: the next one."""
        await watched.recv_multipart()
        await asyncio.sleep(NEXT_KEY_S)
        self._tries += 1
        self._tasks.remove(cast("asyncio.Task[None]", asyncio.current_task()))
        self._close()
        self._open()

    async def ask(self, request: int, encoded: bytes) -> Record:
        answer: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._asked[request] = answer
        try:
            while not await self._send(batch([encoded])):  # noqa: ASYNC110 - nobody tells of a connection that is up
                await asyncio.sleep(LOOK_AGAIN_S)
            return await answer
        finally:
            del self._asked[request]

    async def _send(self, data: bytes) -> bool:
        """Whether there was a connection to take it."""
        if self._socket.closed:
            raise TimeoutError
        try:
            await self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    async def _read(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            data = await socket.recv()
            try:
                found = parse(data)
            except RecordError as error:
                _log.error("a broker: %s", error)
                continue
            for rec in found:
                answer = self._asked.get(rec[ATTEMPT])
                if rec[KIND] == ANSWER and answer is not None and not answer.done():
                    answer.set_result(rec)

    def close(self) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(TimeoutError())
        self._close()

    def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self._watched is not None:
            self._socket.disable_monitor()
            self._watched.close()
            self._watched = None
        with contextlib.suppress(zmq.ZMQError):
            self._socket.close()
