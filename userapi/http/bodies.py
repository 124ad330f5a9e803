"""Requests as they come in: strict JSON objects and query strings, checked against a schema.

Owns reading, and how what a schema does not like becomes a problem. Knows no endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import marshmallow
from flask import Request, request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from protocol.strict_json import without_repeats
from userapi.http.problems import ProblemError


class Parser(FlaskParser):
    """What `userapi.http.endpoint` reads requests with: nothing unknown is passed over."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - webargs'
        "json": marshmallow.RAISE,
        "query": marshmallow.RAISE,
    }

    def load_json(self, req: Request, schema: marshmallow.Schema) -> Any:
        """The body. Raises `ProblemError`."""
        return read_object()

    def load_querystring(self, req: Request, schema: marshmallow.Schema) -> Any:
        """The query, each field once. Raises `ProblemError`."""
        for name, values in req.args.lists():
            if len(values) > 1:
                raise ProblemError("invalid_value", f'"{name[:80]}" is there twice', field=name[:80])
        return dict(req.args)

    def handle_error(
        self,
        error: marshmallow.ValidationError,
        req: Request,
        schema: marshmallow.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        """Raises the first problem of those that the schema has found."""
        found: dict[str, Any]
        (found,) = error.messages_dict.values()  # by location, of which there is one
        name, said = next(iter(found.items()))
        code, _, text = _first(said).partition("|")
        if code == "unknown_field":
            known = ", ".join(schema.load_fields) or "none"
            raise ProblemError(
                code, f'unknown field "{str(name)[:80]}"; known are: {known}', field=str(name)[:80]
            ) from None
        raise ProblemError(code, f'the field "{name}" {text}', field=name) from None


def _first(said: Any) -> str:
    """The first message, however deep (of the items of a list, say)."""
    while not isinstance(said, str):
        said = next(iter(said.values() if isinstance(said, dict) else said))
    return said


def read_object() -> dict[str, Any]:
    """The request's body. Raises `ProblemError` for what is no JSON object."""
    if request.mimetype != "application/json":
        raise ProblemError("unsupported_media_type", "send a JSON object with Content-Type: application/json")
    body = request.get_data(cache=False)
    # Without a stated length werkzeug reads up to the limit and keeps silent about what follows.
    if request.content_length is None and len(body) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge
    try:
        value = json.loads(body.decode(), object_pairs_hook=without_repeats, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ProblemError("malformed_json", "the body is not JSON in UTF-8 with each field once") from None
    if not isinstance(value, dict):
        raise ProblemError("malformed_json", "the body is not a JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProblemError("malformed_json", "the body holds half a surrogate pair") from None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
