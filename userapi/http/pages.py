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


MAX_CURSOR = 128
"""Characters of one that stands for a position."""


def to_cursor(after: str | bytes) -> str:
    """A cursor behind this entry, or at this position of a timeline."""
    raw = after.encode() if isinstance(after, str) else after
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def from_cursor(query: Mapping[str, str]) -> str:
    """The entry that the query's cursor is behind; empty without one. Raises `ProblemError`."""
    try:
        return from_position(query, "cursor").decode()
    except UnicodeDecodeError:
        raise no_cursor("cursor") from None


def from_position(query: Mapping[str, str], field: str) -> bytes:
    """The position that a field of the query stands for; empty without it. Raises `ProblemError`."""
    cursor = query.get(field, "")
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        position = b""
    if to_cursor(position) != cursor:
        raise no_cursor(field)
    return position


def no_cursor(field: str) -> ProblemError:
    """What is said of one that we have not given."""
    return ProblemError("invalid_value", f'"{field}" is none that this API gave', field=field)


def tagged(answer: dict[str, object]) -> Response | tuple[dict[str, object], int, dict[str, str]]:
    """`answer` with its entity tag; or 304, if the client has it already."""
    tag = hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": _CACHE}
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers=headers)
    return answer, 200, headers


def unstored(answer: dict[str, object]) -> Response:
    """`answer` with its entity tag, for clients that keep it themselves, and no cache does; or 304.

    It is written as it is, past the schema, which takes its time with hundreds of messages.
    """
    data = json.dumps(answer, separators=(",", ":")).encode()
    tag = hashlib.sha256(data).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-store"}
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers=headers)
    return Response(data, headers=headers, content_type="application/json")


IF_NONE_MATCH = HeaderText("If-None-Match", "The `ETag` of what the client has.")
NOT_MODIFIED = {304: "The client has it already."}
