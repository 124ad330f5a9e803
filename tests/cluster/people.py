"""People who write to each other over real sockets, whatever happens to the servers.

Owns who writes how often, who comes and goes, and when all is over. What each message came to, the ledger knows.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Mapping, Sequence

from tests.cluster.devices import Address, Device
from tests.cluster.ledger import Ledger

EDITS, ERASURES = 0.06, 0.03
"""Shares of all that is written, where people change their minds."""
GROUPS = 0.2
"""Share of all texts that is for a group, where there are some."""


class People:
    """Several people, some with several devices, who write to each other all the time."""

    changes = False
    """They edit and erase what they have written."""

    def __init__(
        self,
        tokens: dict[str, str],
        addresses: Sequence[Address],
        seed: int = 1,
        tls: ssl.SSLContext | None = None,
        groups: Mapping[str, list[str]] | None = None,
        websockets: Mapping[Address, str] | None = None,
    ) -> None:
        """`websockets`: the URIs of connectors; every third device goes there over WebSocket."""
        self.ledger = Ledger(groups=dict(groups or {}))
        self.devices = {
            name: Device(name, token, addresses, self.ledger, seed + at, tls, None if at % 3 else websockets)
            for at, (name, token) in enumerate(tokens.items())
        }
        self._random = random.Random(seed)
        self._users = sorted({name.partition("/")[0] for name in tokens})
        self._writing: list[asyncio.Task[None]] = []

    async def all_online(self) -> None:
        """Everybody who wants to be is logged in."""
        await self.ledger.until(
            lambda: all(device.online for device in self.devices.values() if device.wanted), "logins"
        )

    def write(self, per_second: float, max_unsettled: int = 150) -> None:
        """From now on everybody writes so many messages a second, to anybody."""
        self._writing = [
            asyncio.create_task(self._write(device, 1 / per_second, max_unsettled)) for device in self.devices.values()
        ]

    async def _write(self, device: Device, interval_s: float, max_unsettled: int) -> None:
        others = [user for user in self._users if user != device.name.partition("/")[0]]
        while True:
            await asyncio.sleep(interval_s * self._random.uniform(0.5, 1.5))
            if device.core.unsettled < max_unsettled:
                self.say(device, self._random.choice(others))

    def say(self, device: Device, dest: str) -> None:
        """Something new, now and then for a group; or a change of what was said."""
        dice = self._random.random() if self.changes else 1.0
        if dice < EDITS:
            device.edit()
        elif dice < EDITS + ERASURES:
            device.erase()
        else:
            mine = [group for group, users in self.ledger.groups.items() if device.name.partition("/")[0] in users]
            device.write(self._random.choice(mine) if mine and self._random.random() < GROUPS else dest)

    def come_and_go(self, *names: str, every_s: float) -> None:
        """These are offline half of the time."""
        for name in names:
            self._writing.append(asyncio.create_task(self._come_and_go(self.devices[name], every_s)))

    async def _come_and_go(self, device: Device, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s * self._random.uniform(0.5, 1.5))
            device.leave() if device.wanted else device.come()

    async def some_sent(self, more: int) -> None:
        """So many more messages are SENT."""
        before = self.ledger.sent
        await self.ledger.until(lambda: self.ledger.sent >= before + more, f"{more} more SENT")

    async def in_the_middle(self, unsettled: int = 5) -> None:
        """At least so many messages are under way."""
        await self.ledger.until(
            lambda: sum(device.core.unsettled for device in self.devices.values()) >= unsettled, "messages under way"
        )

    async def finish(self) -> None:
        """Nobody writes any more; everybody comes; everything arrives. Raises `TimeoutError` if it does not."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        for device in self.devices.values():
            device.come()
        names, ledger = list(self.devices), self.ledger
        await ledger.until(
            lambda: (
                ledger.settled_all and not ledger.missing(names) and all(written.delivered for written in ledger.texts)
            ),
            "everything to arrive",
        )

    def account(self) -> str:
        """The ledger's line."""
        return self.ledger.line(list(self.devices))

    def open_ends(self) -> list[str]:
        """Some of what is not SENT, and of what is and was not shown: for who looks why."""
        unsettled = [f"{key!r} of {one.author}" for key, one in self.ledger.written.items() if not one.sent]
        missing = [f"{key!r} at {device}" for device, key in self.ledger.missing(list(self.devices))]
        codes = f"told to try again: {dict(self.ledger.for_now)}"
        return [f"not SENT: {unsettled[:8]}", f"not shown: {missing[:8]}", codes]

    async def close(self) -> None:
        """Everybody leaves."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        for device in self.devices.values():
            await device.close()
