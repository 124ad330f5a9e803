"""People who write and read, whatever the protocol: numbered texts, windows, what was shown, what was read.

Owns what a client keeps of its conversations. What is said on the wire is the dialect's (`load.clients`,
`load.peers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

from load.streams import In, Out, Pending
from load.talker import Talker
from load.wire import head, read_head
from load.world import World

RESEND_S, LAST_RESEND_S = 3.0, 30.0


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
        self.acks_later = False
        """Whether something that came was not acked, since that may wait."""
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
            group = self.world.groups.get(dest)
            known = self._by_dest[dest] = Out(self, dest, self.world.random.getrandbits(64) | 1, group)
            self.outs[known.number] = self.world.streams[known.key] = known
            self.opened(known)
        return known

    def own_groups(self) -> list[str]:
        """The ids of those that this one is in."""
        return [group.id for group in self.world.groups.values() if self.user in group.members]

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
            tail = b"".join((out.prefix, head(at, number, out.number), out.padding))
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
        settled = texts = told = 0
        now, since, record, early = self.now, self.since, self.world.to_sent.record, out.early
        for number in numbers:
            pending = out.open.pop(number, None)
            if pending is None:
                continue
            settled += 1
            at = pending[0]
            if at is None:
                continue
            texts += 1
            if at >= since:
                record(now - at)
            if not delivered and number not in early:
                if out.group is None:  # a group's are not told of
                    out.undelivered.add(number)
                continue
            told += 1
            if early:
                early.discard(number)
        self.unsettled -= settled
        out.sent += texts
        out.delivered += told
        counts = self.world.counts
        counts.sent_acks += texts
        counts.due += texts * out.reach
        if out.group is not None:
            counts.sent_acks_of_groups += texts
        counts.delivered_acks += told
        while out.backlog and self._fits(out):
            self._first_time(out, *out.backlog.popleft())
        if self.going:
            turns = None if out.group is None else out.group.next_writer
            if turns is None:
                for _ in range(texts):
                    self.text(out, self.now)
            else:
                say_by_turns(turns, texts, self.now)

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
            members = {author.dest} if author.group is None else author.group.members - {author.owner.user}
            self.world.mixed_up += self.user not in members
        return known

    def show(self, heard: In, number: int, body: bytes, late: bool = False) -> None:
        """A text that was numbered so on its way."""
        at, written, stream = read_head(body)
        if written != number or stream != heard.author.number:
            self.world.mixed_up += 1
        heard.tally.show(written, late)
        self.world.counts.received += 1
        if at >= self.since and at >= heard.author.owner.since:
            self.world.one_way.record(self.now - at)
        else:
            self.world.after_absence.record(self.now - at)
        if self.world.read_after is not None and heard.author.group is None:
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


def say_by_turns(turns: Iterator[Out], count: int, at: float) -> None:
    """Write so many texts that were to be sent at `at`; each writer makes one write of its share."""
    writers = set()
    for out in islice(turns, count):
        out.owner.now = at
        out.owner.text(out, at)
        writers.add(out.owner)
    for writer in writers:
        writer.flush()
