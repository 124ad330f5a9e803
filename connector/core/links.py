"""Links to brokers: which live, which serves which user, and what waits to be sent to each.

Owns membership as this connector sees it, and with it which links there are, and the lease that it holds. Knows
nothing of sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import ClassVar

from connector.core.link import Link
from connector.core.state import Ports, Turn
from connector.settings import ConnectorSettings
from fabric.heartbeats import Heartbeat, HeartbeatReply
from fabric.records import OUTCOMES, batches, record
from protocol.ids import check_dest_id


class Links:
    """All brokers of a connector."""

    MAX_CACHED_USERS: ClassVar[int] = 100_000
    MAX_APART_MS: ClassVar[int] = 60_000
    """A broker's clock and ours may be so far apart (docs/design/history.md, rule R-B)."""

    def __init__(
        self,
        ports: Ports,
        settings: ConnectorSettings,
        turn: Turn,
        incarnation: int,
        on_lost: Callable[[Link | None], None],
        on_lease: Callable[[], None],
    ) -> None:
        """`on_lost` is told that a broker has left, and its link where we had one up; `on_lease` that the lease is
        another than before."""
        self._ports = ports
        self._settings = settings
        self._turn = turn
        self._links = {endpoint: Link(endpoint) for endpoint in settings.brokers}
        self._twins: set[str] = set()
        """Configured endpoints that lead to a broker which another link reaches."""
        self._routes: dict[str, tuple[Link, bytes] | None] = {}
        self._next_beat = 0.0
        self._beat = 0
        self.batches = self.records = 0
        """Batches, and records in them, sent to brokers."""
        self.incarnation = incarnation
        self.lease = 0
        """The lease that presence entries of this connector hang on; 0: none yet."""
        self._on_lost = on_lost
        self._on_lease = on_lease

    def for_user(self, user: str) -> tuple[Link, bytes] | None:
        """The broker for a user, or a group, and the id in bytes; None if no broker is up, or it knows no groups.

        Raises `InvalidIdError`. Rendezvous hashing over the brokers that are up and stay.
        """
        try:
            return self._routes[user]
        except KeyError:
            pass
        name = check_dest_id(user).encode()
        up = [link for link in self._links.values() if link.up]
        if not up:
            return None
        staying = [link for link in up if not link.leaving] or up
        staying = [link for link in staying if not link.unwell] or staying
        if len(self._routes) >= self.MAX_CACHED_USERS:
            self._routes.clear()
        best = max(staying, key=lambda link: blake2b(name, key=link.identity.encode()[-64:], digest_size=8).digest())
        if name[:1] == b"~" and not best.knows_groups:
            return None
        self._routes[user] = best, name
        return best, name

    def for_groups(self, user: str) -> Link | None:
        """The broker that reads this user's groups; None if none that is up can."""
        route = self.for_user(user)
        if route is not None and route[0].knows_groups:
            return route[0]
        return next((link for link in self._links.values() if link.up and link.knows_groups), None)

    def any_up(self, preferred: Link) -> Link | None:
        """`preferred` if it is up, else any broker that is."""
        if preferred.up:
            return preferred
        return next((link for link in self._links.values() if link.up), None)

    @property
    def up(self) -> Mapping[str, bool]:
        """Endpoint → whether that broker is up."""
        return {link.endpoint: link.up for link in self._links.values()}

    @property
    def ready(self) -> bool:
        """Whether logins can be taken: a broker is up, a lease is held, and no broker's clock is far from ours."""
        return self.lease != 0 and not self.is_alone and not self.apart

    @property
    def no_broker(self) -> str:
        """Why nothing can be handed on; empty if it can."""
        return "no broker is up" if self.is_alone else ""

    @property
    def no_storing(self) -> str:
        """Why nothing is stored; empty if it is."""
        if any(link.up and not link.unwell for link in self._links.values()):
            return ""
        return self.no_broker or "no broker can use its store, or presence: their logs say why"

    @property
    def no_logins(self) -> str:
        """Why no login can be taken; empty if it can."""
        if self.apart:
            return f"our clock is too far from that of {', '.join(self.apart)}"
        return self.no_storing or ("" if self.lease else "no broker has given a lease")

    @property
    def is_alone(self) -> bool:
        """No broker is up."""
        return not any(link.up for link in self._links.values())

    @property
    def apart(self) -> list[str]:
        """Endpoints of brokers whose clock is too far from ours for stamps to be of use."""
        up = (link for link in self._links.values() if link.up)
        return [link.endpoint for link in up if abs(link.wall_ahead_ms) > self.MAX_APART_MS]

    @property
    def know_changes(self) -> bool:
        """Whether all brokers that are up know what an EDIT and an ERASE are."""
        return all(link.knows_changes for link in self._links.values() if link.up)

    @property
    def know_groups(self) -> bool:
        """Whether all brokers that are up know what groups are."""
        return all(link.knows_groups for link in self._links.values() if link.up)

    @property
    def know_signals(self) -> bool:
        """Whether all brokers that are up know what signals are."""
        return all(link.knows_signals for link in self._links.values() if link.up)

    @property
    def clear_ms(self) -> int:
        """What of groups began to be appended before this Unix time is here; 0: nobody can say, since a broker is not
        heard."""
        up = [link for link in self._links.values() if link.up]
        here = {link.incarnation for link in up}
        if not up or any(not here.issuperset(link.members) for link in up):
            return 0
        return min(link.clear_ms for link in up)

    def heartbeat(self, link: Link, beat: HeartbeatReply) -> None:
        """A broker answered."""
        incarnation, lease, asked, _, unwell, members, knows_changes, wall_ms, knows_groups, clear_ms, signals = beat
        if self._is_twin(link, incarnation):
            return
        link.heard = self._turn.now
        if link.up and link.incarnation != incarnation:
            self._down(link)
        came = not link.up
        back = came and link.incarnation == incarnation
        if came:
            link.up, link.incarnation = True, incarnation
            self._routes.clear()
            self._ports.log(f"broker up: {link.endpoint}")
        link.knows_changes, link.knows_signals, link.clear_ms = knows_changes, signals, clear_ms
        if knows_groups != link.knows_groups:
            link.knows_groups = knows_groups
            self._routes.clear()
        self._compare_clocks(link, wall_ms)
        if came or members != link.members:
            self._new_members(link, members)
        if unwell != link.unwell:
            link.unwell = unwell
            self._routes.clear()
            self._ports.log(
                f"broker {'unwell, its store or presence does not answer' if unwell else 'well again'}: {link.endpoint}"
            )
        if asked == self.lease and lease != self.lease:
            self.lease = lease
            self._on_lease()
        elif came and self.lease and self._was_alone(link):
            # It may have run out while nobody could say so; brokers may not have heard of that yet, either.
            self._on_lease()
        elif back:
            # What it has handed out meanwhile has not come, and it may have given up telling us (rule G1).
            self._on_lost(None)

    def _compare_clocks(self, link: Link, wall_ms: int) -> None:
        was = abs(link.wall_ahead_ms) > self.MAX_APART_MS
        link.wall_ahead_ms = ahead_ms = wall_ms - self._turn.wall_ms if wall_ms else 0
        if (abs(ahead_ms) > self.MAX_APART_MS) != was:
            how = "near ours again" if was else f"{ahead_ms / 1000:.0f} s ahead of ours: no logins are taken"
            self._ports.log(f"the clock of broker {link.endpoint} is {how}")

    def _was_alone(self, link: Link) -> bool:
        return not any(other.up for other in self._links.values() if other is not link)

    # Members.

    def _new_members(self, link: Link, members: Mapping[int, str]) -> None:
        gone = link.members.keys() - members.keys()
        link.members = members
        link.identity = members.get(link.incarnation, link.identity)
        link.leaving = link.incarnation not in members
        self._routes.clear()
        reached = {other.incarnation for other in self._links.values() if other.up}
        for incarnation, endpoint in members.items():
            if incarnation not in reached and endpoint not in self._links and endpoint not in self._twins:
                self._links[endpoint] = Link(endpoint, learnt=True)
                self._ports.connect(endpoint)
                self._ports.log(f"broker joined: {endpoint}")
        self._forget_learnt()
        if gone:
            self._on_lost(None)

    def _forget_learnt(self) -> None:
        """Leave brokers that were learnt of and are named by none that is up."""
        named = {endpoint for link in self._links.values() if link.up for endpoint in link.members.values()}
        for link in list(self._links.values()):
            if link.learnt and not link.up and link.endpoint not in named:
                self._disconnect(link)
                self._ports.log(f"broker left: {link.endpoint}")

    def _is_twin(self, link: Link, incarnation: int) -> bool:
        """Two links to one broker would take each other's place there: the later one goes, until the other is lost."""
        others = (other for other in self._links.values() if other is not link and other.up)
        if all(other.incarnation != incarnation for other in others):
            return False
        if link.up:
            self._down(link)
        self._disconnect(link)
        if not link.learnt:
            self._twins.add(link.endpoint)
        self._ports.log(f"broker reached twice: {link.endpoint} is not needed")
        return True

    def _disconnect(self, link: Link) -> None:
        del self._links[link.endpoint]
        self._ports.disconnect(link.endpoint)

    def _connect_twins(self) -> None:
        twins, self._twins = self._twins, set()
        for endpoint in sorted(twins):
            self._links[endpoint] = Link(endpoint)
            self._ports.connect(endpoint)

    # Time.

    def tick(self) -> None:
        """Send heartbeats; notice silence."""
        now = self._turn.now
        for link in list(self._links.values()):
            if link.up and now - link.heard > self._settings.link_timeout_s:
                self._down(link)
        if now >= self._next_beat:
            self._send_beats()

    def _send_beats(self) -> None:
        self._next_beat = self._turn.now + self._settings.link_heartbeat_s
        self._beat = self._beat % 0xFFFF + 1
        beats = [Heartbeat(self.incarnation, self.lease, self._beat, True, up, True).encode() for up in (False, True)]
        for link in self._links.values():
            link.out.append(beats[link.up])

    def ask_all(self) -> dict[Link, int]:
        """Send a heartbeat now; returns each broker that is up, with the beat's number. Before it has had its time to
        answer, it is not taken for lost."""
        self._send_beats()
        up = [link for link in self._links.values() if link.up]
        for link in up:
            link.heard = self._turn.now
        return dict.fromkeys(up, self._beat)

    def broken(self, endpoint: str) -> bool:
        """What was sent last on this link, either way, may be lost. The next answer to a heartbeat brings it up.

        Whether it was up until now.
        """
        link = self._links.get(endpoint)
        if link is None or not link.up:
            return False
        self._down(link)
        return True

    def _down(self, link: Link) -> None:
        link.up = link.leaving = link.unwell = False
        self._routes.clear()
        self._ports.log(f"broker lost: {link.endpoint}")
        self._connect_twins()
        if not self.is_alone:  # otherwise nobody can say who is gone
            self._forget_learnt()
        self._on_lost(link)

    def link(self, endpoint: str) -> Link | None:
        """The link to an endpoint; None if we have left it."""
        return self._links.get(endpoint)

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
                self.records += len(out)
                for data in batches(out):
                    self.batches += 1
                    if not self._ports.send(link.endpoint, data):
                        refused.append(data)
        return refused
