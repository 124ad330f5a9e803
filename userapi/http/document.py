"""The OpenAPI document of the API, and pages to read and try it.

Owns what the document says of the whole, and the pages' files, which work without any other host. What it says of an
endpoint is `userapi.http.endpoint`'s business.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from flask import Flask, Response, send_from_directory
from flask_smorest import Api
from marshmallow import fields

from userapi.http.fields import Answer, Flag, Number, Text

TITLE = "Sparrow user API"
_ABOUT = """\
Everything that a client does over HTTP. Messages themselves go over the chat connection: docs/protocol.md.

- **Errors** are problem details (RFC 9457) with a `code` that never changes its meaning; `detail` says what to do.
- **Retries**: `503` and `429` name the seconds in `Retry-After`. Whatever's answer was lost may be repeated.
- **Pages**: a list's `next` goes into the next request's `cursor`; it is null at the end.
- **Strict**: fields and query parameters that are not in this document are refused.
"""
SCHEMES: dict[str, dict[str, str]] = {
    "access_token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a login or a refresh.",
    },
    "admin_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "What is in `userapi.admin_token_file`.",
    },
}
"""Security schemes that guards name."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true
});
"""
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ListedDevice(Answer):
    """One of `too_many_devices`."""

    device = Text("Its id.")
    label = Text("What people call it.")
    created_ms = Number("When it was made; Unix time in milliseconds.")
    logged_in = Flag("Whether it can get new tokens.")
    active_ms = Number("When it last got tokens; Unix time in milliseconds.")


class Problem(Answer):
    """RFC 9457 problem details."""

    type = Text('Always "about:blank": `code` tells problems apart.')
    title = Text("The status in words.")
    status = Number("The HTTP status.")
    code = Text("What is wrong, for programs. It never changes its meaning.")
    detail = Text("What is wrong, and what to do, for people.")
    field = Text("The field that is wrong, where it is one.", required=False)
    devices = fields.List(
        fields.Nested(ListedDevice),
        metadata={"description": "Of `too_many_devices`: the user's, the one silent longest first."},
    )


class _Document(Api):  # type: ignore[misc]  # flask-smorest has no types
    """Each endpoint says what it refuses, so that there is no answer by default."""

    DEFAULT_ERROR_RESPONSE_NAME = None


def install(app: Flask, version: str) -> Any:
    """Serve the document at /v1/openapi.json and the pages at /v1/docs; areas are registered with what is returned."""
    app.config.update(
        API_TITLE=TITLE,
        API_VERSION=version,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/v1",
        API_SPEC_OPTIONS={"info": {"description": _ABOUT}, "servers": [{"url": "/"}]},
    )
    api: Any = _Document(app)
    api.spec.components.schema("Problem", schema=Problem)
    for name, scheme in SCHEMES.items():
        api.spec.components.security_scheme(name, scheme)
    app.add_url_rule("/v1/docs", "docs", _page)
    app.add_url_rule("/v1/docs/<name>", "docs_file", _file)
    return api


def _page() -> Response:
    return _with_policy(Response(_PAGE.format(title=TITLE), content_type="text/html; charset=utf-8"))


def _file(name: str) -> Response:
    if name == "start.js":
        return Response(_START, content_type="text/javascript; charset=utf-8")
    # Only what the page asks for: the package has more.
    return send_from_directory(_folder(), name if name in _ASSETS else "-", max_age=86400)


def _folder() -> Path:
    """Where the package flask-swagger-ui keeps Swagger UI."""
    found = importlib.util.find_spec("flask_swagger_ui")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "dist"


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response
