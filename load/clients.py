"""Sparrow's dialect: cheap clients for load with hand-made messages, of which every arrival is checked.

Owns what a load client says to a connector (docs/protocol.md). `client` is the library for everybody else.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from client.acks import Acks
from load.people import LAST_RESEND_S, RESEND_S, Person
from load.streams import In, Out, Pending
from load.wire import change_tail, head, read_message, read_tail, text_tail
from load.world import World
from protocol.allowed import CHANGES, MAX_ABOUT_IDS
from protocol.framing import MESSAGE_TAG, FrameReader, delimit, message_frame, sole_receipt, varint
from protocol.inbound import InboundStream
from protocol.sparrow_pb2 import (
    EDIT,
    ERASE,
    READ,
    TEXT,
    About,
    Ack,
    Failed,
    Frame,
    Goodbye,
    Hint,
    LoggedIn,
    Login,
    Ping,
    Receipt,
    Sync,
)

ORDER_WAIT_S = 10.0
RETRY_LIMIT_S = 5.0
EDITED_AT = -1.0
"""When a text was to be sent, in the body that an EDIT gives it: so it is told from the one that was sent."""
_QUIET = (Goodbye.MOVE, Goodbye.TRY_AGAIN, Goodbye.LOGGED_OUT)
"""What a server may say to a client that does nothing wrong."""


class Content(NamedTuple):
    """What a stream carries."""

    number: int
    kind: int
    content: bytes


class LoadClient(Person):
    """A person who speaks Sparrow's protocol."""

    def __init__(
        self, token: str, user: str = "", body_bytes: int = 100, world: World | None = None, number: int = 0
    ) -> None:
        super().__init__(user, body_bytes, world, number)
        self.token = token
        self.goodbye = ""
        """The last one, of this connection."""
        self._reader = FrameReader(1 << 24)
        self._counted = 0
        self._acked = 0
        self._syncs = 0
        self._acks = Acks()

    def begin(self) -> None:
        self._reader = FrameReader(1 << 24)
        self.goodbye = ""
        self._counted = self._acked = self._syncs = 0
        self._acks.connected()
        self.acks_later = False
        for heard in self.ins.values():
            if heard.stream is not None:
                heard.stream.disconnected()
        login = Login(token=self.token, client="load", understands=("changes", "groups"))
        self._out.append(delimit(Frame(login=login).SerializeToString()))

    def received(self, data: bytes) -> None:
        for payload in self._reader.receive(data):
            self._frame(payload)
        if self._reader.error is not None:
            self.world.error(str(self._reader.error))
            self.drop()
        for heard in self.to_read:
            self.read(heard)
        self.to_read.clear()
        if self._counted > self._acked:
            # All but what is a group's, of which `_acks` knows, is acked at once.
            late = self._acks.frames
            if late == self._counted - self._acked and not self._acks.is_due(self.now):
                self.acks_later = True
            else:
                self._ack()

    def _ack(self) -> None:
        self._acked = self._counted
        self._acks.acked()
        self.acks_later = False
        self._out.append(delimit(Frame(ack=Ack(up_to=self._acked)).SerializeToString()))

    def _frame(self, payload: bytes) -> None:
        if payload[0] == MESSAGE_TAG:
            self._message(payload)
            return
        raw = sole_receipt(payload)
        if raw is None:
            self._rare(Frame.FromString(payload))
            return
        receipt = Receipt.FromString(raw)
        out = self.outs.get(receipt.stream)
        if not receipt.sent and not receipt.early:
            self._counted += 1
        if out is None:
            self.world.counts.foreign += 1
        elif receipt.sent:
            self.was_sent(out, receipt.ids, receipt.delivered)
        else:
            self.was_delivered(out, receipt.ids)

    def _rare(self, frame: Frame) -> None:
        """A frame that is neither message nor receipt."""
        kind = frame.WhichOneof("kind")
        if kind == "logged_in":
            self._logged_in(frame.logged_in)
        elif kind == "goodbye":
            self._goodbye(frame.goodbye)
        elif kind == "failed":
            self._failed(frame.failed)
        elif kind == "hint":
            if frame.hint.kind == Hint.SKIPPED:
                self.world.error("Hint: SKIPPED")
        elif kind == "synced":
            for heard in self.ins.values():
                for shown in heard.stream.synced(frame.synced.n) if heard.stream is not None else ():
                    self._show(heard, shown.item, shown.late)

    def _logged_in(self, said: LoggedIn) -> None:
        self.heartbeat_s = said.heartbeat_ms / 1000
        self.window = said.max_unsettled_per_stream
        self.window_in_all = said.max_unsettled_per_connection
        self._acks.window(said.max_unacked)
        self.welcomed()
        for out in self.outs.values():
            for number, pending in out.open.items():
                self._again(out, number, pending._replace(tries=0))
        self.send_backlog()

    def _goodbye(self, said: Goodbye) -> None:
        name = Goodbye.Code.Name(said.code) if said.code in Goodbye.Code.values() else str(said.code)
        self.goodbye = said.text or name
        if said.code not in _QUIET:
            self.world.error(f"Goodbye: {name}")
        if said.code in (Goodbye.REPLACED, Goodbye.DEVICE_REMOVED):
            self.wanted = False
        self.turned_away(self.goodbye, said.retry_after_ms / 1000 if said.retry_after_ms else None)

    def ping(self) -> None:
        if self.online:
            self._out.append(delimit(Frame(ping=Ping(n=1)).SerializeToString()))
            self.flush()

    # Writing.

    def opened(self, out: Out) -> None:
        out.head = b"\x09" + out.key + b"\x10"
        out.prefix, out.padding = text_tail(out.dest, self.body_bytes)

    def text(self, out: Out, at: float) -> None:
        # What `Person.text` would do, in one: this is most of what a generator does.
        number, waiting = out.next, out.open
        first = next(iter(waiting), number)
        if out.backlog or number >= first + self.window or self.unsettled >= self.window_in_all or not self.online:
            super().text(out, at)
            return
        self.world.counts.sent += 1
        self.unsettled += 1
        out.next = number + 1
        tail = b"".join((out.prefix, head(at, number, out.number), out.padding))
        waiting[number] = Pending(at, tail, self.now + RESEND_S)
        self._out.append(message_frame(b"".join((out.head, varint(number), b"\x18", varint(first), tail))))

    def put(self, out: Out, number: int, pending: Pending) -> None:
        first = next(iter(out.open))
        self._out.append(message_frame(b"".join((out.head, varint(number), b"\x18", varint(first), pending.tail))))

    def _again(self, out: Out, number: int, pending: Pending) -> None:
        due = self.now + min(RESEND_S * 2**pending.tries, LAST_RESEND_S)
        out.open[number] = pending._replace(due=due, tries=min(pending.tries + 1, 16))
        self.world.counts.resent += 1
        self.put(out, number, pending)

    def _failed(self, failed: Failed) -> None:
        out = self.outs.get(failed.stream)
        pending = out.open.get(failed.id) if out is not None else None
        if out is None or pending is None:
            return
        if not failed.retry_after_ms:
            self.turned_down(out, failed.id, Failed.Code.Name(failed.code))
            return
        self.world.counts.refused_for_now += 1
        asked_s = failed.retry_after_ms / 1000
        longer_s = min(asked_s * 2**pending.tries, RETRY_LIMIT_S)
        out.open[failed.id] = pending._replace(due=self.now + max(asked_s, longer_s))

    def overdue(self) -> None:
        self.now = self.world.clock()
        if not self.online:
            return
        for out in self.outs.values():
            for number, pending in out.open.items():
                if pending.due <= self.now:
                    self._again(out, number, pending)
        self._ask(1.0)
        if self.acks_later and self._acks.is_due(self.now):
            self._ack()
        self.flush()

    # Reading.

    def _message(self, payload: bytes) -> None:
        self._counted += 1
        key, number, settled, kind, content = read_message(payload)
        heard = self.hears(key)
        if heard is None:
            self.world.counts.foreign += 1
            return
        if heard.author.group is not None:
            self._acks.counted_late(len(payload), self.now)
        stream = heard.stream
        if stream is None:
            stream = heard.stream = InboundStream()
        if number == stream.next and not stream.parked:  # as nearly always
            stream.next = number + 1
            if settled > stream.settled:
                stream.settled = settled
            if kind == TEXT:
                self.show(heard, number, content)
            else:
                self._show(heard, Content(number, kind, content), False)
            return
        if number < stream.next or number in stream.parked:
            self.world.counts.repeated_on_the_wire += 1
        for shown in stream.receive(number, settled, Content(number, kind, content)):
            self._show(heard, shown.item, shown.late)
        if stream.parked:
            self.world.blocked.add(self)
            self._ask(0.0)

    def _show(self, heard: In, item: Content, late: bool) -> None:
        number, kind, content = item
        if kind == READ:
            self._show_read(heard, number, content, late)
        elif kind in CHANGES:
            heard.tally.show(number, late)
            self.world.counts.changes_received += 1
        else:
            self.show(heard, number, content, late)

    def _show_read(self, heard: In, number: int, content: bytes, late: bool = False) -> None:
        heard.tally.show(number, late)
        self.world.counts.reads_received += 1
        about = About.FromString(content)
        out = self.outs.get(about.stream)
        if out is None or any(number >= out.next for number in about.ids):
            self.world.mixed_up += 1
        else:
            self.world.counts.read_acks += len(about.ids)

    def _ask(self, blocked_s: float) -> None:
        """Sync, for every stream that wants it after so much more time."""
        for heard in self.ins.values():
            stream = heard.stream
            if stream is None or not stream.parked:
                continue
            stream.blocked_s += blocked_s
            if stream.wants_sync(ORDER_WAIT_S):
                self._syncs += 1
                self.world.counts.syncs += 1
                stream.asked(self._syncs, ORDER_WAIT_S)
                group = heard.author.group
                asked = Sync(n=self._syncs, group="" if group is None else group.id)
                self._out.append(delimit(Frame(sync=asked).SerializeToString()))

    def read(self, heard: In) -> None:
        ids, heard.unread = heard.unread, []
        author = heard.author
        mine = self.out_to(author.owner.user)
        for at in range(0, len(ids), MAX_ABOUT_IDS):
            some = list(islice(ids, at, at + MAX_ABOUT_IDS))
            self.world.counts.reads_sent += 1
            self._append(mine, None, read_tail(mine.dest, self.devices.get(mine.dest, "load"), author.number, some))

    # Changes.

    def edit(self, out: Out, number: int) -> None:
        """Give a text of ours another body: the same, written before all time. `flush` sends it."""
        self._change(out, number, EDIT, b"".join((head(EDITED_AT, number, out.number), out.padding)))

    def erase(self, out: Out, number: int) -> None:
        """End a text of ours. `flush` sends it."""
        self._change(out, number, ERASE, b"")

    def _change(self, out: Out, number: int, kind: int, body: bytes) -> None:
        own = out.next + len(out.backlog)
        self.world.changed[out.number, number] = kind, own
        self.world.changes.add((out.number, own))
        self.world.counts.changes_sent += 1
        tail = change_tail(out.dest, self.devices.get(self.user, "load"), out.number, number, body)
        self._append(out, None, tail)


class Sender(LoadClient):
    """Writes to one user."""

    def __init__(
        self, token: str, dest: str, body_bytes: int, world: World | None = None, user: str = "", number: int = 0
    ) -> None:
        super().__init__(token, user, body_bytes, world, number)
        self.out = self.out_to(dest)

    def send(self, count: int = 1) -> None:
        """Write new texts; `flush` sends them."""
        self.now = self.world.clock()
        for _ in range(count):
            self.text(self.out, self.now)
