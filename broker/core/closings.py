"""Ending sessions whose login has ended: told to their connectors until these confirm it.

Owns what is asked and not confirmed. Which sessions end is decided elsewhere; a connector spares one whose login is
the one that stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from broker.core.state import Location, Presence, Turn
from broker.settings import BrokerSettings
from fabric.control import Close, Closed
from fabric.records import Record
from protocol.ids import address

ANSWER_S = 1.0
"""Seconds by which whoever asks hears, confirmed or not."""
KEEP_S = 60.0
"""Seconds for which a CLOSE is repeated where presence names the session no more: whoever replaced it may not have been
able to tell it. A connector whose lease has run out registers its sessions again before it goes on with them."""
MAX_PENDING = 100_000

Told = Callable[[bool], None]
"""Takes whether all ends are confirmed."""


@dataclass(slots=True)
class _Closing:
    """One session that is to end."""

    user: str
    device: str
    location: Location
    code: int
    spare: bytes
    due: float
    gone_until: float = 0.0
    """Until when to go on though presence names the session no more; 0: it names it."""
    asked: _Ask | None = None


class _Ask:
    """Somebody who waits until several sessions have ended."""

    def __init__(self, told: Told, until: float, left: int) -> None:
        self.until = until
        self.left = left
        self._told: Told | None = told

    def one_less(self) -> None:
        self.left -= 1
        if not self.left:
            self.tell(True)

    def tell(self, confirmed: bool) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(confirmed)


class Closings:
    """All sessions that a broker is to end."""

    def __init__(self, settings: BrokerSettings, turn: Turn, presence: Presence) -> None:
        self._repeat_s = settings.notify_repeat_s
        self._turn = turn
        self._presence = presence
        self._pending: dict[int, _Closing] = {}
        self._asks: list[_Ask] = []
        self._counter = 0

    def __len__(self) -> int:
        return len(self._pending)

    def close_all(
        self,
        user: str,
        locations: dict[str, Location],
        code: int,
        spare: bytes = b"",
        told: Told = lambda confirmed: None,
    ) -> None:
        """End each device's session, unless its login is `spare`. `told` hears in `ANSWER_S` at most."""
        if not locations:
            told(True)
            return
        ask = _Ask(told, self._turn.now + ANSWER_S, len(locations))
        self._asks.append(ask)
        for device, location in locations.items():
            self._send(_Closing(user, device, location, code, spare, 0.0, asked=ask))

    def _send(self, closing: _Closing) -> None:
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._counter += 1
        self._pending[self._counter] = closing
        closing.due = self._turn.now + self._repeat_s
        to, session = address(closing.user, closing.device), closing.location.session
        close = Close(to, session, closing.code, self._counter, closing.spare)
        self._turn.push(closing.location.connector, close.encode())

    def confirmed(self, rec: Record) -> None:
        """A connector has no such session (any more), or spares it."""
        closed = Closed.of(rec)
        closing = self._pending.get(closed.number)
        if closing is not None and closing.location.session == closed.session:
            del self._pending[closed.number]
            _done(closing)

    def tick(self) -> None:
        """Repeat what is due. A connector of 0.1 confirms nothing: there, presence tells."""
        now = self._turn.now
        for number, closing in [item for item in self._pending.items() if item[1].due <= now]:
            del self._pending[number]
            if self._presence.where(closing.user).get(closing.device) == closing.location:
                closing.gone_until = 0.0
            else:
                closing.gone_until = closing.gone_until or now + KEEP_S
                _done(closing)
                if closing.gone_until <= now:
                    continue
            self._send(closing)
        if self._asks:
            for ask in [ask for ask in self._asks if ask.until <= now]:
                ask.tell(False)
            self._asks = [ask for ask in self._asks if ask.left and ask.until > now]

    def check(self) -> None:
        """Assert that whoever waits for several sessions waits for each of them."""
        asked = Counter(closing.asked for closing in self._pending.values())
        for ask in self._asks:
            assert ask.left == asked[ask], f"{ask.left} sessions are waited for, and {asked[ask]} have not ended"


def _done(closing: _Closing) -> None:
    ask, closing.asked = closing.asked, None
    if ask is not None:
        ask.one_less()
