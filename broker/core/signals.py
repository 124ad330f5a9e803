"""Signals: what matters only now, handed out once to whoever is online and may know of it.

Owns who that is, what each may cost its author, and signals that wait a moment for a verdict. Goes by the rules of
messages (`broker.core.policy`, `hiding`, `memberships`), keeps nothing, answers nobody, and touches no message
(docs/design/signals.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias

from broker.core.cached import Cached
from broker.core.hiding import Hiding
from broker.core.looks import Looks
from broker.core.memberships import Memberships
from broker.core.memberships import Plan as GroupPlan
from broker.core.policy import Policy
from broker.core.state import Presence, Turn
from broker.settings import BrokerSettings
from fabric.rates import Rate
from fabric.records import Record
from fabric.signal_records import SignalDown, SignalUp
from protocol.ids import is_group_id, split_address
from store.contacts import Verdict

WAIT_S = 1.0
"""A signal that could not be handed out for so long is of no more use."""
BURST_S = 4.0
SIGNAL_BYTES: Final = 640
"""What a signal costs, beside its own bytes, for each person that it is for: to look up what they are to its author,
and a frame to their devices. Whoever of them is there: what is left of a budget must tell nobody that."""
_APART: Final = frozenset((Verdict.BLOCKED, Verdict.BLOCKS))
"""Between these no signal goes in a common group either (rule P3)."""
Key: TypeAlias = tuple[Cached[Any, Any], Hashable]
"""What has to be known: where it is remembered, and under which key."""


class Dropped(IntEnum):
    """Why a signal was handed to nobody."""

    NOBODY = 1
    """Nobody whom it is for is online, or understands it."""
    NOT_ALLOWED = 2
    """Its author may not write there, hides, or the group is too large."""
    TOO_MUCH = 3
    """Its author, or the group, has had enough of them."""
    NOT_KNOWN = 4
    """What had to be read from the store did not come in time."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A signal, and until when it is of use."""

    up: SignalUp
    author: str
    device: str
    until: float
    paid: bool = False
    asked: set[Key] = field(default_factory=set)
    """What was asked for it: once each, whether or not it comes."""


class Signals:
    """All signals of a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        presence: Presence,
        policy: Policy,
        members_policy: Policy,
        hiding: Hiding,
        memberships: Memberships,
        looks: Looks,
    ) -> None:
        """`members_policy` is for members of groups, and for nobody else: they are so many pairs that in `policy` they
        would take the room of those who write to each other."""
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._policy = policy
        self._members_policy = members_policy
        members_policy.on_read, members_policy.on_forgotten = lambda pairs, ok: None, lambda: None
        self._hiding = hiding
        self._memberships = memberships
        self._looks = looks
        author, group = settings.signal_author_bytes_per_second, settings.signal_group_bytes_per_second
        self._authors, self._groups = Rate(author, BURST_S * author), Rate(group, BURST_S * group)
        self._waiting: list[Waiting] = []
        self.handed_out = 0
        """Signals that were handed to connectors."""
        self.copies = 0
        """Sessions that they were for."""
        self.dropped: Counter[int] = Counter()
        """Signals that were not, by `Dropped`."""

    def route(self, rec: Record) -> None:
        """A client has one. Raises `InvalidIdError` and `UnicodeDecodeError`."""
        up = SignalUp.of(rec)
        author, device = split_address(up.author)
        signal = Waiting(up, author, device, self._turn.now + WAIT_S)
        if not self._authors.spend(author, SIGNAL_BYTES + len(up.signal), self._turn.now):
            self.dropped[Dropped.TOO_MUCH] += 1
        elif not self._go(signal):
            if len(self._waiting) < self._settings.max_waiting_signals:
                self._waiting.append(signal)
            else:
                self.dropped[Dropped.NOT_KNOWN] += 1

    def _go(self, signal: Waiting) -> bool:
        """Hand it out, or drop it; False: something has to be read before."""
        dest, author = signal.up.dest, signal.author
        people = [dest]
        if is_group_id(dest):
            known = self._memberships.peek(dest)
            if known is None:
                return self._ask(signal, [(self._memberships, dest)])
            group = known.value
            if group is None or not self._may_signal(author, group):
                return self._drop(Dropped.NOT_ALLOWED)
            people = [user for user in group.users if user != author]
            if not self._pays(signal, len(people)):
                return self._drop(Dropped.TOO_MUCH)
        online = self._presence.locations
        people = [user for user in people if online.get(user)]
        if not people:
            return self._drop(Dropped.NOBODY)  # of who is not there nothing is asked
        unknown = [key for key in self._needed(signal, people) if key[0].peek(key[1]) is None]
        return self._ask(signal, unknown) if unknown else self._hand_out(signal, people)

    def _drop(self, why: Dropped) -> bool:
        self.dropped[why] += 1
        return True

    def _ask(self, signal: Waiting, keys: Iterable[Key]) -> bool:
        """Have these read, once each."""
        for key in keys:
            if key not in signal.asked:
                signal.asked.add(key)
                cache, name = key
                cache.get(name)
        self._members_policy.flush()
        return False

    def _pays(self, signal: Waiting, people: int) -> bool:
        """Whether author and group have enough left for all whom it is for; one of them is paid for already."""
        if signal.paid:
            return True
        signal.paid = True
        cost, now = SIGNAL_BYTES + len(signal.up.signal), self._turn.now
        author, group = cost * max(0, people - 1), cost * people
        return self._authors.spend(signal.author, author, now) and self._groups.spend(signal.up.dest, group, now)

    def _may_signal(self, author: str, group: GroupPlan) -> bool:
        """Whether somebody may in this group: as they may write, and if it is small."""
        if not group.has(author) or len(group.users) > self._settings.max_signal_group_members:
            return False
        return not group.admins_write or author in group.admins

    def _needed(self, signal: Waiting, people: Iterable[str]) -> list[Key]:
        """What has to be known before it may be handed out."""
        author = signal.author
        needed: list[Key] = [(self._hiding, author)] if signal.up.tells_presence else []
        policy = self._members_policy if is_group_id(signal.up.dest) else self._policy
        needed += [(policy, (author, user)) for user in people if user != author]
        return needed

    def _hand_out(self, signal: Waiting, people: Iterable[str]) -> bool:
        """All is known: to each session of each of these who may know of it."""
        up, knows_signals = signal.up, self._looks.knows_signals
        hides = self._hiding.get(signal.author) if up.tells_presence else None
        if hides is not None and hides.value:
            return self._drop(Dropped.NOT_ALLOWED)
        is_group = is_group_id(up.dest)
        users = [user for user in people if self._reaches(signal.author, user, is_group)]
        if not users:
            return self._drop(Dropped.NOT_ALLOWED)
        by_connector: dict[int, list[int]] = {}
        for user in users:
            for device, (connector, session) in self._presence.where(user).items():
                if (user, device) != (signal.author, signal.device) and knows_signals(connector):
                    by_connector.setdefault(connector, []).append(session)
        if not by_connector:
            return self._drop(Dropped.NOBODY)
        self.handed_out += 1
        for connector, sessions in by_connector.items():
            self.copies += len(sessions)
            self._turn.push(connector, SignalDown(up.author, sessions, up.signal).encode())
        return True

    def _reaches(self, author: str, user: str, in_group: bool) -> bool:
        """Whether what the author does is told to this user."""
        if user == author:
            return True
        known = (self._members_policy if in_group else self._policy).get((author, user))
        if known is None:
            return False
        return known.value not in _APART if in_group else not self._policy.state(known.value)

    def changed(self, users: Collection[str] | None) -> None:
        """How these users (None: anybody) stand to others has changed."""
        self._members_policy.changed(users)

    def tick(self) -> None:
        """Try again what waits; what has waited for too long is dropped."""
        now = self._turn.now
        self._authors.tick(now)
        self._groups.tick(now)
        self._members_policy.tick()
        self._members_policy.flush()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for signal in waiting:
            if signal.until <= now:
                self.dropped[Dropped.NOT_KNOWN] += 1
            elif not self._go(signal):
                self._waiting.append(signal)

    def __len__(self) -> int:
        return len(self._waiting)
