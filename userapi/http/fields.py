"""The fields that schemas of requests and answers are made of.

Owns how strict they are, and what is said of a wrong one: "code|text", which `userapi.http.bodies` makes a problem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate


def _messages(invalid: str, **more: str) -> dict[str, Any]:
    return {
        "required": "missing_field|is missing",
        "null": "wrong_type|cannot be null",
        "invalid": f"wrong_type|must be {invalid}",
        **more,
    }


_NOT_IN_A_LINE = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
LABEL: dict[str, Any] = {"max_length": 100, "pattern": f"[^{_NOT_IN_A_LINE}]*"}
"""Of texts that people read in a line: no control characters, no ends of lines, nothing that turns the line around."""
_LINE_BREAKERS = re.compile(f"[{_NOT_IN_A_LINE}]")


def in_a_line(text: str) -> str:
    """`text` of before 0.2, which may hold what `LABEL` refuses, without it."""
    return _LINE_BREAKERS.sub("", text)


class Answer(Schema):
    """Base of what is answered: further fields may come one day."""


class Strict(Schema):
    """Base of what is asked: what it does not name is refused."""

    error_messages: dict[str, str] = {  # noqa: RUF012 - marshmallow's
        "unknown": "unknown_field|is unknown",
        "type": "wrong_type|must be an object",
    }

    class Meta:
        """For marshmallow."""

        unknown = RAISE


class Text(fields.String):
    """A string; lengths in characters."""

    def __init__(
        self,
        description: str,
        *,
        required: bool = True,
        max_length: int = 1024,
        min_length: int = 0,
        pattern: str = "",
        one_of: Sequence[str] = (),
        example: str | None = None,
        **more: Any,
    ) -> None:
        checks: list[Any] = [validate.Length(max=max_length, error=f"too_long|is longer than {max_length} characters")]
        if min_length:
            checks.append(
                validate.Length(min=min_length, error=f"invalid_value|is shorter than {min_length} characters")
            )
        if pattern:
            checks.append(_FullMatch(pattern, error=f"invalid_value|does not match {pattern}"))
        if one_of:
            checks.append(validate.OneOf(one_of, error=f"invalid_value|must be one of {', '.join(one_of)}"))
        messages = _messages("a string", invalid_utf8="wrong_type|must be a string")
        about = _about(description, example)
        super().__init__(required=required, validate=checks, metadata=about, error_messages=messages, **more)


class _FullMatch(validate.Regexp):
    """All of the string. OpenAPI's patterns are sought, so the anchors are for the document."""

    def __init__(self, pattern: str, error: str) -> None:
        super().__init__(f"^{pattern}$", error=error)

    def __call__(self, value: Any) -> Any:
        # `$` would let a line's end pass.
        if not self.regex.fullmatch(value):
            raise ValidationError(str(self.error))
        return value


class Flag(fields.Boolean):
    """true or false, not what may be taken for one."""

    def __init__(self, description: str, *, required: bool = True, **more: Any) -> None:
        messages = _messages("true or false")
        super().__init__(required=required, metadata=_about(description), error_messages=messages, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Number(fields.Integer):
    """A whole number; in a query, its digits."""

    def __init__(
        self,
        description: str,
        *,
        required: bool = True,
        minimum: int | None = None,
        maximum: int | None = None,
        **more: Any,
    ) -> None:
        checks = []
        if minimum is not None or maximum is not None:
            error = f"invalid_value|must be from {minimum} to {maximum}"
            checks.append(validate.Range(min=minimum, max=maximum, error=error))
        messages = _messages("a whole number", too_large="invalid_value|is too large")
        about = _about(description)
        super().__init__(required=required, validate=checks, metadata=about, error_messages=messages, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if isinstance(value, bool | float) or (isinstance(value, str) and len(value) > 20):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def _about(description: str, example: str | None = None) -> dict[str, Any]:
    return {"description": description} | ({} if example is None else {"example": example})


def user_id(description: str = "The user's id.", **more: Any) -> Text:
    """A user id, as an answer names it. (A request's is looked at by `protocol.ids`.)"""
    return Text(description, example="alice", **more)


def items(kind: type[Schema], description: str) -> fields.List[Any]:
    """A list of objects."""
    return fields.List(fields.Nested(kind), required=True, metadata=_about(description))
