"""User, group and device ids, addresses made of both, and stamps.

Owns their syntax. Pure functions; touches nothing.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from protocol.errors import InvalidIdError

_USER = re.compile(r"[a-z0-9._-]{1,64}")
_TAKEN = frozenset({"me", "system", "sparrow"})
"""Words of programs, which nobody may be mistaken for."""
_GROUP = re.compile(r"~[a-z2-7]{24}")
_DEVICE = re.compile(r"[a-z0-9]{1,32}")

STAMP_SHIFT = 20
"""A stamp is Unix milliseconds, shifted left by this, plus a counter (docs/protocol.md, "Stamps")."""


def check_user_id(user: object) -> str:
    """Return `user`. Raises `InvalidIdError`."""
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise InvalidIdError(f"user id {str(user)[:80]!r}: use 1 to 64 of a-z, 0-9, dot, underscore and hyphen")
    return user


def check_new_user_id(user: str) -> str:
    """Return `user`, the id of an account that is to be made. Raises `InvalidIdError`.

    Stricter than `check_user_id`: ids that were given before go on working.
    """
    if check_user_id(user) in _TAKEN or not user[0].isalnum():
        raise InvalidIdError(
            f"user id {user!r}: begin with a letter or a digit, and use none of {', '.join(sorted(_TAKEN))}"
        )
    return user


def is_group_id(name: str) -> bool:
    """Whether it is a group's id: no user's can be one, and it needs no escaping in a URL."""
    return _GROUP.fullmatch(name) is not None


def check_dest_id(dest: object) -> str:
    """Return `dest`, the id of a user or of a group. Raises `InvalidIdError`."""
    if isinstance(dest, str) and dest[:1] == "~":
        if not is_group_id(dest):
            raise InvalidIdError(f"group id {dest[:80]!r}: use the id that the user API gave")
        return dest
    return check_user_id(dest)


def new_group_id(random: bytes) -> str:
    """A group's id of 15 random bytes."""
    return "~" + base64.b32encode(random).decode().lower()


def is_device_id(device: str) -> bool:
    """Whether the user API could have minted it."""
    return _DEVICE.fullmatch(device) is not None


def check_device_id(device: str) -> str:
    """Return `device`. Raises `InvalidIdError`."""
    if not is_device_id(device):
        raise InvalidIdError(f"device id {device[:80]!r}: use the id that the user API gave at login")
    return device


def address(user: str, device: str) -> bytes:
    """The fabric's name of a device: `user/device`. Neither part can hold a slash."""
    return f"{user}/{device}".encode()


def split_address(raw: bytes) -> tuple[str, str]:
    """The user and device of an `address`."""
    user, _, device = raw.decode().partition("/")
    return user, device


def stamp_ms(stamp: int) -> int:
    """Unix milliseconds of a stamp."""
    return stamp >> STAMP_SHIFT


TRAIL_MS: Final = 600_000
"""A row of a group may stand so far behind the time at which it was written: attempts keep their first stamp a while,
and clocks differ (docs/design/groups.md, rule G2)."""
MAX_STAMP_AHEAD_MS = 1000
"""A clock that steps back by less is waited for; one that steps back further is followed."""

_MAX_STAMP_AHEAD = MAX_STAMP_AHEAD_MS << STAMP_SHIFT


class Stamper:
    """Gives rising stamps, as long as the clock does not step back by more than `MAX_STAMP_AHEAD_MS`."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def next(self, wall_ms: int) -> int:
        """A stamp for this Unix time in milliseconds, above all before it that are not of a clock that was wrong."""
        stamp = wall_ms << STAMP_SHIFT
        if stamp <= self._last < stamp + _MAX_STAMP_AHEAD:
            stamp = self._last + 1
        self._last = stamp
        return stamp
