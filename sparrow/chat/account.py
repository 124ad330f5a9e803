"""Who chats: user, password, state file. Asks what it must, registers and logs in.

Owns what is asked before the chat begins. Holds no connection when it is done: the token is in the state file.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import getpass
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from client import DEFAULT_API, Oidc, UserApi
from client.api.logins import Login
from client.client import PLAIN_HTTP
from client.credentials import DEVICE, TOKEN, keep_login, login_key
from client.journal import SqliteJournal
from client.tls import Trust
from protocol.errors import (
    AlreadyExistsError,
    ConfigError,
    InvitationNeededError,
    MisuseError,
    OidcError,
    TooManyDevicesError,
    UnavailableError,
    WrongPasswordError,
)
from protocol.ids import check_user_id
from sparrow.chat import provider
from sparrow.chat.password_file import password_in
from sparrow.chat.text import bare

_T = TypeVar("_T")

PASSWORD_VARIABLE = "SPARROW_PASSWORD"
INVITATION_VARIABLE = "SPARROW_INVITATION"
"""No option: others on the machine see those."""
DEFAULT_PORT = 7480
LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SignInOptions:
    """One user on this machine."""

    user: str
    api: str
    state: Path
    password: str | None
    """None: ask."""
    register: bool
    """Make the account, without asking, if there is none."""
    ca: Path | None = None
    """Certificates to trust instead of the system's."""
    invitation: str = ""
    """Its code; empty: ask, where the service does."""
    reset: bool = False
    """Set a new password first, by a code."""
    oidc: bool = False
    """With the service's OpenID provider, and not with a password."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say who chats."""
    parser.add_argument("user", metavar="USER", help="your name, such as alice")
    parser.add_argument("--api", default=DEFAULT_API, metavar="URL", help="the user API (default: %(default)s)")
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="trust servers with certificates of this CA (default: the system's)"
    )
    parser.add_argument(
        "--register",
        action="store_true",
        help="make the account, without asking, if there is none; "
        f"where the service makes them by invitation, its code is asked, or in ${INVITATION_VARIABLE}",
    )
    parser.add_argument(
        "--reset",
        action="store_true",
        help="set a new password first, by a code that those who run the service have made; it logs all devices out",
    )
    parser.add_argument(
        "--oidc",
        action="store_true",
        help="log in with the service's OpenID provider, in a browser (so it is where the service has no passwords)",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"the password is its first line (default: ${PASSWORD_VARIABLE}, or it is asked)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="where conversations and the login are kept (default: below $XDG_STATE_HOME/sparrow)",
    )


def account_of(options: argparse.Namespace, environ: Mapping[str, str]) -> SignInOptions:
    """Who chats. Raises `ConfigError`, `InvalidIdError`."""
    user = check_user_id(options.user)
    UserApi(options.api, trust=Trust(options.ca))  # is it a URL, and a CA?
    state = options.state or default_state(user, options.api, environ)
    password = _given_password(options.password_file, environ)
    invitation = environ.get(INVITATION_VARIABLE, "").strip()
    asked = (options.register, options.ca, invitation, options.reset, options.oidc)
    return SignInOptions(user, options.api, state, password, *asked)


def default_state(user: str, api: str, environ: Mapping[str, str]) -> Path:
    """`~/.local/state/sparrow/USER@host.db`, with the port if it is not the usual one."""
    parts = urlsplit(api)
    host = (parts.hostname or "").replace(":", "-")
    name = host if parts.port in (None, DEFAULT_PORT) else f"{host}-{parts.port}"
    # The variable counts only if it is absolute (XDG Base Directory Specification).
    root = Path(environ.get("XDG_STATE_HOME", ""))
    if not root.is_absolute():
        root = Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return root / "sparrow" / f"{user}@{name}.db"


def _given_password(file: Path | None, environ: Mapping[str, str]) -> str | None:
    if file is None:
        return environ.get(PASSWORD_VARIABLE) or None
    return password_in(file)


class Terminal:
    """Asks the person at the terminal."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()

    def say(self, text: str) -> None:
        """A line that is not part of the chat."""
        print(bare(text), file=sys.stderr, flush=True)

    def password(self, prompt: str) -> str:
        """Raises `ConfigError` if there is nobody to ask."""
        if not self.interactive:
            raise ConfigError(
                f"there is nobody to ask for the password: set {PASSWORD_VARIABLE} or use --password-file"
            )
        return _asked(lambda: getpass.getpass(prompt))

    def typed(self) -> str | None:
        """A line that was typed meanwhile; None: none was."""
        return provider.line_typed()

    def agrees(self, question: str) -> bool:
        """Yes or no; no if there is nobody to ask."""
        return self.interactive and _asked(lambda: input(question)).strip().lower() in ("y", "yes")


def _whole(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**42 else 0


def _asked(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except EOFError:
        raise KeyboardInterrupt from None


class SignIn:
    """Sees to it that the state file has a login token."""

    def __init__(self, account: SignInOptions, terminal: Terminal, sleep: Callable[[float], None] = time.sleep) -> None:
        self._account = account
        self._terminal = terminal
        self._sleep = sleep
        self._api = UserApi(account.api, trust=Trust(account.ca))
        self._oidc = Oidc(self._api)

    def run(self, *, again: bool = False) -> None:
        """Ask, register and log in as far as it is needed. `again`: the token that is there is no good.

        Raises `WrongPasswordError`, `ConfigError`, `DeviceRemovedError`, `OidcError`, `MisuseError`.
        """
        if self._api.web.open_to_all and not again:
            self._terminal.say(f"{self._account.api}: {PLAIN_HTTP}")
        journal = SqliteJournal(self._account.state)
        try:
            reset = self._account.reset and not again
            if reset:
                self._reset()
            if not journal.value(TOKEN) or again or reset:
                key = login_key(journal)
                journal.commit()
                device = journal.value(DEVICE) or ""
                login = self._log_in_by_provider(device) if self._goes_to_provider() else self._log_in(device, key)
                keep_login(journal, self._account.user, login)
                journal.commit()
        finally:
            journal.close()

    def _log_in(self, device: str, key: str) -> Login:
        user = self._account.user
        while True:
            password = self._account.password or self._terminal.password(f"Password of {user}: ")
            login = functools.partial(self._api.login, user, password, device, "terminal", key)
            try:
                return self._insist(login)
            except TooManyDevicesError as error:
                return self._insist(functools.partial(login, replaces=self._replaced(error)))
            except WrongPasswordError:
                reason = self._register(password)
            if reason is None:
                return self._insist(login)
            if self._account.password is not None or not self._terminal.interactive:
                raise WrongPasswordError(reason)
            self._terminal.say(reason)

    def _goes_to_provider(self) -> bool:
        if self._account.oidc or self._account.password is not None:
            return self._account.oidc
        return not self._insist(self._oidc.ways).passwords

    def _log_in_by_provider(self, device: str) -> Login:
        """Raises `OidcError`."""
        back = provider.Return()
        try:
            begun = self._insist(functools.partial(self._oidc.begin, back.address))
            provider.tell(self._terminal.say, begun.url, provider.open_browser(begun.url))
            until = time.monotonic() + provider.WAIT_S
            answer = back.wait(begun.state, self._terminal.typed, until)
        finally:
            back.close()
        user = self._account.user
        # A code is good once: what was asked in vain is not asked again.
        ticket = asyncio.run(self._oidc.redeem(begun, answer))
        if ticket.user not in ("", user):
            raise OidcError(f"here you are {ticket.user}, and not {user}: sparrow chat {ticket.user}")
        question = f"There is no account of yours here. Make one that is called {user}, for good? [y/N] "
        if not ticket.user and not self._account.register and not self._terminal.agrees(question):
            raise OidcError("there is no account of yours here (--register makes one)")
        enter = functools.partial(self._api.enter, user, ticket.ticket, device, "terminal")
        try:
            return self._insist(enter)
        except TooManyDevicesError as error:
            return self._insist(functools.partial(enter, replaces=self._replaced(error)))

    def _replaced(self, error: TooManyDevicesError) -> str:
        """The device that this one takes the place of, if the person agrees. Raises `error` otherwise."""
        if not error.devices:
            raise error
        first = error.devices[0]
        label = "".join(filter(str.isprintable, str(first.get("label") or first["device"])))
        since = time.strftime("%Y-%m-%d", time.localtime(_whole(first.get("active_ms")) / 1000))
        question = (
            f"You have {len(error.devices)} devices, as many as you may. The one silent longest is {label}, "
            f"last there on {since}. Remove it for good, and log in here? [y/N] "
        )
        if not self._terminal.agrees(question):
            raise error
        return str(first["device"])

    def _reset(self) -> None:
        """Set a new password. Raises `WrongCodeError`, `MisuseError` for one that the service does not take."""
        user = self._account.user
        code = self._terminal.password("The code: ").strip()
        password = self._account.password or self._terminal.password(f"New password of {user}: ")
        if self._account.password is None and self._terminal.password("The new password once more: ") != password:
            raise MisuseError("the two passwords differ")
        self._insist(functools.partial(self._api.reset_password, user, code, password))
        self._terminal.say("The password is the new one, and all devices were logged out.")
        self._account = dataclasses.replace(self._account, password=password)

    def _register(self, password: str) -> str | None:
        """Make the account if that is wanted; why not, otherwise."""
        user = self._account.user
        question = f"There is no account {user}, or the password is wrong. Make a new account {user}? [y/N] "
        if not self._account.register and not self._terminal.agrees(question):
            return f"there is no account {user}, or the password is wrong (--register makes a new account)"
        if self._account.password is None and self._terminal.password("The password once more: ") != password:
            return "the two passwords differ"
        try:
            self._make_account(password)
        except AlreadyExistsError:
            return f"the account {user} exists, and the password is wrong"
        except MisuseError as error:
            return str(error)
        self._terminal.say(f"The account {user} is made.")
        return None

    def _make_account(self, password: str) -> None:
        user, invitation = self._account.user, self._account.invitation
        register = functools.partial(self._api.register, user, password)
        try:
            self._insist(functools.partial(register, invitation))
        except InvitationNeededError:
            if invitation or not self._terminal.interactive:
                raise
            asked = self._terminal.password("The code of your invitation: ").strip()
            if not asked:
                raise
            self._insist(functools.partial(register, asked))

    def _insist(self, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Ask again until the server answers."""
        wait = 0.5
        while True:
            try:
                return asyncio.run(call())
            except UnavailableError as error:
                if wait == 0.5:
                    self._terminal.say(f"{error}; trying again (Ctrl-C ends)")
            wait = min(wait * 2, LONGEST_WAIT_S)
            self._sleep(wait)
