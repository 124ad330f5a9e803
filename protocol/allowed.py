"""What a client may send: kinds, ids and contents of a message (docs/protocol.md, "Messages", "READ" and "Groups"), and
what a signal may be.

Owns these limits, for servers, which refuse what is beyond with `NOT_ALLOWED`, and for clients, which refuse it at the
call. Which bytes are a message at all is `protocol.strict`'s business.
"""

from __future__ import annotations

from typing import Final

from protocol.ids import is_device_id
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, Message, Signal

MAX_ID: Final = 2**53 - 1
"""Highest id of a message, so that languages whose numbers are floating-point can count them."""
MAX_ABOUT_IDS: Final = 256
"""Ids in one `about`, and so in one READ."""
FIRST_OWN_KIND: Final = 1000
"""Kinds from here on, up to `MAX_KIND`, are for clients to give."""
MAX_KIND: Final = 2**31 - 1
MAX_SIGNAL_BYTES: Final = 1024
"""Body of a signal."""
MAX_REVISION: Final = 2**20
"""Of an EDIT (docs/design/history.md, rule R-E)."""
CHANGES: Final = frozenset((EDIT, ERASE))
"""Kinds that change an earlier message."""
SILENT_KINDS: Final = frozenset((READ, EDIT, ERASE))
"""Kinds of which nobody is told DELIVERED."""
PRESENCE_SIGNALS: Final = frozenset((Signal.TYPING, Signal.STOPPED_TYPING))
"""Kinds of signals that tell of their author's presence: who hides it tells nobody."""


def carries_signal(kind: int) -> bool:
    """Whether a server of this release hands on signals of this kind; it passes over those of later releases."""
    return kind in PRESENCE_SIGNALS or FIRST_OWN_KIND <= kind <= MAX_KIND


def not_allowed(message: Message, abouts: int, kind: int) -> str:
    """Why no client may send this message; empty if one may. `kind` is the one that was written."""
    about = message.about
    if message.id > MAX_ID or any(number > MAX_ID for number in about.ids):
        return f"an id beyond {MAX_ID}"
    if not 1 <= kind <= ERASE and not FIRST_OWN_KIND <= kind <= MAX_KIND:
        return f"kinds of your own go from {FIRST_OWN_KIND} to {MAX_KIND}"
    if len(about.ids) > MAX_ABOUT_IDS or abouts > 1:
        return f"one about, with at most {MAX_ABOUT_IDS} ids"
    if kind == READ:
        return _not_read(message, abouts)
    if kind == TEXT or kind == EDIT:  # noqa: SIM109 -- the tuple is made anew each time
        try:
            message.body.decode()
        except UnicodeDecodeError:
            return f"a text that is not UTF-8; what only clients can read has a kind from {FIRST_OWN_KIND} on"
    return _not_change(message, kind) if kind in CHANGES else ""


def _not_change(message: Message, kind: int) -> str:
    """Why this is no EDIT or ERASE that a client may send: each names one earlier message of its author's own."""
    about = message.about
    if not about.stream or len(about.ids) != 1 or not about.ids[0]:
        return "an EDIT or ERASE names a stream and one id in about"
    if not is_device_id(about.from_device):
        return "about.from_device is no device id"
    if about.stream == message.stream and about.ids[0] >= message.id:
        return "an EDIT or ERASE names an earlier message"
    if kind == EDIT:
        allowed = 1 <= message.revision <= MAX_REVISION
        return "" if allowed else f"an EDIT has a revision from 1 to {MAX_REVISION}"
    if message.body or message.revision or message.mark or _has_unknown_fields(message):
        return "an ERASE has nothing but what it names"
    return ""


def _has_unknown_fields(message: Message) -> bool:
    known = Message()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()


def _not_read(message: Message, abouts: int) -> str:
    """Why this is no READ that a client may send."""
    about = message.about
    if message.dest_id[:1] == "~":
        return "READ is no message in a group: raise the mark of its conversation over HTTP"
    if message.body:
        return "a READ has no body"
    if not abouts or not about.stream or not about.ids or 0 in about.ids:
        return "a READ names a stream and 1 to 256 ids in about"
    return "" if is_device_id(about.from_device) else "about.from_device is no device id"
