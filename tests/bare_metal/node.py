"""A whole node on a machine, as scripts/install and the Debian package bring it.

Owns its ports, and how one looks at it from outside: people who talk, and what it says of itself.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.bare_metal.machine import Machine
from tests.bare_metal.people import Pair
from tests.ports import free_port

UNIT = "sparrow.service"
PAUSE_S = 0.02
"""Between messages, which would otherwise take a core from the machine."""


class Node:
    """The node of the machine, from outside."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.port, self.api_port, self.monitor_port = free_port(), free_port(), free_port()
        self.folder, self.api = folder, f"http://127.0.0.1:{self.api_port}"
        self.people = Pair(folder, self.api)

    @property
    def environment(self) -> str:
        """Ports, since the network is everybody's; all else is as it was installed."""
        return (
            f"SPARROW_CONNECTOR__LISTEN_PORT={self.port}\nSPARROW_USERAPI__LISTEN_PORT={self.api_port}\n"
            f"SPARROW_MONITOR__LISTEN_PORT={self.monitor_port}\nSPARROW_USERAPI__CONNECTORS=127.0.0.1:{self.port}\n"
        )

    @property
    def version(self) -> str:
        """What it says of itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/varz", timeout=30) as answer:
            return str(json.load(answer)["version"])

    async def check(self) -> None:
        """People can talk."""
        async with self.people.talking("check") as talk:
            await talk.say("hello")
            await talk.all_heard()

    async def survives(self, prefix: str, disturb: Callable[[], None]) -> None:
        """What is said meanwhile arrives, once and in order."""
        async with self.people.talking(prefix) as talk:
            await talk.say("before")
            disturbing = asyncio.create_task(asyncio.to_thread(disturb))
            number = 0
            while not disturbing.done():
                number += 1
                await talk.say(f"{number}")
                await asyncio.sleep(PAUSE_S)
            await disturbing
            await talk.say("after")
            await talk.all_heard()
