"""What the user API asks: tell all brokers of a change, end sessions, pass a hint on, say who is online.

Owns nothing that lasts: sessions that are to end are `broker.core.closings`' business. Each ask is answered once; one
that could not be done may be asked again, here or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker.core.closings import Closings
from broker.core.state import Location, Presence, Turn
from fabric.control import Answer, Close, Hint, request_of
from fabric.records import BODY, CHANGED, CLOSE, HINT, KIND, TO, UNCONFIRMED, WHERE, Record, unpack_keys
from protocol.errors import RecordError
from protocol.ids import address, split_address

SendAnswer = Callable[[bytes], None]
"""Takes the encoded ANSWER."""


class Asks:
    """All asks of all processes of the user API."""

    def __init__(self, turn: Turn, presence: Presence, closings: Closings) -> None:
        self._turn = turn
        self._presence = presence
        self._closings = closings

    def ask(self, rec: Record, answer: SendAnswer) -> bool:
        """Do what is asked. False for what this release does not know: its answer is FAILED, so that others are asked.

        Raises `RecordError` if it cannot be read.
        """
        kind, request = rec[KIND], request_of(rec)
        if kind == CHANGED:
            users = _users(rec)
            self._presence.changed(users, lambda told: answer(Answer(request, told).encode()))
        elif kind == CLOSE:
            # Whoever was there when this was asked is in the map then.
            close, (user, device) = Close.of(rec), split_address(rec[TO])
            self._presence.barrier(lambda passed: self._close(close, user, device, passed, answer))
        elif kind == HINT:
            self._hint(Hint.of(rec))
            answer(Answer(request, True).encode())
        elif kind == WHERE:
            online = bytes(bool(self._presence.where(user)) for user in _users(rec))
            answer(Answer(request, True, online).encode())
        else:
            answer(Answer(request, False).encode())
            return False
        return True

    def _hint(self, hint: Hint) -> None:
        user = hint.to.decode()
        for device, location in self._presence.where(user).items():
            one = Hint(address(user, device), location.session, hint.hint)
            self._turn.push(location.connector, one.encode())

    def _close(self, close: Close, user: str, device: str, passed: bool, answer: SendAnswer) -> None:
        locations = _some(self._presence.where(user), device)
        if not passed:
            self._closings.close_all(user, locations, close.code, close.spare)
            answer(Answer(close.number, False).encode())
            return

        def told(confirmed: bool) -> None:
            answer(Answer(close.number, True, b"" if confirmed else UNCONFIRMED).encode())

        self._closings.close_all(user, locations, close.code, close.spare, told)


def _some(locations: Mapping[str, Location], device: str) -> dict[str, Location]:
    return {name: location for name, location in locations.items() if device in ("", name)}


def _users(rec: Record) -> list[str]:
    try:
        return [name.decode() for name in unpack_keys(rec[BODY])]
    except UnicodeDecodeError as error:
        raise RecordError("the user API named a user that is no text") from error
