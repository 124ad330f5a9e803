"""Logging in, refreshing, logging out."""

import re
from typing import Any

import pytest

from protocol.sparrow_pb2 import Hint
from tests.userapi.conftest import Api, problem

GOOD = {"user": "alice", "password": "correct horse"}
KEY = {"Idempotency-Key": "0123456789abcdef"}


@pytest.fixture
def alice(api: Api) -> Api:
    api.register()
    return api


def refresh(api: Api, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = api.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"]})
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json, dict)
    return answer.json


def test_the_first_device(alice: Api) -> None:
    answer = alice.log_in(label="phone")
    assert set(answer) == {
        *("access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"),
        *("user", "device", "connectors"),
    }
    assert re.fullmatch("[a-z0-9]{16}", answer["device"])
    assert answer["connectors"] == ["chat.example.net:7400"]
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == alice.settings.access_token_lifetime_s
    identity = alice.verifier.verify(answer["access_token"], alice.now)
    assert (identity.user, identity.device) == ("alice", answer["device"])
    assert identity.expires == alice.now + answer["expires_in"]
    assert alice.slept == []
    (device,) = alice.bridge.call(alice.bridge.store.list_devices, "alice")
    assert (device.device, device.label, device.logged_in) == (answer["device"], "phone", True)


def test_a_known_device_keeps_its_id_and_gets_a_new_login(alice: Api) -> None:
    before = alice.log_in()
    after = alice.log_in(device=before["device"])
    assert after["device"] == before["device"]
    assert alice.slept == []
    assert len(alice.bridge.call(alice.bridge.store.list_devices, "alice")) == 1
    problem(alice.ask(before, "GET", "/v1/me"), 401, "logged_out")
    assert alice.ask(after, "GET", "/v1/me").status_code == 200


def test_a_further_device_is_held_back(alice: Api) -> None:
    first = alice.log_in()["device"]
    second = alice.log_in()["device"]
    assert first != second
    assert alice.slept == [alice.settings.further_device_delay_s]
    hint = ("hint", "alice", Hint.DEVICES_CHANGED, "alice")
    assert alice.fabric.asked == [("changed", "alice"), ("changed", "alice"), hint]
    assert alice.bridge.call(alice.bridge.store.devices, ["alice"]) == {"alice": (first, second)}
    alice.log_in(device=second)
    assert len(alice.slept) == 1


def test_a_device_after_one_that_was_removed_is_a_further_one(alice: Api) -> None:
    alice.bridge.call(alice.bridge.store.remove_device, "alice", alice.log_in()["device"])
    alice.log_in()
    assert alice.slept == [alice.settings.further_device_delay_s]


def test_a_repeated_login_makes_no_second_device(alice: Api) -> None:
    first = alice.client.post("/v1/login", json=GOOD, headers=KEY).json
    again = alice.client.post("/v1/login", json=GOOD, headers=KEY).json
    assert first is not None
    assert again is not None
    assert first["device"] == again["device"]
    assert alice.slept == []
    other = alice.client.post("/v1/login", json=GOOD, headers={"Idempotency-Key": "fedcba9876543210"}).json
    assert other is not None
    assert other["device"] != first["device"]
    alice.fabric.away = True
    problem(
        alice.client.post("/v1/login", json=GOOD, headers={"Idempotency-Key": "fedcba9876543210"}), 503, "unavailable"
    )
    assert len(alice.bridge.call(alice.bridge.store.list_devices, "alice")) == 2
    alice.bridge.call(alice.bridge.store.remove_device, "alice", first["device"])
    problem(alice.client.post("/v1/login", json=GOOD, headers=KEY), 409, "device_removed")
    body = problem(
        alice.client.post("/v1/login", json=GOOD, headers={"Idempotency-Key": "short"}), 400, "invalid_value"
    )
    assert body["field"] == "Idempotency-Key"


def test_devices_have_an_end(alice: Api) -> None:
    for _ in range(alice.settings.max_devices):
        alice.log_in()
    problem(alice.client.post("/v1/login", json=GOOD), 409, "too_many_devices")


def test_while_no_broker_can_be_told_a_further_device_is_not_added(alice: Api) -> None:
    alice.fabric.away = True
    first = alice.log_in()["device"]
    problem(alice.client.post("/v1/login", json=GOOD), 503, "unavailable")
    assert alice.bridge.call(alice.bridge.store.devices, ["alice"]) == {"alice": (first,)}


def test_a_device_that_is_not_ours(alice: Api) -> None:
    alice.client.post("/v1/accounts", json={**GOOD, "user": "bob"})
    bobs = alice.log_in("bob")["device"]
    mine = alice.log_in()["device"]
    alice.bridge.call(alice.bridge.store.remove_device, "alice", mine)
    for device in (bobs, mine, "nothing", "", "A B"):
        problem(alice.client.post("/v1/login", json={**GOOD, "device": device}), 404, "no_such_device")


def test_wrong_password_and_unknown_user_look_alike(alice: Api) -> None:
    wrong = problem(alice.client.post("/v1/login", json={**GOOD, "password": "wrong"}), 401, "wrong_credentials")
    unknown = problem(alice.client.post("/v1/login", json={**GOOD, "user": "bob"}), 401, "wrong_credentials")
    strange = problem(alice.client.post("/v1/login", json={**GOOD, "user": "/?\0"}), 401, "wrong_credentials")
    assert wrong == unknown == strange


def test_an_unknown_user_costs_a_check_too(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    hasher = alice.client.application.extensions["sparrow"].passwords._hasher
    verify = hasher.verify
    monkeypatch.setattr(
        type(hasher), "verify", lambda self, kept, password: checked.append(kept) or verify(kept, password)
    )
    alice.client.post("/v1/login", json={**GOOD, "user": "bob"})
    assert len(checked) == 1
    assert checked[0].split("$")[:4] == hasher.hash("x").split("$")[:4]


def test_wrong_fields(alice: Api) -> None:
    for changes, code in (
        ({"label": 3}, "wrong_type"),
        ({"device": None}, "wrong_type"),
        ({"label": "x" * 101}, "too_long"),
        ({"name": "x"}, "unknown_field"),
    ):
        problem(alice.client.post("/v1/login", json={**GOOD, **changes}), 400, code)


def test_a_refresh_replaces_the_token(alice: Api) -> None:
    first = alice.log_in()
    alice.now += alice.settings.access_token_lifetime_s + 1
    problem(alice.ask(first, "GET", "/v1/me"), 401, "invalid_token")
    second = refresh(alice, first)
    assert second["device"] == first["device"]
    assert second["refresh_token"] != first["refresh_token"]
    assert alice.ask(second, "GET", "/v1/me").status_code == 200
    third = refresh(alice, second)
    assert alice.ask(third, "GET", "/v1/me").status_code == 200


def test_a_refresh_whose_answer_was_lost_is_repeated_with_the_same_outcome(alice: Api) -> None:
    first = alice.log_in()
    second = refresh(alice, first)
    assert refresh(alice, first)["refresh_token"] == second["refresh_token"]
    third = refresh(alice, second)
    assert refresh(alice, second)["refresh_token"] == third["refresh_token"]


def test_an_old_refresh_token_ends_the_login(alice: Api, caplog: pytest.LogCaptureFixture) -> None:
    first = alice.log_in()
    third = refresh(alice, refresh(alice, first))
    alice.fabric.asked.clear()
    stolen = alice.client.post("/v1/token", json={"refresh_token": first["refresh_token"]})
    problem(stolen, 401, "refresh_token_reused")
    assert alice.fabric.asked == [("close", "alice", first["device"], False)]
    assert "old refresh token of alice/" in caplog.text
    assert first["refresh_token"] not in caplog.text
    problem(alice.ask(third, "GET", "/v1/me"), 401, "logged_out")
    problem(
        alice.client.post("/v1/token", json={"refresh_token": third["refresh_token"]}), 401, "invalid_refresh_token"
    )
    assert alice.log_in(device=first["device"])["device"] == first["device"]


def test_what_is_no_refresh_token(alice: Api) -> None:
    tokens = alice.log_in()
    head, _, tail = tokens["refresh_token"].partition(".")
    for token in ("", "x", f"{head}.", f"{head}x.{tail}", f"{head}.{tail[::-1]}", tokens["access_token"], "é.é"):
        problem(alice.client.post("/v1/token", json={"refresh_token": token}), 401, "invalid_refresh_token")
    problem(alice.client.post("/v1/token", json={}), 400, "missing_field")
    problem(alice.ask({"access_token": tokens["refresh_token"]}, "GET", "/v1/me"), 401, "invalid_token")


def test_requests_without_a_good_token(alice: Api) -> None:
    for header in ("", "Basic YTpi", "Bearer", "Bearer "):
        answer = alice.client.get("/v1/me", headers={"Authorization": header})
        problem(answer, 401, "no_token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for token in ("x", "a.b.c", "é", "x" * 5000):
        answer = alice.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
        problem(answer, 401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_logging_out(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    alice.fabric.asked.clear()
    alice.fabric.away = True
    problem(alice.ask(phone, "DELETE", "/v1/me/login"), 503, "unavailable")
    alice.fabric.away = False
    for _ in range(2):
        assert alice.ask(phone, "DELETE", "/v1/me/login").status_code == 204
    assert alice.fabric.asked == [("close", "alice", phone["device"], False)] * 2
    problem(alice.ask(phone, "GET", "/v1/me"), 401, "logged_out")
    problem(
        alice.client.post("/v1/token", json={"refresh_token": phone["refresh_token"]}), 401, "invalid_refresh_token"
    )
    assert alice.ask(pad, "GET", "/v1/me").status_code == 200
    again = alice.log_in(device=phone["device"])
    problem(alice.ask(phone, "DELETE", "/v1/me/login"), 401, "logged_out")
    assert alice.ask(again, "GET", "/v1/me").status_code == 200


def test_logging_another_device_out(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    alice.fabric.asked.clear()
    for _ in range(2):
        assert alice.ask(phone, "DELETE", f"/v1/me/devices/{pad['device']}/login").status_code == 204
    assert alice.fabric.asked == [("close", "alice", pad["device"], False)] * 2
    problem(alice.ask(pad, "GET", "/v1/me"), 401, "logged_out")
    problem(alice.ask(pad, "DELETE", f"/v1/me/devices/{phone['device']}/login"), 401, "logged_out")
    problem(alice.ask(phone, "DELETE", "/v1/me/devices/nothing/login"), 404, "no_such_device")


def test_logging_all_devices_out(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    for _ in range(2):
        assert alice.ask(phone, "DELETE", "/v1/me/logins").status_code == 204
    for tokens in (phone, pad):
        problem(alice.ask(tokens, "GET", "/v1/me"), 401, "logged_out")
    again = alice.log_in(device=phone["device"])
    problem(alice.ask(phone, "DELETE", "/v1/me/logins"), 401, "logged_out")
    assert alice.ask(again, "GET", "/v1/me").status_code == 200
