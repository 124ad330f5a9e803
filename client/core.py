"""The client's core: one device, over all its connections. Pure: what it keeps goes through a `Journal`.

Owns the order of keeping and telling: a message is journalled before it is sent, and what came is journalled,
together with the stream's `next`, before it is acked or shown. Owns when it wants to be woken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from client.ages import TOO_OLD, Ages
from client.erasures import Erasures
from client.state import CHANGES, REPEATABLE, Delivered, Doubtful, Event, Journal, Kept, Refused, Settled, Skipped
from client.streams import StreamKey, Streams
from protocol.client import ACTIVE, ClientSession
from protocol.inbound import InboundStream, Shown
from protocol.outbound import Outbox, Outgoing
from protocol.sparrow_pb2 import ERASE, About, Failed, LoggedIn, Message, Pong, Receipt, Synced

UNDERSTANDS = ("disabled", "changes")
"""What a server may offer that the first release did not have."""


class ClientCore:
    """One device. Call `flush` at the end of each turn; events are true when it returns."""

    ORDER_WAIT_S = 10.0
    SYNC_TIMEOUT_S = 10.0
    BLOCKED_TICK_S = 0.5
    """How often a stream that waits for something missing is looked at."""

    def __init__(self, journal: Journal, random64: Callable[[], int]) -> None:
        self._journal = journal
        self._random64 = random64
        self._start = random64()
        """Names this start of the client to the server; 0: it is not told."""
        self._tries = 0
        self._session = ClientSession()
        self._events: list[Event] = []
        self._outbox = Outbox()
        self._inbound: dict[StreamKey, InboundStream[Message]] = {}
        self._blocked: dict[StreamKey, InboundStream[Message]] = {}
        self._changed: dict[StreamKey, InboundStream[Message]] = {}
        self._user = ""
        self._drafts: list[Outgoing] = []
        self._found: set[int] = set()
        """Drafts that were there at the start, until the first login."""
        self.doubtful: dict[int, Outgoing] = {}
        """Drafts that go out only when a person says so (`send_again`) or never (`give_up`), oldest first."""
        self._draft_counter = 0
        self._syncs = 0
        self._sync_open = 0
        self._sync_at = 0.0
        self._now = 0.0
        self._dirty = False
        self._understood: frozenset[str] = frozenset()
        self._ages = Ages()
        self._erasures = Erasures()
        self.edit_hours = 0
        """A text may be edited for so long; 0: as long as it is kept."""
        self.heard = 0.0
        """When the server last said anything."""
        self.heartbeat_s = 60.0
        self.logged_in = False
        self.forked = False
        """Somebody else was this device between our last session and this one, as far as we can tell."""
        self.hold_acks = False
        """The application has enough to do: acks wait. Without them the server sends no more than a window."""
        self._restore(journal.load())

    def _restore(self, kept: Kept) -> None:
        self._known_session = kept.session
        for outbound in kept.outbound:
            self._outbox.restore(outbound)
        if kept.session_open:
            # This may be a backup made in the middle of that session, which then went on to give ids.
            self._retire_streams()
        self.doubtful = {draft.draft: draft for draft in kept.drafts if draft.draft in kept.doubtful}
        self._drafts = [draft for draft in kept.drafts if draft.draft not in kept.doubtful]
        self._found = {draft.draft for draft in self._drafts}
        self._draft_counter = max((draft.draft for draft in kept.drafts), default=0)
        for key, state in kept.inbound.items():
            self._inbound[key] = InboundStream(state.next, state.settled, state.gaps)
        self._streams = Streams(self._inbound)
        for message in kept.parked:
            key = (message.from_id, message.from_device, message.stream)
            stream = self._inbound.setdefault(key, InboundStream())
            stream.receive(message.id, message.settled, message)
            self._blocked[key] = stream
            if message.kind == ERASE:
                self._erasures.told(message, self._inbound)

    # The connection.

    def connected(self, token: str, client: str) -> None:
        """A new connection is open: log in."""
        self._session = ClientSession()
        self._tries += 1
        tries = self._tries if self._start else 0
        self._session.login(token, client, start=self._start, tries=tries, understands=UNDERSTANDS)
        self.heard = self._now

    def disconnected(self) -> None:
        """The connection is gone."""
        if self.logged_in:
            self._journal.put_session(self._known_session, False)
            self._dirty = True
        self.logged_in = False
        self._session = ClientSession()  # nothing more may be taken to be said on the one that is gone
        self._sync_open = 0
        for stream in self._blocked.values():
            stream.disconnected()

    def time(self, now: float) -> None:
        """The time of the events that follow, in seconds of a steady clock."""
        elapsed, self._now = now - self._now, now
        if self.logged_in:
            for stream in self._blocked.values():
                stream.blocked_s += elapsed

    def data(self, data: bytes) -> None:
        """Bytes from the server. A breach of the protocol shows in `broken`."""
        self.heard = self._now
        for event in self._session.receive_data(data):
            if isinstance(event, Message):
                self._message(event)
            elif isinstance(event, Receipt):
                self._receipt(event)
            elif isinstance(event, Failed):
                self._failed(event)
            elif isinstance(event, Synced):
                self._synced(event.n)
            elif isinstance(event, LoggedIn):
                self._logged_in(event)
            elif not isinstance(event, Pong):
                self._events.append(event)

    @property
    def broken(self) -> Exception | None:
        """How the server broke the protocol."""
        return self._session.error

    def _logged_in(self, frame: LoggedIn) -> None:
        self.logged_in = True
        self._user = frame.user_id
        self.heartbeat_s = frame.heartbeat_ms / 1000
        self._understood = frozenset(frame.understands)
        self._ages.logged_in(frame, self._now)
        self.edit_hours = frame.edit_hours
        self.forked = frame.previous_session != self._known_session
        if self.forked:
            # Somebody else was this device since; ids that we would give may have been given.
            self._retire_streams()
            self._doubt()
        self._found.clear()
        self._known_session = frame.session
        self._journal.put_session(frame.session, True)
        self._dirty = True
        self._outbox.connected(frame.max_unsettled_per_stream, frame.max_unsettled_per_connection)
        self._date_unsettled()
        drafts, self._drafts = self._drafts, []
        for outgoing in drafts:
            if self._is_understood(outgoing.kind):
                self._number(outgoing)
            else:
                self._drafts.append(outgoing)
        self._events.append(frame)

    def _date_unsettled(self) -> None:
        """What an earlier release has numbered is as old as this login, as far as anybody knows."""
        now_ms = self.server_ms
        for stream in self._outbox.streams.values():
            for outgoing in stream.messages.values():
                if not outgoing.numbered_ms and now_ms:
                    outgoing.numbered_ms = now_ms
                    self._journal.put_outgoing(outgoing)

    @property
    def server_ms(self) -> int:
        """The server's Unix time now, in milliseconds; 0: not known."""
        return self._ages.server_ms(self._now)

    def _is_understood(self, kind: int) -> bool:
        return kind not in CHANGES or "changes" in self._understood

    def _doubt(self) -> None:
        """What was found in this state, that somebody else has perhaps had, they may have sent."""
        found = [draft for draft in self._drafts if draft.draft in self._found and draft.kind not in REPEATABLE]
        if found:
            self._drafts = [draft for draft in self._drafts if draft not in found]
            self.doubtful.update((draft.draft, draft) for draft in found)
            self._journal.put_doubtful(self.doubtful)
            self._events.append(Doubtful(tuple(found)))

    def send_again(self, outgoing: Outgoing) -> bool:
        """Send a doubtful draft after all; False if it is none (any more)."""
        if self.doubtful.pop(outgoing.draft, None) is None:
            return False
        self._journal.put_doubtful(self.doubtful)
        self._dirty = True
        if self.logged_in:
            self._number(outgoing)
        else:
            self._drafts.append(outgoing)
        return True

    def give_up(self, outgoing: Outgoing) -> bool:
        """Forget a doubtful draft; False if it is none (any more)."""
        if self.doubtful.pop(outgoing.draft, None) is None:
            return False
        self._journal.drop_outgoing(outgoing)
        self._journal.put_doubtful(self.doubtful)
        self._dirty = True
        return True

    def _retire_streams(self) -> None:
        for stream in self._outbox.retire_all():
            self._journal.put_outbound(stream)
        self._drop_settled()
        self._dirty = True

    # Sending.

    def send(
        self, dest: str, kind: int, body: bytes, about: About | None = None, *, revision: int = 0, mark: int = 0
    ) -> Outgoing:
        """Take a message; it is kept, and sent if logged in, at `flush`. A change waits for a server that knows it."""
        self._draft_counter += 1
        outgoing = Outgoing(dest, kind, body, about, draft=self._draft_counter, revision=revision, mark=mark)
        self._dirty = True
        if self.logged_in and self._is_understood(kind):
            self._number(outgoing)
        else:
            self._drafts.append(outgoing)
            self._journal.put_outgoing(outgoing)
        return outgoing

    def _number(self, outgoing: Outgoing) -> None:
        stream = self._outbox.stream_for(outgoing.dest, self._random64())
        self._outbox.number(outgoing, stream)
        outgoing.numbered_ms = self.server_ms
        self._journal.put_outbound(stream)
        self._journal.put_outgoing(outgoing)

    def _receipt(self, receipt: Receipt) -> None:
        if not receipt.sent:
            self._events.append(Delivered(receipt.from_device, receipt.stream, tuple(receipt.ids), receipt.early))
            return
        for number, stamp in zip(receipt.ids, receipt.stamps, strict=False):
            outgoing = self._settle(receipt.stream, number, sent=True)
            if outgoing is not None:
                self._events.append(Settled(outgoing, stamp, receipt.delivered))

    def _failed(self, failed: Failed) -> None:
        if failed.retry_after_ms:
            outgoing = self._outbox.retry(failed.stream, failed.id, self._now, failed.retry_after_ms / 1000)
        else:
            outgoing = self._settle(failed.stream, failed.id)
        if outgoing is not None:
            self._events.append(Refused(outgoing, failed.code, failed.text, not failed.retry_after_ms))

    def _settle(self, number: int, message_id: int, sent: bool = False) -> Outgoing | None:
        outgoing = self._outbox.settle(number, message_id, sent)
        if outgoing is not None and outgoing.stream is not None:
            self._journal.drop_outgoing(outgoing)
            self._dirty = True
            if outgoing.stream.retired:
                self._drop_settled()
        return outgoing

    def _drop_settled(self) -> None:
        for stream in self._outbox.drop_settled():
            self._journal.drop_outbound(stream)

    # Receiving.

    def _message(self, message: Message) -> None:
        key = (message.from_id, message.from_device, message.stream)
        stream = self._inbound.get(key)
        if stream is None:
            stream = self._inbound[key] = InboundStream()
            self._forget_for(key)
        else:
            self._streams.heard(key)
        if message.kind == ERASE and self._erasures.told(message, self._inbound) != key:
            self.paged()
        parked = len(stream.parked)
        shown = stream.receive(message.id, message.settled, message)
        if len(stream.parked) > parked:
            self._journal.park(message)
        self._after(key, stream, shown + self._go_past(key, stream))

    def _go_past(self, key: StreamKey, stream: InboundStream[Message]) -> list[Shown[Message]]:
        """Past what is missing, and here from a page, or erased: pages themselves move no stream (R-D)."""
        shown, gone = self._erasures.go_past(key, stream, lambda number: self._journal.paged((*key, number)))
        if gone:
            self._events.append(Skipped(*key, gone[0], gone[-1]))
        return shown

    def paged(self) -> None:
        """A page of history was kept, and committed: look whether something has waited for what it tells."""
        for key, stream in list(self._blocked.items()):
            if shown := self._go_past(key, stream):
                self._after(key, stream, shown)

    def _forget_for(self, key: StreamKey) -> None:
        """Room for a new stream. Nothing is lost by it: what is missing in one that comes again is asked for (R5)."""
        gone = self._streams.too_many(key, self._user, self._blocked.__contains__)
        if gone is not None:
            self._inbound.pop(gone, None)
            self._changed.pop(gone, None)
            self._journal.drop_inbound(gone)

    def _synced(self, n: int) -> None:
        if n >= self._sync_open:
            self._sync_open = 0
        for key, stream in list(self._blocked.items()):
            self._after(key, stream, stream.synced(n) + self._go_past(key, stream))

    def _after(self, key: StreamKey, stream: InboundStream[Message], shown: Iterable[Shown[Message]]) -> None:
        for item in shown:
            if item.item.kind not in REPEATABLE and self._journal.paged((*key, item.item.id)):
                self._journal.again(item.item)
                continue
            self._journal.show(item.item, item.late)
            self._events.append(item)
        if stream.skipped is not None:
            self._events.append(Skipped(*key, *stream.skipped))
            stream.skipped = None
        self._changed[key] = stream
        self._dirty = True
        if stream.parked or stream.syncing or stream.wants_sync(self.ORDER_WAIT_S):
            self._blocked[key] = stream
        else:
            self._blocked.pop(key, None)

    def _ask_sync(self) -> None:
        if self._sync_open and self._now - self._sync_at < self.SYNC_TIMEOUT_S:
            return
        if self._sync_open:
            for stream in self._blocked.values():
                stream.disconnected()
        wanting = [stream for stream in self._blocked.values() if stream.wants_sync(self.ORDER_WAIT_S)]
        if wanting:
            self._syncs += 1
            self._sync_open, self._sync_at = self._syncs, self._now
            for stream in wanting:
                stream.asked(self._syncs, self.ORDER_WAIT_S)
            self._session.sync(self._syncs)

    # The turn.

    def flush(self) -> tuple[bytes, list[Event]]:
        """Keep what changed; then return what to write, and what has become true.

        Raises `StateError` if it could not be kept; then the core is of no more use.
        """
        if self._events and self._journal.note(self._events):
            self._dirty = True
        if self._dirty:
            for key, stream in self._changed.items():
                self._journal.put_inbound(key, stream)
            self._changed.clear()
            self._journal.commit()
            self._dirty = False
        events, self._events = self._events, []
        if self._session.state == ACTIVE and self._session.error is None:
            if not self.hold_acks:
                self._session.ack()
            self._ask_sync()
            for outgoing in self._outbox.due(self._now):
                if self._ages.is_too_old(outgoing, self._now):
                    self._give_up_old(outgoing)
                elif self._is_understood(outgoing.kind):
                    self._session.message(outgoing.message())
        return self._session.data_to_send(), events

    def _give_up_old(self, outgoing: Outgoing) -> None:
        assert outgoing.stream is not None
        if self._settle(outgoing.stream.number, outgoing.id) is not None:
            self._events.append(Refused(outgoing, Failed.UNSPECIFIED, TOO_OLD, True))

    def next_wake(self) -> float | None:
        """When `flush` will have something to do although nothing happens, on the clock of `time`; None: never."""
        if self._session.state != ACTIVE:
            return None
        if self._events:
            return self._now
        due = self._outbox.next_due()
        if self._blocked:
            tick = self._now + self.BLOCKED_TICK_S
            due = tick if due is None else min(due, tick)
        return due

    def touch(self) -> None:
        """The journal's owner has put something into it: the next `flush` commits it."""
        self._dirty = True

    def ping(self) -> None:
        """Say that we are here."""
        if self._session.state == ACTIVE:
            self._session.ping(1)

    def logout(self) -> None:
        """Ask for a Goodbye."""
        if self._session.state == ACTIVE:
            self._session.logout()

    @property
    def unsettled(self) -> int:
        """Messages of ours that are neither SENT nor finally Failed."""
        return len(self._outbox) + len(self._drafts)

    def outgoing(self) -> list[Outgoing]:
        """All that is not settled, doubtful drafts included."""
        return [message for stream in self._outbox.streams.values() for message in stream.messages.values()] + [
            *self.doubtful.values(),
            *self._drafts,
        ]
