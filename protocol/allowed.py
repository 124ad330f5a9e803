"""What a client may send: which kinds, ids and contents of a message (docs/protocol.md, "Messages" and "READ").

Owns these limits, for servers, which refuse what is beyond with `NOT_ALLOWED`, and for clients, which refuse it at the
call. Which bytes are a message at all is `protocol.strict`'s business.
"""

from __future__ import annotations

from typing import Final

from protocol.ids import is_device_id
from protocol.sparrow_pb2 import READ, TEXT, Message

MAX_ID: Final = 2**53 - 1
"""Highest id of a message, so that languages whose numbers are floating-point can count them."""
MAX_ABOUT_IDS: Final = 256
"""Ids in one `about`, and so in one READ."""
FIRST_OWN_KIND: Final = 1000
"""Kinds from here on, up to `MAX_KIND`, are for clients to give."""
MAX_KIND: Final = 2**31 - 1


def not_allowed(message: Message, abouts: int, kind: int) -> str:
    """Why no client may send this message; empty if one may. `kind` is the one that was written."""
    about = message.about
    if message.id > MAX_ID or any(number > MAX_ID for number in about.ids):
        return f"an id beyond {MAX_ID}"
    if not 1 <= kind <= READ and not FIRST_OWN_KIND <= kind <= MAX_KIND:
        return f"kinds of your own go from {FIRST_OWN_KIND} to {MAX_KIND}"
    if len(about.ids) > MAX_ABOUT_IDS or abouts > 1:
        return f"one about, with at most {MAX_ABOUT_IDS} ids"
    if kind == READ:
        return _not_read(message, abouts)
    if kind == TEXT:
        try:
            message.body.decode()
        except UnicodeDecodeError:
            return f"a text that is not UTF-8; what only clients can read has a kind from {FIRST_OWN_KIND} on"
    return ""


def _not_read(message: Message, abouts: int) -> str:
    """Why this is no READ that a client may send."""
    about = message.about
    if message.body:
        return "a READ has no body"
    if not abouts or not about.stream or not about.ids or 0 in about.ids:
        return "a READ names a stream and 1 to 256 ids in about"
    return "" if is_device_id(about.from_device) else "about.from_device is no device id"
