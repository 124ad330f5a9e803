"""Mutes: conversations that a user wants to hear nothing of for a while, or ever: `/v1/mutes`.

Owns the end of one, which is told in the service's time, not the client's: a browser's clock may be a year off. A mute
is the user's own devices' business; what they leave out is theirs, nothing is held back from them.
"""

from __future__ import annotations

import contextlib
from typing import Any

from protocol.errors import ServiceError
from protocol.ids import is_group_id
from protocol.sparrow_pb2 import Hint
from store.timelines import FOR_EVER_MS
from userapi.callers import DEVICE, caller
from userapi.endpoints.conversations import MUTED_UNTIL
from userapi.endpoints.hints import tell
from userapi.endpoints.messages import CONVERSATION_IN_PATH, conversation_with
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Number, Strict, items, user_id
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("mutes", "Conversations that are muted")

_MAX_S = 10 * 366 * 86_400
_PATH = "/v1/conversations/<conversation>/mute"


class NewMute(Strict):
    """What `PUT /v1/conversations/{conversation}/mute` takes."""

    for_s = Number("For so many seconds from now on; null: for ever.", allow_none=True, minimum=1, maximum=_MAX_S)


class MuteAnswer(Answer):
    """Until when it is."""

    muted_until_ms = Number(MUTED_UNTIL)


class Mute(MuteAnswer):
    """A conversation that is muted."""

    id = user_id("The other user's id; of notes to oneself, one's own; of a group, its id.")


class Mutes(Answer):
    """All of them."""

    mutes = items(Mute, "By id.")


@endpoint(area, "GET", "/v1/mutes", answer=Mutes, guard=DEVICE)
def list_mutes() -> dict[str, Any]:
    """List the conversations that you have muted, whether anything was ever written there or not."""
    parts = service()
    found = parts.bridge.call(parts.history.timelines.mutes, caller().user)
    return {"mutes": [{"id": other, "muted_until_ms": until_ms} for other, until_ms in sorted(found.items())]}


@endpoint(
    area,
    "PUT",
    _PATH,
    body=NewMute,
    answer=MuteAnswer,
    parts=(CONVERSATION_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_conversation", "not_member", "too_many_mutes"),
)
def mute_conversation(body: dict[str, Any], conversation: str) -> dict[str, Any]:
    """Mute a conversation, for all your devices, whether anything was ever written there or not. Only they hear of it:
    those that are online get a hint.

    It goes on as before, and counts as unread what is unread: your devices leave out what would disturb you.
    """
    conversation_with(conversation)
    for_s = body["for_s"]
    until_ms = FOR_EVER_MS if for_s is None else int((service().clock() + for_s) * 1000)
    _mute(conversation, until_ms)
    return {"muted_until_ms": until_ms}


@endpoint(
    area,
    "DELETE",
    _PATH,
    status=204,
    parts=(CONVERSATION_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_conversation",),
)
def unmute_conversation(conversation: str) -> tuple[str, int]:
    """Mute a conversation no more. May be repeated."""
    conversation_with(conversation, own=True)  # also of a group that one has left
    _mute(conversation, 0)
    return "", 204


def _mute(conversation: str, until_ms: int) -> None:
    parts, user = service(), caller().user
    mute = parts.history.timelines.mute
    if not parts.bridge.call(mute, user, conversation, until_ms, parts.settings.max_mutes):
        raise ProblemError("too_many_mutes")
    if is_group_id(conversation):
        with contextlib.suppress(ServiceError):
            parts.fabric.hint_of_group([user], Hint(kind=Hint.HISTORY_CHANGED, group=conversation))
    else:
        tell(user, Hint.HISTORY_CHANGED, conversation)
