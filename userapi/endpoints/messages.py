"""Kept messages as they go out over HTTP, how requests name them, and their end.

Owns their form as JSON, for pages, reports and whatever else shows them. Who may see them, the store says.
"""

from __future__ import annotations

import base64
import contextlib
from typing import Any

from flask import request
from google.protobuf.message import DecodeError
from marshmallow import fields

from protocol.allowed import MAX_ID
from protocol.errors import InvalidIdError, ServiceError, UnavailableError
from protocol.ids import STAMP_SHIFT, check_user_id, is_device_id, is_group_id
from protocol.sparrow_pb2 import TEXT, About, Hint
from store.groups import Role
from store.timelines import Archived, Erasure, KeptMessage, Name, Result, conversation_of
from userapi.callers import DEVICE, caller, check_login, check_signature
from userapi.endpoints.group_forms import GROUP, mine, note
from userapi.endpoints.hints import tell, tell_both
from userapi.http.endpoint import Guard, PathText
from userapi.http.fields import Answer, Number, Strict, Text, user_id
from userapi.http.problems import ProblemError
from userapi.service import Service, service

MAX_STAMP = 2**64 - 1
_FULL_RETRY_AFTER_S = 3600
_STAMP = "A decimal number."
_NUMBER = "[0-9]{1,20}"

CONVERSATION_IN_PATH = PathText(
    "conversation",
    "The other user's id; of notes to oneself, one's own; of a group, its id.",
    f"([a-z0-9._-]{{1,64}}|{GROUP})",
    "bob",
)
AUTHORS_DEVICE_IN_PATH = PathText("device", "The author's device.", "[a-z0-9]{1,32}", "k3v9q0x2m7w1c8zt")
STREAM_IN_PATH = PathText("stream", "The message's stream.", _NUMBER, "4711")
NUMBER_IN_PATH = PathText("n", "The message's id in its stream.", _NUMBER, "1")
NAME_IN_PATH = (AUTHORS_DEVICE_IN_PATH, STREAM_IN_PATH, NUMBER_IN_PATH)


def _check_history() -> None:
    # A group's messages are kept for as long as they wait for somebody, also where conversations are not.
    if not is_group_id((request.view_args or {}).get("conversation", "")):
        service().history.check()


def _check() -> None:
    DEVICE.check()
    _check_history()


def _check_page() -> None:
    check_signature()
    check_login(pages=True)
    _check_history()


READER = Guard(DEVICE.scheme, _check, (*DEVICE.problems, "history_not_kept"))
"""A device that is logged in, where conversations are kept."""
PAGER = Guard(DEVICE.scheme, _check_page, READER.problems)
"""The same, for pages: whoever catches up asks often."""


class NamedMessages(Answer):
    """What a message is about."""

    device = Text("The device that wrote them.")
    stream = Text(f"Their stream. {_STAMP}")
    ids = fields.List(fields.String(), required=True, metadata={"description": "Their ids."})


class EditName(Answer):
    """The EDIT that counts; of two with the same `revision`, the one with the higher name does."""

    device = Text("The device that edited.")
    stream = Text(f"The EDIT's stream. {_STAMP}")
    id = Text(f"The EDIT's id. {_STAMP}")


class Message(Answer):
    """A message as it reads now. 64-bit numbers are decimal strings."""

    author = user_id("Who wrote it.")
    device = Text("On which device; with `stream` and `id` the message's name, which is its own for ever.")
    stream = Text(f"The stream that it was written in. {_STAMP}", example="4711")
    id = Text(f"Its number there. {_STAMP}", example="1")
    stamp = Text(f"Its place in the conversation. {_STAMP}", example="1887436800000000000")
    kind = Number("1: TEXT, 2: FILE; from 1000: clients' own.")
    text = Text("Of a TEXT: what it says; empty if it was erased.", required=False, max_length=2**20)
    body = Text("Of all else: its bytes in base64; empty if it was erased.", required=False, max_length=2**20)
    about = fields.Nested(NamedMessages, metadata={"description": "What it is about, if anything."})
    revision = Number("Of the edit that counts; 0: it was never edited.")
    edited_stamp = Text("Of the edit that counts, if any.", required=False)
    edit = fields.Nested(EditName, metadata={"description": "The edit that counts, if any."})
    erased_by = Text(
        'If it was erased: by whom; "operator", or an owner of the group: it was taken down.', required=False
    )


BODY_FIELDS = ("text", "body")
"""What a `Message` says."""


class AuthorQuery(Strict):
    """Whose message it is."""

    author = Text("In a group: who wrote it; without it, you.", required=False, max_length=64, example="bob")


def rendered(message: KeptMessage) -> dict[str, Any]:
    """As `Message` has it."""
    author, device, stream, number = message.name
    found: dict[str, Any] = {
        "author": author,
        "device": device,
        "stream": str(stream),
        "id": str(number),
        "stamp": str(message.stamp),
        "kind": message.kind,
    }
    if message.kind == TEXT:
        # Of 0.1, which did not look, it may be anything.
        found["text"] = message.body.decode(errors="replace")
    else:
        found["body"] = base64.b64encode(message.body).decode()
    if about := _about(message.about):
        found["about"] = about
    found["revision"] = message.revision
    if message.revision:
        found["edited_stamp"] = str(message.edited_stamp)
        if message.edit is not None:
            found["edit"] = _edit(message.edit)
    if message.erased_by:
        found["erased_by"] = message.erased_by
    return found


def _about(encoded: bytes) -> dict[str, Any] | None:
    if not encoded:
        return None
    try:
        about = About.FromString(encoded)
    except DecodeError:  # of a later version
        return None
    return {"device": about.from_device, "stream": str(about.stream), "ids": [str(number) for number in about.ids]}


def _edit(name: Name) -> dict[str, str]:
    return {"device": name.device, "stream": str(name.stream), "id": str(name.id)}


# What requests name.


def conversation_with(other: str, *, own: bool = False) -> str:
    """The id of the caller's conversation with `other`, or of the group that this is. Raises `ProblemError` for what is
    no id, and for a group that the caller is not in; `own`: one's own words there are asked for, which stay one's own.

    Nobody's conversation but the caller's own can be named, whatever `other` is.
    """
    if is_group_id(other):
        if not own:
            mine(other)
        return other
    try:
        return conversation_of(caller().user, check_user_id(other))
    except InvalidIdError:
        raise ProblemError("no_such_conversation") from None


def name_of(author: str, device: str, stream: str, number: str) -> Name:
    """A message's name. Raises `ProblemError` for one that no message has."""
    if is_device_id(device) and _digits(stream) and _digits(number):
        name = Name(author, device, int(stream), int(number))
        if 0 < name.stream <= MAX_STAMP and 0 < name.id <= MAX_ID:
            return name
    raise ProblemError("no_such_message")


def _digits(text: str) -> bool:
    return len(text) <= 20 and text.isascii() and text.isdigit()


def now_stamp(parts: Service) -> int:
    """A stamp of now."""
    return int(parts.clock() * 1000) << STAMP_SHIFT


# Their end.


def erase(conversation: str, name: Name, other: str, by: str, reader: str = "") -> KeptMessage | None:
    """Erase one message, whose author (or `reader`) may see it, and tell all sides; done once more, nobody is told
    again.

    Returns what it was; None: it was erased before. `other`: who is not the author, or the group. Raises
    `ProblemError` ("no_such_message", "history_full") and `ServiceError`.
    """
    parts = service()
    timelines = parts.history.timelines
    message = parts.bridge.call(timelines.message, conversation, name, reader or name.author)
    if message is None:
        raise ProblemError("no_such_message")
    if message.erased_by:
        return None  # and writes nothing, however often
    erasure = Erasure(conversation, name, now_stamp(parts), by)
    (done,) = parts.bridge.call(timelines.archive, [erasure])
    _succeeded(done)
    if is_group_id(other):
        _tell_group(parts, other, message.stamp)
    elif done.visible and other != name.author:
        tell_both(name.author, other, Hint.HISTORY_CHANGED, message.stamp)
    else:
        tell(name.author, Hint.HISTORY_CHANGED, other, message.stamp)
    return message


def _tell_group(parts: Service, group: str, stamp: int) -> None:
    found = parts.groups.find(group)
    if found is not None:
        with contextlib.suppress(ServiceError):
            hint = Hint(kind=Hint.HISTORY_CHANGED, group=group, stamp=stamp)
            parts.fabric.hint_of_group(found.members, hint)


def erase_in_group(group: str, name: Name) -> None:
    """As the author, who may have left meanwhile; or as an owner, which is seen by all. Raises as `erase` does."""
    parts, user = service(), caller().user
    conversation_with(group, own=name.author == user)
    found = parts.groups.find(group)
    members = {} if found is None else found.members
    if name.author != user and members[user].role < Role.OWNER:
        raise ProblemError("not_allowed_here", "only owners of the group erase what others wrote")
    # It costs as much as it makes others look.
    parts.limits.check_history(user)
    erased = erase(group, name, group, user, user)
    parts.limits.read_history(user, len(members))
    if erased is not None and name.author != user:
        note("message_taken_down", group, name.author, message="/".join(map(str, name)))


def _succeeded(done: Archived) -> None:
    if done.result == Result.FULL:
        raise ProblemError("history_full", headers={"Retry-After": str(_FULL_RETRY_AFTER_S)})
    if done.result == Result.NOT_ALLOWED:
        raise ProblemError("no_such_message")
    if done.result != Result.KEPT:
        raise UnavailableError("the timeline could not be written")
