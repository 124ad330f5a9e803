"""Telling a connector that a row stands in the inbox of one of its sessions, until it says that it heard.

Owns unconfirmed nudges. Each has a number of its own, so that the answer to an earlier one does not silence a later.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.state import Outbox, Place, Presence
from broker.settings import BrokerSettings
from protocol.ids import address
from protocol.records import NUDGE, Record, record


@dataclass(slots=True)
class Pending:
    """A nudge that was not confirmed."""

    place: Place
    number: int
    due: float


class Nudges:
    """All unconfirmed nudges of a broker."""

    def __init__(self, settings: BrokerSettings, outbox: Outbox, presence: Presence) -> None:
        self._settings = settings
        self._outbox = outbox
        self._presence = presence
        self._pending: dict[tuple[str, str], Pending] = {}
        self._new: dict[tuple[str, str], Place] = {}
        self._counter = 0

    def __len__(self) -> int:
        return len(self._pending) + len(self._new)

    def nudge(self, user: str, device: str, place: Place) -> None:
        """One nudge a device and turn."""
        self._new[user, device] = place

    def flush(self) -> None:
        """Send the nudges of this turn."""
        if self._new:
            new, self._new = self._new, {}
            for (user, device), place in new.items():
                self._send(user, device, place)

    def _send(self, user: str, device: str, place: Place) -> None:
        self._counter += 1
        due = self._outbox.now + self._settings.nudge_repeat_s
        self._pending[user, device] = Pending(place, self._counter, due)
        encoded = record(NUDGE, to=address(user, device), session=place.session, attempt=self._counter)
        self._outbox.push(place.connector, encoded)

    def confirmed(self, user: str, device: str, rec: Record) -> None:
        """A connector has heard."""
        pending = self._pending.get((user, device))
        if pending is not None and pending.number == rec[7]:
            del self._pending[user, device]

    def tick(self) -> None:
        """Repeat what is due; a device that is elsewhere or gone by now reads its inbox when it comes."""
        now = self._outbox.now
        for (user, device), pending in list(self._pending.items()):
            if pending.due <= now:
                del self._pending[user, device]
                place = self._presence.where(user).get(device)
                if place is not None and place == pending.place:
                    self._send(user, device, place)
