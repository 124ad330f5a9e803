"""Which paths are at which listener, and in which spelling.

Owns the refusal of all else, before anything looks at a request: what a proxy in front keeps from strangers by its path
must not be there under another one.
"""

from __future__ import annotations

from flask import Flask, request

from userapi.http.handover import ADMIN, DOOR, MONITOR, PUBLIC
from userapi.http.problems import ProblemError
from userapi.settings import UserApiSettings

_ADMIN = "/v1/admin"
_EVERYWHERE = ("/healthz", "/readyz")
_MONITORS = ("/metrics", "/varz")


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
        door = request.environ.get(DOOR, PUBLIC)
        if path not in _EVERYWHERE and door not in _doors(path, is_admins):
            raise ProblemError("not_found")

    def _doors(path: str, is_admins: bool) -> tuple[str, ...]:
        if path in _MONITORS:
            return (MONITOR,)
        if not settings.admin_listen_port:
            return (PUBLIC,)
        return (ADMIN,) if is_admins else (PUBLIC,)

    app.before_request(check)
