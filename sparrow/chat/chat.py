"""The chat itself: from what is typed and what the client tells to conversations and a view.

Owns which conversation is open, and what counts as read. Draws nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from client import (
    Client,
    Connected,
    Disconnected,
    Doubtful,
    Edited,
    Erased,
    Event,
    Found,
    Group,
    GroupChanged,
    GroupLeft,
    Hint,
    HintKind,
    MarkRaised,
    Message,
    OwnMessage,
    Progress,
    ReadElsewhere,
    Sending,
    SendingChanged,
    Signal,
    State,
    Unreadable,
)
from protocol.errors import ClosedError, MisuseError, SparrowError
from protocol.ids import is_group_id
from protocol.sparrow_pb2 import EDIT, ERASE
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.display import Display
from sparrow.chat.groups import Groups
from sparrow.chat.model import Model
from sparrow.chat.news import News
from sparrow.chat.past import NEWEST_LINES, Past
from sparrow.chat.text import who
from sparrow.chat.transfers import Transfers
from sparrow.chat.typing import Typing

CHANGES = (int(EDIT), int(ERASE))
QUIET_S = 0.5
"""After so long without anything new, all that has waited for us is taken to be here."""


class View(Display, Protocol):
    """What shows a chat."""

    async def run(self, chat: Chat) -> None:
        """Show it, until the person or `stop` has had enough."""


class Chat:
    """One user at one terminal. `happened` is the client's `on_event`."""

    def __init__(self, user: str, view: View, obey: Callable[[Chat, str], Awaitable[None]]) -> None:
        """`obey` does what a line says that begins with a slash; it gets the line without it."""
        self._run_command = obey
        self.groups = Groups()
        self.model = Model(user, self._label)
        self.news = News(user, self.model, self.groups, view, _now_ms)
        self.transfers = Transfers(view.progress, view.notice)
        self.typing = Typing()
        self.current: Conversation | None = None
        self.connection = "connecting…"
        self.connected = False
        self.error: SparrowError | None = None
        """Why it ended, if it did not end because somebody wanted it to."""
        self._view = view
        self._client: Client | None = None
        self.past = Past(self.model, self._loaded, view.refresh, view.notice)
        self._news = asyncio.Event()
        self._typed: asyncio.Queue[str] = asyncio.Queue()

    # Beginning and end.

    def begin(self, client: Client, to: str | None = None) -> None:
        """Take over a client that has just been opened, and what it has kept. `to`: whom to talk to first."""
        self._client = client
        self.model.device = client.device
        lines = client.history(newest=NEWEST_LINES)
        self.groups.kept({line.peer: "" for line in lines if is_group_id(line.peer)} | client.groups.names)
        self.model.load(lines, [*client.unsettled, *client.doubtful])
        self.past.begin(client)
        latest = self.model.latest()
        try:
            peer = None if to is None else self.groups.find_any(to)
        except MisuseError as error:  # a group that this device has not heard of yet
            self._view.notice(str(error))
            peer = None
        if peer is not None:
            self._open(peer).opened = True
        elif latest:
            self._open(latest[0].peer)  # not by the person: nothing in it is read by that

    async def run(self) -> None:
        """Show the chat and follow the client until cancelled."""
        self._doubt([sending.dest for sending in self.client.doubtful])
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive())
                group.create_task(self._obey())
                group.create_task(self.news.run(self.client))
        finally:
            self.transfers.cancel()
            self.past.cancel()
            await self.transfers.finish()

    def typed(self, text: str) -> None:
        """The line that is being typed is this by now."""
        if self._client is not None:
            self.typing.typed(self._client, self.current, text)

    def submit(self, text: str) -> None:
        """A line that was typed."""
        self._typed.put_nowait(text)

    async def finish(self, timeout_s: float) -> None:
        """Wait until everything that was typed is safe and what has waited for us is here, but not longer than this.

        Files that are on their way, however, are waited for.
        """
        assert self._client is not None
        try:
            async with asyncio.timeout(timeout_s):
                await self._typed.join()
            await self.transfers.finish()
            async with asyncio.timeout(timeout_s):
                for sending in self._client.unsettled:
                    await sending.sent
                await self._quiet()
        except TimeoutError:
            left = len(self._client.unsettled)
            if left:
                self._view.notice(f"{left} of your messages are kept here; they go out when you come back")
        except SparrowError:
            return

    async def _quiet(self) -> None:
        """Return when we are connected and nothing new comes."""
        while True:
            self._news.clear()
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._news.wait()
            except TimeoutError:
                if self.connected:
                    return

    # What is typed.

    async def _obey(self) -> None:
        while True:
            text = await self._typed.get()
            try:
                await self._command(text.strip())
            except ClosedError:
                return
            except SparrowError as error:
                self._view.notice(str(error))
            finally:
                self._typed.task_done()

    async def _command(self, text: str) -> None:
        if not text:
            await self._read_here()
        elif text.startswith("@") and not text.startswith("@@"):
            await self.news.know(self.client, text[1:])
            name, rest = self.groups.split(text[1:])
            await self.talk_to(name)
            if rest:
                await self._say(rest)
        elif text.startswith("/") and not text.startswith("//"):
            await self._run_command(self, text[1:])
        else:
            await self._say(text[1:] if text.startswith(("//", "@@")) else text)

    async def _say(self, text: str) -> None:
        assert self._client is not None
        if self.current is None:
            self._view.notice("to whom? /to NAME, or @NAME and what you want to say")
            return
        peer = self.current.peer
        await self._read_here()
        self.sent(await self._client.send(peer, text))

    async def _read_here(self) -> None:
        """Who writes here, or presses Enter, has seen what stands here."""
        if self.current is not None:
            self.current.opened = True
            await self._read(self.current.unread)
            self.current.told_unread = 0

    # For commands.

    @property
    def client(self) -> Client:
        """The client: its connection, and the user API."""
        assert self._client is not None
        return self._client

    def notice(self, text: str) -> None:
        """Say something that is no message."""
        self._view.notice(text)

    def quit(self) -> None:
        """It is enough."""
        self._view.stop()

    def sent(self, sending: Sending) -> None:
        """Show what we have just sent."""
        self._view.added(self.model.sent(sending, _now_ms()))

    async def talk_to(self, name: str) -> None:
        """Open the conversation with them, or that of a group. Raises `MisuseError`."""
        self._open(await self.place(name))
        await self._read_here()

    async def place(self, name: str) -> str:
        """The user, or the group, that is called so. Raises `MisuseError`."""
        await self.news.know(self.client, name)
        return self.groups.find_any(name)

    def group_seen(self, group: Group) -> None:
        """This is one of ours as it is now; what has come of it already may be written otherwise from now on."""
        self.groups.seen(group)
        self.model.relabel()

    def _label(self, peer: str) -> str:
        """How a user or a group is written."""
        return self.groups.label(peer) if is_group_id(peer) else who(peer)

    # Conversations.

    def _open(self, peer: str) -> Conversation:
        conversation = self.model.conversation(peer)
        if conversation is not self.current:
            self.current = conversation
            self._view.opened(conversation)
            self.news.opened(conversation)
            self._wants_first()
        return conversation

    @property
    def looking(self) -> bool:
        """Whether older messages are on their way."""
        return self.past.running

    def _wants_first(self) -> None:
        """Of a conversation that is new on this device there is more to see."""
        if self.connected and self.current is not None and len(self.current.lines) < NEWEST_LINES:
            self.wants_older()

    def _loaded(self) -> None:
        conversation = self.current
        if conversation is not None:
            self._view.loaded(conversation)
            if conversation.opened and conversation.unread:
                self.submit("")  # what stands above what was read is read, too
        self._view.refresh()

    def wants_older(self) -> None:
        """Look for older messages of the conversation that is open."""
        if self.current is not None:
            self.past.look(self.current)

    async def back(self, count: int) -> None:
        """Show so many older lines of the conversation that is open. Raises `MisuseError`, and what requests raise."""
        if self.current is None:
            raise MisuseError("of whom? /to NAME first")
        conversation = self.current
        while (missing := count - self._view.above(conversation)) > 0:
            if not await self.past.older(conversation, missing):
                break
        self._view.back(conversation, count)

    async def _read(self, lines: list[Line]) -> None:
        """These have been shown."""
        assert self._client is not None
        streams: dict[tuple[str, str, int], list[int]] = {}
        groups: dict[str, int] = {}
        for line in lines:
            if not line.mark_read():
                continue
            if is_group_id(line.peer):
                groups[line.peer] = max(line.stamp, groups.get(line.peer, 0))
            else:
                streams.setdefault((line.peer, line.device, line.stream), []).append(line.id)
        for group, stamp in groups.items():
            await self._client.groups.mark_read(group, stamp)
        for (peer, device, stream), ids in streams.items():
            await self._client.mark_read(peer, device, stream, ids)
        self._view.refresh()

    def elsewhere(self) -> list[Conversation]:
        """Conversations with something new that are not open, and not muted."""
        found = self.model.latest()
        return [each for each in found if each is not self.current and each.unread_count and not each.muted]

    # What happens.

    async def _receive(self) -> None:
        assert self._client is not None
        if self.current is not None and self.current.opened:
            await self._read(self.current.unread)
        try:
            async for message in self._client:
                self._news.set()
                self.typing.wrote(message)
                line = self.model.received(message)
                if line is None:
                    continue
                self._view.added(line)
                if self.current is not None and self.current.opened and line.peer == self.current.peer:
                    await self._read([line])
        except SparrowError:
            return  # `Closed` says it

    def happened(self, event: Event) -> None:
        """See `client.events`."""
        if isinstance(event, Signal):
            self.typing.told(event)
            self._view.refresh()
            return
        self._news.set()
        if self._client is None:
            return  # told before we began: it is in the history
        if isinstance(event, Connected):
            self._connection("connected", True)
            self.news.connected()
            self.model.device = event.device
            self.past.connected()
            self._wants_first()
        elif isinstance(event, Hint):
            self.news.hinted(event)
            if event.kind == HintKind.SKIPPED:
                self._skipped(event.group)
            elif event.kind == HintKind.HISTORY_CHANGED:
                self.past.muted()
        elif isinstance(event, GroupChanged):
            self.news.group_changed(event)
        elif isinstance(event, GroupLeft):
            self.news.group_left(event)
        elif isinstance(event, Disconnected):
            self._connection(f"reconnecting… ({event.reason})", False)
        elif isinstance(event, SendingChanged):
            self._sending_changed(event.sending)
        elif isinstance(event, Progress):
            for line in self.model.progress(event):
                self._view.changed(line)
        elif isinstance(event, OwnMessage):
            self._view.added(self.model.own(event.message))
        elif isinstance(event, ReadElsewhere):
            self.model.read_elsewhere(event)
        elif isinstance(event, Edited | Erased):
            amended = self.model.edited(event) if isinstance(event, Edited) else self.model.erased(event)
            if amended is not None:
                self._view.amended(amended)
        elif isinstance(event, MarkRaised):
            self.model.read_up_to(event.peer, event.stamp)
        elif isinstance(event, Found):
            self._found(event.peer, event.messages)
        elif isinstance(event, Doubtful):
            self._doubt([sending.dest for sending in event.sendings])
        elif isinstance(event, Unreadable):
            self._view.notice("a message has come that cannot be read")
        elif event.error is not None:
            self.error = event.error
            self._view.stop()
        self._view.refresh()

    def _sending_changed(self, sending: Sending) -> None:
        line = self.model.sending_changed(sending)
        if line is not None:
            self._view.changed(line)
        elif sending.kind in CHANGES and sending.state == State.FAILED:
            self._view.notice(f"that could not be changed: {sending.error}")

    def _found(self, peer: str, messages: tuple[Message, ...]) -> None:
        for message in reversed(messages):
            message.late = True
            line = self.model.older(peer, message)
            if line is not None:
                self._view.added(line)

    def _doubt(self, peers: list[str]) -> None:
        if peers:
            self._view.notice(
                f"{len(peers)} of your messages may have been sent already, by a copy of this state, to "
                f"{', '.join(map(self._label, sorted(set(peers))))}: /to NAME, then /unsent send or /unsent drop"
            )

    def _skipped(self, group: str) -> None:
        """What was said there before stands in its history alone."""
        self.past.torn(group)
        self._view.notice(f"you have been away for long: what was said in {self._label(group)} before is on its way")

    def _connection(self, text: str, connected: bool) -> None:
        self.connection, self.connected = text, connected


def _now_ms() -> int:
    return int(time.time() * 1000)
