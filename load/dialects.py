"""The protocols that load clients speak, by name.

Owns the table.
"""

from __future__ import annotations

from collections.abc import Callable

from load.clients import LoadClient
from load.peers.mqtt import MqttPerson
from load.peers.nats import NatsPerson
from load.peers.xmpp import XmppPerson
from load.people import Person
from load.spec import Account
from load.world import World

Dialect = Callable[[Account, int, World, int], Person]
"""Makes a client of an account, the size of its bodies, the world and its number."""


def _sparrow(account: Account, body_bytes: int, world: World, number: int) -> Person:
    return LoadClient(account.token, account.user, body_bytes, world, number)


DIALECTS: dict[str, Dialect] = {"sparrow": _sparrow, "mqtt": MqttPerson, "nats": NatsPerson, "xmpp": XmppPerson}
