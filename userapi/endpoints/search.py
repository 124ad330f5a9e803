"""Search in what is kept: `/v1/search` (docs/design/history.md).

Owns asking the index, where the service has one. What may be seen is the timelines' affair.
"""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from protocol.errors import InvalidIdError, MisuseError, SearchNotOfferedError
from protocol.ids import check_dest_id, is_group_id
from store.timelines import MAX_PAGE, members_of
from store.words import words
from userapi.callers import caller
from userapi.endpoints.messages import PAGER, Message, conversation_with, rendered
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Number, Strict, Text, user_id
from userapi.http.pages import MAX_CURSOR, from_position, no_cursor, to_cursor, unstored
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("search", "Words in what is kept of conversations, where the service has an index (`history.search`)")


class SearchQuery(Strict):
    """What is looked for, and where."""

    q = Text("Words that follow one another; the last may be the beginning of one.", max_length=200, example="lunch")
    conversation = Text("The other user's id, or a group's; without it, all of yours.", required=False, max_length=64)
    before = Text("`next` of the page before; without it, the newest.", required=False, max_length=MAX_CURSOR)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=100, dump_default=50)


class FoundMessage(Message):
    """A message, and where it stands."""

    conversation = user_id("The other user's id; of notes to oneself, one's own; of a group, its id.")


class FoundMessages(Answer):
    """A page of them; may be short, or empty, without being the last."""

    messages = fields.List(
        fields.Nested(FoundMessage), required=True, metadata={"description": "Newest first: texts, as they read now."}
    )
    next = Text("For the next page's `before`; null at the end.", allow_none=True)


@endpoint(
    area,
    "GET",
    "/v1/search",
    query=SearchQuery,
    answer=FoundMessages,
    guard=PAGER,
    problems=("search_not_offered", "search_too_broad", "not_member"),
)
def find_messages(query: dict[str, Any]) -> Response:
    """Find texts in your conversations, without regard to case and accents, some seconds after they were SENT."""
    parts, user, other = service(), caller().user, query.get("conversation", "")
    before = from_position(query, "before")
    if not words(query["q"]):
        raise ProblemError("invalid_value", 'the field "q" has no word in it', field="q")
    try:
        id_ = conversation_with(check_dest_id(other)) if other else ""
    except InvalidIdError as error:
        raise ProblemError("invalid_value", f'the field "conversation": {error}', field="conversation") from None
    try:
        page = parts.bridge.call(parts.history.timelines.search, user, query["q"], id_, before, query["limit"])
    except SearchNotOfferedError:
        raise ProblemError("search_not_offered") from None
    except MisuseError as error:
        raise no_cursor("before") if "position" in str(error) else ProblemError("search_too_broad") from None
    parts.limits.read_history(user, MAX_PAGE)
    found = [{**rendered(each.message), "conversation": _other(each.conversation, user)} for each in page.found]
    return unstored({"messages": found, "next": to_cursor(page.next) if page.next else None})


def _other(conversation: str, user: str) -> str:
    if is_group_id(conversation):
        return conversation
    one, other = members_of(conversation)
    return other if one == user else one
