"""Errors as they go out: RFC 9457 problem details, each with a stable `code`.

Owns the codes and the mapping of our errors to them. Nothing leaves with a traceback.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from protocol.errors import ServiceError

_log = logging.getLogger("sparrow.userapi")
_RETRY_AFTER_S = 2


class ProblemError(Exception):
    """An answer other than success. `code` is for programs and never changes; `detail` is for people."""

    def __init__(self, status: int, code: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra


def install(app: Flask) -> None:
    """Make every error of `app` a problem."""
    app.register_error_handler(ProblemError, _problem)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ServiceError, _service)
    app.register_error_handler(Exception, _unexpected)


def _respond(problem: ProblemError) -> Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **problem.extra,
    }
    return Response(json.dumps(body), problem.status, content_type="application/problem+json")


def _problem(problem: ProblemError) -> Response:
    return _respond(problem)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    code = HTTPStatus(status).name.lower()
    response = _respond(ProblemError(status, code, error.description or HTTPStatus(status).description))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _service(error: ServiceError) -> Response:
    _log.warning("%s", error)
    response = _respond(
        ProblemError(503, "unavailable", f"the service cannot do this now; try again in {_RETRY_AFTER_S} s")
    )
    response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return _respond(ProblemError(500, "internal_error", "the service failed; its log says why"))
