"""What is kept of groups: one interface to membership, invitations and what a device has to catch up with.

Owns the types that cross it. Knows no engine. Like `store.interface`: asynchronous, and every method may be repeated;
each raises `protocol.errors.StoreError` when the engine is away or failing. A group's messages stand in the timeline of
the conversation whose id is the group's (`store.timelines`); rules: docs/design/groups.md.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from protocol import ids
from store.timelines import KeptMessage, Marks

MAX_MEMBERS: Final = 1_000
MAX_GROUPS_OF_USER: Final = 500
MAX_INVITATIONS: Final = 50
"""Open ones of one user."""
TRAIL_MS: Final = ids.TRAIL_MS
"""So far behind a device's checkpoint a full scan begins (rule G2)."""
MAX_BEHIND_MS: Final = 7 * 86_400_000
"""A checkpoint that is older counts as this, where history is kept: the rest is paged."""


class Role(IntEnum):
    """What a member may do (`store.membership`)."""

    MEMBER = 0
    ADMIN = 1
    OWNER = 2


class Member(NamedTuple):
    """Somebody who is in a group."""

    user: str
    role: Role
    since: int
    """The version that made them a member."""


class GroupChange(NamedTuple):
    """One change, and its own notice. It makes the version that it bears."""

    version: int
    ms: int  # Unix time
    actor: str
    """Who did it; "" an operator, or a sweep behind an account that has ended."""
    kind: str
    """made, renamed, picture, settings, added, joined, left, removed, role, closed."""
    user: str = ""
    """Of added, joined, left, removed, role: whose membership it is."""
    value: str = ""
    """The name, the picture's file, the role, or the setting as "newcomers_see=history"."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is in one version."""

    group: str
    version: int
    name: str
    created_ms: int  # Unix time
    members: Mapping[str, Member]
    picture: str = ""
    """A file's id; "": none."""
    admins_write: bool = False
    """Only admins and owners may write."""
    admins_add: bool = False
    """Only admins and owners may add."""
    open: bool = False
    """newcomers_see = history: whoever becomes a member later sees what is written in this version."""
    closed: bool = False


class MyGroup(NamedTuple):
    """An entry in a user's list of groups."""

    group: str
    left_ms: int = 0
    """When they left or were removed; 0: they are in it."""


class Invitation(NamedTuple):
    """To one user, into one group."""

    group: str
    user: str
    by: str
    ms: int  # Unix time


class Link(NamedTuple):
    """Lets whoever has its secret join."""

    group: str
    link: str
    """Names it; not secret."""
    digest: str
    """SHA-256 of the secret, in hex."""
    ends_ms: int  # Unix time
    uses_left: int
    by: str


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """What a device has to catch up with (rules G2 and G3)."""

    user: str
    device: str
    group: str = ""
    """This group alone; "": all groups of the user, those first that they have been in for longest or in any other
    lasting order."""
    since: int = 0
    """From this stamp on, itself included; 0: from the device's checkpoint (or birth) less the trail, and no further
    back than `MAX_BEHIND_MS` where history is kept. `began_ms` says what that is less of."""
    began_ms: int = 0
    """The broker's Unix time when the first page of this scan was asked for."""
    after: bytes = b""
    """`next` of the page before."""
    limit: int = 50


class GroupRow(NamedTuple):
    """A row that the device has to get."""

    group: str
    version: int
    settled: int
    message: KeptMessage
    """`erased_by` not empty: without body, erased or taken down; "superseded" (`timeline_rules.SUPERSEDED`): an EDIT
    that does not count (any more). An EDIT that counts has its body, `revision` and `edited_stamp`; an ERASE has its
    `about` alone."""


@dataclass(frozen=True, slots=True)
class GroupPage:
    """By group, and by stamp within one; may be empty without being the last. Touches at most `MAX_PAGE` rows."""

    rows: tuple[GroupRow, ...]
    next: bytes
    """At most 128 bytes. Holds a position only: who may see what is looked up for each page."""
    end: bool
    skipped: tuple[str, ...] = ()
    """Groups with rows that are older than the scan goes back."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """For metrics; None where the engine cannot tell without reading everything."""

    groups: int | None = None
    members: int | None = None


class Groups(abc.ABC):
    """Groups of an engine: `Store.groups`."""

    # Membership.

    @abc.abstractmethod
    async def make(self, group: Group, change: GroupChange) -> None:
        """Keep a new group: version 1, its owner alone."""

    @abc.abstractmethod
    async def change(self, group: Group, change: GroupChange) -> bool:
        """Keep the group as `change` has made it, if it still has the version before: row of the change, members,
        intervals of who has left, lists of groups; all or nothing. False: it has another version by now.

        Repeated with the very same change, True."""

    @abc.abstractmethod
    async def groups(self, groups: Collection[str]) -> Mapping[str, Group | None]:
        """As they are now; None for what is no group. A closed one is there, without members."""

    @abc.abstractmethod
    async def changes(self, group: str, since: int, limit: int) -> Sequence[GroupChange]:
        """Up to `limit` changes of versions above `since`, by version."""

    @abc.abstractmethod
    async def of_user(self, user: str, after: str = "", limit: int = MAX_GROUPS_OF_USER) -> Sequence[MyGroup]:
        """Up to `limit` groups that the user is in, or was in, by id from behind `after` on. Former ones stay for as
        long as rows live."""

    @abc.abstractmethod
    async def all_groups(self, after: str, limit: int) -> Sequence[str]:
        """Ids, for operators and sweeps, from behind `after` on in an order of the engine's own."""

    # Invitations and links.

    @abc.abstractmethod
    async def invite(self, invitation: Invitation) -> bool:
        """Keep an invitation; of one group the first stays. False: the user has `MAX_INVITATIONS` open ones."""

    @abc.abstractmethod
    async def invitations(self, user: str) -> Sequence[Invitation]:
        """All open ones of a user, oldest first."""

    @abc.abstractmethod
    async def drop_invitation(self, user: str, group: str) -> bool:
        """It is answered, or taken back. Whether it was there."""

    @abc.abstractmethod
    async def add_link(self, link: Link) -> None:
        """Keep a link."""

    @abc.abstractmethod
    async def links(self, group: str) -> Sequence[Link]:
        """All of a group, those that have ended among them."""

    @abc.abstractmethod
    async def find_link(self, digest: str) -> Link | None:
        """By the digest of its secret."""

    @abc.abstractmethod
    async def use_link(self, group: str, link: str, now_ms: int) -> bool:
        """Take one use of it; False: there is none left, or it has ended."""

    @abc.abstractmethod
    async def drop_link(self, group: str, link: str) -> None:
        """It ends."""

    @abc.abstractmethod
    async def marks(self, group: str) -> Mapping[str, Marks]:
        """How far each present member has read (`Timelines.raise_marks`)."""

    @abc.abstractmethod
    async def was_member(self, group: str, user: str) -> bool:
        """Whether the user was in the group and is not any more: no link brings them back (P4)."""

    # What a device catches up with.

    @abc.abstractmethod
    async def scan(self, queries: Sequence[GroupQuery]) -> Sequence[GroupPage]:
        """One page for each query (G2, G3): whatever was `KEPT` before the scan's first page was asked for, of the
        user's present groups, for which a row is visible to the user."""

    @abc.abstractmethod
    async def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        """(user, device) → Unix ms. They only rise; of a device that is gone nothing is kept."""

    # Ends.

    @abc.abstractmethod
    async def forget_user(self, user: str) -> None:
        """An account ends: its list, invitations and checkpoints go. Its memberships end by `change`, before; its words
        by `Timelines.forget_author`, before too, which looks for them in the groups of the list."""

    @abc.abstractmethod
    async def purge(self) -> int:
        """Drop intervals, closed groups, links and list entries that have outlived all rows; returns how many, 0 where
        the database does it itself."""

    async def counts(self) -> GroupCounts:
        """How much there is."""
        return GroupCounts()


@dataclass(slots=True)
class Interval:
    """When somebody was in a group: versions from `since` up to, without, `until`; 0: still."""

    since: int
    until: int = 0


@dataclass(slots=True)
class Membership:
    """All intervals of one user in one group, oldest first: what they may see."""

    intervals: list[Interval] = field(default_factory=list)

    def sees(self, version: int, is_open: bool) -> bool:
        """Whether a row of this version is visible (rule G4): they were in then, or it is open and they came later."""
        return any(
            each.since <= version < (each.until or version + 1) or (is_open and version < each.since)
            for each in self.intervals
        )
