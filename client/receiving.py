"""Others' messages, and those of our other devices: all streams that come to this device, over all its connections.

Owns which of them is shown when, and what waits: for what is missing in its stream, or for the changes of its group.
Keeps through the core's `Journal`, and tells through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from client.erasures import Erasures
from client.holding import Held
from client.state import REPEATABLE, Event, GroupBehind, Journal, Kept, Skipped
from client.streams import StreamKey, Streams, group_of, stream_key
from protocol.inbound import InboundStream, Shown
from protocol.sparrow_pb2 import ERASE, Message


class Receiving:
    """`tell` is called with what has become true; `order_wait_s` as in R6."""

    def __init__(self, journal: Journal, tell: Callable[[Event], None], order_wait_s: float, follows: bool) -> None:
        self._journal = journal
        self._tell = tell
        self._order_wait_s = order_wait_s
        self._follows = follows
        self._inbound: dict[StreamKey, InboundStream[Message]] = {}
        self.blocked: dict[StreamKey, InboundStream[Message]] = {}
        """Streams in which something is missing."""
        self._changed: dict[StreamKey, InboundStream[Message]] = {}
        self._erasures = Erasures()
        self.held = Held()
        """What waits for the changes of its group."""
        self.user = ""
        """Who we are."""
        self.dirty = False
        """Something is to be committed."""

    def restore(self, kept: Kept) -> None:
        """Put back what was kept."""
        for key, state in kept.inbound.items():
            self._inbound[key] = InboundStream(state.next, state.settled, state.gaps)
        self._streams = Streams(self._inbound)
        for message in kept.parked:
            key = stream_key(message)
            stream = self._inbound.setdefault(key, InboundStream())
            stream.receive(message.id, message.settled, message)
            self.blocked[key] = stream
            if message.kind == ERASE and not message.erased:
                self._erasures.told(message, self._inbound)
        self.held.restore(kept.groups)
        for held in kept.held:
            self.held.put(group_of(held.item), held, 0.0)

    def begin(self, now: float) -> None:
        """The time is known: what was kept waits from here on."""
        self.held.begin(now)

    def disconnected(self) -> None:
        """The connection is gone, and with it what was asked."""
        for stream in self.blocked.values():
            stream.disconnected()

    def lived(self, seconds: float) -> None:
        """A live session has lasted for so long."""
        for stream in self.blocked.values():
            stream.blocked_s += seconds

    def keep(self) -> None:
        """Put into the journal what has changed since."""
        for key, stream in self._changed.items():
            self._journal.put_inbound(key, stream)
        self._changed.clear()
        self.dirty = False

    # What comes.

    def message(self, message: Message, now: float) -> None:
        """One has come."""
        key = stream_key(message)
        stream = self._inbound.get(key)
        if stream is None:
            stream = self._inbound[key] = InboundStream()
            self._forget_for(key)
        else:
            self._streams.heard(key)
        if _is_gone(message):
            self._gone(message, stream)
        elif message.kind == ERASE and self._erasures.told(message, self._inbound) != key:
            self.paged(now)
        parked = len(stream.parked)
        shown = stream.receive(message.id, message.settled, message)
        if len(stream.parked) > parked:
            self._journal.park(message)
        self._after(key, stream, shown + self._go_past(key, stream), now)

    def _gone(self, message: Message, stream: InboundStream[Message]) -> None:
        """A message of a group has come without its body: what waits of it is nothing to show any more."""
        if message.id in stream.parked:
            stream.parked[message.id] = message
            self._journal.park(message)
        if self.held.drop(message):
            self._journal.release(message, show=False)

    def _go_past(self, key: StreamKey, stream: InboundStream[Message]) -> list[Shown[Message]]:
        """Past what is missing, and here from a page, or erased: pages themselves move no stream (R-D)."""
        shown, gone = self._erasures.go_past(key, stream, lambda number: self._journal.paged((*key, number)))
        if gone:
            self._tell(Skipped(*key, gone[0], gone[-1]))
        return shown

    def paged(self, now: float) -> None:
        """A page of history was kept, and committed: look whether something has waited for what it tells."""
        for key, stream in list(self.blocked.items()):
            if shown := self._go_past(key, stream):
                self._after(key, stream, shown, now)

    def _forget_for(self, key: StreamKey) -> None:
        """Room for a new stream. Nothing is lost by it: what is missing in one that comes again is asked for (R5)."""
        gone = self._streams.too_many(key, self.user, self.blocked.__contains__)
        if gone is not None:
            self._inbound.pop(gone, None)
            self._changed.pop(gone, None)
            self._journal.drop_inbound(gone)

    def synced(self, n: int, now: float) -> None:
        """A Sync was answered."""
        for key, stream in list(self.blocked.items()):
            self._after(key, stream, stream.synced(n) + self._go_past(key, stream), now)

    def _after(
        self, key: StreamKey, stream: InboundStream[Message], shown: Iterable[Shown[Message]], now: float
    ) -> None:
        for item in shown:
            if _is_gone(item.item) or self._is_paged(item.item):
                self._journal.again(item.item)
            else:
                self._show(item, now)
        if stream.skipped is not None:
            self._tell(Skipped(*key, *stream.skipped))
            stream.skipped = None
        self._changed[key] = stream
        self.dirty = True
        if stream.parked or stream.syncing or stream.wants_sync(self._order_wait_s):
            self.blocked[key] = stream
        else:
            self.blocked.pop(key, None)

    def _is_paged(self, message: Message) -> bool:
        return message.kind not in REPEATABLE and self._journal.paged((*stream_key(message), message.id))

    def _show(self, item: Shown[Message], now: float) -> None:
        group = group_of(item.item) if self._follows else ""
        if group and self.held.must_wait(group, item.item.version):
            self._journal.hold(item.item, item.late)
            if self.held.put(group, item, now):
                self._tell(GroupBehind(group, item.item.version))
            return
        self._journal.show(item.item, item.late)
        self._tell(item)

    # Changes of groups.

    def wanted(self) -> list[GroupBehind]:
        """Whose changes are waited for."""
        return [GroupBehind(*each) for each in self.held.waiting().items()]

    def group_at(self, group: str, version: int) -> None:
        """The changes of a group up to this version are shown: so may be what waits for them."""
        self._release(self.held.at(group, version))
        self._journal.put_group(group, self.held.version(group))
        self.dirty = True
        if wanted := self.held.waiting().get(group):
            self._tell(GroupBehind(group, wanted))

    def group_left(self, group: str) -> bool:
        """We are in this group no more; whether anything was known of it."""
        known = self.held.version(group) > 0
        self._release(self.held.left(group))
        if known:
            self._journal.put_group(group, 0)
            self.dirty = True
        return known

    def release_overdue(self, now: float) -> None:
        """Show what has waited for too long."""
        self._release(self.held.overdue(now))

    def _release(self, items: Iterable[Shown[Message]]) -> None:
        for item in items:
            is_new = not self._is_paged(item.item)
            self._journal.release(item.item, show=is_new)
            self.dirty = True
            if is_new:
                self._tell(item)


def _is_gone(message: Message) -> bool:
    """Whether it has no body any more. Only of groups' messages the server says so; elsewhere it is a sender's word."""
    return message.erased and bool(group_of(message))
