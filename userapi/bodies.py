"""Requests as they come in: strict JSON objects of named strings.

Owns reading and checking a body. Knows no endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from userapi.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Text:
    """A string field; `max_length` in characters."""

    required: bool = True
    max_length: int = 1024


def read_strings(fields: Mapping[str, Text]) -> dict[str, str]:
    """The body's fields; absent optional ones are absent. Raises `ProblemError` for anything else."""
    if request.mimetype != "application/json":
        raise ProblemError(415, "unsupported_media_type", "send a JSON object with Content-Type: application/json")
    body = request.get_data(cache=False)
    # Without a stated length werkzeug reads up to the limit and keeps silent about what follows.
    if request.content_length is None and len(body) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge
    values = _parse(body)
    for name in values:
        if name not in fields:
            known = ", ".join(fields)
            raise ProblemError(
                400, "unknown_field", f'unknown field "{name[:80]}"; known are: {known}', field=name[:80]
            )
    return {name: value for name, field in fields.items() if (value := _check(name, field, values)) is not None}


def _parse(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body.decode(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise ProblemError(400, "malformed_json", "the body is not JSON in UTF-8 with each field once") from None
    if not isinstance(value, dict):
        raise ProblemError(400, "malformed_json", "the body is not a JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProblemError(400, "malformed_json", "the body holds half a surrogate pair") from None
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a field is there twice")
    return values


def _check(name: str, field: Text, values: Mapping[str, object]) -> str | None:
    value = values.get(name)
    if name not in values:
        if field.required:
            raise ProblemError(400, "missing_field", f'the field "{name}" is missing', field=name)
        return None
    if not isinstance(value, str):
        raise ProblemError(400, "wrong_type", f'the field "{name}" must be a string', field=name)
    if len(value) > field.max_length:
        detail = f'the field "{name}" is longer than {field.max_length} characters'
        raise ProblemError(400, "too_long", detail, field=name)
    return value
