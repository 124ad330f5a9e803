"""What lists and cached answers have in common: cursors and entity tags.

Owns their form. Knows no endpoint.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from flask import Response, request

from userapi.http.endpoint import HeaderText
from userapi.http.fields import Answer, Number, Strict, Text
from userapi.http.problems import ProblemError

MAX_LIMIT = 100
_CACHE = "private, no-cache"


class PageQuery(Strict):
    """Which part of a list."""

    cursor = Text("`next` of the page before; without it, the first page.", required=False, max_length=200)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_LIMIT, dump_default=50)


class PageAnswer(Answer):
    """A part of a list. What derives from it has `items`."""

    next = Text("For the next page's `cursor`; null at the end.", allow_none=True)


def to_cursor(after: str) -> str:
    """A cursor behind this entry."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def from_cursor(query: Mapping[str, str]) -> str:
    """The entry that the query's cursor is behind; empty without one. Raises `ProblemError`."""
    cursor = query.get("cursor", "")
    try:
        after = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        after = ""
    if to_cursor(after) != cursor:
        raise ProblemError("invalid_value", 'the "cursor" is none that this API gave', field="cursor")
    return after


def tagged(answer: dict[str, object]) -> Response | tuple[dict[str, object], int, dict[str, str]]:
    """`answer` with its entity tag; or 304, if the client has it already."""
    tag = hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": _CACHE}
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers=headers)
    return answer, 200, headers


IF_NONE_MATCH = HeaderText("If-None-Match", "The `ETag` of what the client has.")
NOT_MODIFIED = {304: "The client has it already."}
