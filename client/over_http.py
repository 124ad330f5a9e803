"""What the user API does for the user of a client: contacts, devices, profiles, files, and the login itself.

Owns none of it: each part is in `client.api`.
"""

from __future__ import annotations

from client.api.contacts import Contacts
from client.api.devices import Devices
from client.api.files import Files
from client.api.groups import GroupsApi
from client.api.profiles import Profiles
from client.api.signed import SignedApi
from client.conversations import Conversations
from client.engine import LOGGED_OUT, Engine
from client.groups import Groups
from client.keeper import Keeper
from client.options import Options
from protocol.errors import ClosedError


class OverHttp:
    """The part of a `Client` that goes over HTTP."""

    _signed: SignedApi
    _keeper: Keeper
    _options: Options

    def _open_engine(self) -> Engine:
        raise NotImplementedError

    def _signed_api(self) -> SignedApi:
        self._open_engine()
        return self._signed

    @property
    def contacts(self) -> Contacts:
        """Friends, requests to be friends, and blocks.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return Contacts(self._signed_api())

    @property
    def devices(self) -> Devices:
        """The user's own devices.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return Devices(self._signed_api())

    @property
    def profiles(self) -> Profiles:
        """Profiles, one's own and others', and the search for users.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return Profiles(self._signed_api())

    @property
    def files(self) -> Files:
        """Uploads and downloads.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return Files(self._signed_api(), self._options.timing)

    @property
    def conversations(self) -> Conversations:
        """Conversations: which there are, what is unread, and what was said in them.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        self._open_engine()
        return Conversations(self._keeper)

    @property
    def groups(self) -> Groups:
        """Groups: which there are, who is in them, and who may do what.

        Raises:
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return Groups(self._open_engine(), GroupsApi(self._signed), self._keeper)

    async def change_password(self, old: str, new: str) -> None:
        """Change the password. The user's other devices are logged out; this one stays.

        Raises the errors of every call, too (`docs/library/userapi.md`, "Errors of every call").

        Args:
            old: The password so far.
            new: The new one, as long as the service asks (8 characters, unless it is set otherwise).

        Raises:
            WrongPasswordError: `old` is wrong.
            MisuseError: The service does not allow `new`; the text says why.
        """
        await self._signed_api().send("PUT", "/v1/me/password", json={"old_password": old, "new_password": new})
        self._open_engine().credentials.password_changed(new)

    async def log_out(self) -> None:
        """Log this device out, and end.

        It stays the user's, with what waits for it, and needs the password to come back. With an error, nothing has
        ended.
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
