"""How two users stand to each other, and what each may do about it: a pure state machine.

Owns the states and the transitions. Engines keep one number for each pair of users, `Pair.bits`, and change it only
from what this module has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from protocol.errors import MisuseError, NotFoundError


class Change(StrEnum):
    """What one user does about the other."""

    ASK = "ask"
    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    REMOVE = "remove"
    BLOCK = "block"
    BLOCK_SILENTLY = "block silently"
    """The blocked one goes on seeing what they saw: a friend, or their own request."""
    UNBLOCK = "unblock"
    FORGET = "forget"
    """An account ends: nothing of the pair is left."""


class Verdict(IntEnum):
    """Whether one may write to the other. The numbers are those that an engine answers brokers with."""

    STRANGER = 0
    FRIEND = 1
    BLOCKED = 2
    """The receiver has blocked the author."""
    BLOCKS = 3
    """The author has blocked the receiver."""


# Of a pair, `low` is the user whose id sorts first.
_LOW_ASKS, _HIGH_ASKS, _FRIENDS, LOW_BLOCKS, HIGH_BLOCKS = 1, 2, 4, 8, 16
_LOW_BELIEVES, _HIGH_BELIEVES = 32, 64
"""This user is blocked, and still sees a friend; 0.1 does not know it, and shows them none."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A pair, as one of the two sees it."""

    friend: bool = False
    """They are friends; with `blocked` it only seems so to this user."""
    asked: bool = False
    """This user has asked the other to be a friend."""
    asks: bool = False
    """The other has asked this user, who has not blocked them."""
    blocks: bool = False
    """This user has blocked the other."""
    blocked: bool = False
    """The other has blocked this user, which nobody tells this one."""
    since_ms: int = 0
    """When it became so; Unix time."""

    @property
    def visible(self) -> bool:
        """Whether this user may know of it."""
        return self.friend or self.asked or self.asks or self.blocks

    @property
    def verdict(self) -> Verdict:
        """Whether this user may write to the other."""
        if self.blocked:
            return Verdict.BLOCKED
        if self.blocks:
            return Verdict.BLOCKS
        return Verdict.FRIEND if self.friend else Verdict.STRANGER


def pair_of(user: str, other: str) -> tuple[str, str]:
    """The key of a pair, the same from both sides. Raises `MisuseError` for a user and themselves."""
    if user == other:
        raise MisuseError("a user is no contact of their own: name another user")
    return (user, other) if user < other else (other, user)


def seen_by(user: str, other: str, bits: int, since_ms: int) -> Relation:
    """What an engine has kept, as `user` sees it."""
    low = user < other
    mine, theirs = (_LOW_ASKS, _HIGH_ASKS) if low else (_HIGH_ASKS, _LOW_ASKS)
    my_block, their_block = (LOW_BLOCKS, HIGH_BLOCKS) if low else (HIGH_BLOCKS, LOW_BLOCKS)
    believes = bits & (_LOW_BELIEVES if low else _HIGH_BELIEVES)
    return Relation(
        friend=bool(bits & _FRIENDS or (believes and bits & their_block)),
        asked=bool(bits & mine),
        asks=bool(bits & theirs and not bits & my_block),
        blocks=bool(bits & my_block),
        blocked=bool(bits & their_block),
        since_ms=since_ms,
    )


def keeps_since(what: Change) -> bool:
    """Whether a pair goes on telling when it became what it was before."""
    return what == Change.BLOCK_SILENTLY


def change(user: str, other: str, bits: int, what: Change) -> int:
    """The pair after `user` did `what`; done once more, it changes nothing.

    Raises `NotFoundError` where there is nothing to accept or decline, and `MisuseError` to ask whom one has blocked.
    Who is blocked may ask; the other does not see it before they unblock.
    """
    low = user < other
    mine, theirs = (_LOW_ASKS, _HIGH_ASKS) if low else (_HIGH_ASKS, _LOW_ASKS)
    my_block = LOW_BLOCKS if low else HIGH_BLOCKS
    believes, they_believe = (_LOW_BELIEVES, _HIGH_BELIEVES) if low else (_HIGH_BELIEVES, _LOW_BELIEVES)
    asking = _LOW_ASKS | _HIGH_ASKS
    if what == Change.ASK:
        if bits & my_block:
            raise MisuseError(f'you have blocked "{other}": unblock them first')
        if bits & (_FRIENDS | believes):
            return bits
        # Two who ask each other are agreed.
        return (bits & ~asking) | _FRIENDS if bits & theirs else bits | mine
    if what == Change.ACCEPT:
        if bits & _FRIENDS:
            return bits
        if not bits & theirs or bits & my_block:
            raise NotFoundError(f'"{other}" does not ask to be your friend (any more)')
        return (bits & ~asking) | _FRIENDS
    if what == Change.BLOCK:
        return (bits & ~(asking | _FRIENDS | believes | they_believe)) | my_block
    if what == Change.BLOCK_SILENTLY:
        seems = they_believe if bits & _FRIENDS else 0
        return (bits & ~(mine | _FRIENDS | believes)) | my_block | seems
    gone = {
        Change.DECLINE: theirs,
        Change.CANCEL: mine,
        Change.REMOVE: _FRIENDS | believes,
        Change.UNBLOCK: my_block | they_believe,
        Change.FORGET: bits,
    }
    return bits & ~gone[what]
