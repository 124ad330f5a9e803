"""The application: the page's files, the login, and what the page asks for under `/api/`.

Owns its paths, and that each of them but the login takes a session. Opens nothing and starts nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from fabric.facts import tell
from fabric.networks import as_key, parse_address
from sparrow.config.settings import Settings
from sparrow.operator_page import doors
from sparrow.operator_page.administering import Administering
from sparrow.operator_page.sessions import Sessions, TooManyTriesError
from sparrow.operator_page.shown import shown
from sparrow.operator_page.sizes import Sizes
from sparrow.operator_page.watch import SERIES, Watch
from userapi.http import page, problems
from userapi.http.problems import ProblemError

FOLDER = Path(__file__).parent / "page"
"""Where the package has the built files (`web/`)."""
_MAX_TEXT = 1024
_audit = logging.getLogger("sparrow.audit")


def create_app(
    settings: Settings,
    watch: Watch,
    sessions: Sessions,
    administering: Administering,
    sizes: Sizes,
    folder: Path = FOLDER,
) -> Flask:
    """An application. Raises `ConfigError` if the page is not there."""
    app = Flask("operator", static_folder=None)
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    doors.install(app, settings.operator.names, secure=bool(settings.operator.tls_certificate_file))
    problems.install(app)
    _install_page(app, folder)
    _install_sessions(app, sessions, settings)
    _install_looks(app, settings, watch, sizes)
    _install_accounts(app, administering)
    _install_groups(app, administering)
    return app


def _install_page(app: Flask, folder: Path) -> None:
    files = page.read(folder, "sparrow operator", "")
    headers = {
        "Content-Security-Policy": doors.POLICY,
        "Permissions-Policy": page.PERMISSIONS,
        "Vary": "Accept-Encoding",
    }

    def index() -> Response:
        return page.answer(files["/"], headers | {"Cache-Control": "no-cache"})

    def asset(name: str) -> Response:
        file = files.get(f"{page.ASSETS}{name}")
        if file is None:
            raise ProblemError("not_found")
        return page.answer(file, headers | {"Cache-Control": "public, max-age=31536000, immutable"})

    app.add_url_rule("/", "page", index)
    app.add_url_rule(f"{page.ASSETS}<name>", "page_asset", asset)


def _install_sessions(app: Flask, sessions: Sessions, settings: Settings) -> None:
    def check() -> None:
        if request.path.startswith(doors.API) and request.endpoint != "log_in" and not sessions.is_open(_bearer()):
            raise ProblemError("invalid_token", "the session has ended: log in", headers={"WWW-Authenticate": "Bearer"})

    app.before_request(check)

    @app.post("/api/login")
    def log_in() -> Any:
        token = _text("token")
        try:
            session = sessions.begin(token, as_key(parse_address(_origin())))
        except TooManyTriesError:
            _note("operator_refused", by_strangers=True, why="too_many_tries")
            raise ProblemError(
                "too_many_requests", "too many logins from here: wait a minute", headers={"Retry-After": "60"}
            ) from None
        if not session:
            _note("operator_refused", by_strangers=True, why="wrong_admin_token")
            raise ProblemError("wrong_admin_token", "this is not the administrator's token")
        _note("operator_logged_in")
        return {"session": session, "lifetime_s": settings.operator.session_lifetime_s}

    @app.post("/api/logout")
    def log_out() -> Any:
        sessions.end(_bearer())
        _note("operator_logged_out")
        return {}


def _install_looks(app: Flask, settings: Settings, watch: Watch, sizes: Sizes) -> None:
    in_force = list(shown(settings))

    @app.get("/api/state")
    def state() -> Any:
        newest, samples = watch.newest, watch.samples
        after = request.args.get("after", "0")
        known = int(after) if after.isdecimal() and len(after) < 18 else 0
        return {
            "number": newest.number,
            "unix_ms": newest.unix_ms,
            "interval_s": settings.operator.look_interval_s,
            "findings": [
                {"severity": one.severity, "name": one.name, "where": one.where, "text": one.text, "cure": one.cure}
                for one in newest.findings
            ],
            "processes": newest.processes,
            "series": SERIES,
            "samples": [[one.number, one.unix_ms, *one.values] for one in samples if one.number > known],
        }

    @app.get("/api/settings")
    def show_settings() -> Any:
        return {"settings": in_force}

    app.add_url_rule("/api/sizes", "sizes", sizes.told)
    app.add_url_rule("/api/sizes", "begin_sizes", sizes.begin, methods=["POST"])


def _install_accounts(app: Flask, there: Administering) -> None:
    @app.get("/api/accounts")
    def accounts() -> Any:
        return there.accounts(request.args.get("prefix", ""), request.args.get("cursor", ""), _origin())

    @app.post("/api/accounts")
    def add_account() -> Any:
        return there.add(_text("user"), _origin())

    @app.get("/api/accounts/<user>")
    def account(user: str) -> Any:
        return there.account(user, _origin())

    @app.delete("/api/accounts/<user>")
    def remove_account(user: str) -> Any:
        return there.remove(user, _origin())

    @app.post("/api/accounts/<user>/password-code")
    def password_code(user: str) -> Any:
        return there.password_code(user, _origin())

    @app.post("/api/accounts/<user>/<action>")
    def act(user: str, action: str) -> Any:
        return there.act(user, action, _origin())

    @app.get("/api/invitations")
    def invitations() -> Any:
        return there.invitations(request.args.get("cursor", ""), _origin())

    @app.post("/api/invitations")
    def invite() -> Any:
        return there.invite(_whole("hours"), _whole("uses"), _text("note"), _origin())

    @app.delete("/api/invitations/<invitation>")
    def withdraw(invitation: str) -> Any:
        return there.withdraw(invitation, _origin())


def _install_groups(app: Flask, there: Administering) -> None:
    @app.get("/api/groups")
    def groups() -> Any:
        return there.groups(request.args.get("cursor", ""), _origin())

    @app.get("/api/groups/<group>")
    def group(group: str) -> Any:
        return there.group(group, _origin())

    @app.delete("/api/groups/<group>")
    def close_group(group: str) -> Any:
        return there.close(group, _origin())

    @app.get("/api/reports")
    def reports() -> Any:
        return there.reports(request.args.get("after", ""), _origin())

    @app.delete("/api/reports/<report>")
    def drop_report(report: str) -> Any:
        return there.drop_report(report, _origin())

    @app.post("/api/take-down")
    def take_down() -> Any:
        return there.take_down(_body(), _origin())


def _bearer() -> str:
    given = request.authorization
    return (given.token or "") if given is not None and given.type == "bearer" else ""


def _origin() -> str:
    """Whose browser it is."""
    return request.remote_addr or "-"


def _body() -> dict[str, Any]:
    found = request.get_json()
    if not isinstance(found, dict):
        raise ProblemError("malformed_json")
    return found


def _note(event: str, *, by_strangers: bool = False, **facts: object) -> None:
    """A line of the audit log."""
    tell(_audit, event, by_strangers=by_strangers, **{"from": _origin(), **facts})


def _text(name: str) -> str:
    """A text in the body. Raises `ProblemError`."""
    value = _body().get(name)
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ProblemError("wrong_type", f'"{name}" is to be a text of up to {_MAX_TEXT} characters', field=name)
    return value


def _whole(name: str) -> int:
    """A whole number in the body. Raises `ProblemError`."""
    value = _body().get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProblemError("wrong_type", f'"{name}" is to be a whole number', field=name)
    return value
