"""A user with as many devices as allowed, and their password: a new device takes the place of another."""

from __future__ import annotations

import dataclasses

import pytest
from flask.testing import FlaskClient

from protocol.sparrow_pb2 import Hint
from store.interface import NewRow, PageQuery
from tests.userapi.conftest import PASSWORD, Api, problem
from userapi.app import create_app

GOOD = {"user": "alice", "password": PASSWORD}


@pytest.fixture
def full(api: Api) -> tuple[FlaskClient, list[str]]:
    """Alice has three devices, and may have no more: silent longest first."""
    api.register()
    devices = [api.log_in(label=f"phone {number}")["device"] for number in range(3)]
    api.log_in(device=devices[0])  # so that this one was there last
    order = [devices[1], devices[2], devices[0]]
    settings = dataclasses.replace(api.settings, max_devices=3)
    return create_app(settings, api.bridge, api.fabric, sleep=lambda _: None).test_client(), order


def names(api: Api) -> set[str]:
    return {one.device for one in api.bridge.call(api.bridge.store.list_devices, "alice")}


def test_it_is_told_which_there_are(api: Api, full: tuple[FlaskClient, list[str]]) -> None:
    client, order = full
    api.bridge.call(api.bridge.store.end_login, "alice", order[1])  # one that is logged out is silent for good
    answer = client.post("/v1/login", json=GOOD)
    problem(answer, 409, "too_many_devices")
    assert isinstance(answer.json, dict)
    listed = answer.json["devices"]
    assert [one["device"] for one in listed] == [order[1], order[0], order[2]]
    assert [one["logged_in"] for one in listed] == [False, True, True]
    assert {one["label"] for one in listed} == {"phone 0", "phone 1", "phone 2"}
    assert all(one["active_ms"] >= one["created_ms"] > 0 for one in listed)
    # Not without the password.
    wrong = client.post("/v1/login", json={**GOOD, "password": "wrong horse", "replaces": order[0]})
    assert "devices" not in problem(wrong, 401, "wrong_credentials")
    assert names(api) == set(order)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_new_one_takes_the_place(api: Api, full: tuple[FlaskClient, list[str]], by_name: bool) -> None:
    client, order = full
    gone = order[2] if by_name else order[0]
    api.bridge.call(api.bridge.store.append, [NewRow("alice", gone, 1, b"unread")])
    api.fabric.asked.clear()
    body = {**GOOD, "replaces": gone if by_name else "silent_longest"}
    headers = {"Idempotency-Key": "0123456789abcdef"}
    answer = client.post("/v1/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json, dict)
    new = answer.json["device"]
    assert names(api) == {*order, new} - {gone}
    assert ("close", "alice", gone, True) in api.fabric.asked
    assert ("hint", "alice", Hint.DEVICES_CHANGED, "alice") in api.fabric.asked
    # What it had not read goes to the others.
    (page,) = api.bridge.call(api.bridge.store.page, [PageQuery("alice", new, b"", True, 10)])
    assert [row.body for row in page.rows] == [b"unread"]
    # A repeat takes no further one's place.
    again = client.post("/v1/login", json=body, headers=headers)
    assert isinstance(again.json, dict)
    assert again.json["device"] == new
    assert names(api) == {*order, new} - {gone}


def test_nothing_is_replaced_without_need(api: Api) -> None:
    api.register()
    first = api.log_in()["device"]
    api.log_in(replaces="silent_longest")
    api.log_in(replaces=first)
    assert first in names(api)
    assert len(names(api)) == 3


def test_who_is_no_device(api: Api, full: tuple[FlaskClient, list[str]]) -> None:
    client, order = full
    body = problem(client.post("/v1/login", json={**GOOD, "replaces": "nobody"}), 404, "no_such_device")
    assert body["field"] == "replaces"
    assert names(api) == set(order)


def test_brokers_that_have_not_heard_of_it_do_so_at_the_repeat(api: Api, full: tuple[FlaskClient, list[str]]) -> None:
    client, order = full
    body = {**GOOD, "replaces": order[0]}
    api.fabric.away = True
    problem(client.post("/v1/login", json=body), 503, "unavailable")
    assert order[0] not in names(api)
    api.fabric.away = False
    api.fabric.asked.clear()
    assert client.post("/v1/login", json=body).status_code == 200
    assert ("close", "alice", order[0], True) in api.fabric.asked
