"""Logging in, refreshing, logging out."""

import re
import time
from typing import Any

import pytest

from protocol.errors import OutdatedError
from protocol.sparrow_pb2 import Goodbye, Hint
from tests.userapi.conftest import Api, problem
from userapi import endings

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
    assert alice.fabric.asked == [("changed", "alice"), ("close", "alice", first["device"], False)]
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
    assert alice.fabric.asked == [("changed", "alice"), ("close", "alice", phone["device"], False)] * 2
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
    assert alice.fabric.asked == [("changed", "alice"), ("close", "alice", pad["device"], False)] * 2
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


# What ends a login ends it everywhere.


def test_a_device_that_logs_in_anew_loses_its_old_session_and_keeps_the_new_one(alice: Api) -> None:
    before = alice.log_in()
    alice.fabric.closed.clear()
    after = alice.log_in(device=before["device"])
    login = alice.verifier.verify(after["access_token"], alice.now).login
    assert login != alice.verifier.verify(before["access_token"], alice.now).login
    assert alice.fabric.closed == [("alice", before["device"], Goodbye.LOGGED_OUT, login)]
    # It may even do so while no broker answers: that is told when one does.
    alice.fabric.away = True
    third = alice.log_in(device=before["device"])
    alice.fabric.away = False
    alice.endings.repeat()
    login = alice.verifier.verify(third["access_token"], alice.now).login
    assert alice.fabric.closed[1:] == [("alice", before["device"], Goodbye.LOGGED_OUT, login)]
    assert not alice.endings.pending


def test_what_is_not_confirmed_is_repeated_as_it_stands_then(alice: Api) -> None:
    tokens = alice.log_in()
    alice.fabric.closed.clear()
    alice.fabric.confirms = False
    assert alice.ask(tokens, "DELETE", "/v1/me/login").status_code == 204
    alice.endings.repeat()
    assert [spare for *_, spare in alice.fabric.closed] == ["", ""]
    # Somebody else's process logs the device in anew: a late repeat must spare that.
    alice.bridge.call(alice.bridge.store.begin_login, "alice", tokens["device"], "newer")
    alice.endings.repeat()
    assert alice.fabric.closed[-1] == ("alice", tokens["device"], Goodbye.LOGGED_OUT, "newer")
    alice.bridge.call(alice.bridge.store.set_disabled, "alice", True)
    alice.endings.repeat()
    assert alice.fabric.closed[-1] == ("alice", None, Goodbye.ACCOUNT_DISABLED, "")
    alice.fabric.confirms = True
    alice.bridge.call(alice.bridge.store.delete_account, "alice")
    alice.endings.repeat()
    assert alice.fabric.closed[-1] == ("alice", None, Goodbye.DEVICE_REMOVED, "")
    assert not alice.endings.pending


def test_it_is_given_up_in_the_end(alice: Api, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    tokens = alice.log_in()
    alice.fabric.confirms = False
    monkeypatch.setattr(endings, "GIVE_UP_S", -1.0)
    assert alice.ask(tokens, "DELETE", "/v1/me/login").status_code == 204
    alice.endings.repeat()
    assert not alice.endings.pending
    assert "could not be ended" in caplog.text


def test_it_goes_on_by_itself(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "REPEAT_S", 0.01)
    tokens = alice.log_in()
    alice.fabric.confirms = False
    assert alice.ask(tokens, "DELETE", "/v1/me/login").status_code == 204
    alice.fabric.confirms = True
    while alice.endings.pending:
        time.sleep(0.01)


@pytest.mark.parametrize("change", ["password", "disabled", "ended"])
def test_a_login_under_way_fails_when_what_it_was_checked_against_changes(
    alice: Api, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    tokens = alice.log_in()
    store, call = alice.bridge.store, alice.bridge.call
    real, changed = store.begin_login, []

    async def begin_login(user: str, device: str, login: str, checked: Any = None) -> None:
        if not changed:
            changed.append(True)
            if change == "password":
                await store.change_password("alice", checked.password_hash, "another")
            elif change == "disabled":
                await store.set_disabled("alice", True)
            else:
                await store.end_logins("alice")
        await real(user, device, login, checked)

    monkeypatch.setattr(store, "begin_login", begin_login)
    answer = alice.client.post("/v1/login", json={**GOOD, "device": tokens["device"]})
    kept = call(store.login, "alice", tokens["device"])
    if change == "password":
        problem(answer, 401, "wrong_credentials")
    elif change == "disabled":
        problem(answer, 403, "account_disabled")
    else:  # the password holds: checked once more, the login is a later one
        assert answer.status_code == 200
        assert kept.id == alice.verifier.verify(answer.json["access_token"], alice.now).login  # type: ignore[index]


def test_an_account_that_changes_all_the_time_gets_no_login(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin_login(*_: Any) -> None:
        raise OutdatedError("changed")

    monkeypatch.setattr(alice.bridge.store, "begin_login", begin_login)
    problem(alice.client.post("/v1/login", json=GOOD), 409, "changed_meanwhile")


def test_a_repeated_refresh_needs_its_nonce(alice: Api, caplog: pytest.LogCaptureFixture) -> None:
    tokens = alice.log_in()

    def present(nonce: str | None) -> Any:
        more = {} if nonce is None else {"nonce": nonce}
        return alice.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"], **more})

    with caplog.at_level("INFO", "sparrow.audit"):
        first, again = present("n" * 20), present("n" * 20)
    assert first.json["refresh_token"] == again.json["refresh_token"]
    assert f"event=refresh_repeated user=alice by=- from=127.0.0.1 device={tokens['device']} nonce=yes" in caplog.text
    problem(present("m" * 20), 401, "refresh_token_reused")
    problem(present("n" * 20), 401, "invalid_refresh_token")
    for wrong in ("short", "x" * 201):
        assert present(wrong).status_code == 400
    tokens = alice.log_in(device=tokens["device"])
    present("n" * 20)
    problem(present(None), 401, "refresh_token_reused")


def test_a_long_download_ends_with_the_login(alice: Api) -> None:
    tokens = alice.log_in()
    content = b"x" * 3 * alice.settings.file_piece_bytes
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))}
    path = alice.ask(tokens, "POST", "/v1/files", headers=headers).headers["Location"]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert alice.ask(tokens, "PATCH", path, headers=headers, data=content).status_code == 204
    for ends in (False, True):
        answer = alice.ask(tokens, "GET", f"{path}/content", buffered=False)
        pieces = iter(answer.response)
        took = len(next(pieces))
        if ends:
            alice.ask(tokens, "DELETE", "/v1/me/login")
        alice.now += 2.0
        took += sum(map(len, pieces))
        answer.close()
        assert took == (alice.settings.file_piece_bytes if ends else len(content))
