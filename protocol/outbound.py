"""The sending end of all streams: ids, what is unsettled, windows and when to send again (docs/protocol.md, "Sending").

Owns messages until they are settled. Knows no clock and no random number: both are given. A message gets its stream
and id only while its device is logged in: before, somebody else may be this device and give the same ones.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol.sparrow_pb2 import About, Message


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message that is not settled. A draft until it is numbered."""

    dest: str
    kind: int
    body: bytes
    about: About | None = None
    stream: OutboundStream | None = None
    id: int = 0
    """0: a draft."""
    draft: int = 0
    """Orders drafts, and names one in a journal."""
    revision: int = 0
    """Of an EDIT."""
    mark: int = 0
    """Of a READ."""
    numbered_ms: int = 0
    """When it got its id, in milliseconds of the server's Unix time; 0: not known."""
    tries: int = 0
    due: float = 0.0
    """When to send it again, in seconds of the owner's clock."""
    tag: object = None
    """Whatever the owner puts here."""

    def message(self) -> Message:
        """The message as it goes on the wire now; it must be numbered."""
        assert self.stream is not None
        return Message(
            stream=self.stream.number,
            id=self.id,
            settled=self.stream.settled,
            dest_id=self.dest,
            kind=self.kind,  # type: ignore[arg-type]
            body=self.body,
            about=self.about,
            revision=self.revision,
            mark=self.mark,
        )


@dataclass(slots=True, eq=False)
class OutboundStream:
    """A stream of this device to one destination."""

    number: int
    dest: str
    next_id: int = 1
    retired: bool = False
    """Takes no new messages; the destination's next stream begins when this one has settled."""
    messages: dict[int, Outgoing] = field(default_factory=dict)
    """Unsettled, in the order of their ids."""
    unsent: deque[Outgoing] = field(default_factory=deque)
    """Messages that have not been sent on this connection, in the order of their ids."""
    held: dict[int, None] = field(default_factory=dict)
    """Ids that the server has told to wait for so long that something may change before."""

    @property
    def settled(self) -> int:
        """All ids below are settled."""
        return next(iter(self.messages), self.next_id)


class Outbox:
    """All streams of this device."""

    FIRST_RESEND_S = 3.0
    LAST_RESEND_S = 30.0
    LAST_RETRY_S = 5.0
    """Longest wait, in seconds, after a `Failed` that asks for less."""
    LONG_S = 60.0
    """A wait that is worth a try before its time, when another message of the stream has gone through."""

    def __init__(self) -> None:
        self.streams: dict[int, OutboundStream] = {}
        self._by_dest: dict[str, deque[OutboundStream]] = {}
        self._ready: dict[int, None] = {}
        self._timers: list[tuple[float, int, int]] = []
        self._on_wire: set[tuple[int, int]] = set()
        self._per_stream = 256
        self._per_connection = 4096

    def __len__(self) -> int:
        return sum(len(stream.messages) for stream in self.streams.values())

    # Streams and messages.

    def restore(self, stream: OutboundStream) -> None:
        """Put back a stream that was kept, with its unsettled messages; oldest stream of a destination first."""
        self.streams[stream.number] = stream
        self._by_dest.setdefault(stream.dest, deque()).append(stream)

    def stream_for(self, dest: str, new_number: int) -> OutboundStream:
        """The stream that takes new messages for `dest`; if there is none, a new one of this number."""
        queue = self._by_dest.setdefault(dest, deque())
        if queue and not queue[-1].retired:
            return queue[-1]
        stream = OutboundStream(new_number, dest)
        queue.append(stream)
        self.streams[new_number] = stream
        return stream

    def number(self, outgoing: Outgoing, stream: OutboundStream) -> None:
        """Put a message at the end of a stream."""
        outgoing.stream, outgoing.id = stream, stream.next_id
        stream.next_id += 1
        stream.messages[outgoing.id] = outgoing
        stream.unsent.append(outgoing)
        self._ready[stream.number] = None

    def retire_all(self) -> list[OutboundStream]:
        """Take no more messages into any stream: this state is not the one that the server last knew."""
        retired = [stream for stream in self.streams.values() if not stream.retired]
        for stream in retired:
            stream.retired = True
        return retired

    def drop_settled(self) -> list[OutboundStream]:
        """Forget retired streams that have settled; returns them."""
        done = [stream for stream in self.streams.values() if stream.retired and not stream.messages]
        for stream in done:
            del self.streams[stream.number]
            queue = self._by_dest[stream.dest]
            queue.remove(stream)
            if queue:
                self._ready[queue[0].number] = None
            else:
                del self._by_dest[stream.dest]
        return done

    # Sending.

    def connected(self, per_stream: int, per_connection: int) -> None:
        """A new connection, and its windows: everything unsettled is sent again."""
        self._per_stream, self._per_connection = per_stream, per_connection
        self._on_wire.clear()
        self._timers.clear()
        for stream in self.streams.values():
            stream.unsent = deque(stream.messages.values())
            stream.held.clear()
            for outgoing in stream.unsent:
                outgoing.tries = 0
            if stream.unsent:
                self._ready[stream.number] = None

    def due(self, now: float) -> Iterator[Outgoing]:
        """What to send now, in order; each is taken to be sent when it is returned."""
        while self._timers and self._timers[0][0] <= now:
            _, number, message_id = heapq.heappop(self._timers)
            stream = self.streams.get(number)
            outgoing = stream.messages.get(message_id) if stream else None
            if outgoing is not None and outgoing.due <= now:
                yield self._sent(outgoing, now)
        ready, self._ready = self._ready, {}
        for number in ready:
            stream = self.streams.get(number)
            if stream is not None and self._by_dest[stream.dest][0] is stream:
                yield from self._unsent(stream, now)

    def _unsent(self, stream: OutboundStream, now: float) -> Iterator[Outgoing]:
        unsent = stream.unsent
        while unsent and unsent[0].id < stream.settled + self._per_stream:
            if unsent[0].id not in stream.messages:
                unsent.popleft()
                continue
            if len(self._on_wire) >= self._per_connection:
                self._ready[stream.number] = None
                return
            yield self._sent(unsent.popleft(), now)

    def _sent(self, outgoing: Outgoing, now: float) -> Outgoing:
        assert outgoing.stream is not None
        number = outgoing.stream.number
        self._on_wire.add((number, outgoing.id))
        outgoing.due = now + min(self.FIRST_RESEND_S * 2**outgoing.tries, self.LAST_RESEND_S)
        outgoing.tries = min(outgoing.tries + 1, 16)
        heapq.heappush(self._timers, (outgoing.due, number, outgoing.id))
        return outgoing

    def next_due(self) -> float | None:
        """When `due` will have something again, if nothing but time passes; None: never."""
        return self._timers[0][0] if self._timers else None

    # Answers.

    def settle(self, number: int, message_id: int, sent: bool = False) -> Outgoing | None:
        """SENT (`sent`) or a final Failed; None if it was settled before."""
        stream = self.streams.get(number)
        outgoing = stream.messages.pop(message_id, None) if stream else None
        if stream is None or outgoing is None:
            return None
        self._on_wire.discard((number, message_id))
        stream.held.pop(message_id, None)
        if sent and stream.held:
            # Where this one went through, there may be room again: the oldest tries it.
            first = min(stream.held)
            del stream.held[first]
            stream.unsent.appendleft(stream.messages[first])
        if stream.unsent:
            self._ready[number] = None
        return outgoing

    def retry(self, number: int, message_id: int, now: float, after_s: float) -> Outgoing | None:
        """Failed for now: send it again after this time, or longer if it failed before.

        None if it was settled, or not sent on this connection.
        """
        if (number, message_id) not in self._on_wire:
            return None
        outgoing = self.streams[number].messages[message_id]
        # What is away stays away for seconds, and then all who were refused would come every second.
        longer_s = min(after_s * 2 ** max(0, outgoing.tries - 1), self.LAST_RETRY_S)
        outgoing.due = now + max(after_s, longer_s)
        if after_s >= self.LONG_S:
            self.streams[number].held[message_id] = None
        heapq.heappush(self._timers, (outgoing.due, number, message_id))
        return outgoing
