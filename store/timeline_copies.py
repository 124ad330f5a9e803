"""Copies of messages that wait in inboxes, as far as erasing has to know them.

Owns how a copy is known. Knows no engine.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from protocol.sparrow_pb2 import Kind, Message
from store.timelines import Erasure, members_of


def is_copy(body: bytes, erasure: Erasure) -> bool:
    """Whether a copy is of the message, or of an edit of it."""
    try:
        message = Message.FromString(body)
    except DecodeError:
        return False
    target = erasure.target
    if message.from_id != target.author or message.dest_id not in members_of(erasure.conversation):
        return False
    if (message.from_device, message.stream, message.id) == target[1:]:
        return True
    about = message.about
    return (
        message.kind == Kind.EDIT
        and (about.from_device or message.from_device, about.stream) == target[1:3]
        and target.id in about.ids
    )
