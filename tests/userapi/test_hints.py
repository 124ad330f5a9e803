"""Hints: who hears of what, and that no request fails for want of one."""

from __future__ import annotations

import pytest

from protocol.errors import UnavailableError
from protocol.sparrow_pb2 import Hint
from store.contacts import Change
from tests.userapi.conftest import Api
from userapi.endpoints import hints

PROFILE, DEVICES = Hint.PROFILE_CHANGED, Hint.DEVICES_CHANGED


@pytest.fixture
def alice(api: Api) -> Api:
    """With friends bob, carol and dave; erin has only asked, and mallory is blocked."""
    api.register()
    contacts = (("bob", True), ("carol", True), ("dave", True), ("erin", False), ("mallory", False))
    for user, friend in contacts:
        api.register(user)
        api.bridge.call(api.bridge.store.change_contact, user, "alice", Change.ASK)
        if friend:
            api.bridge.call(api.bridge.store.change_contact, "alice", user, Change.ACCEPT)
    api.bridge.call(api.bridge.store.change_contact, "alice", "mallory", Change.BLOCK)
    api.fabric.there |= {"alice", "bob", "dave", "erin", "mallory"}
    return api


def told(api: Api) -> list[tuple[object, ...]]:
    asked, api.fabric.asked[:] = list(api.fabric.asked), []
    return [question[1:] for question in asked if question[0] == "hint"]


def test_a_profile_is_told_to_friends_who_are_there_and_to_oneself(alice: Api) -> None:
    phone = alice.log_in()
    told(alice)
    for change in ({"display_name": "Alice"}, {"hides_presence": True}):
        assert alice.ask(phone, "PATCH", "/v1/me", json=change).status_code == 200
        assert told(alice) == [(user, PROFILE, "alice") for user in ("alice", "bob", "dave")]
        assert alice.ask(phone, "PATCH", "/v1/me", json=change).status_code == 200
        assert told(alice) == []
    assert alice.ask(phone, "PATCH", "/v1/me", json={}).status_code == 200
    assert told(alice) == []


def test_only_so_many_hear_of_a_profile(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "MAX_TOLD", 1)
    phone = alice.log_in()
    told(alice)
    alice.ask(phone, "PATCH", "/v1/me", json={"display_name": "Alice"})
    assert told(alice) == [("alice", PROFILE, "alice"), ("bob", PROFILE, "alice")]
    monkeypatch.setattr(hints, "_AT_ONCE", 1)
    monkeypatch.setattr(hints, "MAX_LOOKED_AT", 2)
    monkeypatch.setattr(hints, "MAX_TOLD", 100)
    alice.ask(phone, "PATCH", "/v1/me", json={"display_name": "Alice B."})
    assert ("online", "alice", "bob", "carol") in alice.fabric.asked


def test_devices(alice: Api) -> None:
    phone = alice.log_in()
    assert told(alice) == []  # nobody is there to hear it
    pad = alice.log_in()
    assert told(alice) == [("alice", DEVICES, "alice")]
    alice.log_in(device=pad["device"])
    assert told(alice) == []
    alice.ask(phone, "DELETE", f"/v1/me/devices/{pad['device']}")
    assert told(alice) == [("alice", DEVICES, "alice")]


def test_no_request_fails_for_want_of_a_hint(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise UnavailableError("no broker answers")

    monkeypatch.setattr(alice.fabric, "hint", away)
    phone, pad = alice.log_in(), alice.log_in()
    for away_too in (False, True):
        if away_too:
            monkeypatch.setattr(alice.fabric, "online", away)
        assert alice.ask(phone, "PATCH", "/v1/me", json={"display_name": f"A {away_too}"}).status_code == 200
    assert alice.ask(phone, "PUT", "/v1/requests/erin").status_code == 200
    assert alice.ask(phone, "DELETE", "/v1/friends/bob").status_code == 200
    assert alice.ask(phone, "PUT", "/v1/blocks/carol").status_code == 200
    assert alice.ask(phone, "DELETE", f"/v1/me/devices/{pad['device']}").status_code == 204
