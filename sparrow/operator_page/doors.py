"""Who may ask the operator's page for anything, before anybody looks at what is asked, and what every answer carries.

Owns the refusal of other sites' pages: by the name that a browser says it went to (DNS rebinding), and by what it says
of the page that asks (another site, or another port of this machine).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Flask, Response, request

from userapi.http.problems import HEADERS, ProblemError

API = "/api/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Of the page: no code but its own files, nobody to talk to but us, no frame around it, and no HTML made of strings."""
_OWN = ("same-origin", "none")


def install(app: Flask, names: Collection[str], *, secure: bool) -> None:
    """Check every request of `app`, first of all. `names`: of ours, besides localhost and addresses."""
    known = {"localhost", *(name.lower().rstrip(".") for name in names)}

    def check() -> None:
        if _host(request.environ.get("HTTP_HOST", "")) not in known and not _is_address(request.host):
            raise ProblemError("bad_request", "the operator's page has another name: add this one to operator.names")
        if not request.path.startswith(API):
            return
        # Browsers say this of every request, and no script can change it.
        if request.headers.get("Sec-Fetch-Site", "none") not in _OWN:
            raise ProblemError("bad_request", "this is for the operator's own page")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{request.host}".lower():
            raise ProblemError("bad_request", "this is for the operator's own page")

    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    app.before_request(check)
    app.after_request(protect)


def _host(host: str) -> str:
    """Without its port; empty for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    """An address is what a browser was told to go to: no name of anybody's leads there."""
    try:
        ipaddress.ip_address(_host(host))
    except ValueError:
        return False
    return True
