"""`/v1/admin`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from protocol.errors import ConfigError
from protocol.sparrow_pb2 import Goodbye
from store.interface import NewRow
from store.sessions import NoSession, SessionStart
from tests.userapi.conftest import Api, settings_in, with_each_engine
from tests.userapi.test_accounts import problem
from userapi.app import create_app
from userapi.endpoints.admin import read_admin_token
from userapi.http.handover import ADMIN, DOOR

GOOD = {"user": "alice", "password": "correct horse"}
TOKEN = "0123456789abcdef" * 4
ALICE = "/v1/admin/accounts/alice"
PATHS = (
    ("GET", "/v1/admin/counts"),
    ("GET", "/v1/admin/accounts"),
    ("GET", "/v1/admin/usage"),
    ("GET", "/v1/admin/groups"),
    ("GET", "/v1/admin/invitations"),
    ("GET", ALICE),
    ("POST", f"{ALICE}/disable"),
    ("POST", f"{ALICE}/enable"),
    ("POST", f"{ALICE}/close-sessions"),
)
BEARER = {"headers": {"Authorization": f"Bearer {TOKEN}"}}


@pytest.fixture
def run(api: Api, tmp_path: Path) -> Api:
    """An API with administration, and alice in it."""
    file = tmp_path / "admin"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    api.settings = dataclasses.replace(api.settings, admin_token_file=str(file))
    app = create_app(api.settings, api.bridge, api.fabric, clock=lambda: api.now, sleep=api.slept.append)
    api.client = app.test_client()
    assert api.client.post("/v1/accounts", json=GOOD).status_code == 201
    return api


def log_in(api: Api, **changes: str) -> Any:
    return api.client.post("/v1/login", json={**GOOD, **changes})


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_off(api: Api, method: str, path: str) -> None:
    api.client.post("/v1/accounts", json=GOOD)
    problem(api.client.open(path, method=method, **BEARER), 404, "not_found")
    problem(api.client.open(path, method=method), 404, "not_found")
    problem(api.client.open(path, method=method, headers={"Authorization": "Bearer "}), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["//v1/admin/counts", "///v1/admin/counts", "/v1/%61dmin/counts", "/v1/admin%2Fcounts", "/%2Fv1/admin/counts"],
)
def test_there_is_one_way_to_spell_it(run: Api, path: str) -> None:
    base = EnvironBuilder(path="/", **BEARER).get_environ()
    _, right, _ = run_wsgi_app(run.client.application, base | {"PATH_INFO": PATHS[0][1], "RAW_URI": PATHS[0][1]})
    _, other, _ = run_wsgi_app(run.client.application, base | {"PATH_INFO": unquote(path), "RAW_URI": path})
    assert (right.partition(" ")[0], other.partition(" ")[0]) == ("200", "404")


def test_a_listener_of_its_own(run: Api) -> None:
    settings = dataclasses.replace(run.settings, admin_listen_port=7481)
    client = create_app(settings, run.bridge, run.fabric).test_client()
    for method, path in PATHS:
        problem(client.open(path, method=method, **BEARER), 404, "not_found")
        assert client.open(path, method=method, environ_base={DOOR: ADMIN}, **BEARER).status_code in (200, 204)
    for path in ("/v1/me", "/v1/openapi.json", "/v1/admins"):
        problem(client.get(path, environ_base={DOOR: ADMIN}), 404, "not_found")
    assert client.get("/healthz", environ_base={DOOR: ADMIN}).status_code == 200
    assert client.get("/v1/openapi.json").status_code == client.get("/readyz").status_code == 200


def test_wrong_tokens_are_audited_and_bounded(run: Api, caplog: pytest.LogCaptureFixture) -> None:
    stranger = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    with caplog.at_level("INFO", "sparrow.audit"):
        wrong = {"headers": {"Authorization": "Bearer secretguess"}}
        answers = [run.client.get("/v1/admin/counts", **wrong, **stranger) for _ in range(100)]
    problem(answers[0], 401, "wrong_admin_token")
    problem(answers[-1], 429, "too_many_requests")
    assert caplog.text.count("event=admin_token_refused user=- by=- from=192.0.2.7 path=/v1/admin/counts") == 60
    assert "secretguess" not in caplog.text
    problem(run.client.get("/v1/admin/counts", **BEARER, **stranger), 429, "too_many_requests")
    assert run.client.get("/v1/admin/counts", **BEARER).status_code == 200


def test_accounts_by_an_administrator_alone(run: Api, caplog: pytest.LogCaptureFixture) -> None:
    settings = dataclasses.replace(run.settings, registration="admin", max_registrations_per_hour_of_address=1)
    client = create_app(settings, run.bridge, run.fabric).test_client()
    body = {"user": "bob", "password": "correct horse"}
    problem(client.post("/v1/accounts", json=body), 403, "registration_closed")
    problem(client.post("/v1/admin/accounts", json=body), 401, "wrong_admin_token")
    with caplog.at_level("INFO", "sparrow.audit"):
        for number in range(3):
            answer = client.post("/v1/admin/accounts", json={**body, "user": f"user{number}"}, **BEARER)
            assert (answer.status_code, answer.json) == (201, {"user": f"user{number}"})
    assert caplog.text.count("event=account_created") == caplog.text.count('by="(administrator)"') == 3
    again = {**body, "user": "user0"}
    assert client.post("/v1/admin/accounts", json=again, **BEARER).status_code == 200
    problem(client.post("/v1/admin/accounts", json={**again, "password": "another one"}, **BEARER), 409, "user_taken")
    problem(client.post("/v1/admin/accounts", json={**again, "password": "x"}, **BEARER), 400, "password_too_short")
    assert client.post("/v1/login", json=again).status_code == 200


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_only_with_the_token(run: Api, method: str, path: str) -> None:
    users = log_in(run).json["access_token"]
    for header in (
        "",
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        f"Bearer {users}",
        "Bearer é",
    ):
        answer = run.client.open(path, method=method, headers={"Authorization": header})
        problem(answer, 401, "wrong_admin_token")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    problem(run.client.open(path, method=method), 401, "wrong_admin_token")
    assert not run.bridge.call(run.bridge.store.account, "alice").disabled  # type: ignore[union-attr]


def test_counts(run: Api) -> None:
    log_in(run)
    run.bridge.call(run.bridge.store.append, [NewRow("alice", "", 1, b"x")] * 3)
    answer = run.client.get("/v1/admin/counts", **BEARER)
    assert answer.json == {"accounts": 1, "devices": 1, "inbox_rows": 3}


@with_each_engine
def test_what_accounts_take_up(run: Api) -> None:
    log_in(run)
    store = run.bridge.store
    run.bridge.call(store.append, [NewRow("alice", "", 1, b"xy")] * 3)
    for user in ("bob", "carol"):
        assert run.client.post("/v1/accounts", json={**GOOD, "user": user}).status_code == 201
    run.bridge.call(store.delete_account, "bob")
    found, cursor = [], ""
    while True:
        page = run.client.get(f"/v1/admin/usage?limit=1{cursor}", **BEARER).json
        assert page is not None
        found += page["accounts"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    nothing = {"devices": 0, "groups": 0, "waiting_rows": 0, "waiting_bytes": 0, "uploaded_bytes": 0}
    assert sorted(found, key=lambda one: str(one["user"])) == [
        nothing | {"user": "alice", "devices": 1, "waiting_rows": 3, "waiting_bytes": 6},
        nothing | {"user": "carol"},
    ]
    problem(run.client.get("/v1/admin/usage?limit=21", **BEARER), 400, "invalid_value")


def test_an_account(run: Api) -> None:
    device = log_in(run, label="phone").json["device"]
    run.bridge.call(run.bridge.store.saw, {"alice": 1234})
    run.fabric.there.add("alice")
    found = run.client.get(ALICE, **BEARER).json
    assert found is not None
    (known,) = found.pop("devices")
    assert (known["device"], known["label"]) == (device, "phone")
    assert found.pop("created_ms") > 0
    assert found == {
        "user": "alice",
        "display_name": "",
        "invitation": None,
        "disabled": False,
        "own_password": True,
        "subjects": [],
        "reset_code_ends_ms": None,
        "waiting_rows": 0,
        "waiting_bytes": 0,
        "uploaded_bytes": 0,
        "online": True,
        "last_seen_ms": 1234,
    }
    run.fabric.away = True
    assert run.client.get(ALICE, **BEARER).json["online"] is None  # type: ignore[index]


def test_disable_and_enable(run: Api, caplog: pytest.LogCaptureFixture) -> None:
    device = log_in(run).json["device"]
    run.fabric.asked.clear()
    with caplog.at_level("INFO", "sparrow.audit"):
        for _ in range(2):
            answer = run.client.post(f"{ALICE}/disable", **BEARER)
            assert (answer.status_code, answer.data) == (204, b"")
    assert run.fabric.asked == [("changed", "alice"), ("close", "alice", None, False)] * 2
    assert run.fabric.closed[-1] == ("alice", None, Goodbye.ACCOUNT_DISABLED, "")
    assert not run.slept
    assert 'event=account_disabled user=alice by="(administrator)" from=127.0.0.1' in caplog.messages
    problem(log_in(run, device=device), 403, "account_disabled")
    problem(log_in(run), 403, "account_disabled")
    # Whoever does not know the password is told nothing of it.
    problem(log_in(run, password="wrong"), 401, "wrong_credentials")
    begin = run.bridge.store.begin_sessions
    assert list(run.bridge.call(begin, [SessionStart("alice", device, 1)])) == [NoSession.DISABLED]
    assert run.client.get(ALICE, **BEARER).json["disabled"] is True  # type: ignore[index]
    for _ in range(2):
        assert run.client.post(f"{ALICE}/enable", **BEARER).status_code == 204
    assert log_in(run, device=device).status_code == 200
    assert list(run.bridge.call(begin, [SessionStart("alice", device, 1)])) == [0]


def test_a_disabled_account_is_refused_everywhere(run: Api) -> None:
    tokens = log_in(run).json
    refreshing = {"json": {"refresh_token": tokens["refresh_token"]}}
    requests = (
        ("GET", "/v1/me", {}),
        ("PATCH", "/v1/me", {"json": {"display_name": "x"}}),
        ("PUT", "/v1/me/password", {"json": {"old_password": GOOD["password"], "new_password": "battery staple"}}),
        ("POST", "/v1/me/deletion", {"json": {"password": GOOD["password"]}}),
        ("DELETE", "/v1/me/login", {}),
        ("DELETE", "/v1/me/logins", {}),
        ("DELETE", f"/v1/me/devices/{tokens['device']}", {}),
        ("POST", "/v1/files", {"headers": {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}}),
    )
    run.client.post(f"{ALICE}/disable", **BEARER)
    for method, path, more in requests:
        problem(run.ask(tokens, method, path, **more), 403, "account_disabled")
    problem(run.client.post("/v1/token", **refreshing), 403, "account_disabled")
    run.client.post(f"{ALICE}/enable", **BEARER)
    assert run.ask(tokens, "GET", "/v1/me").status_code == 200
    assert run.client.post("/v1/token", **refreshing).status_code == 200


def test_while_no_broker_can_be_told_it_is_disabled_all_the_same(run: Api) -> None:
    run.fabric.away = True
    problem(run.client.post(f"{ALICE}/disable", **BEARER), 503, "unavailable")
    problem(log_in(run), 403, "account_disabled")
    run.fabric.away = False
    assert run.client.post(f"{ALICE}/disable", **BEARER).status_code == 204


def test_close_sessions(run: Api) -> None:
    assert run.client.post(f"{ALICE}/close-sessions", **BEARER).status_code == 204
    assert run.fabric.asked == [("close", "alice", None, False)]


@pytest.mark.parametrize("user", ["nobody", "A", "%00", "x" * 65, "%F0%9F%90%A6"])
def test_nobody(run: Api, user: str) -> None:
    for method, path in PATHS:
        if "alice" not in path:
            continue
        answer = run.client.open(path.replace("alice", user), method=method, **BEARER)
        problem(answer, 404, "no_such_user")
    assert run.fabric.asked == []


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [(TOKEN, 0o640, "chmod 600"), ("short", 0o600, "openssl rand"), ("é" * 40, 0o600, "openssl rand")],
)
def test_settings(tmp_path: Path, content: str, mode: int, text: str) -> None:
    file = tmp_path / "admin"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=text):
        read_admin_token(settings_in(tmp_path, admin_token_file=str(file)))
