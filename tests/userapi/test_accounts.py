"""Accounts from registration to deletion, and what holds for every request."""

import json

import pytest

from tests.userapi.conftest import PASSWORD, Api, problem

GOOD = {"user": "alice", "password": "correct horse"}


def test_register(api: Api) -> None:
    response = api.client.post("/v1/accounts", json=GOOD)
    assert response.status_code == 201
    assert response.json == {"user": "alice"}
    account = api.bridge.call(api.bridge.store.account, "alice")
    assert account is not None
    assert account.password_hash.startswith("$argon2id$")


def test_taken(api: Api) -> None:
    api.client.post("/v1/accounts", json=GOOD)
    for _ in range(2):
        body = problem(api.client.post("/v1/accounts", json={**GOOD, "password": "another one"}), 409, "user_taken")
        assert body["field"] == "user"


def test_a_repeated_registration_is_no_conflict(api: Api) -> None:
    api.client.post("/v1/accounts", json=GOOD)
    before = api.bridge.call(api.bridge.store.account, "alice")
    answer = api.client.post("/v1/accounts", json=GOOD)
    assert (answer.status_code, answer.json) == (200, {"user": "alice"})
    assert api.bridge.call(api.bridge.store.account, "alice") == before


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"user": "Alice", "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "..", "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "me", "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "", "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "a/b", "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "x" * 65, "password": "correct horse"}, "invalid_user_id", "user"),
        ({"user": "x" * 2000, "password": "correct horse"}, "too_long", "user"),
        ({"user": "alice", "password": "1234567"}, "password_too_short", "password"),
        ({"user": "alice", "password": "x" * 1025}, "too_long", "password"),
        ({"user": "alice"}, "missing_field", "password"),
        ({"user": "alice", "password": None}, "wrong_type", "password"),
        ({"user": ["alice"], "password": "correct horse"}, "wrong_type", "user"),
        ({"user": "alice", "password": "correct horse", "admin": True}, "unknown_field", "admin"),
    ],
)
def test_wrong_fields(api: Api, body: dict[str, object], code: str, field: str) -> None:
    assert problem(api.client.post("/v1/accounts", json=body), 400, code)["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"alice"',
        b"null",
        b"\xff\xfe",
        b'{"user": "a", "user": "b", "password": "correct horse"}',
        b'{"user": "\\ud800", "password": "correct horse"}',
        b"[" * 16_000,
    ],
)
def test_malformed_bodies(api: Api, body: bytes) -> None:
    problem(api.client.post("/v1/accounts", data=body, content_type="application/json"), 400, "malformed_json")


def test_other_requests(api: Api) -> None:
    problem(api.client.post("/v1/accounts", data=b"user=alice"), 415, "unsupported_media_type")
    problem(api.client.post("/v1/accounts", json={"user": "x" * 17_000}), 413, "request_entity_too_large")
    problem(api.client.get("/v1/nothing"), 404, "not_found")
    response = api.client.get("/v1/accounts")
    problem(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_composed_and_decomposed_letters_are_one_password(api: Api) -> None:
    api.client.post("/v1/accounts", json={"user": "alice", "password": "fr\u00fchst\u00fcck"})
    body = {"user": "alice", "password": "fru\u0308hstu\u0308ck"}
    assert api.client.post("/v1/login", json=body).status_code == 200


def test_health(api: Api) -> None:
    response = api.client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_a_store_that_is_away(api: Api) -> None:
    api.bridge.call(api.bridge.store.__aexit__, None, None, None)
    for response in (api.client.get("/readyz"), api.client.post("/v1/accounts", json=GOOD)):
        problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
    assert api.client.get("/healthz").status_code == 200  # to start it again would not help


def test_a_defect_shows_no_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api.bridge, "_run", lambda *_: 1 / 0)
        body = problem(api.client.post("/v1/accounts", json=GOOD), 500, "internal_error")
    assert "division" not in json.dumps(body)


NEW = "battery staple"
CHANGE = {"old_password": PASSWORD, "new_password": NEW}


def test_a_new_password_logs_the_other_devices_out(api: Api) -> None:
    api.register()
    phone, pad = api.log_in(), api.log_in()
    api.fabric.asked.clear()
    for _ in range(2):  # a repeat is no error
        assert api.ask(phone, "PUT", "/v1/me/password", json=CHANGE).status_code == 204
    assert ("close", "alice", pad["device"], False) in api.fabric.asked
    assert not any(device == phone["device"] for _, device, *_ in api.fabric.closed)
    problem(api.ask(pad, "GET", "/v1/me"), 401, "logged_out")
    problem(api.client.post("/v1/token", json={"refresh_token": pad["refresh_token"]}), 401, "invalid_refresh_token")
    assert api.ask(phone, "GET", "/v1/me").status_code == 200
    assert api.client.post("/v1/token", json={"refresh_token": phone["refresh_token"]}).status_code == 200
    problem(api.client.post("/v1/login", json=GOOD), 401, "wrong_credentials")
    assert api.client.post("/v1/login", json={**GOOD, "password": NEW}).status_code == 200


def test_a_password_change_goes_on_when_it_is_repeated(api: Api) -> None:
    api.register()
    phone, pad = api.log_in(), api.log_in()
    api.fabric.away = True
    problem(api.ask(phone, "PUT", "/v1/me/password", json=CHANGE), 503, "unavailable")
    api.fabric.away = False
    assert api.ask(phone, "PUT", "/v1/me/password", json=CHANGE).status_code == 204
    problem(api.ask(pad, "GET", "/v1/me"), 401, "logged_out")


def test_refused_password_changes(api: Api) -> None:
    api.register()
    phone = api.log_in()
    wrong = {**CHANGE, "old_password": "wrong horse"}
    assert problem(api.ask(phone, "PUT", "/v1/me/password", json=wrong), 403, "wrong_password")["field"]
    short = {**CHANGE, "new_password": "short"}
    body = problem(api.ask(phone, "PUT", "/v1/me/password", json=short), 400, "password_too_short")
    assert body["field"] == "new_password"
    problem(api.ask(None, "PUT", "/v1/me/password", json=CHANGE), 401, "no_token")


def test_of_two_password_changes_at_once_one_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.register()
    phone = api.log_in()
    hash_password = api.client.application.extensions["sparrow"].passwords.hash

    def slow(password: str) -> str:
        account = api.bridge.call(api.bridge.store.account, "alice")
        assert account is not None
        api.bridge.call(api.bridge.store.change_password, "alice", account.password_hash, "another's")
        kept: str = hash_password(password)
        return kept

    monkeypatch.setattr(
        type(api.client.application.extensions["sparrow"].passwords), "hash", lambda _, text: slow(text)
    )
    problem(api.ask(phone, "PUT", "/v1/me/password", json=CHANGE), 409, "changed_meanwhile")


def test_the_end_of_an_account(api: Api) -> None:
    api.register()
    api.register("bob")
    phone, pad, bobs = api.log_in(), api.log_in(), api.log_in("bob")
    problem(api.ask(phone, "POST", "/v1/me/deletion", json={"password": "wrong horse"}), 403, "wrong_password")
    api.fabric.asked.clear()
    api.fabric.away = True
    problem(api.ask(phone, "POST", "/v1/me/deletion", json={"password": PASSWORD}), 503, "unavailable")
    api.fabric.away = False
    assert api.ask(phone, "POST", "/v1/me/deletion", json={"password": PASSWORD}).status_code == 204
    assert api.fabric.asked == [("changed", "alice"), ("close", "alice", None, True)]
    for tokens in (phone, pad):
        problem(api.ask(tokens, "GET", "/v1/me"), 401, "logged_out")
        refreshed = api.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"]})
        problem(refreshed, 401, "invalid_refresh_token")
    problem(api.client.post("/v1/login", json=GOOD), 401, "wrong_credentials")
    problem(api.client.post("/v1/accounts", json=GOOD), 409, "user_taken")
    problem(api.ask(bobs, "GET", "/v1/users/alice"), 404, "no_such_user")
    assert api.ask(bobs, "GET", "/v1/users?prefix=al").json == {"items": [], "next": None}
    assert api.bridge.call(api.bridge.store.devices, ["alice"]) == {"alice": None}


def test_a_device_that_was_logged_out_deletes_nothing(api: Api) -> None:
    api.register()
    phone, pad = api.log_in(), api.log_in()
    assert api.ask(phone, "DELETE", f"/v1/me/devices/{pad['device']}/login").status_code == 204
    problem(api.ask(pad, "POST", "/v1/me/deletion", json={"password": PASSWORD}), 401, "logged_out")
    assert api.ask(phone, "GET", "/v1/me").status_code == 200
