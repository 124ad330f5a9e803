"""What the user API asks of the brokers, as code that blocks.

Owns the meaning of each question. How it gets to a broker is `userapi.brokers`' business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Protocol

from fabric.records import CHANGED, CLOSE, HINT, UNCONFIRMED, WHERE, pack_keys, pack_spared
from protocol.ids import address
from protocol.sparrow_pb2 import Goodbye, Hint
from userapi.bridge import StoreBridge
from userapi.brokers import Brokers

MAX_USERS = 1000
"""How many users one question may name."""
_HINTS_AT_ONCE = 100


class Fabric(Protocol):
    """The port. Each call raises `ServiceError` when no broker did what was asked; it may be repeated."""

    def changed(self, users: Collection[str]) -> None:
        """Every broker forgets what it has cached of these users (devices, who may write to them): at once where it
        can, and within T (2 s) whatever happens. Call it when the store has the change."""

    def close(
        self,
        user: str,
        device: str | None = None,
        *,
        code: Goodbye.Code = Goodbye.LOGGED_OUT,
        spare: str = "",
    ) -> bool:
        """End the sessions of one device, or of all, unless they are of the login `spare`; `code` is what clients hear.

        Whether it is confirmed; if not, brokers go on with it.
        """

    def close_devices(self, user: str, spare: Mapping[str, str | None]) -> bool:
        """End the sessions of several devices at once, each with the login to spare; None: it was removed. Whether all
        is confirmed."""

    def hint(self, users: Collection[str], kind: Hint.Kind, about: Collection[str], stamp: int = 0) -> None:
        """Tell the sessions of each user that something about the one beside it in `about` has changed; may be lost.

        `stamp`: of the message that it is about, or how far a mark has risen; 0 of all else.
        """

    def hint_of_group(self, users: Collection[str], hint: Hint) -> None:
        """Tell the sessions of those of `users` that are online the very same; may be lost."""

    def online(self, users: Collection[str]) -> Mapping[str, bool]:
        """Who is online now."""


class BrokerFabric:
    """The port over links to brokers, which live in the loop of `bridge`."""

    def __init__(self, bridge: StoreBridge, brokers: Brokers) -> None:
        self._bridge = bridge
        self._brokers = brokers

    def _ask(self, kind: int, to: bytes = b"", flags: int = 0, body: bytes = b"") -> bytes:
        return self._bridge.call(lambda: self._brokers.ask(kind, to=to, flags=flags, body=body))

    def changed(self, users: Collection[str]) -> None:
        """See `Fabric`."""
        names = list(users)
        for at in range(0, len(names), MAX_USERS):
            self._ask(CHANGED, body=_pack(names[at : at + MAX_USERS]))

    def close(
        self,
        user: str,
        device: str | None = None,
        *,
        code: Goodbye.Code = Goodbye.LOGGED_OUT,
        spare: str = "",
    ) -> bool:
        """See `Fabric`."""
        to = address(user, device) if device else user.encode()
        return self._ask(CLOSE, to=to, flags=int(code), body=pack_spared(spare)) != UNCONFIRMED

    def close_devices(self, user: str, spare: Mapping[str, str | None]) -> bool:
        """See `Fabric`."""
        asks = [
            partial(
                self._brokers.ask,
                CLOSE,
                to=address(user, device),
                flags=int(Goodbye.DEVICE_REMOVED if login is None else Goodbye.LOGGED_OUT),
                body=pack_spared(login or ""),
            )
            for device, login in spare.items()
        ]
        return UNCONFIRMED not in self._bridge.together(*asks)

    def hint(self, users: Collection[str], kind: Hint.Kind, about: Collection[str], stamp: int = 0) -> None:
        """See `Fabric`."""
        hints = [Hint(kind=kind, user_id=one, stamp=stamp).SerializeToString() for one in about]
        asks = [
            partial(self._brokers.ask, HINT, to=user.encode(), body=hint)
            for user, hint in zip(users, hints, strict=True)
        ]
        self._bridge.together(*asks)

    def hint_of_group(self, users: Collection[str], hint: Hint) -> None:
        """See `Fabric`."""
        body, there = hint.SerializeToString(), [user for user, is_online in self.online(users).items() if is_online]
        for at in range(0, len(there), _HINTS_AT_ONCE):
            some = there[at : at + _HINTS_AT_ONCE]
            self._bridge.together(*(partial(self._brokers.ask, HINT, to=user.encode(), body=body) for user in some))

    def online(self, users: Collection[str]) -> Mapping[str, bool]:
        """See `Fabric`."""
        names = list(users)
        found: dict[str, bool] = {}
        for at in range(0, len(names), MAX_USERS):
            some = names[at : at + MAX_USERS]
            found.update(zip(some, map(bool, self._ask(WHERE, body=_pack(some))), strict=True))
        return found


def _pack(users: list[str]) -> bytes:
    return pack_keys(user.encode() for user in users)
