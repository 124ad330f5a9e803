"""People who write and read, whatever the protocol: connections that come back, numbered texts, what was shown.

Owns what a client keeps of its conversations. What is said on the wire is the dialect's (`sparrow.load.clients`,
`sparrow.load.peers`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from sparrow.load.ledger import Tally
from sparrow.load.wire import BODY
from sparrow.load.world import Address, World

LOGIN_TIMEOUT_S = 30.0
FIRST_BACK_OFF_S, LAST_BACK_OFF_S = 1.0, 60.0
RESEND_S, LAST_RESEND_S = 3.0, 30.0


class NotNowError(ConnectionError):
    """The server said no to a login."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Talker(asyncio.Protocol):
    """A client with one connection at a time, which comes back as long as it is wanted."""

    def __init__(self, world: World | None = None, number: int = 0) -> None:
        self.world = world or World()
        self.number = number
        """Among all clients; chooses the source address."""
        self.now = 0.0
        """When the current turn began."""
        self.online = False
        self.wanted = False
        """Whether to come back by itself."""
        self.address = Address("", 0)
        self._greeting: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Event | None = None
        self._staying: asyncio.Task[None] | None = None
        self._failures = 0
        self._out: list[bytes] = []

    # Coming and going.

    async def stay(self, address: Address) -> None:
        """Log in, and go on trying, with back-off; from then on come back when the connection is lost."""
        self.wanted, self.address = True, address
        if self._staying is None:
            self._staying = self.world.spawn(self._stay())
        await asyncio.shield(self._staying)

    async def _stay(self) -> None:
        try:
            while self.wanted and not self.online:
                await self.gone()
                try:
                    await self._connect()
                except (OSError, TimeoutError) as error:
                    await asyncio.sleep(self._back_off_s(error))
            if not self.wanted:
                self.drop()
        finally:
            self._staying = None

    async def _connect(self) -> None:
        """Log in, once. Raises `OSError` (of which `NotNowError` is one) or `TimeoutError`."""
        self._greeting = asyncio.get_running_loop().create_future()
        try:
            async with self.world.gate, asyncio.timeout(LOGIN_TIMEOUT_S):
                await self.world.dial(self, self.address, self.number)
                await self._greeting
        except BaseException:
            self.drop()
            raise
        finally:
            self._greeting = None

    def _back_off_s(self, error: Exception) -> float:
        limit_s = min(FIRST_BACK_OFF_S * 2**self._failures, LAST_BACK_OFF_S)
        self._failures = min(self._failures + 1, 10)
        told_s = getattr(error, "retry_after_s", None)
        if told_s is not None:
            return float(told_s) * self.world.random.uniform(1.0, 1.5)
        return self.world.random.uniform(0.0, limit_s)

    def drop(self) -> None:
        """Let the connection break; if wanted, it is made anew."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Leave for good."""
        self.wanted = False
        if self._transport is not None:
            self._transport.close()

    async def gone(self) -> None:
        """Return when there is no connection."""
        if self._gone is not None:
            await self._gone.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._gone = asyncio.Event()
        self._out.clear()
        self.begin()
        self._transport.writelines(self._out)
        self._out.clear()

    def begin(self) -> None:
        """Say what comes first."""
        raise NotImplementedError

    def welcomed(self) -> None:
        """The login has worked."""
        self.online = True
        self._failures = 0
        self.world.counts.logins += 1
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(None)

    def turned_away(self, text: str, retry_after_s: float | None = None) -> None:
        """The login has not worked."""
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_exception(NotNowError(text, retry_after_s))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        was_online, self.online = self.online, False
        self._transport = None
        if self._gone is not None:
            self._gone.set()
            self._gone = None
        self.turned_away("closed before login")
        if was_online and self.wanted:
            self.world.counts.disconnects += 1
            self.world.spawn(self.stay(self.address))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.now = self.world.clock()
        self.received(data)
        self.flush()

    def received(self, data: bytes) -> None:
        """What one read has brought."""
        raise NotImplementedError

    def flush(self) -> None:
        """One write for all that gathered."""
        if self._out:
            if self._transport is not None:
                self._transport.write(b"".join(self._out))
            self._out.clear()

    def ping(self) -> None:
        """Keep the session."""


class Pending:
    """A message without SENT."""

    __slots__ = ("at", "due", "tail", "tries")

    def __init__(self, at: float | None, tail: bytes, due: float) -> None:
        self.at = at
        """When it was to be sent; None if it is no text."""
        self.tail = tail
        """Its bytes behind the fields that may change."""
        self.due = due
        """When to send it again."""
        self.tries = 0


class Out:
    """All that one client writes to one user."""

    __slots__ = (
        "backlog", "delivered", "dest", "early", "head", "key", "next", "number", "open", "owner", "padding",
        "prefix", "refused", "sent", "undelivered",
    )  # fmt: skip

    def __init__(self, owner: Any, dest: str, number: int) -> None:
        self.owner = owner
        self.dest = dest
        self.number = number
        self.key = number.to_bytes(8, "little")
        self.head, self.prefix, self.padding = b"", b"", b""
        """For the dialect."""
        self.next = 1
        self.open: dict[int, Pending] = {}
        """Without SENT; lowest id first."""
        self.backlog: deque[tuple[float | None, bytes]] = deque()
        """What waits for the window, or for a connection."""
        self.sent = 0
        self.delivered = 0
        self.undelivered: set[int] = set()
        """SENT and not DELIVERED."""
        self.early: set[int] = set()
        """DELIVERED and not SENT."""
        self.refused: set[int] = set()
        """For good."""


class In:
    """All that one client is shown of one stream."""

    __slots__ = ("author", "stream", "tally", "unread")

    def __init__(self, author: Out) -> None:
        self.author = author
        self.stream: Any = None
        """For the dialect."""
        self.tally = Tally()
        self.unread: list[int] = []


class Person(Talker):
    """Writes to some and hears from others."""

    def __init__(self, user: str, body_bytes: int, world: World | None = None, number: int = 0) -> None:
        super().__init__(world, number)
        self.user = user
        self.body_bytes = body_bytes
        self.token = ""
        self.devices: dict[str, str] = {}
        """User → device, of all who write to this one: for READ."""
        self.heartbeat_s = 60.0
        self.outs: dict[int, Out] = {}
        self.ins: dict[bytes, In] = {}
        self.going = False
        """Whether SENT of one text sends the next."""
        self.unsettled = 0
        self.window, self.window_in_all = 256, 4096
        self.to_read: list[In] = []
        """Conversations to be read at the end of this turn."""
        self._by_dest: dict[str, Out] = {}

    # Writing.

    def say(self, out: Out, at: float) -> None:
        """Write a text that was to be sent at `at`."""
        self.now = self.world.clock()
        self.text(out, at)
        self.flush()

    def out_to(self, dest: str) -> Out:
        """The conversation; begun if need be."""
        known = self._by_dest.get(dest)
        if known is None:
            known = self._by_dest[dest] = Out(self, dest, self.world.random.getrandbits(64) | 1)
            self.outs[known.number] = self.world.streams[known.key] = known
            self.opened(known)
        return known

    def opened(self, out: Out) -> None:
        """A conversation has begun: for the dialect."""

    def text(self, out: Out, at: float) -> None:
        """Write one that was to be sent at `at`; it may have to wait for the window. `flush` sends it."""
        self.world.counts.sent += 1
        self._append(out, at, b"")

    def _append(self, out: Out, at: float | None, tail: bytes) -> None:
        if out.backlog or not self._fits(out):
            out.backlog.append((at, tail))
        else:
            self._first_time(out, at, tail)

    def _fits(self, out: Out) -> bool:
        first = next(iter(out.open), out.next)
        return self.online and out.next < first + self.window and self.unsettled < self.window_in_all

    def _first_time(self, out: Out, at: float | None, tail: bytes) -> None:
        number = out.next
        out.next = number + 1
        if at is not None:
            tail = b"".join((out.prefix, BODY.pack(at, number, out.number), out.padding))
        pending = out.open[number] = Pending(at, tail, self.now + RESEND_S)
        self.unsettled += 1
        self.put(out, number, pending)

    def put(self, out: Out, number: int, pending: Pending) -> None:
        """Write a message of ours."""
        raise NotImplementedError

    def send_backlog(self) -> None:
        """As much of what waits as fits now."""
        for out in self.outs.values():
            while out.backlog and self._fits(out):
                self._first_time(out, *out.backlog.popleft())

    def overdue(self) -> None:
        """Send again what has had no answer for too long, and ask about what is missing; to be called each second."""

    # Answers.

    def was_sent(self, out: Out, numbers: Sequence[int], delivered: bool) -> None:
        """These are SENT."""
        counts, texts = self.world.counts, 0
        for number in numbers:
            pending = out.open.pop(number, None)
            if pending is None:
                continue
            self.unsettled -= 1
            if pending.at is None:
                continue
            texts += 1
            self.world.to_sent.record(self.now - pending.at)
            if delivered or number in out.early:
                out.early.discard(number)
                out.delivered += 1
                counts.delivered_acks += 1
            else:
                out.undelivered.add(number)
        out.sent += texts
        counts.sent_acks += texts
        while out.backlog and self._fits(out):
            self._first_time(out, *out.backlog.popleft())
        if self.going:
            for _ in range(texts):
                self.text(out, self.now)

    def was_delivered(self, out: Out, numbers: Sequence[int]) -> None:
        """These have reached the other one; may be said twice, and before SENT."""
        for number in numbers:
            if number in out.undelivered:
                out.undelivered.discard(number)
                out.delivered += 1
                self.world.counts.delivered_acks += 1
            elif number in out.open:
                out.early.add(number)

    def turned_down(self, out: Out, number: int, why: str) -> None:
        """This one failed for good."""
        if out.open.pop(number, None) is not None:
            self.unsettled -= 1
            out.refused.add(number)
            self.world.counts.refused += 1
            self.world.error(f"Failed: {why}")

    # Reading.

    def hears(self, key: bytes) -> In | None:
        """The conversation in this stream; None if nobody of us writes there."""
        known = self.ins.get(key)
        if known is None and (author := self.world.streams.get(key)) is not None:
            known = self.ins[key] = In(author)
            self.world.mixed_up += author.dest != self.user
        return known

    def show(self, heard: In, number: int, body: bytes, late: bool = False) -> None:
        """A text that was numbered so on its way."""
        at, written, stream = BODY.unpack_from(body)
        if written != number or stream != heard.author.number:
            self.world.mixed_up += 1
        heard.tally.show(written, late)
        self.world.counts.received += 1
        self.world.one_way.record(self.now - at)
        if self.world.read_after is not None:
            self._will_read(heard, number)

    def _will_read(self, heard: In, number: int) -> None:
        heard.unread.append(number)
        if len(heard.unread) == 1:
            wait_s = self.world.read_after() if self.world.read_after is not None else 0.0
            if wait_s:
                asyncio.get_running_loop().call_later(wait_s, self._reads_now, heard)
            else:
                self.to_read.append(heard)

    def _reads_now(self, heard: In) -> None:
        self.now = self.world.clock()
        self.read(heard)
        self.flush()

    def read_all(self) -> None:
        """Wait no longer before reading."""
        for heard in self.ins.values():
            if heard.unread:
                self._reads_now(heard)

    def read(self, heard: In) -> None:
        """Tell the author that these were read."""
        raise NotImplementedError


async def log_in(people: Sequence[Talker], addresses: Sequence[Address]) -> None:
    """Bring all, person n to address n modulo their number; from then on they come back by themselves."""
    await asyncio.gather(*(each.stay(addresses[at % len(addresses)]) for at, each in enumerate(people)))
