"""The client's core: one device, over all its connections. Pure: what it keeps goes through a `Journal`.

Owns the order of keeping and telling: a message is journalled before it is sent, and what came is journalled,
together with the stream's `next`, before it is acked or shown. Owns when it wants to be woken.
"""

from __future__ import annotations

from collections.abc import Callable

from client.acks import Acks
from client.ages import TOO_OLD, Ages
from client.receiving import Receiving
from client.state import CHANGES, REPEATABLE, Delivered, Doubtful, Event, Journal, Kept, Refused, Settled
from client.streams import group_of
from client.syncs import Syncs
from protocol.client import ACTIVE, ClientSession, Unreadable
from protocol.ids import is_group_id
from protocol.outbound import Outbox, Outgoing
from protocol.sparrow_pb2 import About, Failed, LoggedIn, Message, Pong, Receipt, Signal, Synced

UNDERSTANDS = ("disabled", "changes", "groups")
"""What a server may offer that the first release did not have."""


class ClientCore:
    """One device. Call `flush` at the end of each turn; events are true when it returns."""

    ORDER_WAIT_S = 10.0
    SYNC_TIMEOUT_S = 10.0
    BLOCKED_TICK_S = 0.5
    """How often a stream that waits for something missing is looked at."""

    def __init__(self, journal: Journal, random64: Callable[[], int], *, follows: bool = False) -> None:
        """`follows`: somebody gets the changes of groups (`GroupBehind`), and messages wait for them."""
        self._journal = journal
        self._random64 = random64
        self._start = random64()
        """Names this start of the client to the server; 0: it is not told."""
        self._tries = 0
        self._session = ClientSession()
        self._events: list[Event] = []
        self._outbox = Outbox()
        self._receiving = Receiving(journal, self._tell, self.ORDER_WAIT_S, follows)
        self._drafts: list[Outgoing] = []
        self._found: set[int] = set()
        """Drafts that were there at the start, until the first login."""
        self.doubtful: dict[int, Outgoing] = {}
        """Drafts that go out only when a person says so (`send_again`) or never (`give_up`), oldest first."""
        self._draft_counter = 0
        self._syncs = Syncs(self.SYNC_TIMEOUT_S)
        self._acks = Acks()
        self._now = 0.0
        self._timed = False
        """Somebody has said what time it is."""
        self._dirty = False
        self._understood: frozenset[str] = frozenset()
        self._ages = Ages()
        self._leaving = False
        self.fresh = False
        """Of groups, only what is written from a login on is wanted."""
        self.signals = False
        """Signals of others are wanted."""
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
        self._receiving.restore(kept)

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    # The connection.

    def connected(self, token: str, client: str) -> None:
        """A new connection is open: log in."""
        self._session = ClientSession()
        self._acks.connected()
        self._leaving = False
        self._tries += 1
        tries = self._tries if self._start else 0
        understands = (*UNDERSTANDS, "signals") if self.signals else UNDERSTANDS
        self._session.login(token, client, start=self._start, tries=tries, understands=understands, fresh=self.fresh)
        self.heard = self._now

    def disconnected(self) -> None:
        """The connection is gone."""
        if self.logged_in:
            self._journal.put_session(self._known_session, False)
            self._dirty = True
        self.logged_in = False
        self._session = ClientSession()  # nothing more may be taken to be said on the one that is gone
        self._syncs.disconnected()
        self._receiving.disconnected()

    def time(self, now: float) -> None:
        """The time of the events that follow, in seconds of a steady clock."""
        if not self._timed:
            self._timed = True
            self._receiving.begin(now)
        elapsed, self._now = now - self._now, now
        if self.logged_in:
            self._receiving.lived(elapsed)

    def data(self, data: bytes) -> None:
        """Bytes from the server. A breach of the protocol shows in `broken`."""
        self.heard = self._now
        for event in self._session.receive_data(data):
            if isinstance(event, Message):
                self._count(event)
                self._receiving.message(event, self._now)
            elif isinstance(event, Receipt):
                self._receipt(event)
            elif isinstance(event, Failed):
                self._failed(event)
            elif isinstance(event, Synced):
                self._synced(event.n)
            elif isinstance(event, LoggedIn):
                self._logged_in(event)
            elif not isinstance(event, Pong):
                if isinstance(event, Unreadable):
                    self._acks.counted(self._now)
                self._events.append(event)

    def _count(self, message: Message) -> None:
        if group_of(message):
            self._acks.counted_late(len(message.body), self._now)
        else:
            self._acks.counted(self._now)

    @property
    def broken(self) -> Exception | None:
        """How the server broke the protocol."""
        return self._session.error

    def _logged_in(self, frame: LoggedIn) -> None:
        self.logged_in = True
        self._receiving.user = frame.user_id
        self.heartbeat_s = frame.heartbeat_ms / 1000
        self._understood = frozenset(frame.understands)
        self._ages.logged_in(frame, self._now)
        self._acks.window(frame.max_unacked)
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
            if self._may_go(outgoing):
                self._number(outgoing)
            else:
                self._drafts.append(outgoing)
        self._events.append(frame)
        self._events += self._receiving.wanted()

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

    def _may_go(self, outgoing: Outgoing) -> bool:
        """Whether this server knows such messages."""
        if outgoing.kind in CHANGES and "changes" not in self._understood:
            return False
        return "groups" in self._understood or not is_group_id(outgoing.dest)

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
        if self.logged_in and self._may_go(outgoing):
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
        """Take a message; it is kept, and sent if logged in, at `flush`.

        A change, and what is for a group, waits for a server that knows it.
        """
        self._draft_counter += 1
        outgoing = Outgoing(dest, kind, body, about, draft=self._draft_counter, revision=revision, mark=mark)
        self._dirty = True
        if self.logged_in and self._may_go(outgoing):
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
            if not receipt.early:
                self._acks.counted(self._now)
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

    @property
    def blocked(self) -> int:
        """Streams in which something is missing."""
        return len(self._receiving.blocked)

    def paged(self) -> None:
        """A page of history was kept, and committed: look whether something has waited for what it tells."""
        self._receiving.paged(self._now)

    def _synced(self, n: int) -> None:
        self._syncs.synced(n)
        self._receiving.synced(n, self._now)

    def group_at(self, group: str, version: int) -> None:
        """The changes of a group up to this version are shown: so may be what waits for them."""
        self._receiving.group_at(group, version)

    def group_left(self, group: str) -> bool:
        """We are in this group no more: what waits may be shown. Whether anything was known of it."""
        return self._receiving.group_left(group)

    def group_version(self, group: str) -> int:
        """Up to which version the changes of a group are shown; 0: nothing is known of it."""
        return self._receiving.held.version(group)

    # The turn.

    def flush(self) -> tuple[bytes, list[Event]]:
        """Keep what changed; then return what to write, and what has become true.

        Raises `StateError` if it could not be kept; then the core is of no more use.
        """
        self._receiving.release_overdue(self._now)
        if self._events and self._journal.note(self._events):
            self._dirty = True
        if self._dirty or self._receiving.dirty:
            self._receiving.keep()
            self._journal.commit()
            self._dirty = False
        events, self._events = self._events, []
        if self._session.state == ACTIVE and self._session.error is None:
            if self._leaving or (self._acks.is_due(self._now) and not self.hold_acks):
                self._session.ack()
                self._acks.acked()
            self._syncs.ask(self._receiving.blocked, self._session, self.ORDER_WAIT_S, self._now)
            for outgoing in self._outbox.due(self._now):
                if self._ages.is_too_old(outgoing, self._now):
                    self._give_up_old(outgoing)
                elif self._may_go(outgoing):
                    self._session.message(outgoing.message())
            if self._leaving:
                self._leaving = False
                self._session.logout()
        return self._session.data_to_send(), events

    def _give_up_old(self, outgoing: Outgoing) -> None:
        assert outgoing.stream is not None
        if self._settle(outgoing.stream.number, outgoing.id) is not None:
            self._events.append(Refused(outgoing, Failed.UNSPECIFIED, TOO_OLD, True))

    def next_wake(self) -> float | None:
        """When `flush` will have something to do although nothing happens, on the clock of `time`; None: never."""
        dues = [self._receiving.held.next_due()]
        if self._session.state == ACTIVE:
            dues.append(self._outbox.next_due())
            if self._events:
                return self._now
            if self._receiving.blocked:
                dues.append(self._now + self.BLOCKED_TICK_S)
            if not self.hold_acks:
                dues.append(self._acks.due)
        return min((due for due in dues if due is not None), default=None)

    def touch(self) -> None:
        """The journal's owner has put something into it: the next `flush` commits it."""
        self._dirty = True

    def signal(self, dest: str, kind: int, body: bytes = b"") -> bool:
        """Tell what matters only now, at the next `flush`. False: not to this server, or there is no session now; then
        it is gone."""
        needs = {"signals", "groups"} if is_group_id(dest) else {"signals"}
        if not self.logged_in or self._session.state != ACTIVE or not needs <= self._understood:
            return False
        self._session.signal(Signal(kind=kind, dest_id=dest, body=body))  # type: ignore[arg-type]
        return True

    def ping(self) -> None:
        """Say that we are here."""
        if self._session.state == ACTIVE:
            self._session.ping(1)

    def logout(self) -> None:
        """Ask for a Goodbye, at the next `flush`: behind an ack of all that is kept."""
        self._leaving = self._session.state == ACTIVE

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
