"""`POST /v1/login`."""

import re
from typing import Any

import pytest

from tests.userapi.conftest import Api
from tests.userapi.test_accounts import problem

GOOD = {"user": "alice", "password": "correct horse"}


@pytest.fixture
def alice(api: Api) -> Api:
    assert api.client.post("/v1/accounts", json=GOOD).status_code == 201
    return api


def log_in(api: Api, **changes: str) -> Any:
    response = api.client.post("/v1/login", json={**GOOD, **changes})
    assert response.status_code == 200, response.text
    return response.json


def test_the_first_device(alice: Api) -> None:
    answer = log_in(alice, label="phone")
    assert set(answer) == {"token", "user", "device", "expires_ms", "connectors"}
    assert re.fullmatch("[a-z0-9]{16}", answer["device"])
    assert answer["connectors"] == ["chat.example.net:7400"]
    assert answer["expires_ms"] == (alice.now + alice.settings.token_lifetime_s) * 1000
    identity = alice.verifier.verify(answer["token"], alice.now)
    assert (identity.user, identity.device) == ("alice", answer["device"])
    assert identity.expires * 1000 == answer["expires_ms"]
    assert alice.slept == []
    (device,) = alice.bridge.call(alice.bridge.store.list_devices, "alice")
    assert (device.device, device.label) == (answer["device"], "phone")


def test_a_known_device_keeps_its_id(alice: Api) -> None:
    device = log_in(alice)["device"]
    assert log_in(alice, device=device)["device"] == device
    assert alice.slept == []
    assert len(alice.bridge.call(alice.bridge.store.list_devices, "alice")) == 1


def test_a_further_device_is_held_back(alice: Api) -> None:
    first = log_in(alice)["device"]
    second = log_in(alice)["device"]
    assert first != second
    assert alice.slept == [alice.settings.further_device_delay_s]
    assert alice.bridge.call(alice.bridge.store.devices, ["alice"]) == {"alice": (first, second)}
    log_in(alice, device=second)
    assert len(alice.slept) == 1


def test_a_device_that_is_not_ours(alice: Api) -> None:
    alice.client.post("/v1/accounts", json={**GOOD, "user": "bob"})
    bobs = log_in(alice, user="bob")["device"]
    mine = log_in(alice)["device"]
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
