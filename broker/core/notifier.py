"""Telling a connector that a row stands in the inbox of one of its sessions, until it says that it heard.

Owns unconfirmed notifications, and who waits for them. Each has a number of its own, so that the answer to an earlier
one does not silence a later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from broker.core.state import Location, Presence, Turn
from broker.settings import BrokerSettings
from fabric.control import Notify
from fabric.records import Record
from protocol.ids import address, split_address


@dataclass(slots=True)
class Wait:
    """Somebody who must know that each of some devices has been told."""

    left: int
    """Devices whose connectors have not heard."""
    until: float
    done: Callable[[bool], None]

    def heard(self) -> None:
        """One more device's connector has heard."""
        self.left -= 1
        if not self.left:
            self.done(True)

    def late(self) -> None:
        """It takes too long: whoever waits is told so, once."""
        if self.left > 0:
            self.left = 0
            self.done(False)


@dataclass(slots=True)
class Notification:
    """A notification that was not confirmed."""

    location: Location
    number: int = 0
    due: float = 0.0
    waits: list[tuple[int, Wait]] = field(default_factory=list)
    """Each with the first notification that tells of its row."""


class Notifier:
    """All unconfirmed notifications of a broker."""

    def __init__(self, settings: BrokerSettings, turn: Turn, presence: Presence) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._pending: dict[tuple[str, str], Notification] = {}
        self.new: dict[tuple[str, str], tuple[Location, list[Wait]]] = {}
        """Notifications of this turn: user and device → where it is, and who waits for that it has heard."""
        self._counter = 0

    def __len__(self) -> int:
        return len(self._pending) + len(self.new)

    def notify(self, user: str, locations: Mapping[str, Location], done: Callable[[bool], None]) -> None:
        """Tell these devices of a row, with one notification a device and turn; `locations` is not empty.

        `done(True)` comes when all their connectors have heard, or presence names them there no more, since whoever
        comes later reads its inbox; `done(False)` if one of them is silent for too long.
        """
        wait = Wait(len(locations), self._turn.now + self._settings.notify_timeout_s, done)
        for device, location in locations.items():
            new = self.new.get((user, device))
            if new is None or new[0] != location:
                _all_heard(new[1] if new is not None else ())
                new = self.new[user, device] = (location, [])
            new[1].append(wait)

    def flush(self) -> None:
        """Send the notifications of this turn."""
        if self.new:
            new, self.new = self.new, {}
            for (user, device), (location, waits) in new.items():
                pending = self._pending.get((user, device))
                if pending is None or pending.location != location:
                    if pending is not None:
                        _all_heard(wait for _, wait in pending.waits)
                    pending = self._pending[user, device] = Notification(location)
                self._send(user, device, pending)
                pending.waits += [(pending.number, wait) for wait in waits]

    def _send(self, user: str, device: str, pending: Notification) -> None:
        self._counter += 1
        pending.number = self._counter
        pending.due = self._turn.now + self._settings.notify_repeat_s
        notify = Notify(address(user, device), pending.location.session, self._counter)
        self._turn.push(pending.location.connector, notify.encode())

    def confirmed(self, rec: Record) -> None:
        """A connector has heard."""
        heard_of = Notify.of(rec)
        user, device = split_address(heard_of.address)
        pending, number = self._pending.get((user, device)), heard_of.number
        if pending is None or heard_of.session != pending.location.session:
            return
        heard = [wait for first, wait in pending.waits if first <= number]
        pending.waits = pending.waits[len(heard) :]
        if pending.number == number:
            del self._pending[user, device]
        _all_heard(heard)

    def tick(self) -> None:
        """Repeat what is due; a device that is elsewhere or gone by now reads its inbox when it comes."""
        now = self._turn.now
        for (user, device), pending in list(self._pending.items()):
            if pending.due > now and not pending.waits:
                continue
            if self._presence.where(user).get(device) != pending.location:
                del self._pending[user, device]
                _all_heard(wait for _, wait in pending.waits)
                continue
            late = [wait for _, wait in pending.waits if wait.until <= now]
            pending.waits = pending.waits[len(late) :]
            for wait in late:
                wait.late()
            if pending.due <= now:
                self._send(user, device, pending)

    def check(self) -> None:
        """Assert that whoever waits for so many devices waits for each of them."""
        waits = [wait for _, waits in self.new.values() for wait in waits]
        waits += [wait for notification in self._pending.values() for _, wait in notification.waits]
        for wait, devices in Counter(map(id, waits)).items():
            left = next(each.left for each in waits if id(each) == wait)
            assert left in (0, devices), f"{left} devices are waited for, and {devices} have not heard"


def _all_heard(waits: Iterable[Wait]) -> None:
    for wait in waits:
        if wait.left > 0:
            wait.heard()
