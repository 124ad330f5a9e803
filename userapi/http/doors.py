"""Which paths are at which listener, and in which spelling.

Owns the refusal of all else, before anything looks at a request: what a proxy in front keeps from strangers by its path
must not be there under another one.
"""

from __future__ import annotations

from flask import Flask, request

from userapi.http.handover import ADMIN_LISTENER
from userapi.http.problems import ProblemError
from userapi.settings import UserApiSettings

_ADMIN = "/v1/admin"
_ON_BOTH = ("/healthz", "/readyz")


def install(app: Flask, settings: UserApiSettings) -> None:
    """Check every request of `app`, first of all."""

    def check() -> None:
        path = request.environ.get("PATH_INFO", "")
        # werkzeug would take slashes away at the begin.
        if path.startswith("//"):
            raise ProblemError("not_found")
        is_admins = path == _ADMIN or path.startswith(f"{_ADMIN}/")
        asked = str(request.environ.get("RAW_URI", path)).partition("?")[0]
        if is_admins and (not asked.startswith(_ADMIN) or "%2f" in asked.lower()):
            raise ProblemError("not_found")
        has_door = settings.admin_listen_port and path not in _ON_BOTH
        if has_door and is_admins != bool(request.environ.get(ADMIN_LISTENER)):
            raise ProblemError("not_found")

    app.before_request(check)
