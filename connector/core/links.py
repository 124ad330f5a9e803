"""Links to brokers: which live, which serves which user, and what waits to be sent to each.

Owns membership as this connector sees it and the lease it holds. Knows nothing of sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from connector.core.state import Ports, Turn
from connector.settings import ConnectorSettings
from protocol.ids import check_user_id
from protocol.records import HEARTBEAT, OUTCOMES, Record, batches, record, unpack_members


class Link:
    """One broker, by its endpoint."""

    __slots__ = ("endpoint", "heard", "incarnation", "members", "out", "outcomes", "up")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.incarnation = 0
        self.members: frozenset[int] = frozenset()
        self.heard = 0.0
        self.up = False
        self.out: list[bytes] = []
        self.outcomes: dict[int, list[bytes]] = {}
        """Origin → OUTCOME entries that wait for the end of the turn."""


class Links:
    """All brokers of a connector."""

    MAX_CACHED_USERS = 100_000

    def __init__(self, ports: Ports, settings: ConnectorSettings, turn: Turn, incarnation: int) -> None:
        self._ports = ports
        self._settings = settings
        self._turn = turn
        self._links = {endpoint: Link(endpoint) for endpoint in settings.brokers}
        self._routes: dict[str, tuple[Link, bytes] | None] = {}
        self._next_beat = 0.0
        self.incarnation = incarnation
        self.lease = 0
        """The lease that presence entries of this connector hang on; 0: none yet."""
        self.on_lost: Callable[[Link | None], None] = lambda link: None
        """A broker left; its link where we had one up."""
        self.on_lease: Callable[[], None] = lambda: None
        """The lease is another than before."""

    def for_user(self, user: str) -> tuple[Link, bytes] | None:
        """The broker for a user and the user id in bytes; None if no broker is up.

        Raises `InvalidIdError`. Rendezvous hashing over the brokers that are up.
        """
        try:
            return self._routes[user]
        except KeyError:
            pass
        name = check_user_id(user).encode()
        up = [link for link in self._links.values() if link.up]
        if not up:
            return None
        if len(self._routes) >= self.MAX_CACHED_USERS:
            self._routes.clear()
        best = max(up, key=lambda link: blake2b(name, key=link.endpoint.encode()[-64:], digest_size=8).digest())
        self._routes[user] = best, name
        return best, name

    def any_up(self, preferred: Link) -> Link | None:
        """`preferred` if it is up, else any broker that is."""
        if preferred.up:
            return preferred
        return next((link for link in self._links.values() if link.up), None)

    @property
    def ready(self) -> bool:
        """Whether logins can be taken: a broker is up and a lease is held."""
        return self.lease != 0 and any(link.up for link in self._links.values())

    def heartbeat(self, link: Link, rec: Record) -> None:
        """A broker answered."""
        incarnation, lease, asked, members = rec[6], rec[7], rec[8], unpack_members(rec[9])
        link.heard = self._turn.now
        if link.up and link.incarnation != incarnation:
            self._down(link)
        if not link.up:
            link.up, link.incarnation = True, incarnation
            self._routes.clear()
            self._ports.log(f"broker up: {link.endpoint}")
        gone = link.members - members
        link.members = members
        if gone:
            self.on_lost(None)
        if asked == self.lease and lease != self.lease:
            self.lease = lease
            self.on_lease()

    def tick(self) -> None:
        """Send heartbeats; notice silence."""
        now = self._turn.now
        for link in self._links.values():
            if link.up and now - link.heard > self._settings.link_timeout_s:
                self._down(link)
        if now >= self._next_beat:
            self._next_beat = now + self._settings.link_heartbeat_s
            beat = record(HEARTBEAT, origin=self.incarnation, attempt=self.lease)
            for link in self._links.values():
                link.out.append(beat)

    def _down(self, link: Link) -> None:
        link.up = False
        self._routes.clear()
        self._ports.log(f"broker lost: {link.endpoint}")
        self.on_lost(link)

    def link(self, endpoint: str) -> Link:
        """The link to an endpoint."""
        return self._links[endpoint]

    def flush(self) -> list[bytes]:
        """Send what waits; returns the batches that a link did not take."""
        refused: list[bytes] = []
        for link in self._links.values():
            if link.outcomes:
                outcomes, link.outcomes = link.outcomes, {}
                for origin, entries in outcomes.items():
                    link.out.append(record(OUTCOMES, origin=origin, body=b"".join(entries)))
            if link.out:
                out, link.out = link.out, []
                refused.extend(data for data in batches(out) if not self._ports.send(link.endpoint, data))
        return refused
