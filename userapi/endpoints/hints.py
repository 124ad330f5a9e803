"""Hints: clients that are online hear that something has changed (docs/protocol.md, "Hints").

Owns that they are only that: bounded in number, and no request fails for want of one.
"""

from __future__ import annotations

import contextlib

from protocol.errors import ServiceError
from protocol.sparrow_pb2 import Hint
from userapi.service import service

MAX_LOOKED_AT = 1000
"""Contacts of a user that are looked through for friends."""
MAX_TOLD = 200
"""Friends that hear of one change."""
_AT_ONCE = 100


def tell(user: str, kind: Hint.Kind, about: str = "", stamp: int = 0) -> None:
    """Whoever of `user`'s devices is online, about `user` or another."""
    with contextlib.suppress(ServiceError):
        service().fabric.hint([user], kind, [about or user], stamp)


def tell_both(user: str, other: str, kind: Hint.Kind, stamp: int = 0) -> None:
    """Each of the two, about the other."""
    with contextlib.suppress(ServiceError):
        service().fabric.hint([other, user], kind, [user, other], stamp)


def tell_friends(user: str, kind: Hint.Kind) -> None:
    """`user`'s own devices and friends that are online, about `user`."""
    fabric = service().fabric
    with contextlib.suppress(ServiceError):
        friends = _friends(user)
        online = fabric.online([user, *friends])
        there = [one for one in (user, *friends) if online[one]]
        told = there[: MAX_TOLD + 1]
        fabric.hint(told, kind, [user] * len(told))


def _friends(user: str) -> list[str]:
    """Those among the first `MAX_LOOKED_AT` contacts."""
    bridge = service().bridge
    found: list[str] = []
    after = ""
    for _ in range(0, MAX_LOOKED_AT, _AT_ONCE):
        some = bridge.call(bridge.store.contacts, user, after, _AT_ONCE)
        found += [other for other, relation in some if relation.friend and not relation.blocked]
        if len(some) < _AT_ONCE:
            break
        after = some[-1][0]
    return found
