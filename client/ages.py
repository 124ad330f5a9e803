"""How old messages of ours are, by the server's clock: what has been unsettled for too long is not sent again (R-F).

Owns what is known of that clock. Pure.
"""

from __future__ import annotations

from typing import Final

from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import LoggedIn

LIFE_MS: Final = 30 * 86_400_000
"""How long messages live where the server does not tell."""
TOO_OLD: Final = "it could not be sent for so long that those it is for may have forgotten what came before it"


class Ages:
    """`now` is always in seconds of the core's own steady clock."""

    def __init__(self) -> None:
        self._life_ms = LIFE_MS
        self._server_ms = 0
        self._at = 0.0

    def logged_in(self, frame: LoggedIn, now: float) -> None:
        """The server has told its time."""
        self._life_ms = frame.inbox_ttl_ms or LIFE_MS
        self._server_ms, self._at = frame.server_time_ms, now

    def server_ms(self, now: float) -> int:
        """The server's Unix time, in milliseconds; 0: not known."""
        return int(self._server_ms + (now - self._at) * 1000) if self._server_ms else 0

    def is_too_old(self, outgoing: Outgoing, now: float) -> bool:
        """Those it is for may know nothing of its first attempts any more."""
        return 0 < outgoing.numbered_ms < self.server_ms(now) - self._life_ms
