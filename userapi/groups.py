"""Groups as the user API changes them: by compare-and-set on the version (docs/design/groups.md, G4).

Owns the way of a change, and what ends a membership without a request for it: a block, the end of an account. What a
change makes of a group is `store.membership`'s business, and who is told that of `userapi.notices`. Knows no endpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.errors import NotFoundError, OutdatedError
from protocol.ids import is_group_id
from store import groups as store_groups
from store.contacts import Verdict
from store.groups import MAX_GROUPS_OF_USER, Group, GroupChange, Role
from store.membership import after
from userapi.bridge import StoreBridge

TRIES: Final = 20
"""How often a change is tried that another one comes before."""
SMALL: Final = 4
"""Groups with fewer members are left when one of them blocks another (P3)."""
_AT_ONCE: Final = 50
"""Groups that are read at once where there may be many."""
_OWNERS: Final = 100
"""Owners that are looked at for blocks."""


class Step(NamedTuple):
    """A change as it is wanted, whatever the version is."""

    kind: str
    user: str = ""
    value: str = ""


class Outcome(NamedTuple):
    """What became of it."""

    group: Group
    """As it is now."""
    before: Group
    changed: bool
    """False: it was so already."""


@dataclass(frozen=True, slots=True)
class GroupWork:
    """Of one process; threads may share it. `clock` is Unix time in seconds."""

    bridge: StoreBridge
    count: Callable[[str], None]
    """Told the kind of each change, and "lost_race"."""
    clock: Callable[[], float]

    @property
    def store(self) -> store_groups.Groups:
        """Where they are kept."""
        return self.bridge.store.groups

    def now_ms(self) -> int:
        """Unix time."""
        return int(self.clock() * 1000)

    def find(self, group: str) -> Group | None:
        """The group, which may be closed. Raises `StoreError`."""
        if not is_group_id(group):
            return None
        return self.bridge.call(self.store.groups, [group])[group]

    def change(self, group: str, actor: str, decide: Callable[[Group], Step | None]) -> Outcome:
        """Do what `decide` makes of the group as it is; None: nothing is to be done.

        Raises `NotFoundError` where the actor is not in such a group, `NotAllowedHereError`, `OutdatedError` when
        others were quicker again and again, `StoreError`, and what `decide` raises. May be repeated.
        """
        for _ in range(TRIES):
            before = self.find(group)
            if before is None or before.closed:
                raise NotFoundError("you are in no such group")
            step = decide(before)
            if step is None:
                return Outcome(before, before, False)
            change = GroupChange(before.version + 1, self.now_ms(), actor, *step)
            made = after(before, change)
            if self.bridge.call(self.store.change, made, change):
                self.count(step.kind)
                return Outcome(made, before, True)
            self.count("lost_race")
        raise OutdatedError("others change the group all the time: try again")

    # Of a user.

    def was_in(self, user: str, group: str) -> bool:
        """Whether the user's list has it: they are in it, or were, also when it was closed. Raises `StoreError`."""
        found = self.bridge.call(self.store.of_user, user, group[:-1], 1)
        return bool(found) and found[0].group == group

    def present(self, user: str) -> Iterator[str]:
        """All groups that the user is in. Raises `StoreError`."""
        behind = ""
        while True:
            some = self.bridge.call(self.store.of_user, user, behind, MAX_GROUPS_OF_USER)
            yield from (one.group for one in some if not one.left_ms)
            if len(some) < MAX_GROUPS_OF_USER:
                return
            behind = some[-1].group

    def has_room(self, user: str) -> bool:
        """Whether the user may be in one more; who has left as many lately may not. Raises `StoreError`."""
        first = self.bridge.call(self.store.of_user, user, "", MAX_GROUPS_OF_USER)
        if len(first) < MAX_GROUPS_OF_USER:
            return True
        second = self.bridge.call(self.store.of_user, user, first[-1].group, MAX_GROUPS_OF_USER)
        there = sum(not one.left_ms for one in (*first, *second))
        return there < MAX_GROUPS_OF_USER and len(second) < MAX_GROUPS_OF_USER

    def blocks_meet(self, group: Group, user: str, *, own: bool) -> bool:
        """Whether the user is not to come in: an owner has blocked them, or, where the group would be a small one,
        anybody (P3); `own`: or they have blocked one of these. Raises `StoreError`."""
        others = [member for member in group.members.values() if member.user != user]
        if len(others) + 1 >= SMALL:
            others = [member for member in others if member.role == Role.OWNER][:_OWNERS]
        pairs = [(user, member.user) for member in others]
        verdicts = self.bridge.call(self.bridge.store.verdicts, pairs) if pairs else {}
        wrong = (Verdict.BLOCKED, Verdict.BLOCKS) if own else (Verdict.BLOCKED,)
        return any(verdict in wrong for verdict in verdicts.values())

    def leave(self, group: str, user: str, still: Callable[[Group], bool] = lambda group: True) -> Outcome | None:
        """Leave it, while `still` says so; None: they are not in it (any more). Raises as `change` does."""

        def decide(found: Group) -> Step | None:
            return Step("left", user) if user in found.members and still(found) else None

        with contextlib.suppress(NotFoundError):
            outcome = self.change(group, user, decide)
            return outcome if outcome.changed else None
        return None

    def leave_for_block(self, user: str, other: str) -> list[Outcome]:
        """The user has blocked the other: they leave small groups that both are in, and those of the other (P3).

        Raises `OutdatedError` and `StoreError`; may be repeated.
        """

        def still(group: Group) -> bool:
            member = group.members.get(other)
            return member is not None and (len(group.members) < SMALL or member.role == Role.OWNER)

        for one in self.bridge.call(self.store.invitations, user):
            if one.by == other:
                self.bridge.call(self.store.drop_invitation, user, one.group)
        theirs = set(self.present(other))
        common = [group for group in self.present(user) if group in theirs]
        left = []
        for at in range(0, len(common), _AT_ONCE):
            found = self.bridge.call(self.store.groups, common[at : at + _AT_ONCE])
            wanted = [id_ for id_, group in found.items() if group is not None and still(group)]
            left += [outcome for id_ in wanted if (outcome := self.leave(id_, user, still)) is not None]
        return left

    def leave_all(self, user: str) -> list[Outcome]:
        """The user's account ends: so do all memberships. Raises `OutdatedError` and `StoreError`; may be repeated."""
        return [outcome for id_ in list(self.present(user)) if (outcome := self.leave(id_, user)) is not None]
