"""`POST /v1/accounts`, and what holds for every request."""

import json

import pytest
from werkzeug.test import TestResponse

from tests.userapi.conftest import Api

GOOD = {"user": "alice", "password": "correct horse"}


def problem(response: TestResponse, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body: dict[str, object] = json.loads(response.data)
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert isinstance(body["detail"], str)
    assert "Traceback" not in body["detail"]
    return body


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
        body = problem(api.client.post("/v1/accounts", json=GOOD), 409, "user_taken")
        assert body["field"] == "user"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"user": "Alice", "password": "correct horse"}, "invalid_user_id", "user"),
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
    for response in (api.client.get("/healthz"), api.client.post("/v1/accounts", json=GOOD)):
        problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0


def test_a_defect_shows_no_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.bridge, "call", lambda *_: 1 / 0)
    body = problem(api.client.get("/healthz"), 500, "internal_error")
    assert "division" not in json.dumps(body)
