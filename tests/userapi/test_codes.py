"""Codes for a new password, invitations to register, and the administration of accounts: `/v1/admin` and its codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from store import StoreSettings
from store.codes import ResetCode
from store.interface import NewRow
from tests.userapi.conftest import Api, api_in, problem
from tests.userapi.engines import kept
from tests.userapi.test_accounts import PASSWORD
from userapi.codes import digest, draw
from userapi.service import EXTENSION

TOKEN = "0123456789abcdef" * 4
NEW = "battery staple"
HOUR_S = 3600.0


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """With administration; registration is by invitation, unless a test says otherwise."""
    changes = dict(getattr(request, "param", {}))
    store = kept(changes.pop("engine", "sqlite"), tmp_path, conversations=False)
    with administered(tmp_path, store, **changes) as made:
        yield made


with_each_engine = pytest.mark.parametrize(
    "run", [{"engine": "sqlite"}, pytest.param({"engine": "cassandra"}, marks=pytest.mark.full)], indirect=True
)


def administered(folder: Path, store: StoreSettings | None = None, **changes: object) -> Any:
    file = folder / "admin"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return api_in(folder, store, **{"admin_token_file": str(file), "registration": "invitation", **changes})


def admin(api: Api, method: str, path: str, **more: Any) -> TestResponse:
    return api.client.open(f"/v1/admin{path}", method=method, headers={"Authorization": f"Bearer {TOKEN}"}, **more)


def told(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert isinstance(response.json, dict)
    return response.json


def add(api: Api, *users: str) -> None:
    for user in users:
        told(admin(api, "POST", "/accounts", json={"user": user, "password": PASSWORD}), 201)


def code_for(api: Api, user: str = "alice") -> str:
    return str(told(admin(api, "POST", f"/accounts/{user}/password-reset"), 201)["code"])


def reset(api: Api, code: str, user: str = "alice", password: str = NEW) -> TestResponse:
    return api.client.post("/v1/password-reset", json={"user": user, "code": code, "new_password": password})


def invite(api: Api, **asked: object) -> dict[str, Any]:
    return told(admin(api, "POST", "/invitations", json=asked), 201)


def register(api: Api, user: str, code: str, password: str = PASSWORD) -> TestResponse:
    return api.client.post("/v1/accounts", json={"user": user, "password": password, "invitation": code})


def log_in(api: Api, password: str, user: str = "alice") -> int:
    return api.client.post("/v1/login", json={"user": user, "password": password}).status_code


# Codes.


def test_a_code_has_128_bits_and_is_read_however_it_was_typed() -> None:
    drawn = {draw() for _ in range(100)}
    assert len(drawn) == 100
    for code in drawn:
        assert len(code.replace("-", "")) == 26  # of 5 bits
        assert digest(f" {code.upper().replace('-', ' ')}\n") == digest(code)
    assert digest("") != digest(draw())


# A new password.


@with_each_engine
def test_a_new_password_by_a_code(run: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    add(run, "alice")
    devices = [run.log_in(), run.log_in()]
    earlier, code = code_for(run), code_for(run)
    assert log_in(run, PASSWORD) == 200  # whoever makes a code has not ended anything yet
    run.fabric.closed.clear()
    problem(reset(run, earlier), 403, "wrong_code")
    assert reset(run, code).status_code == 204
    assert log_in(run, PASSWORD) == 401
    for tokens in devices:
        problem(run.ask(tokens, "GET", "/v1/me"), 401, "logged_out")
        body = {"refresh_token": tokens["refresh_token"]}
        problem(run.client.post("/v1/token", json=body), 401, "invalid_refresh_token")
    assert {device for _, device, *_ in run.fabric.closed} >= {tokens["device"] for tokens in devices}
    assert log_in(run, NEW) == 200
    # Once: with another password it is used; with the same it is a repeat.
    problem(reset(run, code, password="yet another one"), 403, "wrong_code")
    assert reset(run, code).status_code == 204
    events = [record.facts["event"] for record in caplog.records if hasattr(record, "facts")]
    assert events.count("reset_code_made") == 2
    assert events.count("password_reset") == 1
    text = caplog.text.lower()
    assert code not in text
    assert earlier not in text
    assert digest(code) not in text


def test_a_reset_goes_on_when_it_is_repeated(run: Api) -> None:
    add(run, "alice")
    tokens, code = run.log_in(), code_for(run)
    run.fabric.away = True
    problem(reset(run, code), 503, "unavailable")
    problem(run.ask(tokens, "GET", "/v1/me"), 401, "logged_out")  # what the store knows holds without a broker
    run.fabric.away = False
    assert reset(run, code).status_code == 204
    assert tokens["device"] in {device for _, device, *_ in run.fabric.closed}
    run.now += run.settings.reset_code_lifetime_s
    problem(reset(run, code), 403, "wrong_code")


def test_a_reset_that_was_interrupted_ends_all_logins_when_it_is_repeated(run: Api) -> None:
    add(run, "alice")
    tokens, code = run.log_in(), code_for(run)
    store = run.bridge.store
    account = run.bridge.call(store.account, "alice")
    assert account is not None
    made = run.client.application.extensions[EXTENSION].passwords.hash(NEW)
    run.bridge.call(store.change_password, "alice", account.password_hash, made)
    used = ResetCode(digest(code), int(run.now + HOUR_S) * 1000, used=True)
    run.bridge.call(store.codes.put_reset_code, "alice", used)
    assert run.ask(tokens, "GET", "/v1/me").status_code == 200
    assert reset(run, code).status_code == 204
    problem(run.ask(tokens, "GET", "/v1/me"), 401, "logged_out")


def test_all_that_is_no_good_gets_one_answer(run: Api) -> None:
    add(run, "alice", "bob")
    ended = code_for(run)
    run.now += run.settings.reset_code_lifetime_s
    answers = [reset(run, ended)]
    code = code_for(run)
    answers += [
        reset(run, draw()),
        reset(run, code, "bob"),
        reset(run, code, "nobody"),
        reset(run, code, "../alice"),
        reset(run, code, "Alice"),
        reset(run, code, ""),
        reset(run, ""),
        reset(run, code[:-1]),
        reset(run, "\u00e4" * 64),
    ]
    assert {problem(answer, 403, "wrong_code")["detail"] for answer in answers} == {answers[0].json["detail"]}  # type: ignore[index]
    assert log_in(run, PASSWORD) == 200
    problem(reset(run, code, password="short"), 400, "password_too_short")
    problem(reset(run, "x" * 65), 400, "too_long")
    assert reset(run, f" {code.upper()} ").status_code == 204  # nothing of that has used it


@with_each_engine
def test_what_ends_a_code_before_its_time(run: Api) -> None:
    add(run, "alice", "bob", "carol")
    codes = {user: code_for(run, user) for user in ("alice", "bob", "carol")}
    tokens = run.log_in("alice")
    body = {"old_password": PASSWORD, "new_password": "a third password"}
    assert run.ask(tokens, "PUT", "/v1/me/password", json=body).status_code == 204
    assert admin(run, "POST", "/accounts/bob/disable").status_code == 204
    problem(admin(run, "POST", "/accounts/bob/password-reset"), 403, "account_disabled")
    assert admin(run, "POST", "/accounts/bob/enable").status_code == 204
    assert admin(run, "DELETE", "/accounts/carol").status_code == 204
    for user, code in codes.items():
        problem(reset(run, code, user), 403, "wrong_code")
    assert log_in(run, PASSWORD, "bob") == 200


@pytest.mark.parametrize("run", [{"identity": "hook"}], indirect=True)
def test_where_another_system_keeps_the_passwords(run: Api) -> None:
    parts = run.client.application.extensions[EXTENSION]  # the settings alone ask no system in these tests
    object.__setattr__(parts, "identity", object())
    for answer in (
        admin(run, "POST", "/accounts/alice/password-reset"),
        admin(run, "POST", "/invitations", json={}),
        reset(run, draw()),
    ):
        problem(answer, 403, "passwords_elsewhere")


@pytest.mark.parametrize(
    "run", [{"max_failed_logins_per_hour_of_account_and_address": 3, "unlimited_addresses": ()}], indirect=True
)
def test_guesses_are_counted_by_address(run: Api) -> None:
    add(run, "alice")
    code, invitation = code_for(run), invite(run)["code"]
    for number in range(3):
        answer = reset(run, draw(), f"user{number}") if number % 2 else register(run, "dave", draw())
        problem(answer, 403, "wrong_code")
    problem(reset(run, code), 429, "too_many_requests")
    problem(register(run, "dave", invitation), 429, "too_many_requests")
    assert log_in(run, PASSWORD) == 200  # nobody's password has anything to do with it
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    body = {"user": "alice", "code": code, "new_password": NEW}
    assert run.client.post("/v1/password-reset", json=body, environ_base=elsewhere).status_code == 204


# Invitations.


@with_each_engine
def test_registration_by_invitation(run: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problem(run.client.post("/v1/accounts", json={"user": "bob", "password": PASSWORD}), 403, "invitation_needed")
    made = invite(run, note="Bob", hours=1)
    assert (made["uses"], made["used_by"], made["note"]) == (1, [], "Bob")
    assert made["ends_ms"] == (run.now + HOUR_S) * 1000
    code = made["code"]
    problem(register(run, "bob", code, "short"), 400, "password_too_short")
    problem(register(run, "Bob!", code), 400, "invalid_user_id")
    assert register(run, "bob", code).status_code == 201
    assert register(run, "bob", code).status_code == 200  # a repeat
    problem(register(run, "bob", code, NEW), 409, "user_taken")
    problem(register(run, "carol", code), 403, "wrong_code")
    (listed,) = told(admin(run, "GET", "/invitations"))["invitations"]
    assert listed == {name: one for name, one in made.items() if name != "code"} | {"used_by": ["bob"]}
    shown = told(admin(run, "GET", "/accounts/bob"))
    assert shown["invitation"] == made["invitation"]
    assert code not in caplog.text
    facts = [record.facts for record in caplog.records if hasattr(record, "facts")]
    assert [one["invitation"] for one in facts if one["event"] == "account_created"] == [made["invitation"]]


@with_each_engine
def test_a_name_that_is_taken_costs_no_use(run: Api) -> None:
    add(run, "alice", "gone")
    assert admin(run, "DELETE", "/accounts/gone").status_code == 204
    code = invite(run)["code"]
    problem(register(run, "alice", code, NEW), 409, "user_taken")
    assert register(run, "alice", code).status_code == 200  # hers, and she knows the password
    problem(register(run, "gone", code), 409, "user_taken")
    assert register(run, "bob", code).status_code == 201
    # Nor does the end of an account give its use back, whatever is tried with its name.
    assert admin(run, "DELETE", "/accounts/bob").status_code == 204
    problem(register(run, "bob", code), 409, "user_taken")
    problem(register(run, "carol", code), 403, "wrong_code")


@pytest.mark.parametrize("run", [{"max_invitations": 2}], indirect=True)
def test_invitations_end_and_are_withdrawn(run: Api) -> None:
    first, second = invite(run, uses=2), invite(run, hours=1)
    problem(admin(run, "POST", "/invitations", json={}), 409, "too_many_invitations")
    page = told(admin(run, "GET", "/invitations?limit=1"))
    rest = told(admin(run, "GET", f"/invitations?limit=1&cursor={page['next']}"))
    ids = [one["invitation"] for one in page["invitations"] + rest["invitations"]]
    assert sorted(ids) == sorted([first["invitation"], second["invitation"]]) == ids
    assert register(run, "bob", first["code"]).status_code == 201
    assert admin(run, "DELETE", f"/invitations/{first['invitation']}").status_code == 204
    for gone in (first["invitation"], "0" * 16, "nothing", "%00", first["code"]):
        problem(admin(run, "DELETE", f"/invitations/{gone}"), 404, "unknown_invitation")
    problem(register(run, "carol", first["code"]), 403, "wrong_code")
    for wrong in ({"hours": 0}, {"uses": 0}, {"uses": 1001}, {"hours": 8761}, {"note": "a\nb"}, {"note": "x" * 101}):
        assert admin(run, "POST", "/invitations", json=wrong).status_code == 400, wrong
    assert log_in(run, PASSWORD, "bob") == 200


def test_a_code_says_nothing_where_everybody_may_register(tmp_path: Path) -> None:
    with administered(tmp_path, registration="open") as api:
        assert register(api, "bob", "whatever").status_code == 201
        code = invite(api)["code"]
        assert register(api, "carol", code).status_code == 201
        assert told(admin(api, "GET", "/invitations"))["invitations"][0]["used_by"] == []


def test_nobody_registers_where_only_the_administrator_does(tmp_path: Path) -> None:
    with administered(tmp_path, registration="admin") as api:
        problem(register(api, "bob", invite(api)["code"]), 403, "registration_closed")


# Accounts.


def test_accounts_are_listed_in_pages(run: Api) -> None:
    users = [f"user{number}" for number in range(5)]
    add(run, *users, "alice")
    first, second = run.log_in("user1"), run.log_in("user1")
    assert run.ask(first, "DELETE", "/v1/me/login").status_code == 204
    assert admin(run, "POST", "/accounts/user2/disable").status_code == 204
    assert admin(run, "DELETE", "/accounts/user3").status_code == 204
    run.bridge.call(run.bridge.store.saw, {"user1": 1_700_000_000_000})
    found, cursor = [], ""
    while cursor is not None:
        page = told(admin(run, "GET", f"/accounts?limit=2&cursor={cursor}" if cursor else "/accounts?limit=2"))
        assert len(page["accounts"]) <= 2
        found += page["accounts"]
        cursor = page["next"]
    assert [one["user"] for one in found] == ["alice", "user0", "user1", "user2", "user4"]
    by_user = {one["user"]: one for one in found}
    one = by_user["user1"]
    assert (one["devices"], one["logged_in"], one["last_seen_ms"]) == (2, 1, 1_700_000_000_000)
    assert [user for user, one in by_user.items() if one["disabled"]] == ["user2"]
    named = told(admin(run, "GET", "/accounts?prefix=us&limit=3"))
    assert [one["user"] for one in named["accounts"]] == ["user0", "user1", "user2"]
    rest = told(admin(run, "GET", f"/accounts?prefix=us&limit=3&cursor={named['next']}"))
    assert [one["user"] for one in rest["accounts"]] == ["user4"]
    assert rest["next"] is None
    for query in ("prefix=u", "prefix=U%25", "limit=0", "limit=101", "cursor=%21"):
        assert admin(run, "GET", f"/accounts?{query}").status_code == 400, query
    assert second["device"]


@with_each_engine
def test_what_is_shown_of_an_account(run: Api) -> None:
    add(run, "alice")
    tokens = run.log_in("alice", label="phone")
    run.bridge.call(run.bridge.store.append, [NewRow("alice", tokens["device"], 1, b"12345", "bob")])
    code_for(run)
    shown = told(admin(run, "GET", "/accounts/alice"))
    assert (shown["waiting_rows"], shown["waiting_bytes"], shown["uploaded_bytes"]) == (1, 5, 0)
    assert shown["reset_code_ends_ms"] == (run.now + run.settings.reset_code_lifetime_s) * 1000
    assert shown["invitation"] is None
    assert [(one["label"], one["logged_in"]) for one in shown["devices"]] == [("phone", True)]
    run.now += run.settings.reset_code_lifetime_s
    assert told(admin(run, "GET", "/accounts/alice"))["reset_code_ends_ms"] is None


def test_the_end_of_an_account_by_the_administrator(run: Api) -> None:
    add(run, "alice")
    tokens = run.log_in("alice")
    for _ in range(2):  # once more is no error
        assert admin(run, "DELETE", "/accounts/alice").status_code == 204
    problem(run.ask(tokens, "GET", "/v1/me"), 401, "logged_out")
    assert log_in(run, PASSWORD) == 401
    for nobody in ("nobody", "Not%20a%20name"):
        problem(admin(run, "DELETE", f"/accounts/{nobody}"), 404, "no_such_user")


def test_none_of_it_is_for_strangers(run: Api) -> None:
    for method, path in (
        ("GET", "/accounts"),
        ("DELETE", "/accounts/alice"),
        ("POST", "/accounts/alice/password-reset"),
        ("GET", "/invitations"),
        ("POST", "/invitations"),
        ("DELETE", "/invitations/x"),
    ):
        problem(run.client.open(f"/v1/admin{path}", method=method, json={}), 401, "wrong_admin_token")
