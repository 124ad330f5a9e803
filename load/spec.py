"""What the conductor tells a generator process, and what the command line chose: plain data that travels as JSON.

Owns the names and the units.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from client.connection import Address

LINE_BYTES = 1 << 28
"""Longest line between a conductor and its crew."""


LATENCIES = ("one_way", "to_sent", "after_absence")
"""The histograms of a `World`."""


class Account(NamedTuple):
    """Whom a client logs in as."""

    user: str
    device: str
    token: str
    """For other servers than Sparrow: the password."""


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    scenario: str = "pairs"
    processes: int = 1
    body_bytes: int = 100
    seconds: float = 8.0
    """Measured, behind the warm-up."""
    warm_up_s: float = 1.5
    pairs: int = 50
    in_flight: int = 32
    rate: float = 500.0
    """Texts a second, of all clients together."""
    read: bool = False
    users: int = 100
    messages: int = 10_000
    sessions: int = 5_000
    devices: int = 10
    """New ones, that read all back."""
    flaps: float = 20.0
    """Clients that leave a second."""
    groups: int = 50
    members: int = 10
    """Of each group."""
    online: int = 0
    """Of each group's members; 0: all."""
    writers: int = 2
    """Of each group's members, by turns."""
    latecomers: int = 100
    """Of those who are not online, in all: they log in behind it, and are to be shown everything."""
    drain_s: float = 60.0
    """What has no answer and was not shown by then is told."""
    websocket: str = ""
    """How clients go over WebSocket: "turn", a message for what a turn has gathered, or "frame", one for each frame;
    empty: they do not."""
    logins_at_once: int = 200
    seed: int = 0
    """0: another one each time."""


@dataclass(frozen=True)
class Spec:
    """Of one generator process, which is a community of its own: who is in it writes only to others in it."""

    options: Options
    """The options of the run, with this process' share of the numbers."""
    accounts: Sequence[Account]
    addresses: Sequence[Address]
    dialect: str = "sparrow"
    """Or "mqtt", "nats", "xmpp"."""
    ca: str = ""
    """PEM file; empty: the system's."""
    api: str = ""
    """URL of the user API; empty: not known."""
    sources: Sequence[str] = ()
    first: int = 0
    """Number of the first client, among those of all processes."""

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, line: str | bytes) -> Spec:
        """What `as_json` gave."""
        values = json.loads(line)
        values["options"] = Options(**values["options"])
        values["accounts"] = [Account(*account) for account in values["accounts"]]
        values["addresses"] = [Address(*address) for address in values["addresses"]]
        return cls(**values)
