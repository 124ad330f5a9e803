"""What the user API asks: tell all brokers of a change, end sessions, pass a hint on, say who is online.

Owns nothing that lasts: sessions that are to end are `broker.core.closings`' business. Each ask is answered once; one
that could not be done may be asked again, here or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker.core.closings import Closings
from broker.core.state import Location, Outbox, Presence
from fabric.records import ANSWER, CHANGED, CLOSE, FAILED, HINT, OK, UNCONFIRMED, WHERE, Record, record, unpack_keys
from protocol.errors import RecordError
from protocol.ids import address, split_address

Answer = Callable[[bytes], None]
"""Takes the encoded ANSWER."""


class Asks:
    """All asks of all processes of the user API."""

    def __init__(self, outbox: Outbox, presence: Presence, closings: Closings) -> None:
        self._outbox = outbox
        self._presence = presence
        self._closings = closings

    def ask(self, rec: Record, answer: Answer) -> bool:
        """One of them. False for what this release does not know: its answer is FAILED, so that others are asked.

        Raises `RecordError` if it cannot be read.
        """
        kind = rec[0]
        if kind == CHANGED:
            users = _users(rec)
            self._presence.changed(users, lambda told: answer(_answer(rec, told)))
        elif kind == CLOSE:
            # Whoever was there when this was asked is in the map then.
            self._presence.barrier(lambda passed: self._close(rec, passed, answer))
        elif kind == HINT:
            user = rec[4].decode()
            for device, location in self._presence.where(user).items():
                encoded = record(HINT, to=address(user, device), session=location.session, body=rec[9])
                self._outbox.push(location.connector, encoded)
            answer(_answer(rec, True))
        elif kind == WHERE:
            online = bytes(bool(self._presence.where(user)) for user in _users(rec))
            answer(_answer(rec, True, online))
        else:
            answer(_answer(rec, False))
            return False
        return True

    def _close(self, rec: Record, passed: bool, answer: Answer) -> None:
        user, device = split_address(rec[4])

        locations = _some(self._presence.where(user), device)
        if not passed:
            self._closings.close_all(user, locations, rec[1], rec[9])
            answer(_answer(rec, False))
            return

        def told(confirmed: bool) -> None:
            answer(_answer(rec, True, b"" if confirmed else UNCONFIRMED))

        self._closings.close_all(user, locations, rec[1], rec[9], told)


def _some(locations: Mapping[str, Location], device: str) -> dict[str, Location]:
    return {name: location for name, location in locations.items() if device in ("", name)}


def _users(rec: Record) -> list[str]:
    try:
        return [name.decode() for name in unpack_keys(rec[9])]
    except UnicodeDecodeError as error:
        raise RecordError("the user API named a user that is no text") from error


def _answer(rec: Record, done: bool, body: bytes = b"") -> bytes:
    return record(ANSWER, flags=OK if done else FAILED, attempt=rec[7], body=body)
