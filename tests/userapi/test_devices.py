"""`/v1/me/devices`."""

import pytest

from protocol.sparrow_pb2 import Hint
from tests.userapi.conftest import Api, problem


@pytest.fixture
def alice(api: Api) -> Api:
    api.register()
    return api


def test_listing_and_naming(alice: Api) -> None:
    phone, pad = alice.log_in(label="phone"), alice.log_in(label="pad")
    answer = alice.ask(pad, "GET", "/v1/me/devices").json
    assert answer is not None
    first, second = answer["items"]
    assert (first["device"], first["label"], first["current"]) == (phone["device"], "phone", False)
    assert (second["device"], second["label"], second["current"]) == (pad["device"], "pad", True)
    assert first["logged_in"]
    assert second["logged_in"]
    renamed = alice.ask(pad, "PATCH", f"/v1/me/devices/{phone['device']}", json={"label": "old phone"})
    assert renamed.json == {**first, "label": "old phone"}
    alice.ask(phone, "DELETE", "/v1/me/login")
    answer = alice.ask(pad, "GET", "/v1/me/devices").json
    assert answer is not None
    assert answer["items"][0] == {**first, "label": "old phone", "logged_in": False}


def test_what_is_refused(alice: Api) -> None:
    alice.register("bob")
    phone, bobs = alice.log_in(), alice.log_in("bob")
    for device in (bobs["device"], "nothing", "A B"):
        path = f"/v1/me/devices/{device}"
        problem(alice.ask(phone, "PATCH", path, json={"label": "x"}), 404, "no_such_device")
        problem(alice.ask(phone, "DELETE", path), 404, "no_such_device")
    path = f"/v1/me/devices/{phone['device']}"
    for method in ("PATCH", "DELETE"):
        problem(alice.ask(None, method, path, json={"label": "x"}), 401, "no_token")
    problem(alice.ask(None, "GET", "/v1/me/devices"), 401, "no_token")
    problem(alice.ask(phone, "PATCH", path, json={"label": "a\nb"}), 400, "invalid_value")
    problem(alice.ask(phone, "PATCH", path, json={"label": "x" * 101}), 400, "too_long")


def test_removing_another_device(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    alice.fabric.asked.clear()
    path = f"/v1/me/devices/{pad['device']}"
    assert alice.ask(phone, "DELETE", path).status_code == 204
    assert alice.fabric.asked == [
        ("changed", "alice"),
        ("close", "alice", pad["device"], True),
        ("hint", "alice", Hint.DEVICES_CHANGED, "alice"),
    ]
    assert alice.ask(phone, "DELETE", path).status_code == 204
    assert alice.bridge.call(alice.bridge.store.devices, ["alice"]) == {"alice": (phone["device"],)}
    problem(alice.ask(pad, "GET", "/v1/me"), 401, "logged_out")
    problem(alice.ask(pad, "DELETE", f"/v1/me/devices/{phone['device']}"), 401, "logged_out")
    problem(alice.client.post("/v1/token", json={"refresh_token": pad["refresh_token"]}), 401, "invalid_refresh_token")


def test_removing_ones_own_device_may_be_repeated(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    path = f"/v1/me/devices/{pad['device']}"
    alice.fabric.away = True
    problem(alice.ask(pad, "DELETE", path), 503, "unavailable")
    alice.fabric.away = False
    for _ in range(2):
        assert alice.ask(pad, "DELETE", path).status_code == 204
    assert alice.ask(phone, "GET", "/v1/me").status_code == 200


def test_a_device_that_was_logged_out_removes_nothing(alice: Api) -> None:
    phone, pad = alice.log_in(), alice.log_in()
    alice.ask(phone, "DELETE", f"/v1/me/devices/{pad['device']}/login")
    for device in (phone, pad):
        problem(alice.ask(pad, "DELETE", f"/v1/me/devices/{device['device']}"), 401, "logged_out")
