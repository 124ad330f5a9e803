"""What a device's session is held against: the chain of its sessions, its login, its account.

Owns these types and the comparison. Engines keep the chain (`Store.begin_sessions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A device begins a session."""

    user: str
    device: str
    session: int
    login: str = ""
    """The login of the device that it belongs to; empty: not told, and then not compared."""
    start: int = 0
    """The client's start: a number of 64 bits; 0: not told."""
    tries: int = 0
    """Which of that start's logins it is, below 2^63."""


class NoSession(Enum):
    """Why a device gets no session."""

    NO_DEVICE = "no device"
    """There is no such device (any more)."""
    DISABLED = "disabled"
    """The account is."""
    LOGGED_OUT = "logged out"
    """The session's login has ended, or was followed by another."""
    LATE = "late"
    """A later try of the same start of the client has its session already."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the sessions of a user are held against, as it stands now."""

    disabled: bool
    logins: Mapping[str, str]
    """Device → its login; empty: it is logged out. Removed devices are absent."""

    def refuses(self, device: str, login: str) -> NoSession | None:
        """Why no session of this device and login (empty: not told) may go on; None: it may."""
        if device not in self.logins:
            return NoSession.NO_DEVICE
        if self.disabled:
            return NoSession.DISABLED
        return NoSession.LOGGED_OUT if login and login != self.logins[device] else None
