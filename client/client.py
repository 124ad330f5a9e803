"""The client library's front: one device of one user, in a running asyncio loop.

Owns what an application calls, and its arguments. The work is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType

from client import arguments, events
from client.api.contacts import Contacts
from client.api.devices import Devices
from client.api.files import File, Files, Told
from client.api.logins import UserApi
from client.api.profiles import Profiles
from client.api.signed import SignedApi
from client.credentials import Credentials
from client.engine import LOGGED_OUT, Engine
from client.flow import fresh
from client.history import HistoryEntry
from client.journal import open_journal
from client.messages import FILE, TEXT, Message, Sending
from client.options import Options
from client.tls import Trust
from protocol.errors import ClosedError, MessageTooLargeError, MisuseError, UnreachableError
from protocol.ids import check_device_id, check_user_id

log = logging.getLogger("sparrow.client")

PLAIN_HTTP = "passwords and tokens can be read by everybody on the way: use https://"
DEFAULT_API = "http://127.0.0.1:7480"
FIELD_BYTES = 48
"""Stream, ids, kind and the lengths of fields take at most this in a message."""


class Client:
    """One device of one user: `async with Client("alice", password="…") as alice: …`.

    With a `state` file the client has the promise over its own restarts, and stays the same device. Without one it
    keeps everything in memory, and is a new device at each start unless `device` names one.

    `password`   logs in over HTTP when there is no token, or the kept one has expired
    `register`   makes the account, with this password, if there is none
    `token`      instead of a password; then `connectors` (["host:port", "tls://host:port", …]) are needed as well
    `api`        base URL of the user API
    `ca`         a PEM file: trust servers with certificates of this CA, instead of those that the system trusts
    `history`    keep so many lines of conversation in the state file, for `history()`
    `label`      what people see of a new device
    `name`       name and version of the program, for the server's log
    `on_event`   called with each of `client.events`, in the event loop; it must not block
    `background` do not wait for the login when entering: connect whenever the server can be reached

    Entering raises `ConfigError` (arguments, state file), `WrongPasswordError`, `UnreachableError`,
    `UntrustedError`, `UnavailableError`, `SessionEndedError`. When the session ends for good later on
    (`ReplacedError`, `AccountDisabledError`, `DeviceRemovedError`, `TokenRejectedError`, `StateError`), everything that
    waits raises that.
    """

    def __init__(
        self,
        user: str,
        *,
        password: str | None = None,
        token: str | None = None,
        register: bool = False,
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
        for what, value in (("the password", password), ("the token", token), ("label", label), ("name", name)):
            if value is not None:
                arguments.text(what, value)
        if device is not None:
            check_device_id(device)
        self._password = password
        self._token = token
        self._register = register
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
        """What entering does."""
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
        try:
            self._engine.start()
            if not self._background:
                await self._wait_until_logged_in(self._engine)
        except BaseException:
            await self._close(clean=False)
            raise

    async def _wait_until_logged_in(self, engine: Engine) -> None:
        await asyncio.wait([engine.ready], timeout=self._options.open_timeout_s)
        if engine.error is not None:
            raise fresh(engine.error)
        if not engine.ready.done():
            raise UnreachableError(f"cannot log in: {engine.reason}")

    async def aclose(self) -> None:
        """Send what can be sent, log out, and close. What is not safe by then stays in the state file."""
        await self._close(clean=True)

    async def _close(self, *, clean: bool) -> None:
        engine = self._engine
        if engine is None or self._closing:
            return
        self._closing = True
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
        """Send to the user `dest`: text, or bytes of any `kind`. Await what it returns to learn what became of it.

        Returns when the message is kept (with a state file: on the disk), after waiting while too many are unsettled.
        It is then sent again and again until it is safe. Raises `InvalidIdError`, `MessageTooLargeError`,
        `MisuseError`, `ClosedError`, and the error with which the session has ended.
        """
        engine = self._open_engine()
        check_user_id(dest)
        content = arguments.content(body, kind)
        if len(content) + len(dest) + FIELD_BYTES > engine.max_message:
            raise MessageTooLargeError(
                f"a body of {len(content)} bytes: the server takes {engine.max_message - len(dest) - FIELD_BYTES}"
            )
        return await engine.submit(dest, int(kind), content)

    @property
    def doubtful(self) -> list[Sending]:
        """What may have been sent already, in its order: it was found in a state that was restored or copied.

        None of it is sent until `send_again` says so.
        """
        return list(self._open_engine().telling.doubtful)

    async def send_again(self, sending: Sending) -> None:
        """Send a doubtful one: a person has said so. Its readers may be shown it twice. Any other is left alone.

        Raises `ClosedError`, and the error with which the session has ended.
        """
        await self._open_engine().send_again(sending)

    async def give_up(self, sending: Sending) -> None:
        """Forget a doubtful one; it fails with `RefusedError`. Any other is left alone.

        Raises what `send_again` does.
        """
        await self._open_engine().give_up(sending)

    async def mark_read(self, sender: str, device: str, stream: int, ids: Iterable[int]) -> None:
        """Like `Message.mark_read`, for messages that are known by name only, from `history()` for example.

        Raises `InvalidIdError`, `MisuseError` (ids that no message has), `ClosedError`, and the error with which the
        session has ended.
        """
        engine = self._open_engine()
        check_user_id(sender)
        await engine.read_names(sender, device, stream, arguments.marked(device, stream, ids))

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages of others, in order. They end when the client is closed; an ended session raises its error."""
        return _Messages(self._open_engine())

    def history(self) -> list[HistoryEntry]:
        """The last lines of all conversations, in the order in which they came. Empty without `history`."""
        self._open_engine()
        return [] if self._journal.history is None else self._journal.history.entries()

    # What the user API does for the user.

    def _signed_api(self) -> SignedApi:
        self._open_engine()
        return self._signed

    @property
    def contacts(self) -> Contacts:
        """Friends, requests to be friends, and blocks."""
        return Contacts(self._signed_api())

    @property
    def devices(self) -> Devices:
        """The user's own devices."""
        return Devices(self._signed_api())

    @property
    def profiles(self) -> Profiles:
        """Profiles, one's own and others', and the search for users."""
        return Profiles(self._signed_api())

    @property
    def files(self) -> Files:
        """Uploads and downloads."""
        return Files(self._signed_api(), self._options.timing)

    async def send_file(
        self, dest: str, file: str | os.PathLike[str] | File, *, progress: Told | None = None
    ) -> Sending:
        """Send a file to the user `dest`: upload the one at this path, or take one that is uploaded already.

        They may read it, and have a `FILE` message that says so. Raises what `Files.upload`, `Files.allow` and `send`
        raise.
        """
        check_user_id(dest)
        if isinstance(file, File):
            await self.files.allow(file.file, dest)
        else:
            file = await self.files.upload(file, readers=[dest], progress=progress)
        return await self.send(dest, file.reference.encode(), kind=FILE)

    async def change_password(self, old: str, new: str) -> None:
        """Change the password. The user's other devices are logged out; this one stays.

        Raises `WrongPasswordError`, `MisuseError` (a password that the server does not allow), and what `SignedApi`
        says.
        """
        await self._signed_api().send("PUT", "/v1/me/password", json={"old_password": old, "new_password": new})
        self._open_engine().credentials.password_changed(new)

    async def log_out(self) -> None:
        """Log this device out, and end. It stays, with what waits for it, and needs the password to come back.

        Raises what `SignedApi` says; then nothing has ended.
        """
        engine = self._open_engine()
        engine.logging_out = True
        try:
            await self._signed.send("DELETE", "/v1/me/login")
        except BaseException:
            engine.logging_out = False
            raise
        engine.credentials.forget()
        engine.turn()
        engine.end(ClosedError(LOGGED_OUT))

    @property
    def unsettled(self) -> list[Sending]:
        """Messages that are neither safe nor refused, nor `doubtful`; after a restart also those from before."""
        found = [each.tag for each in self._open_engine().core.outgoing()]
        return [sending for sending in found if isinstance(sending, Sending) and not sending.doubtful]

    @property
    def device(self) -> str:
        """This device's id; empty before the first login."""
        return "" if self._engine is None else self._engine.credentials.device

    @property
    def connected(self) -> bool:
        """Logged in now."""
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
