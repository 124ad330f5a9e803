"""A client at work: core, connection and application, turn by turn.

Owns the turn: what happened is given to the core, what the core says goes to the socket and to the application.
Everything of one turn is kept by one commit and leaves as one write.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable

from client import events
from client.amending import Amendment, Reads
from client.changes import Target
from client.connection import Connection, Dialer
from client.core import ClientCore
from client.credentials import Credentials
from client.flow import Arrivals, Gate, fresh
from client.journal import ClientJournal
from client.messages import Message, Sending
from client.options import DEFAULT_MAX_MESSAGE, Options
from client.schema import MAX_MESSAGE
from client.state import Event
from client.telling import Telling
from client.tls import Trust
from client.watch import Watch
from protocol import sparrow_pb2 as pb
from protocol.errors import ClosedError, MisuseError, SparrowError, StateError
from protocol.outbound import Outgoing

log = logging.getLogger("sparrow.client")

LOGGED_OUT = "this device was logged out"


class Engine:
    """Runs from `start` to `stop`. It ends by itself when the session ends for good: then `error` says why."""

    def __init__(
        self,
        user: str,
        journal: ClientJournal,
        credentials: Credentials,
        options: Options,
        name: str,
        on_event: Callable[[events.Event], object] | None,
        trust: Trust | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.user = user
        self._journal = journal
        self.credentials = credentials
        self._options = options
        self._name = name
        self._on_event = on_event
        self._trust = trust or Trust()
        journal.is_device(user, credentials.device)
        self.core = ClientCore(journal, lambda: secrets.randbits(64) or 1, follows=on_event is not None)
        self.core.fresh = options.fresh
        self.core.signals = on_event is not None
        self.arrivals = Arrivals(options.max_waiting)
        self.telling = Telling(user, self, self.arrivals, journal, self.tell, self._settled_one)
        self.telling.restore(self.core.outgoing(), self.core.doubtful)
        self.gate = Gate(options.max_unsettled, self.telling.unsettled)
        self.max_message = int(journal.value(MAX_MESSAGE) or DEFAULT_MAX_MESSAGE)
        self.connection: Connection | None = None
        self.error: SparrowError | None = None
        self.noticed: Callable[[Event], object] = lambda event: None
        """Told of what has happened, for history and groups."""
        self.group_read: Callable[[str, int], object] = lambda group, stamp: None
        """Told up to where a group was read."""
        self.reason = "no connection yet"
        """Why there is no connection."""
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done at the first login, or at the end."""
        self.logging_out = False
        """The user API was asked to end the login: that the session ends is no error."""
        self._runner: asyncio.Task[None] | None = None
        self._reads = Reads(journal)
        self._turn_due = False
        self._kept: asyncio.Future[None] | None = None
        self._unkept = False
        """The last turn has failed: what was in it is not kept."""
        self._quiet: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch = Watch(options.timing)
        credentials.changed = self.changed

    def start(self) -> None:
        """Tell again what was not taken, and connect."""
        self.telling.repeat(self._journal.untaken())
        self._runner = self._loop.create_task(self._run(), name=f"sparrow-client-{self.user}")

    async def _run(self) -> None:
        try:
            await Dialer(self, self.credentials, self._options.timing, self._trust).run()
        except SparrowError as error:
            self.turn()  # what follows from it for the journal
            self.end(ClosedError(LOGGED_OUT) if self.logging_out else error)
        except Exception as error:
            self._failed(error)

    # The application.

    async def submit(self, dest: str, kind: int, body: bytes) -> Sending:
        """Send, when there is room; return when it is kept."""
        return await self._submit(lambda: self.core.send(dest, kind, body))

    async def _submit(self, send: Callable[[], Outgoing]) -> Sending:
        await self.gate.enter()
        self._time()
        try:
            outgoing = send()
        except SparrowError:
            self.gate.leave()
            raise
        sending = self.telling.sending(outgoing, online=self.core.logged_in)
        await self._keep()
        return sending

    async def change(
        self, dest: str, device: str, stream: int, number: int, text: str | None, revision: int = 0
    ) -> Sending:
        """See `Message.edit`; `device` empty: this one. Without a text it is erased."""
        target = Target(dest, self.user, device or self.credentials.device, stream, number)
        amendment = Amendment(target, text, revision)
        amendment.check(self.max_message)
        return await self._submit(lambda: amendment.send(self.core, self._journal))

    async def send_again(self, sending: Sending) -> None:
        """See `Client.send_again`."""
        await self.gate.enter()
        outgoing = self.telling.doubtful.get(sending)
        if outgoing is None or not self.core.send_again(outgoing):
            self.gate.leave()
            return
        self.telling.goes_out(sending)
        await self._keep()

    async def give_up(self, sending: Sending) -> None:
        """See `Client.give_up`."""
        outgoing = self.telling.doubtful.get(sending)
        if outgoing is not None and self.core.give_up(outgoing):
            self.telling.given_up(sending)
            await self._keep()

    async def read(self, message: Message) -> None:
        """See `Message.mark_read`."""
        if self.error is not None:
            raise fresh(self.error)
        self.take(message)
        if message.read or message.sender == self.user:
            return
        message.read = True
        if message.group:
            await self.read_group(message.group, message.wire.stamp)
            return
        author, device, stream, number = message.name
        await self.read_names(author, device, stream, [number], message.wire.stamp)

    async def read_names(self, author: str, device: str, stream: int, ids: Iterable[int], mark: int = 0) -> None:
        """See `Client.mark_read`; `mark`: the highest stamp among them, if it is known."""
        if self.error is not None:
            raise fresh(self.error)
        self._reads.put((author, device, stream), ids, mark)
        await self._keep()

    async def read_group(self, group: str, stamp: int) -> None:
        """All of a group's messages up to this stamp are read."""
        if self.error is not None:
            raise fresh(self.error)
        self.group_read(group, stamp)
        await self._keep()

    def take(self, message: Message) -> None:
        """See `Message.taken`."""
        if self.telling.take(message):
            self.changed()

    async def _keep(self) -> None:
        """Return when what has changed is kept."""
        self._schedule()
        if not self._journal.durable:
            return
        if self._kept is None:
            self._kept = self._loop.create_future()
        await asyncio.shield(self._kept)
        if self._unkept:
            assert self.error is not None
            raise fresh(self.error)

    # The turn.

    def changed(self) -> None:
        """Something is to be kept, with the next turn."""
        self.core.touch()
        self._schedule()

    def _schedule(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._scheduled)

    def _scheduled(self) -> None:
        # It may have been had in the meantime.
        if self._turn_due:
            self.turn()

    def _time(self) -> None:
        # While nothing leaves, repeating would only make the queue longer: time stands still for the core.
        if self.connection is None or not self.connection.congested:
            self.core.time(self._loop.time())

    def turn(self) -> None:
        """Everything since the last one."""
        self._turn_due = False
        if self.error is not None:
            return
        try:
            self._turn()
        except StateError as error:
            self._unkept = True
            self.end(error)
            return
        except Exception as error:
            self._failed(error)
            return
        if self._kept is not None:
            self._kept.set_result(None)
            self._kept = None
        self._hold_acks()
        if self.error is None:
            self._arm()

    def _turn(self) -> None:
        self._time()
        self._reads.send(self.core)
        data, happened = self.core.flush()
        for event in happened:
            self._happened(event)
        self._write(data)

    def _failed(self, error: Exception) -> None:
        """Loudly, and at once: an engine that goes on after this would seem to run and do nothing."""
        log.error("the client of %s has failed", self.user, exc_info=error)
        self._unkept = True
        self.end(ClosedError(f"the client has failed, which is a bug: {type(error).__name__}"))

    def _happened(self, event: Event) -> None:
        if isinstance(event, pb.LoggedIn):
            self._logged_in(event)
        elif not isinstance(event, pb.Goodbye):
            self.telling.happened(event)
            self.noticed(event)
        elif self.connection is not None:
            self.connection.goodbye = event

    def _logged_in(self, frame: pb.LoggedIn) -> None:
        device = self.credentials.device
        if frame.user_id != self.user or (device and frame.device_id != device):
            ours = f"{self.user}'s, device {device}" if device else f"{self.user}'s"
            self.end(MisuseError(f"the token is {frame.user_id}'s, device {frame.device_id}; this client is {ours}"))
            return
        assert self.connection is not None
        self.connection.logged_in = True
        self.telling.numbered()
        if not device:
            self.credentials.keep_device(frame.device_id)
        if frame.max_message_bytes and frame.max_message_bytes != self.max_message:
            self.max_message = frame.max_message_bytes
            self._journal.put_value(MAX_MESSAGE, str(self.max_message))
            self.core.touch()
        if not self.ready.done():
            self.ready.set_result(None)
        self.tell(events.Connected(self.user, frame.device_id))
        self.noticed(frame)

    def _settled_one(self) -> None:
        self.gate.leave()
        if self._quiet is not None and not self._quiet.done() and not self.telling.unsettled:
            self._quiet.set_result(None)

    def _write(self, data: bytes) -> None:
        connection = self.connection
        if connection is None or self.error is not None:
            return  # with an error, it was not our session after all
        if data:
            self._watch.said = self._loop.time()
            connection.write(data)
        if self.core.broken is not None:
            log.error("%s: the server broke the protocol: %s", self.user, self.core.broken)
            connection.abort(f"the server broke the protocol: {self.core.broken}")

    def _hold_acks(self) -> None:
        if self.arrivals.full == self.core.hold_acks:
            return
        self.core.hold_acks = self.arrivals.full
        if self.arrivals.full:
            log.warning("%s: %d messages wait to be taken; asking for no more", self.user, len(self.arrivals))
        else:
            self._schedule()

    def tell(self, event: events.Event) -> None:
        """To the application."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception as error:
                self._loop.call_exception_handler({"message": "on_event has failed", "exception": error})

    # The connection.

    def connected(self, connection: Connection, token: str) -> None:
        """See `connection.Owner`."""
        self.connection = connection
        self._watch.begin(self._loop.time())
        self._time()
        self.core.connected(token, self._name)
        self.turn()

    def received(self, connection: Connection, data: bytes) -> None:
        """See `connection.Owner`."""
        if connection is self.connection:
            self._watch.heard = self._loop.time()
            try:
                self._time()
                self.core.data(data)
            except Exception as error:
                self._failed(error)
            else:
                self._schedule()

    def lost(self, connection: Connection) -> None:
        """See `connection.Owner`."""
        if connection is self.connection:
            self.turn()  # what came last
            self.connection = None
            self.core.disconnected()
            self._schedule()

    def waits(self, reason: str, retry_in_s: float) -> None:
        """See `connection.Owner`."""
        self.reason = reason
        self.tell(events.Disconnected(reason, retry_in_s))

    # Time.

    def _arm(self) -> None:
        """Look again when the core, a ping or a time-out is due."""
        wake = None if self.connection is None else self._watch.next(self.connection, self.core.heartbeat_s)
        due = self.core.next_wake()
        if due is not None:
            # Not for each message's time-out alone.
            due = max(due, self._loop.time() + 0.05)
            wake = due if wake is None else min(wake, due)
        if self._timer is not None:
            if wake is not None and self._timer.when() <= wake:
                return
            self._timer.cancel()
        self._timer = None if wake is None else self._loop.call_at(wake, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        connection, now = self.connection, self._loop.time()
        if connection is not None and self._watch.is_silent(connection, now):
            connection.abort("the server does not answer")
        elif connection is not None and self._watch.wants_ping(connection, self.core.heartbeat_s, now):
            self.core.ping()
        self.turn()

    # The end.

    async def settle(self) -> None:
        """Wait until all of ours is safe, but not for long, and not for a server that is away if all is kept."""
        self.turn()
        online = self.connection is not None and self.connection.logged_in
        if self.telling.unsettled and self.error is None and (online or not self._journal.durable):
            self._quiet = self._loop.create_future()
            await asyncio.wait([self._quiet], timeout=self._options.close_timeout_s)
        if self.telling.unsettled and not self._journal.durable:
            log.warning("%s: closed before %d messages were safe", self.user, self.telling.unsettled)

    async def stop(self, *, logout: bool) -> None:
        """Log out, and keep what there is to keep."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        connection = self.connection
        if connection is not None:
            if logout and connection.logged_in and self.error is None:
                self.core.logout()
                self.turn()
                await asyncio.wait([connection.closed], timeout=self._options.timing.logout_timeout_s)
            connection.abort("closed")
            self.lost(connection)
        self.turn()
        self.end(ClosedError("the client is closed"))

    def end(self, error: SparrowError) -> None:
        """Nothing more will happen; all that waits learns why."""
        if self.error is not None:
            return
        self.error = error
        closed = isinstance(error, ClosedError)
        if self._timer is not None:
            self._timer.cancel()
        if self.connection is not None:
            self.connection.abort(str(error))
        self.gate.close(error)
        self.arrivals.end(None if closed else error)
        self.telling.close(error)
        for future in (self.ready, self._kept, self._quiet):
            if future is not None and not future.done():
                future.set_result(None)
        self.tell(events.Closed(None if closed else error))
