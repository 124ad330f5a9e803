"""Which conversations a user has muted, and until when.

Owns the table `mutes`. One cell has all of a user's, changed on condition: so muting and unmuting leaves nothing behind
that a read would have to pass over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from protocol.errors import StoreError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests

_ONE = "SELECT told FROM mutes WHERE user = ?"
_FIRST = "INSERT INTO mutes (user, told) VALUES (?, ?) IF NOT EXISTS"
_CHANGE = "UPDATE mutes SET told = ? WHERE user = ? IF told = ?"
_FORGET = "DELETE FROM mutes WHERE user = ? IF EXISTS"
_TRIES = 20


def written(mutes: Mapping[str, int]) -> str:
    """All of a user's, in one cell."""
    return json.dumps(mutes, separators=(",", ":"), sort_keys=True)


class Mutes:
    """The operations on the table."""

    def __init__(self, connection: Connection, requests: Requests, now_ms: Callable[[], int]) -> None:
        self._requests = requests
        self._now_ms = now_ms
        self._one = connection.prepare(_ONE)
        self._first = connection.prepare(_FIRST)
        self._change = connection.prepare(_CHANGE)
        self._forget = connection.prepare(_FORGET)

    async def mute(self, user: str, other: str, until_ms: int, most: int) -> bool:
        """See `Timelines.mute`. Raises `StoreError`, also where other devices are quicker all the time."""
        told = await self._told(user)
        for _ in range(_TRIES):
            now_ms = self._now_ms()
            wanted = self._those_of(told)
            wanted.pop(other, None)
            if until_ms > now_ms:
                if len(wanted) >= most:
                    return False
                wanted[other] = until_ms
            new = written(wanted)
            if new == (told or "{}"):
                return True
            statement = self._first.bind((user, new)) if told is None else self._change.bind((new, user, told))
            answer = await self._requests.conditional(statement)
            if answer["[applied]"]:
                return True
            # Somebody was quicker; or this very change was, in a try whose answer was lost.
            told = answer.get("told")
        raise StoreError(f'the mutes of "{user}" change too often to follow')

    async def of(self, user: str) -> dict[str, int]:
        """Those that hold."""
        return self._those_of(await self._told(user))

    async def forget(self, user: str) -> None:
        """Nothing is left of this user's."""
        await self._requests.conditional(self._forget.bind((user,)))

    async def _told(self, user: str) -> str | None:
        (rows,) = await self._requests.run([self._one.bind((user or " ",))])
        return rows[0][0] if rows else None

    def _those_of(self, told: str | None) -> dict[str, int]:
        now_ms = self._now_ms()
        return {other: until_ms for other, until_ms in json.loads(told or "{}").items() if until_ms > now_ms}
