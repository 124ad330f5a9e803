"""What is loaded: where its clients connect, whom they can be, and which processes it is, as far as these are here.

Owns the view of servers that somebody else runs. Those of our own are `load.spawn`'s and `whole`'s.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from client.connection import Address, parse_address
from client.tls import Trust
from load import founding
from load.accounts import ApiAccounts, drop_devices, further_in_store, store_accounts
from load.measure import holders
from load.spec import Account
from protocol.errors import ConfigError
from sparrow.config.settings import Settings


class Target(abc.ABC):
    """A context manager; with what it has started it ends as well."""

    name = "sparrow"
    dialect = "sparrow"
    shape = ""
    """What the servers are, in a word or two for the report."""
    ca = ""
    progress = ""
    """How far the making of accounts is."""
    keeps_for_strangers = True
    """Whether texts are kept for somebody who has never been here."""
    replays = False
    """Whether what was said in conversations is brought to whoever asks, by a protocol of its own and not over HTTP."""
    renews_tokens_s = 0.0
    """How often logged-in clients need new tokens; 0: never."""
    api = ""
    """URL of the user API; empty: it is not known, or there is none."""

    def __init__(self, websocket: bool = False) -> None:
        self.websocket = websocket
        """Clients go over WebSocket."""
        self.addresses: list[Address] = []
        """Where the connectors are; known when accounts were got."""

    def use(self, connectors: Sequence[str]) -> None:
        """Those of these connectors that clients can go to. Raises `ConfigError` if there are none."""
        found = [parse_address(text) for text in connectors]
        self.addresses = [address for address in found if bool(address.websocket) == self.websocket]
        if found and not self.addresses:
            other = (
                "none of them speaks WebSocket" if self.websocket else "all of them speak WebSocket: say --websocket"
            )
            raise ConfigError(f"connectors {', '.join(connectors)}: {other}")

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    @abc.abstractmethod
    async def accounts(self, count: int) -> list[Account]:
        """So many to log in as; each time the same."""

    async def further(self, users: Sequence[str]) -> list[Account]:
        """A new device of each of these, whose accounts were made before. Raises `ConfigError` if there are none."""
        raise ConfigError(f"{self.name} keeps no history that a new device could read")

    async def drop(self, accounts: Sequence[Account]) -> None:  # noqa: B027 -- most end with the run
        """Remove what `further` has made, from servers that outlive the run."""

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        """A group of each of these, the owner first: id → owner, in their order. Raises `ConfigError` if there are
        none."""
        raise ConfigError(f"{self.name} has no groups")

    async def disband(self, groups: Mapping[str, Account]) -> None:  # noqa: B027 -- most end with the run
        """End the groups that `make_groups` has made: the next run has others."""

    def disk_bytes(self) -> int | None:
        """What the database takes, without what is free in it; None where that cannot be told."""
        return None

    def pids(self) -> list[int]:
        """The ids of all server processes that run on this machine."""
        return []

    def connector_pids(self) -> list[int]:
        """The ids of those server processes that hold sessions."""
        return holders(self.pids())


class Running(Target):
    """Servers that somebody else runs; whose processes are ours to look at if they are named."""

    shape = "running"

    def __init__(self, connectors: Sequence[str], ca: Path | None, pids: Sequence[int], websocket: bool) -> None:
        """`connectors`: instead of those that the user API names. Raises `ConfigError`."""
        super().__init__(websocket)
        self._connectors = list(connectors)
        self._pids = list(pids)
        self.ca = "" if ca is None else str(ca)
        self.use(self._connectors)

    def pids(self) -> list[int]:
        return self._pids


class ByApi(Running):
    """Accounts through the user API."""

    renews_tokens_s = 300.0

    def __init__(
        self,
        url: str,
        ca: Path | None,
        file: Path | None,
        connectors: Sequence[str],
        pids: Sequence[int],
        websocket: bool = False,
    ) -> None:
        """Raises `ConfigError`."""
        super().__init__(connectors, ca, pids, websocket)
        self.api = url
        self._trust = Trust(ca)
        self._accounts = ApiAccounts(url, self._trust, file)

    async def accounts(self, count: int) -> list[Account]:
        # A token is needed at a login only; the default life is 15 minutes.
        found = await self._accounts.get(count, 1.5 * self.renews_tokens_s, self._tell)
        self.use(self._connectors or self._accounts.connectors)
        return found

    async def further(self, users: Sequence[str]) -> list[Account]:
        return await self._accounts.further(users)

    async def drop(self, accounts: Sequence[Account]) -> None:
        await drop_devices(self.api, self._trust, accounts)

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        return await founding.over_http(self.api, self._trust, members)

    async def disband(self, groups: Mapping[str, Account]) -> None:
        await founding.close_over_http(self.api, self._trust, groups)

    def _tell(self, ready: int) -> None:
        self.progress = f"{ready:,}"


class ByStore(Running):
    """Accounts straight into the store of a user API's settings."""

    def __init__(
        self,
        settings: Settings,
        ca: Path | None,
        connectors: Sequence[str],
        pids: Sequence[int],
        websocket: bool = False,
    ) -> None:
        """Raises `ConfigError`."""
        super().__init__(connectors or settings.userapi.connectors, ca, pids, websocket)
        self._settings = settings
        self.api = url_of(settings)

    async def accounts(self, count: int) -> list[Account]:
        return await store_accounts(self._settings, [f"load-{n}" for n in range(count)])

    async def further(self, users: Sequence[str]) -> list[Account]:
        return await further_in_store(self._settings.store, self.api, Trust(self.ca or None), users)

    async def drop(self, accounts: Sequence[Account]) -> None:
        await drop_devices(self.api, Trust(self.ca or None), accounts)

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        return await founding.in_store(self._settings.store, members)

    async def disband(self, groups: Mapping[str, Account]) -> None:
        await founding.close_over_http(self.api, Trust(self.ca or None), groups)


def url_of(settings: Settings) -> str:
    """Where a user API with these settings listens."""
    own = settings.userapi
    return f"http{'s' if own.tls_certificate_file else ''}://{own.listen_host}:{own.listen_port}"
