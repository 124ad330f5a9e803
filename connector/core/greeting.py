"""Connections that have not logged in: how many there may be, in all and from one address, and for how long.

Owns who they are. Whoever has most of them loses the oldest, so that nobody keeps others from logging in.
"""

from __future__ import annotations

from connector.core.state import Session
from connector.settings import ConnectorSettings


class Greeting:
    """All connections that have not logged in, the oldest first."""

    def __init__(self, settings: ConnectorSettings) -> None:
        self._settings = settings
        self._sessions: dict[Session, str] = {}
        """Session → where it comes from."""
        self._addresses: dict[str, dict[Session, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session, address: str) -> Session | None:
        """There is one more connection; returns who has to go for it, or None."""
        self._sessions[session] = address
        theirs = self._addresses.setdefault(address, {})
        theirs[session] = None
        if len(theirs) > self._settings.max_before_login_of_address:
            return next(iter(theirs))
        if len(self._sessions) > self._settings.max_before_login:
            most = max(self._addresses, key=lambda name: len(self._addresses[name]))
            return next(iter(self._addresses[most]))
        return None

    def moved(self, session: Session, address: str) -> Session | None:
        """A proxy has told where it really comes from; returns who has to go for it."""
        if session not in self._sessions:
            return None
        self.remove(session)
        return self.add(session, address)

    def remove(self, session: Session) -> None:
        """The connection has logged in, or is gone."""
        address = self._sessions.pop(session, None)
        if address is not None:
            theirs = self._addresses[address]
            del theirs[session]
            if not theirs:
                del self._addresses[address]

    def overdue(self, now: float) -> list[Session]:
        """The connections that have had `login_timeout_s`."""
        found = []
        for session in self._sessions:
            if session.opened > now - self._settings.login_timeout_s:
                break
            found.append(session)
        return found
