"""What an application gives to the client library, looked at before anything is kept of it.

Owns the refusals: what a server would answer with `NOT_ALLOWED`, and what no message can hold. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol import sparrow_pb2 as pb
from protocol.allowed import FIRST_OWN_KIND, MAX_ID, MAX_KIND, MAX_SIGNAL_BYTES, carries_signal
from protocol.errors import InvalidIdError, MessageTooLargeError, MisuseError
from protocol.ids import is_device_id

MAX_STREAM = (1 << 64) - 1
FIELD_BYTES = 48
"""Stream, ids, kind and the lengths of fields take at most this in a message."""
MAX_MARKED = 65_536
"""Ids in one `mark_read`: more than a conversation has."""


def text(what: str, value: object) -> str:
    """`value`, a text that UTF-8 can carry. `what` names it. Raises `MisuseError`, which does not quote it."""
    if not isinstance(value, str):
        raise MisuseError(f"{what} is a text, not {type(value).__name__}")
    # Not by trying: the error would hold the text, which may be a password.
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise MisuseError(f"{what} holds half a surrogate pair, which UTF-8 cannot carry")
    return value


def texts(what: str, value: object) -> None:
    """The same for every text in `value`: what goes into JSON, a query or headers."""
    if isinstance(value, str):
        text(what, value)
    elif isinstance(value, dict):
        for name, each in value.items():
            texts(f"{name}", each)
    elif isinstance(value, list | tuple):
        for each in value:
            texts(what, each)


def content(body: object, kind: object) -> bytes:
    """The bytes of a message of this kind. Raises `MisuseError`."""
    if not _is_whole(kind) or not (kind in (pb.TEXT, pb.FILE) or FIRST_OWN_KIND <= kind <= MAX_KIND):  # type: ignore[operator]
        raise MisuseError(f"kind {kind!r}: use TEXT, FILE, or a number of your own from {FIRST_OWN_KIND} up")
    if isinstance(body, str):
        return text("the text", body).encode()
    if not isinstance(body, bytes | bytearray | memoryview):
        raise MisuseError(f"a body is text or bytes, not {type(body).__name__}")
    found = bytes(body)
    if kind == pb.TEXT:
        try:
            found.decode()
        except UnicodeDecodeError:
            raise MisuseError(
                f"a TEXT is UTF-8: other bytes have a kind of their own, from {FIRST_OWN_KIND} up"
            ) from None
    return found


def signal(kind: object, body: object) -> bytes:
    """The bytes of a signal of this kind. Raises `MisuseError`, `MessageTooLargeError`."""
    if not _is_whole(kind) or not carries_signal(kind):  # type: ignore[arg-type]
        raise MisuseError(f"kind {kind!r}: use a SignalKind, or a number of your own from {FIRST_OWN_KIND} up")
    if not isinstance(body, bytes | bytearray | memoryview):
        raise MisuseError(f"the body of a signal is bytes, not {type(body).__name__}")
    found = bytes(body)
    if len(found) > MAX_SIGNAL_BYTES:
        raise MessageTooLargeError(f"a body of {len(found)} bytes: a signal has room for {MAX_SIGNAL_BYTES}")
    return found


def fits(body: bytes, dest: str, max_message: int, about: int = 0) -> None:
    """Raises `MessageTooLargeError` for a body that the server does not take. `about`: bytes of other fields."""
    room = max_message - len(dest) - FIELD_BYTES - about
    if len(body) > room:
        raise MessageTooLargeError(f"a body of {len(body)} bytes: the server takes {room}")


def marked(device: object, stream: object, ids: Iterable[object]) -> list[int]:
    """The ids of messages that were read. Raises `InvalidIdError`, `MisuseError`."""
    if not isinstance(device, str) or not is_device_id(device):
        raise InvalidIdError(f"device id {device!r:.80}: use the one that the message names")
    if not _is_whole(stream) or not 1 <= stream <= MAX_STREAM:  # type: ignore[operator]
        raise MisuseError(f"stream {stream!r:.80}: use the one that the message names")
    found: list[int] = []
    for number in ids:
        if not isinstance(number, int) or not _is_whole(number) or not 1 <= number <= MAX_ID:
            raise MisuseError(f"id {number!r:.80}: ids of messages go from 1 to 2^53 - 1")
        found.append(int(number))
        if len(found) > MAX_MARKED:
            raise MisuseError(f"more than {MAX_MARKED} ids: mark fewer at a time")
    return found


def whole(what: str, value: object, most: int) -> int:
    """`value`, a whole number from 1 to `most`. `what` names it. Raises `MisuseError`."""
    if not isinstance(value, int) or not _is_whole(value) or not 1 <= value <= most:
        raise MisuseError(f"{what}: {value!r:.80} is no whole number from 1 to {most}")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
