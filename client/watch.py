"""When a connection is pinged, and when it counts as broken.

Owns when something was heard and said last. Reads no clock: times are in seconds of the loop's.
"""

from __future__ import annotations

from client.connection import Connection, Timing


class Watch:
    """Of one client, over all its connections."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.heard = 0.0
        """When something came last."""
        self.said = 0.0
        """When something went out last."""
        self._pinged = 0.0

    def begin(self, now: float) -> None:
        """There is another connection."""
        self.heard = self.said = now

    def is_silent(self, connection: Connection, now: float) -> bool:
        """Whether nothing has come for too long."""
        limit = self._limit(connection)
        return limit is not None and limit <= now

    def wants_ping(self, connection: Connection, heartbeat_s: float, now: float) -> bool:
        """Whether a ping is due; then it is taken to be sent."""
        due = connection.logged_in and self._ping_at(heartbeat_s) <= now
        if due:
            self._pinged = now
        return due

    def next(self, connection: Connection, heartbeat_s: float) -> float:
        """When to look again."""
        limit = self._limit(connection)
        return self._ping_at(heartbeat_s) if limit is None else limit

    def _limit(self, connection: Connection) -> float | None:
        """By when something must have come; None: nothing is waited for."""
        if not connection.logged_in:
            return self.heard + self._timing.login_timeout_s
        return self._pinged + self._timing.pong_timeout_s if self._pinged > self.heard else None

    def _ping_at(self, heartbeat_s: float) -> float:
        """After a third of a heartbeat in which nothing was said, or nothing heard."""
        return max(min(self.heard, self.said), self._pinged) + max(heartbeat_s, 0.1) / 3
