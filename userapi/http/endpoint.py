"""What every endpoint is declared with: one decorator for its path, schemas, who may call it, and its refusals.

Owns the way from a declaration to flask and into the OpenAPI document (flask-smorest). Knows no endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask_smorest import Blueprint
from marshmallow import Schema

from userapi.http.bodies import Parser
from userapi.http.problems import CODES, OF_EVERY_BODY, OF_EVERY_QUERY, OF_EVERY_REQUEST

View = TypeVar("View", bound=Callable[..., object])

PROBLEM = {"$ref": "#/components/schemas/Problem"}
BYTES = {"type": "string", "format": "binary"}
_HEADERS = {
    401: {"WWW-Authenticate": "What is asked for."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}


class Area(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """Endpoints that belong together; a chapter of the document."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, description=description)


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may call an endpoint. `check` raises `ProblemError` with one of `problems` for everybody else."""

    scheme: str
    """The guard's name among the document's security schemes (`userapi.http.document`)."""
    check: Callable[[], None]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PathText:
    """A variable part of a path."""

    name: str
    description: str
    pattern: str = ""
    example: str = ""

    def documented(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if self.pattern:
            schema["pattern"] = f"^{self.pattern}$"
        found: dict[str, Any] = {"in": "path", "name": self.name, "required": True, "description": self.description}
        return found | {"schema": schema} | ({"example": self.example} if self.example else {})


@dataclass(frozen=True, slots=True)
class HeaderText:
    """A header of the request that an endpoint looks at."""

    name: str
    description: str
    pattern: str = ""
    required: bool = False

    def documented(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        schema = {"type": "string"} | ({"pattern": f"^{self.pattern}$"} if self.pattern else {})
        found = {"in": "header", "name": self.name, "required": self.required, "description": self.description}
        return found | {"schema": schema}


USER_IN_PATH = PathText("user", "A user's id.", "[a-z0-9._-]{1,64}", "alice")
DEVICE_IN_PATH = PathText("device", "A device's id, as a login gave it.", "[a-z0-9]{1,32}", "k3v9q0x2m7w1c8zt")


def endpoint(
    area: Area,
    method: str,
    path: str,
    *,
    answer: type[Schema] | None = None,
    status: int = 200,
    also: Mapping[int, str] | None = None,
    body: type[Schema] | None = None,
    query: type[Schema] | None = None,
    headers: Sequence[HeaderText] = (),
    takes: str = "",
    gives: str = "",
    parts: Sequence[PathText] = (),
    guard: Guard | None = None,
    problems: Sequence[str] = (),
) -> Callable[[View], View]:
    """Serve the decorated function, and put it into the document; its docstring is what people read there.

    It is called with the loaded body, then the loaded query, where there are schemas, and the parts of the path by
    name. It returns what `answer` dumps, alone or with a status and headers, or a response. `also`: further statuses
    and their meanings. `headers`: those of the request that it looks at. `takes`, `gives`: media types of bodies that
    are bytes, and not checked here. `problems`: its own codes; the common ones
    are added.
    """
    codes = list(OF_EVERY_REQUEST)
    codes += OF_EVERY_BODY if body else OF_EVERY_QUERY if query else ()
    codes += guard.problems if guard else ()
    codes += problems
    manual: dict[str, Any] = {"responses": _refusals(codes) | _others(also or {}, answer)}
    manual["security"] = [{guard.scheme: []}] if guard else []
    if takes:
        manual["requestBody"] = {"required": True, "content": {takes: {"schema": BYTES}}}
    if gives:
        manual["responses"] |= {status: {"description": "The bytes.", "content": {gives: {"schema": BYTES}}}}
    parameters = [part.documented() for part in parts]
    if headers:
        manual["parameters"] = [header.documented() for header in headers]

    def decorate(view: View) -> View:
        handler: Any = view
        if query:
            handler = area.arguments(query, location="query")(handler)
        if body:
            handler = area.arguments(body, location="json")(handler)
        handler = area.response(status, answer)(handler)
        handler = area.doc(operationId=view.__name__, **manual)(handler)
        if guard:
            handler = _guarded(guard, handler)
        area.route(path, methods=[method], parameters=parameters)(handler)
        return view

    return decorate


def _guarded(guard: Guard, handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    def checked(*args: Any, **kwargs: Any) -> Any:
        guard.check()
        return handler(*args, **kwargs)

    return checked


def _others(also: Mapping[int, str], answer: type[Schema] | None) -> dict[int, Any]:
    content = {"content": {"application/json": {"schema": answer}}} if answer else {}
    return {
        status: {"description": text} | (content if status < 300 and status != 204 else {})
        for status, text in also.items()
    }


def _refusals(codes: Sequence[str]) -> dict[int, Any]:
    """Status → which codes it may come with, and what they mean."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code][0], []).append(code)
    return {status: _refusal(status, found) for status, found in sorted(by_status.items())}


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {"allOf": [PROBLEM, {"type": "object", "properties": {"code": {"enum": codes}}}]}
    found: dict[str, Any] = {
        "description": "\n".join(f"- `{code}`: {CODES[code][1]}" for code in codes),
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in _HEADERS:
        found["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS[status].items()
        }
    return found
