"""A device's login, and what becomes of it when it is refreshed: a pure state machine.

Owns the rules. Engines keep a `Login` for each device, and change it only from what this module has seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from store.profiles import Profile


class Refresh(Enum):
    """What came of presenting a refresh token."""

    DONE = "done"
    """It was the newest: the next generation is the newest now."""
    REPEATED = "repeated"
    """It was the one before, a short while ago: a repeat by somebody who has not got the answer. Nothing changes."""
    REUSED = "reused"
    """It was an old one, so two have it, one of them a thief: the login ends."""
    UNKNOWN = "unknown"
    """The login has ended, was followed by another one, or was not refreshed in time; or the device is no more."""


@dataclass(frozen=True, slots=True)
class Login:
    """A device's login, from a password on: a family of refresh tokens, of which each replaces the one before."""

    id: str
    """Empty: the device is logged out."""
    generation: int
    """The number of the newest refresh token; 1 is the first."""
    refreshed_ms: int
    """When that one was made; Unix time."""
    disabled: bool = field(default=False, compare=False)
    """The account is: nobody is let in by this login, until it is enabled again."""
    profile: Profile | None = field(default=None, compare=False)
    """The user's. Told by `Store.login` alone, which has it at hand."""
    nonce: str = field(default="", compare=False)
    """`nonce_of` the refresh that made the newest token, or an earlier one: a user API of 0.1 leaves it alone."""


def nonce_of(generation: int, nonce: str) -> str:
    """What is kept of a nonce's hash, beside the generation that its refresh made; empty without one."""
    return f"{generation}:{nonce}" if nonce else ""


def refresh(
    kept: Login,
    id: str,
    generation: int,
    now_ms: int,
    grace_ms: int,
    lifetime_ms: int,
    nonce: str = "",
    bare_grace_ms: int | None = None,
) -> Refresh:
    """What comes of presenting the refresh token of this login and generation; see `Store.refresh_login`."""
    age_ms = now_ms - kept.refreshed_ms
    if not kept.id or kept.id != id or generation > kept.generation or age_ms > lifetime_ms:
        return Refresh.UNKNOWN
    if generation == kept.generation:
        return Refresh.DONE
    if generation != kept.generation - 1:
        return Refresh.REUSED
    if kept.nonce.startswith(f"{kept.generation}:"):
        # Who has drawn it can show it again; nobody else knows it.
        repeated = age_ms <= grace_ms and kept.nonce == nonce_of(kept.generation, nonce)
    else:
        repeated = age_ms <= (grace_ms if bare_grace_ms is None else bare_grace_ms)
    return Refresh.REPEATED if repeated else Refresh.REUSED
