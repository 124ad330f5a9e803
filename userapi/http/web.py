"""What every answer carries for browsers: security headers, and CORS where the settings allow it.

Owns those headers. Knows no endpoint.
"""

from __future__ import annotations

from flask import Flask, Response
from flask_cors import CORS

from userapi.http.problems import HEADERS
from userapi.settings import UserApiSettings

_ASKED = (
    "Authorization",
    "Content-Type",
    "DPoP",
    "Idempotency-Key",
    "If-None-Match",
    "If-Range",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
_TOLD = (
    "Content-Disposition",
    "Content-Range",
    "DPoP-Nonce",
    "ETag",
    "Location",
    "Retry-After",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Length",
    "Upload-Offset",
    "WWW-Authenticate",
)


def install(app: Flask, settings: UserApiSettings) -> None:
    """Add the headers to every answer of `app`, its errors included."""
    secure = bool(settings.tls_certificate_file)

    def protect(response: Response) -> Response:
        headers = response.headers
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    app.after_request(protect)
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            allow_headers=list(_ASKED),
            expose_headers=list(_TOLD),
            max_age=600,
        )
