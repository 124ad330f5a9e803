"""Errors as they go out: RFC 9457 problem details, each with a stable `code`.

Owns the codes and the mapping of our errors to them. Nothing leaves with a traceback.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from fabric.facts import BY_STRANGERS
from protocol.errors import NoSpaceError, ServiceError

_log = logging.getLogger("sparrow.userapi")
_RETRY_AFTER_S = 2
_FULL_RETRY_AFTER_S = 60
_MEDIA_TYPE = "application/problem+json"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Most answers are one person's, and many hold a secret.
    "Cache-Control": "no-store",
}
"""What every answer has that says nothing else, for browsers."""

CODES: dict[str, tuple[int, str]] = {
    # Of every request.
    "bad_request": (400, "It is no HTTP that the service understands; `detail` says why."),
    "not_found": (404, "There is nothing at this path; under `/v1/admin`, because administration is off."),
    "method_not_allowed": (405, "The path does not have this method; `Allow` names those that it has."),
    "malformed_json": (400, "The body is not a JSON object in UTF-8 with each field once."),
    "missing_field": (400, "A field is missing; `field` names it."),
    "unknown_field": (400, "There is no such field; `field` names it."),
    "wrong_type": (400, "A field is of the wrong type; `field` names it."),
    "too_long": (400, "A field is too long; `field` names it."),
    "invalid_value": (400, "A field has a value that it cannot have; `field` names it."),
    "request_entity_too_large": (413, "The body is larger than `userapi.max_body_bytes`."),
    "request_timeout": (408, "The request came too slowly; repeat it."),
    "uri_too_long": (414, "Path and query are longer than 8,190 characters."),
    "expectation_failed": (417, "`Expect` may ask for `100-continue` only."),
    "request_header_fields_too_large": (431, "The header is larger than 32 KiB, or has more than 100 fields."),
    "not_implemented": (501, "`Transfer-Encoding` may be `chunked` only."),
    "unsupported_media_type": (415, "Send the body with `Content-Type: application/json`."),
    "too_many_requests": (429, "Too much at once from this address or account; wait for `Retry-After` seconds."),
    "no_space": (507, "The service's disk is nearly full; what it was asked to keep was not kept."),
    "internal_error": (500, "The service failed; its log says why."),
    "unavailable": (503, "The service cannot do this now; repeat the request after `Retry-After` seconds."),
    # Of tokens.
    "no_token": (401, "Send `Authorization: Bearer` with an access token."),
    "invalid_token": (401, "The access token has expired, or is not ours: refresh it."),
    "logged_out": (401, "The device was logged out or removed: log in with the password."),
    "invalid_refresh_token": (401, "The login has ended: log in with the password."),
    "refresh_token_reused": (401, "An old refresh token was used, so two had it: the login has ended for both."),
    "invalid_dpop_proof": (
        400,
        "The proof in `DPoP` is none for this request; or the login is bound to a key, and it is missing or another's: "
        "log in with the password.",
    ),
    "use_dpop_nonce": (400, "Repeat the request with a proof over the nonce in `DPoP-Nonce`."),
    # Of accounts, logins and devices.
    "invalid_user_id": (400, "A user id is 1 to 64 of a-z, 0-9, dot, underscore and hyphen."),
    "password_too_short": (400, "The password is shorter than the service allows."),
    "password_too_long": (400, "The password is longer than the service allows."),
    "password_common": (400, "The password is one of those that guessers try first: choose another."),
    "password_breached": (400, "The password is on a list of stolen ones, which attackers try first: choose another."),
    "passwords_elsewhere": (403, "Passwords and accounts are kept by another system: register and change them there."),
    "passwords_off": (403, "People log in with the OpenID provider here, and not with a password."),
    "account_disabled": (403, "The account is disabled: ask those who run the service."),
    "wrong_credentials": (401, "There is no such user, or the password is wrong."),
    "wrong_password": (403, "The password is wrong."),
    "no_such_user": (404, "There is no such user (any more)."),
    "no_such_device": (404, "The user has no such device (any more)."),
    # Of OpenID providers.
    "oidc_off": (403, "The service has no OpenID provider: log in with the password."),
    "oidc_expired": (403, "This login was not begun here, or too long ago: begin it again."),
    "oidc_refused": (403, "The provider does not vouch for them; `detail` says why: begin the login again."),
    "oidc_not_allowed": (403, "The provider knows them, but they may not come: ask those who run the service."),
    "oidc_name_unusable": (
        409,
        "The name that the provider has for a newcomer is none here, or somebody else has, or had, it: ask those who "
        "run the service.",
    ),
    "oidc_name_needed": (409, "They come the first time, and choose a name: send it as `user`."),
    "redirect_not_allowed": (
        403,
        "People do not come back there: send `userapi.page_url`, one of `userapi.oidc_redirect_uris`, or "
        "`http://127.0.0.1:PORT/`.",
    ),
    "subject_taken": (409, "The subject leads to another account: unlink it there."),
    "no_such_subject": (404, "The subject does not lead to this account (any more)."),
    # Of administration.
    "wrong_admin_token": (401, "Send what is in `userapi.admin_token_file` as `Authorization: Bearer`."),
    "registration_closed": (403, "Accounts are made by those who run the service: ask them."),
    "invitation_needed": (403, "Accounts are made by invitation: ask those who run the service for one."),
    "wrong_code": (403, "The code is wrong, was used or has ended: ask those who run the service for another."),
    "unknown_invitation": (404, "There is no such invitation to register (any more)."),
    "too_many_invitations": (409, "As many as `userapi.max_invitations` allows have not ended: withdraw some."),
    "user_taken": (409, "Somebody else has, or had, the name: choose another."),
    "changed_meanwhile": (409, "Somebody else changed it at the same time: look, and try again."),
    "device_removed": (409, "The device of this `Idempotency-Key` was removed: send another key."),
    "too_many_devices": (409, "The user has as many devices as allowed, `devices`: log in with `replaces`."),
    # Of files.
    "file_too_large": (413, "The file is larger than `userapi.max_file_bytes`."),
    "malformed_upload": (400, "An upload's headers are not those of tus 1.0; `detail` names the wrong one."),
    "wrong_tus_version": (412, "Send `Tus-Resumable: 1.0.0`."),
    "wrong_offset": (409, "The upload stands at another offset: ask for it with HEAD, and go on from there."),
    "wrong_checksum": (422, "What has arrived is not what the checksum says; it was thrown away: upload it anew."),
    "incomplete_file": (409, "The file is not complete yet."),
    "no_such_file": (404, "There is no such file (any more), or you may not read it."),
    "too_many_readers": (409, "The file has as many readers as `userapi.max_file_readers` allows."),
    "too_many_uploads": (409, "As much as may be on its way at once is not complete: end or remove an upload."),
    "too_many_file_bytes": (507, "As much as may be uploaded in 24 hours was; `Retry-After` says when to try again."),
    "wrong_range": (416, "The file has no such range; `Content-Range` tells its size."),
    # Of history.
    "history_not_kept": (403, "The service keeps no conversations (`history.keep_days`)."),
    "search_not_offered": (403, "The service has no search."),
    "search_too_broad": (422, "The search took too long: name more of the words, or a conversation."),
    "history_full": (507, "As much as may be kept of what you wrote is kept; `Retry-After` says when to try again."),
    "no_such_conversation": (404, "Nothing that you may see was ever written there."),
    "too_many_mutes": (409, "You have muted as many conversations as `userapi.max_mutes` allows: unmute one."),
    "no_such_message": (
        404,
        "There is no such message (any more), or you may not see it, or it is not yours to change.",
    ),
    "no_such_report": (404, "There is no such report."),
    # Of groups.
    "not_member": (404, "You are in no such group (any more)."),
    "not_allowed_here": (403, "Your role in the group, or a limit of it, does not allow it; `detail` says why."),
    "not_friend": (403, "The service lets people write to friends only: ask them to be your friend."),
    "no_such_member": (404, "They are not in the group: add them first."),
    "no_such_group": (404, "There is no such group (any more)."),
    "no_such_invitation": (404, "You are not invited into this group (any more): have somebody invite you."),
    "no_such_link": (404, "There is no such link, or it has ended: ask for another one."),
    "too_many_groups": (409, "You are in as many groups as allowed, or have left as many lately: leave some, or wait."),
    "too_many_links": (409, "The group has as many links as allowed: end one of them."),
    # Of contacts.
    "no_such_request": (404, "They do not ask to be your friend (any more)."),
    "not_yourself": (409, "Name another user than yourself."),
    "you_block_them": (409, "You have blocked them: unblock them first."),
}
"""Every `code` that an endpoint may name: its status, and what it means. A code never changes its meaning."""

OF_EVERY_REQUEST = ("too_many_requests", "internal_error", "unavailable")
OF_EVERY_BODY = (
    "malformed_json",
    "missing_field",
    "unknown_field",
    "wrong_type",
    "too_long",
    "invalid_value",
    "request_entity_too_large",
    "unsupported_media_type",
)
OF_EVERY_QUERY = ("missing_field", "unknown_field", "wrong_type", "too_long", "invalid_value", "uri_too_long")


class ProblemError(Exception):
    """An answer other than success. `code` is one of `CODES`, for programs; `detail` is for people and says what to do.

    `extra` goes into the body beside them, `headers` beside it.
    """

    def __init__(
        self, code: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **extra: object
    ) -> None:
        self.status, meaning = CODES[code]
        self.code = code
        self.detail = detail or meaning
        self.headers = headers or {}
        self.extra = extra
        super().__init__(self.detail)


def rendered(problem: ProblemError) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Status, reason, headers and body, for an answer without flask."""
    headers = [("Content-Type", _MEDIA_TYPE), *HEADERS.items(), *problem.headers.items()]
    body = _body(problem.status, problem.code, problem.detail, problem.extra)
    return problem.status, HTTPStatus(problem.status).phrase, headers, body


def install(app: Flask) -> None:
    """Make every error of `app` a problem."""
    app.register_error_handler(ProblemError, _problem)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ServiceError, _service)
    app.register_error_handler(Exception, _unexpected)


def _body(status: int, code: str, detail: str, extra: Mapping[str, object]) -> bytes:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **extra,
    }
    return json.dumps(body).encode()


def _respond(status: int, code: str, detail: str, extra: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    return Response(_body(status, code, detail, extra), status, headers, content_type=_MEDIA_TYPE)


def _problem(problem: ProblemError) -> Response:
    return _respond(problem.status, problem.code, problem.detail, problem.extra, problem.headers)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    detail = error.description or HTTPStatus(status).description
    kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    code = next((code for code, (known, _) in CODES.items() if known == status), HTTPStatus(status).name.lower())
    return _respond(status, code, detail, {}, kept)


def _service(error: ServiceError) -> Response:
    _log.warning("%s", error, extra=BY_STRANGERS)
    if isinstance(error, NoSpaceError):
        return _problem(ProblemError("no_space", headers={"Retry-After": str(_FULL_RETRY_AFTER_S)}))
    detail = f"the service cannot do this now; try again in {_RETRY_AFTER_S} s"
    return _problem(ProblemError("unavailable", detail, headers={"Retry-After": str(_RETRY_AFTER_S)}))


def _unexpected(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error, extra=BY_STRANGERS)
    return _problem(ProblemError("internal_error", "the service failed; its log says why"))
