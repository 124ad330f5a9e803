"""Who is in which group, as brokers remember it.

Owns that reading. How long an answer may be used is `broker.core.cached`'s affair.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.core.cached import Cached, Freshness
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from store.groups import Group, Role

AT_ONCE = 50
"""Groups in one read: as they come from the store, members take many times what is remembered of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a broker remembers of a group in one version: eight bytes a member, since ids are shared by all groups."""

    group: str
    version: int
    users: tuple[str, ...]
    """All members, in order; none if it was closed."""
    admins: frozenset[str]
    """Those of them who are admins or owners."""
    admins_write: bool
    """Only these may write."""
    open: bool
    """Also newcomers may see what is written in this version."""

    @classmethod
    def of(cls, group: Group) -> Plan:
        """A closed group has no members."""
        members = {} if group.closed else group.members
        admins = frozenset(sys.intern(user) for user, member in members.items() if member.role >= Role.ADMIN)
        users = tuple(map(sys.intern, sorted(members)))
        return cls(group.group, group.version, users, admins, group.admins_write, group.open)

    def has(self, user: str) -> bool:
        """Whether the user is a member."""
        at = bisect_left(self.users, user)
        return at < len(self.users) and self.users[at] == user


class Memberships(Cached[str, Plan | None]):
    """Group id → its plan; None for what is no group."""

    def __init__(self, settings: BrokerSettings, turn: Turn, freshness: Freshness, store: StorePort) -> None:
        super().__init__(settings, turn, freshness, self._read_groups, worth=lambda plan: plan is not None)
        self._store = store
        self.members = 0
        """How many are remembered, of all groups together, or more: what was forgotten is taken off when it is much."""

    def _read_groups(self, ids: Sequence[str], done: Callable[[Mapping[str, Plan | None] | None], None]) -> None:
        plans: dict[str, Plan | None] = {}
        left = [ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)]

        def found(groups: Mapping[str, Group | None] | None) -> None:
            if groups is None:
                return done(None)
            plans.update({id: None if group is None else Plan.of(group) for id, group in groups.items()})
            if left:
                return self._store.groups(left.pop(), found)
            self._make_room(plans.values())
            return done(plans)

        self._store.groups(left.pop(), found)

    def _make_room(self, plans: Collection[Plan | None]) -> None:
        self.members += _members(plans)
        if self.members > self._settings.max_cached_members:
            self.members = _members(plans) + _members(entry.value for entry in self._entries.values())
        if self.members > self._settings.max_cached_members:
            self._entries.clear()
            self.members = _members(plans)


def _members(plans: Iterable[Plan | None]) -> int:
    return sum(len(plan.users) for plan in plans if plan is not None)
