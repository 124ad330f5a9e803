"""Conversations as they are kept: `/v1/conversations` (docs/design/history.md).

Owns reading them, how far one has read them, and the end of one's own words there. Whose conversation it is, is in
none of its ids: it is always the caller's, with the user whom the path names, whether there is one or not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Response
from marshmallow import fields

from protocol.errors import InvalidIdError, MisuseError, ServiceError
from protocol.ids import STAMP_SHIFT, check_dest_id, check_user_id, is_group_id
from protocol.sparrow_pb2 import Hint
from store.interface import Profile
from store.timelines import (
    FOR_EVER_MS,
    MAX_PAGE,
    MAX_UNREAD,
    R_B_MS,
    HistoryQuery,
    Listed,
    Mark,
    conversation_of,
)
from userapi.callers import DEVICE, caller, callers_profile
from userapi.endpoints.hints import tell
from userapi.endpoints.messages import (
    CONVERSATION_IN_PATH,
    MAX_STAMP,
    NAME_IN_PATH,
    PAGER,
    READER,
    AuthorQuery,
    Message,
    conversation_with,
    erase,
    erase_in_group,
    name_of,
    now_stamp,
    rendered,
)
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Number, Strict, Text, user_id
from userapi.http.pages import (
    IF_NONE_MATCH,
    MAX_CURSOR,
    MAX_LIMIT,
    NOT_MODIFIED,
    from_position,
    no_cursor,
    to_cursor,
    unstored,
)
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("conversations", "What is kept of conversations, where the service keeps it (`history.keep_days`)")

_MAX_IDS = 100
LEAST = 200
"""A page counts as so many messages at least: as many small ones come in a second as requests of other kinds."""
MUTED_UNTIL = f"Until when it is muted; Unix time in milliseconds; {FOR_EVER_MS}: for ever."
_ME = (CONVERSATION_IN_PATH,)
_NONE = ("no_such_conversation", "not_member")


class ConversationsQuery(Strict):
    """Which part of the list."""

    after = Text("`next` of the page before; without it, the first page.", required=False, max_length=64)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_LIMIT, dump_default=50)


class Conversation(Answer):
    """A conversation, as its reader sees it."""

    id = user_id("The other user's id; of notes to oneself, one's own; of a group, its id.")
    newest = fields.Nested(
        Message, required=True, allow_none=True, metadata={"description": "Null: all of it has expired."}
    )
    mark = Text("How far you have read it: a stamp; a decimal number, 0 at first.")
    read_by_other = Text(
        "How far the other shows to have read it: a stamp; 0: not at all, or they do not show it, or it is a group."
    )
    muted_until_ms = Number(f"{MUTED_UNTIL} Absent if it is not.", required=False)


class WholeConversation(Conversation):
    """One, alone."""

    unread = Number(f"What others wrote behind your mark; {MAX_UNREAD}: so much, or more.")


class Conversations(Answer):
    """A page of them."""

    conversations = fields.List(
        fields.Nested(Conversation), required=True, metadata={"description": "By id; hidden ones are not among them."}
    )
    next = Text("For the next page's `after`; null at the end.", allow_none=True)


class UnreadQuery(Strict):
    """Which conversations."""

    ids = Text(f"Ids of conversations by commas, {_MAX_IDS} at most.", required=False, max_length=7000, example="bob")


class Unread(Answer):
    """How much is unread."""

    unread = fields.Raw(
        required=True,
        metadata={"description": f"An object: id → what others wrote behind your mark, {MAX_UNREAD} at most."},
    )


class MessagesQuery(Strict):
    """Which part of a conversation."""

    before = Text("`next` of the page before; without it, the newest messages.", required=False, max_length=MAX_CURSOR)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_PAGE, dump_default=50)
    own = Text("true: only what you wrote.", required=False, load_default="false", one_of=("true", "false"))


class Messages(Answer):
    """A page of them; may be short, or empty, without being the last."""

    messages = fields.List(fields.Nested(Message), required=True, metadata={"description": "Newest first."})
    next = Text("For the next page's `before`; null at the end.", allow_none=True)


class MarkChange(Strict):
    """What `PUT /v1/conversations/{conversation}/mark` takes."""

    stamp = Text(
        "Of the newest message that was read: a decimal number.",
        pattern="[0-9]{1,20}",
        max_length=20,
        example="1887436800000000000",
    )


class MarkAnswer(Answer):
    """How far it is read."""

    mark = Text("A stamp; a decimal number.")


# Lists.


@endpoint(
    area,
    "GET",
    "/v1/conversations",
    query=ConversationsQuery,
    answer=Conversations,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    guard=READER,
)
def list_conversations(query: dict[str, Any]) -> Response:
    """List your conversations, each with its newest message and how far it is read."""
    parts, user, limit = service(), caller().user, query["limit"]
    after = query.get("after", "")
    try:
        after and check_dest_id(after)
    except InvalidIdError:
        raise no_cursor("after") from None
    parts.limits.check_history(user)
    found = parts.bridge.call(parts.history.timelines.conversations, user, after, limit)
    people = [one.other for one in found if not is_group_id(one.other)]
    profiles, mutes = parts.bridge.together(
        partial(parts.bridge.store.profiles, people), partial(parts.history.timelines.mutes, user)
    )
    parts.limits.read_history(user, max(1, len(found)))
    return unstored(
        {
            "conversations": [_conversation(one, profiles.get(one.other), mutes) for one in found],
            "next": found[-1].other if len(found) == limit else None,
        }
    )


def _conversation(listed: Listed, profile: Profile | None, mutes: Mapping[str, int]) -> dict[str, Any]:
    # A block needs nothing here: nobody's READ of whom they block, or who blocks them, raises a mark, so it stays.
    shown = profile is not None and not profile.hides_presence
    return {
        "id": listed.other,
        "newest": None if listed.newest is None else rendered(listed.newest),
        "mark": str(listed.mine.private),
        "read_by_other": str(listed.others.public if shown else 0),
        **({"muted_until_ms": mutes[listed.other]} if listed.other in mutes else {}),
    }


@endpoint(
    area,
    "GET",
    "/v1/conversations/unread",
    query=UnreadQuery,
    answer=Unread,
    guard=DEVICE,
    problems=("no_such_conversation", "history_not_kept"),
)
def count_unread(query: dict[str, Any]) -> dict[str, Any] | Response:
    """Count what is unread in some conversations, each up to 100.

    Without `ids` this path is that of the conversation with the user "unread".
    """
    parts, user = service(), caller().user
    others = dict.fromkeys(query.get("ids", "").split(","))
    if not all(map(is_group_id, others)):
        parts.history.check()
    if "ids" not in query:
        return look_at_conversation("unread")
    if len(others) > _MAX_IDS:
        raise ProblemError("invalid_value", f'the field "ids" names more than {_MAX_IDS}', field="ids")
    try:
        # Of a group that they are not in there is nothing to be counted.
        wanted = {
            other: other if is_group_id(other) else conversation_of(user, check_user_id(other)) for other in others
        }
    except InvalidIdError as error:
        raise ProblemError("invalid_value", f'the field "ids": {error}', field="ids") from None
    parts.limits.check_history(user)
    found = parts.bridge.call(parts.history.timelines.unread, user, list(wanted.values()))
    parts.limits.read_history(user, len(wanted) + sum(found.values()))
    return {"unread": {other: found.get(one, 0) for other, one in wanted.items()}}


# One of them.


@endpoint(
    area,
    "GET",
    "/v1/conversations/<conversation>",
    answer=WholeConversation,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    parts=_ME,
    guard=READER,
    problems=_NONE,
)
def look_at_conversation(conversation: str) -> Response:
    """Look at one conversation, hidden or not."""
    parts, user, id_ = service(), caller().user, conversation_with(conversation)
    timelines = parts.history.timelines
    parts.limits.check_history(user)
    found, unread, mutes, profiles = parts.bridge.together(
        partial(timelines.listed, user, id_),
        partial(timelines.unread, user, [id_]),
        partial(timelines.mutes, user),
        partial(parts.bridge.store.profiles, [] if is_group_id(conversation) else [conversation]),
    )
    parts.limits.read_history(user, 1 + unread.get(id_, 0))
    if found is None:
        raise ProblemError("no_such_conversation")
    return unstored({**_conversation(found, profiles.get(conversation), mutes), "unread": unread.get(id_, 0)})


@endpoint(
    area,
    "DELETE",
    "/v1/conversations/<conversation>",
    status=204,
    parts=_ME,
    guard=READER,
    problems=_NONE,
)
def hide_conversation(conversation: str) -> tuple[str, int]:
    """Take a conversation out of your list until something newer is written there. Nothing is erased."""
    parts, user, id_ = service(), caller().user, conversation_with(conversation)
    found = _listed(parts, id_)
    stamp = now_stamp(parts) if found.newest is None else found.newest.stamp
    parts.bridge.call(parts.history.timelines.hide, user, id_, stamp)
    return "", 204


@endpoint(area, "DELETE", "/v1/conversations/unread", status=204, guard=READER, problems=("no_such_conversation",))
def hide_unread() -> tuple[str, int]:
    """Take the conversation with the user "unread" out of your list, as any other."""
    return hide_conversation("unread")


@endpoint(
    area,
    "GET",
    "/v1/conversations/<conversation>/messages",
    query=MessagesQuery,
    answer=Messages,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    parts=_ME,
    guard=PAGER,
    problems=_NONE,
)
def list_messages(query: dict[str, Any], conversation: str) -> Response:
    """Read a conversation, from its newest message back.

    Who reads drops repeats by name (`author`, `device`, `stream`, `id`). Where nothing was ever written, there is
    nothing. With `own`, what you wrote can be found, to erase it, whatever has become of the two of you.
    """
    own, limit, before = query["own"] == "true", query["limit"], from_position(query, "before")
    parts, user, id_ = service(), caller().user, conversation_with(conversation, own=own)
    try:
        page = parts.bridge.call(parts.history.timelines.page, HistoryQuery(id_, user, before, limit, own))
    except MisuseError:
        raise no_cursor("before") from None
    # What others wrote is read, too, where one's own is sought.
    parts.limits.read_history(user, MAX_PAGE if own else max(LEAST, len(page.messages)))
    parts.counts.page(len(page.messages))
    messages = [rendered(message) for message in page.messages]
    return unstored({"messages": messages, "next": to_cursor(page.next) if page.next else None})


@endpoint(
    area,
    "PUT",
    "/v1/conversations/<conversation>/mark",
    body=MarkChange,
    answer=MarkAnswer,
    parts=_ME,
    guard=READER,
    problems=_NONE,
)
def raise_mark(body: dict[str, Any], conversation: str) -> dict[str, Any]:
    """Say how far you have read, to your own devices alone. (The other is told by READ on the chat connection.) In a
    group those see it, too, who ask who has read a message of theirs, unless you hide your presence.

    A mark never falls, and is at most two minutes ahead of now. Your other devices get a hint if it has risen.
    """
    parts, user, id_ = service(), caller().user, conversation_with(conversation)
    if int(body["stamp"]) > MAX_STAMP:
        raise ProblemError("invalid_value", 'the field "stamp" is beyond 64 bits', field="stamp")
    stamp = min(int(body["stamp"]), now_stamp(parts) + (R_B_MS << STAMP_SHIFT))
    mark = _listed(parts, id_).mine.private
    if stamp <= mark:
        return {"mark": str(mark)}
    (rose,) = parts.bridge.call(parts.history.timelines.raise_marks, [Mark(user, id_, stamp, _is_shown(id_))])
    if rose:
        _tell_of_mark(parts, user, conversation, stamp)
    else:  # another device was there meanwhile
        stamp = _listed(parts, id_).mine.private
    return {"mark": str(stamp)}


def _is_shown(id_: str) -> bool:
    """Whether a mark is one that others may ask for (P5)."""
    return is_group_id(id_) and not callers_profile().hides_presence


def _tell_of_mark(parts: Service, user: str, conversation: str, stamp: int) -> None:
    if is_group_id(conversation):
        with contextlib.suppress(ServiceError):
            parts.fabric.hint_of_group([user], Hint(kind=Hint.MARK_RAISED, group=conversation, stamp=stamp))
    else:
        tell(user, Hint.MARK_RAISED, conversation, stamp)


def _listed(parts: Service, id_: str) -> Listed:
    found = parts.bridge.call(parts.history.timelines.listed, caller().user, id_)
    if found is None:
        raise ProblemError("no_such_conversation")
    return found


@endpoint(
    area,
    "DELETE",
    "/v1/conversations/<conversation>/messages/<device>/<stream>/<n>",
    query=AuthorQuery,
    status=204,
    parts=(CONVERSATION_IN_PATH, *NAME_IN_PATH),
    guard=READER,
    problems=(*_NONE, "no_such_message", "not_allowed_here", "history_full"),
)
def erase_message(query: dict[str, Any], conversation: str, device: str, stream: str, n: str) -> tuple[str, int]:
    """Erase a message of yours, of whichever device, for all sides and for good. May be repeated.

    In a group that you own, others' messages, too, which shows that you did it. Devices that are online get a hint.
    Others have what they have until they look at the conversation.
    """
    user = caller().user
    if is_group_id(conversation):
        erase_in_group(conversation, name_of(query.get("author", user), device, stream, n))
        return "", 204
    if query.get("author", user) != user:
        raise ProblemError("no_such_message")
    id_ = conversation_with(conversation)
    erase(id_, name_of(user, device, stream, n), conversation, by=user)
    return "", 204
