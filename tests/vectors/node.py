"""A whole node in memory: the real cores of connector and broker, a dictionary for a store, and time as it is told.

Owns its clients' connections as plain byte strings. Everything that was caused has happened when a call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from broker.core import BrokerCore
from broker.core.state import Rank
from broker.presence import MemoryPresence
from broker.settings import BrokerSettings
from connector.core import ConnectorCore, Session
from connector.settings import ConnectorSettings
from fabric.tokens import Identity
from protocol.errors import TokenError
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.interface import NewRow, Page, PageQuery, Removal, Row
from store.sessions import NoSession, SessionStart, Standing
from store.timelines import Archived, Edit, Entry, Erasure, HistoryTerms, Mark, Result
from tests.vectors.groups import Groups

BROKER = "broker"
TICK_MS = 100
SOME_BEATS_MS = 5000
INBOX_TTL_MS = 30 * 24 * 3600 * 1000


class Client:
    """One connection to the node."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.received = b""
        self.closed = False


class Store:
    """Broker's store port. Calls are answered when the node comes to it: never before they return."""

    def __init__(self, users: Mapping[str, Sequence[str]], groups: Mapping[str, Mapping[str, Any]]) -> None:
        self._users = users
        self._groups = Groups(groups)
        self._rows: dict[tuple[str, str], dict[bytes, Row]] = {}
        self._sessions: dict[tuple[str, str], int] = {}
        self._tried: dict[tuple[str, str], Rank] = {}
        self._keys = 0
        self.away = False
        self.answers: list[Callable[[], None]] = []

    def append(self, rows: Sequence[NewRow], done: Callable[[bool], None]) -> None:
        if not self.away:
            for row in rows:
                self._keys += 1
                key = self._keys.to_bytes(8, "big")
                self._rows.setdefault((row.user, row.device), {})[key] = Row(key, row.kind, row.body)
        ok = not self.away
        self.answers.append(lambda: done(ok))

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None:
        pages = None if self.away else [self._page(query) for query in queries]
        self.answers.append(lambda: done(pages))

    def _page(self, query: PageQuery) -> Page:
        after = b"" if query.fresh else query.after
        rows = [row for key, row in self._rows.get((query.user, query.device), {}).items() if key > after]
        taken = tuple(rows[: query.limit])
        return Page(taken, taken[-1].key if taken else after, len(taken) == len(rows))

    def remove(self, removals: Sequence[Removal]) -> None:
        for removal in removals:
            for key in removal.keys:
                self._rows[removal.user, removal.device].pop(key, None)

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None:
        found = {user: tuple(self._users[user]) if user in self._users else None for user in users}
        self.answers.append(lambda: done(found))

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None:
        self.answers.append(lambda: done(dict.fromkeys(pairs, Verdict.STRANGER)))

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        self.answers.append(lambda: done(()))

    def waiting(
        self, users: Collection[str], done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None]
    ) -> None:
        done({user: {} for user in users})

    def no_space(self) -> bool:
        return False

    def saw(self, users: Collection[str]) -> None:
        pass

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None:
        previous: list[int | NoSession] = []
        for start in starts:
            place = (start.user, start.device)
            rank = Rank(start.start, start.tries)
            if start.device not in self._users.get(start.user, ()):
                previous.append(NoSession.NO_DEVICE)
            elif rank.is_behind(self._tried.get(place, Rank())):
                previous.append(NoSession.LATE)
            else:
                previous.append(self._sessions.get(place, 0))
                self._sessions[place], self._tried[place] = start.session, rank
        self.answers.append(lambda: done(previous))

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        found = None if self.away else [Archived(Result.KEPT)] * len(batch)
        for entry in () if self.away else batch:
            if isinstance(entry, Entry):
                self._groups.write(entry)
        self.answers.append(lambda: done(found))

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        found = None if self.away else self._groups.of(groups)
        self.answers.append(lambda: done(found))

    def scan_groups(self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]) -> None:
        pages = None if self.away else [self._groups.page(query) for query in queries]
        self.answers.append(lambda: done(pages))

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        pass

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        pass

    def standing(self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]) -> None:
        raise NotImplementedError


class Node:
    """One connector and one broker, with ports of both."""

    def __init__(
        self,
        users: Mapping[str, Sequence[str]],
        clock_ms: int,
        limits: Mapping[str, int],
        keep_days: int = 0,
        groups: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        # Broker and connector have known each other for a while.
        self._started_ms = self._clock_ms = clock_ms - (SOME_BEATS_MS if groups else 0)
        self._random = 0
        self._to_broker: list[bytes] = []
        self._to_connector: list[bytes] = []
        self.store = Store(users, groups)
        self._presence = MemoryPresence(lease_s=1e9, first_lease=1)
        self._broker = BrokerCore(self, self._presence, self.store, BrokerSettings(), 1, INBOX_TTL_MS)
        self._broker.history_terms(HistoryTerms(keep_days))
        settings = {
            "max_messages_per_second": 0,
            "max_messages_per_second_of_account": 0,
            "message_burst_s": 1.0,
            **limits,
        }
        self._connector = ConnectorCore(_ConnectorPorts(self), ConnectorSettings(brokers=(BROKER,), **settings))  # type: ignore[arg-type]
        self.clients: dict[str, Client] = {}
        self._turn()
        self.wait(clock_ms - self._clock_ms)

    # What happens.

    def connect(self, name: str) -> None:
        """A client opens a connection."""
        client = self.clients[name] = Client()
        client.session = self._connector.opened(client)
        self._settle()

    def data(self, name: str, data: bytes) -> None:
        """A client's bytes arrive."""
        client = self.clients[name]
        assert client.session is not None
        self._connector.data(client.session, data)
        self._settle()

    def disconnect(self, name: str) -> None:
        """A client's connection is gone."""
        client = self.clients.pop(name)
        assert client.session is not None
        self._connector.closed(client.session)
        self._settle()

    def wait(self, ms: int) -> None:
        """Time passes."""
        until = self._clock_ms + ms
        while self._clock_ms < until:
            self._clock_ms += TICK_MS
            self._turn()

    def stop(self) -> None:
        """The server stops."""
        self._connector.stop()
        self._settle()

    def _turn(self) -> None:
        self._presence.tick(self._now)
        self._settle(tick=True)

    @property
    def _now(self) -> float:
        return (self._clock_ms - self._started_ms) / 1000

    def _settle(self, tick: bool = False) -> None:
        """Go on until nothing is on its way."""
        self._connector.time(self._now, self._clock_ms)
        self._broker.time(self._now, self._clock_ms)
        if tick:
            self._connector.tick()
            self._broker.tick()
        self._connector.flush()
        self._broker.flush()
        while self._to_broker or self._to_connector or self.store.answers:
            to_broker, self._to_broker = self._to_broker, []
            answers, self.store.answers = self.store.answers, []
            for batch in to_broker:
                self._broker.batch(self._connector.incarnation, batch)
            for answer in answers:
                answer()
            self._broker.flush()
            to_connector, self._to_connector = self._to_connector, []
            for batch in to_connector:
                self._connector.batch(BROKER, batch)
            self._connector.flush()

    def random64(self) -> int:
        """1111… for the connector itself, 2222… for the first session, and so on."""
        self._random += 1
        return 0x1111111111111111 * self._random

    # The broker's ports.

    def send(self, connector: int, batch: bytes) -> bool:
        self._to_connector.append(batch)
        return True

    def members(self) -> Mapping[int, str]:
        return {self._broker.incarnation: BROKER}

    def well(self) -> bool:
        return True

    def log(self, text: str) -> None:
        pass

    def to_broker(self, batch: bytes) -> None:
        """A batch from the connector."""
        self._to_broker.append(batch)


class _ConnectorPorts:
    """The connector's ports."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def write(self, handle: object, data: bytes) -> None:
        assert isinstance(handle, Client)
        handle.received += data

    def close(self, handle: object) -> None:
        assert isinstance(handle, Client)
        handle.closed = True

    def send(self, broker: str, batch: bytes) -> bool:
        self._node.to_broker(batch)
        return True

    def connect(self, broker: str) -> None:
        raise NotImplementedError

    def disconnect(self, broker: str) -> None:
        raise NotImplementedError

    def pause(self, handle: object, paused: bool) -> None:
        raise NotImplementedError

    def is_behind(self, handle: object) -> bool:
        return False

    def silent_s(self, handle: object) -> float | None:
        return 0.0

    def verify(self, token: str, now_s: float) -> Identity:
        """Tokens of vectors are `token-of-USER-DEVICE`."""
        match token.split("-"):
            case ["token", "of", user, device]:
                return Identity(user, device, now_s + 3600)
        raise TokenError("the token is not valid; log in over HTTP again")

    def random64(self) -> int:
        return self._node.random64()

    def log(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def session_began(self, session: object, previous: int) -> None:
        pass

    def session_ended(self, session: object, why: str) -> None:
        pass
