"""The client library's front: one device of one user, in a running asyncio loop.

Owns what an application calls, and its arguments. The work is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType

from client import arguments, events
from client.api.conversations import ConversationsApi
from client.api.files import File, Told
from client.api.groups import GroupsApi
from client.api.logins import UserApi
from client.api.signed import SignedApi
from client.by_name import ByName
from client.credentials import Credentials
from client.engine import Engine
from client.flow import fresh
from client.following import Following
from client.group_marks import GroupMarks
from client.journal import open_journal
from client.keeper import Keeper
from client.lines import HistoryEntry
from client.messages import FILE, TEXT, Message, Sending
from client.options import Options
from client.over_http import OverHttp
from client.signals import Signalling, Typing
from client.state import Event
from client.tls import Trust
from protocol.errors import ClosedError, MisuseError, UnreachableError
from protocol.ids import check_dest_id, check_device_id, check_user_id
from protocol.sparrow_pb2 import LoggedIn

log = logging.getLogger("sparrow.client")

PLAIN_HTTP = "passwords and tokens can be read by everybody on the way: use https://"
DEFAULT_API = "http://127.0.0.1:7480"


class Client(ByName, OverHttp, Signalling):
    """One device of one user: `async with Client("alice", password="…") as alice: …`.

    With a `state` file the client keeps the promise over its own restarts, and stays the same device. Without one it
    keeps everything in memory, and is a new device at each start unless `device` names one.

    When the session ends for good (`ReplacedError`, `AccountDisabledError`, `DeviceRemovedError`, `TokenRejectedError`,
    `StateError`), everything that waits raises that. Entering raises what `open` does.

    Args:
        user: The user's id.
        password: Logs in over HTTP when there is no token, or the kept one has expired.
        token: A login token in place of a password; then `connectors` are needed as well.
        register: Make the account, with this password, if there is none.
        invitation: With `register`, the code of an invitation, where the service asks for one.
        ticket: Of an OpenID provider (`Oidc.redeem`), in place of a password: it is used once.
        api: Base URL of the user API.
        ca: A PEM file: trust servers with certificates of this CA, instead of those that the system trusts.
        connectors: Where to connect, as "host:port", "tls://host:port", "ws://host:port" or "wss://host/path"; without
            any, the user API tells.
        device: The id of a device that the user has; with `state`, the one that is kept there.
        state: The state file. One client at a time may use it.
        history: Keep so many lines of conversation in the state file, for `history()`; 0 keeps none.
        label: What people see of a new device.
        name: Name and version of the program, for the server's log.
        on_event: Called with each of `client.events`, in the event loop; it must not block.
        background: Do not wait for the login when entering: connect whenever the server can be reached.
        options: Limits and times.

    Raises:
        MisuseError: `connectors` is a text, `history` is without `state`, or a text is none that UTF-8 can carry.
        InvalidIdError: `user` or `device` is no id.
        ConfigError: `api` is no URL, or `ca` cannot be read.
    """

    def __init__(
        self,
        user: str,
        *,
        password: str | None = None,
        token: str | None = None,
        register: bool = False,
        invitation: str = "",
        ticket: str = "",
        api: str = DEFAULT_API,
        ca: str | os.PathLike[str] | None = None,
        connectors: Sequence[str] = (),
        device: str | None = None,
        state: str | os.PathLike[str] | None = None,
        history: int = 0,
        label: str = "",
        name: str = "sparrow-python",
        on_event: Callable[[events.Event], object] | None = None,
        background: bool = False,
        options: Options | None = None,
    ) -> None:
        if isinstance(connectors, str):
            raise MisuseError("connectors is a list, such as ['127.0.0.1:7400']")
        if history and state is None:
            raise MisuseError("history is kept in the state file: give state as well")
        self.user = check_user_id(user)
        """The user's id."""
        for what, value in (("the password", password), ("the token", token), ("label", label), ("name", name)):
            if value is not None:
                arguments.text(what, value)
        if device is not None:
            check_device_id(device)
        self._password = password
        self._token = token
        self._register = register
        self._invitation = invitation
        self._ticket = arguments.text("the ticket", ticket)
        self._trust = Trust(ca)
        self._api = UserApi(api, trust=self._trust)
        self._connectors = tuple(connectors)
        self._device = device
        self._state = state
        self._history = history
        self._label = label
        self._name = name
        self._on_event = on_event
        self._background = background
        self._options = options or Options()
        self._engine: Engine | None = None
        self._typing = Typing()
        self._closing = False

    # Opening and closing.

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(clean=kind is None)

    async def open(self) -> None:
        """Do what entering `async with` does: open the state file, connect and log in.

        It returns when the client is logged in, within `Options.open_timeout_s`; with `background`, at once.

        Raises:
            MisuseError: It was opened before.
            ConfigError: The arguments or the state file cannot be used; the text says what to change.
            WrongPasswordError: There is no such account, or the password is wrong.
            SessionEndedError: The token, the device or the account is not valid; the subclass says which.
            UnavailableError: Nothing answers (`UnreachableError`), or logins are not possible now.
            UntrustedError: The server's certificate is not trusted.
        """
        if self._engine is not None:
            raise MisuseError("a client is opened once: make a new one")
        self._journal = journal = open_journal(self._state, self._history)
        try:
            credentials = Credentials(
                self.user,
                self._password,
                self._api,
                journal,
                token=self._token,
                device=self._device,
                connectors=self._connectors,
                label=self._label,
                register=self._register,
                invitation=self._invitation,
                ticket=self._ticket,
            )
            self._engine = Engine(
                self.user, journal, credentials, self._options, self._name, self._on_event, self._trust
            )
        except BaseException:
            journal.close()
            raise
        if self._api.web.open_to_all:
            log.warning("%s: %s", self._api.web.url, PLAIN_HTTP)
        self._api.web.keep_connections()
        self._signed = SignedApi(self._api.web, credentials)
        self._keeper = Keeper(self._engine, ConversationsApi(self._signed), journal)
        self._following = Following(self._engine, GroupsApi(self._signed), journal) if self._on_event else None
        self._marks = GroupMarks(self._engine, self._keeper.api, journal)
        self._engine.noticed, self._engine.group_read = self._noticed, self._marks.read
        try:
            self._engine.start()
            if not self._background:
                await self._wait_until_logged_in(self._engine)
        except BaseException:
            await self._close(clean=False)
            raise

    def _noticed(self, event: Event) -> None:
        self._keeper.noticed(event)
        if self._following is not None:
            self._following.noticed(event)
        if isinstance(event, LoggedIn):
            self._marks.tell()

    async def _wait_until_logged_in(self, engine: Engine) -> None:
        await asyncio.wait([engine.ready], timeout=self._options.open_timeout_s)
        if engine.error is not None:
            raise fresh(engine.error)
        if not engine.ready.done():
            raise UnreachableError(f"cannot log in: {engine.reason}")

    async def aclose(self) -> None:
        """Send what can be sent, log out, and close.

        It waits up to `Options.close_timeout_s` for messages to become safe. What is not safe by then stays in the
        state file, and is sent by the next client that opens it; without a state file it is lost, which the log says.
        """
        await self._close(clean=True)

    async def _close(self, *, clean: bool) -> None:
        engine = self._engine
        if engine is None or self._closing:
            return
        self._closing = True
        self._keeper.close()
        self._marks.close()
        if self._following is not None:
            self._following.close()
        try:
            if clean:
                # A loop that was left is done with its last message; one that an error has ended is not.
                for message in list(engine.arrivals.given.values()):
                    message.taken()
                await engine.settle()
            await engine.stop(logout=True)
        finally:
            engine.end(ClosedError("the client is closed"))
            self._journal.close()
            await self._api.web.aclose()

    def _open_engine(self) -> Engine:
        if self._engine is None or self._closing:
            raise ClosedError("the client is not open: use it inside its `async with`")
        if self._engine.error is not None:
            raise fresh(self._engine.error)
        return self._engine

    # What an application does.

    async def send(self, dest: str, body: str | bytes | bytearray | memoryview, *, kind: int = TEXT) -> Sending:
        """Send a message to one user, or to a group. Await what it returns to learn what became of it.

        It returns when the message is kept (with a state file: on the disk), after waiting while
        `Options.max_unsettled` are neither safe nor refused. The message is then sent again and again until it is safe,
        over reconnections and, with a state file, over restarts.

        Args:
            dest: The user, or the group, it is for.
            body: A text, or bytes. Together with the fields around it, it has to fit into what the server takes: about
                64,000 bytes, unless the server says otherwise.
            kind: `TEXT` (then bytes have to be UTF-8), `FILE`, or a number of the application's own from 1000 to
                2^31-1.

        Raises:
            InvalidIdError: `dest` is no id of a user or a group.
            MessageTooLargeError: The body is larger than the server takes; the text says how large it may be.
            MisuseError: `body` or `kind` is none of the above.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        engine = self._open_engine()
        check_dest_id(dest)
        content = arguments.content(body, kind)
        arguments.fits(content, dest, engine.max_message)
        self._typing.wrote(dest)
        return await engine.submit(dest, int(kind), content)

    @property
    def doubtful(self) -> list[Sending]:
        """Messages that may have been sent already, in their order.

        They were found in a state that was restored or copied. None of them is sent until `send_again` says so.

        Raises:
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return list(self._open_engine().telling.doubtful)

    async def send_again(self, sending: Sending) -> None:
        """Send a doubtful message after all, since a person has said so. Its readers may be shown it twice.

        Args:
            sending: One of `doubtful`; any other is left alone.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        await self._open_engine().send_again(sending)

    async def give_up(self, sending: Sending) -> None:
        """Forget a doubtful message: awaiting it raises `RefusedError`.

        Args:
            sending: One of `doubtful`; any other is left alone.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        await self._open_engine().give_up(sending)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Give the messages of others, in order, as they come.

        They end when the client is closed. A message counts as taken when the loop asks for the next one.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return _Messages(self._open_engine())

    def history(self, newest: int = 0) -> list[HistoryEntry]:
        """Return the lines of all conversations that are kept here, in the order in which they came.

        There are none without `history`.

        Args:
            newest: Only so many of each conversation, and what is unread or not safe yet; 0: all.

        Raises:
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
            ConfigError: The state file is damaged.
        """
        self._open_engine()
        return [] if self._journal.history is None else self._journal.history.entries(newest)

    async def send_file(
        self, dest: str, file: str | os.PathLike[str] | File, *, progress: Told | None = None
    ) -> Sending:
        """Send a file to one user, or to a group: they may read it, and have a `FILE` message that says so.

        Raises the errors of every call, too (`docs/library/userapi.md`, "Errors of every call").

        Args:
            dest: The user, or the group, it is for.
            file: The path of a file, which is uploaded, or one that is uploaded already.
            progress: Called in the event loop with the bytes that are done and those of the whole file; it must not
                block.

        Raises:
            InvalidIdError: `dest` is no id of a user or a group.
            LocalFileError: The file cannot be read.
            FileTooLargeError: It is larger than the user API takes.
            ChecksumError: It was changed while it was uploaded.
            NotFoundError: The file that is uploaded already is no more.
            MisuseError: The file may have no more readers.
        """
        check_dest_id(dest)
        if isinstance(file, File):
            await self.files.allow(file.file, dest)
        else:
            file = await self.files.upload(file, readers=[dest], progress=progress)
        return await self.send(dest, file.reference.encode(), kind=FILE)

    @property
    def unsettled(self) -> list[Sending]:
        """Messages that are neither safe nor refused, nor `doubtful`; after a restart also those from before.

        Raises:
            ClosedError: The client is not open.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        found = [each.tag for each in self._open_engine().core.outgoing()]
        return [sending for sending in found if isinstance(sending, Sending) and not sending.doubtful]

    @property
    def device(self) -> str:
        """This device's id; empty before the first login."""
        return "" if self._engine is None else self._engine.credentials.device

    @property
    def connected(self) -> bool:
        """Whether the client is logged in now."""
        connection = None if self._engine is None else self._engine.connection
        return connection is not None and connection.logged_in


class _Messages:
    """Takes a message when the next one is asked for: by then the loop's body has dealt with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: Message | None = None

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        if self._last is not None:
            self._last.taken()
            self._last = None
        self._last = await self._engine.arrivals.get()
        return self._last
