"""Logins that are bound to a key: a refresh token is worth nothing without it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.userapi.conftest import PASSWORD, Api, api_in, problem, with_each_engine
from tests.userapi.proving import Key
from userapi.proofs import NONCE_S
from userapi.tokens import RefreshClaims, TokenMinter

KEY, OTHER = Key(), Key()
DRAWN = "n" * 20


@pytest.fixture
def alice(api: Api) -> Api:
    api.register()
    return api


def log_in(api: Api, key: Key = KEY, **more: str) -> dict[str, Any]:
    body = {"user": "alice", "password": PASSWORD, **more}
    answer = api.client.post("/v1/login", json=body, headers={"DPoP": key.proof()})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json  # type: ignore[assignment]
    return found


def present(api: Api, token: str, proof: str | None, nonce: str = DRAWN) -> TestResponse:
    headers = {} if proof is None else {"DPoP": proof}
    return api.client.post("/v1/token", json={"refresh_token": token, "nonce": nonce}, headers=headers)


def nonce_of(api: Api, token: str, key: Key = KEY) -> str:
    """What the service gives to sign, to whoever asks without."""
    answer = present(api, token, key.renewal(token, None))
    problem(answer, 400, "use_dpop_nonce")
    return answer.headers["DPoP-Nonce"]


def renew(api: Api, token: str, key: Key = KEY, nonce: str = DRAWN) -> dict[str, Any]:
    answer = present(api, token, key.renewal(token, nonce_of(api, token, key)), nonce)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json  # type: ignore[assignment]
    return found


@with_each_engine
def test_it_is_renewed_by_its_key_alone(alice: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sparrow.audit")
    first = log_in(alice)
    token = first["refresh_token"]
    given = nonce_of(alice, token)
    for _ in range(3):
        problem(present(alice, token, None), 400, "invalid_dpop_proof")
        problem(present(alice, token, OTHER.renewal(token, given)), 400, "invalid_dpop_proof")
        problem(present(alice, token, "no.proof.atall"), 400, "invalid_dpop_proof")
    assert f"event=proof_refused user=alice by=- from=127.0.0.1 device={first['device']}" in caplog.text
    # Nobody has lost anything by that.
    second = renew(alice, token)
    assert second["token_type"] == "Bearer"
    assert alice.ask(second, "GET", "/v1/me").status_code == 200
    third = renew(alice, second["refresh_token"])
    problem(present(alice, third["refresh_token"], None), 400, "invalid_dpop_proof")


def test_who_has_a_copy_does_not_use_up_what_its_owner_may_ask(tmp_path: Path) -> None:
    with api_in(tmp_path, max_logins_per_minute_of_account=3) as api:
        api.register()
        token = log_in(api)["refresh_token"]
        for _ in range(20):
            problem(present(api, token, None), 400, "invalid_dpop_proof")
            problem(present(api, token, OTHER.renewal(token, None)), 400, "invalid_dpop_proof")
        for _ in range(2):
            token = renew(api, token, nonce=token[:20])["refresh_token"]


def test_old_tokens_that_were_copied_do_not_even_end_the_login(alice: Api) -> None:
    first = log_in(alice)
    second = renew(alice, first["refresh_token"])
    third = renew(alice, second["refresh_token"], nonce="m" * 20)
    problem(present(alice, first["refresh_token"], None), 400, "invalid_dpop_proof")
    assert alice.ask(third, "GET", "/v1/me").status_code == 200
    # Who has the key shows that two have had the token.
    again = present(alice, first["refresh_token"], KEY.renewal(first["refresh_token"], alice_nonce(alice)))
    problem(again, 401, "refresh_token_reused")


def alice_nonce(api: Api) -> str:
    return nonce_of(api, log_in(api)["refresh_token"])


def test_a_proof_is_worth_nothing_beyond_its_time_and_token(alice: Api) -> None:
    token = log_in(alice)["refresh_token"]
    given = nonce_of(alice, token)
    made = KEY.renewal(token, given)
    alice.now += NONCE_S + 1
    problem(present(alice, token, made), 400, "use_dpop_nonce")
    second = renew(alice, token)["refresh_token"]
    given = nonce_of(alice, second)
    for other in (KEY.renewal(token, given), KEY.renewal(second, given, ath=None), KEY.proof(nonce=given)):
        problem(present(alice, second, other), 400, "invalid_dpop_proof")
    # Replayed with all of its request, within its time: it is the repeat that it says it is.
    made = KEY.renewal(second, given)
    third = present(alice, second, made, "o" * 20).json
    again = present(alice, second, made, "o" * 20).json
    assert third is not None
    assert again is not None
    assert third["refresh_token"] == again["refresh_token"]
    problem(present(alice, third["refresh_token"], made), 400, "invalid_dpop_proof")


@pytest.mark.parametrize("off_s", [-31_536_000, 31_536_000])
def test_a_clients_clock_may_be_a_year_off(alice: Api, off_s: int) -> None:
    token = log_in(alice)["refresh_token"]
    made = KEY.renewal(token, nonce_of(alice, token), iat=int(alice.now) + off_s)
    assert present(alice, token, made).status_code == 200


def test_who_repeats_after_a_crash_is_known(alice: Api) -> None:
    token = log_in(alice)["refresh_token"]
    second = renew(alice, token)
    alice.now += 200  # a page that was loaded anew, with a new proof
    assert renew(alice, token)["refresh_token"] == second["refresh_token"]
    assert renew(alice, second["refresh_token"], nonce="m" * 20)["refresh_token"]


def test_a_login_with_the_password_binds_another_key(alice: Api) -> None:
    first = log_in(alice)
    second = log_in(alice, OTHER, device=first["device"])
    problem(present(alice, second["refresh_token"], None), 400, "invalid_dpop_proof")
    problem(
        present(
            alice, second["refresh_token"], KEY.renewal(second["refresh_token"], nonce_of(alice, alice_token(alice)))
        ),
        400,
        "invalid_dpop_proof",
    )
    assert renew(alice, second["refresh_token"], OTHER)
    # The one before has ended.
    old = first["refresh_token"]
    problem(present(alice, old, KEY.renewal(old, nonce_of(alice, old))), 401, "invalid_refresh_token")
    # And one without a key is bound to none.
    bare = alice.log_in(device=first["device"])
    assert present(alice, bare["refresh_token"], None).status_code == 200


def alice_token(api: Api) -> str:
    token: str = log_in(api)["refresh_token"]
    return token


def test_a_login_that_is_bound_to_no_key_can_be_from_now_on(alice: Api) -> None:
    """Of before, or renewed by a server that knows no keys."""
    bare = alice.log_in()
    bound = renew(alice, bare["refresh_token"])
    problem(present(alice, bound["refresh_token"], None), 400, "invalid_dpop_proof")
    assert renew(alice, bound["refresh_token"], nonce="m" * 20)


def test_what_is_no_proof_makes_no_login(alice: Api) -> None:
    body = {"user": "alice", "password": PASSWORD}
    for proof in ("", "x", KEY.proof(htm="GET"), KEY.proof(jti=None), f"{KEY.proof()}, {KEY.proof()}", "a" * 9000):
        answer = alice.client.post("/v1/login", json=body, headers={"DPoP": proof})
        problem(answer, 400, "invalid_dpop_proof")
    answer = alice.client.post("/v1/login", json=body, headers=[("DPoP", KEY.proof()), ("DPoP", OTHER.proof())])
    problem(answer, 400, "invalid_dpop_proof")
    assert alice.bridge.call(alice.bridge.store.list_devices, "alice") == []


def test_a_token_that_was_copied_proves_a_device_still(alice: Api) -> None:
    """`proof` of a login with the password: it says which device, and needs no key."""
    token = log_in(alice)["refresh_token"]
    assert alice.log_in(proof=token)


def test_two_servers_take_each_others_nonces(alice: Api) -> None:
    file = Path(alice.settings.token_private_key_file)
    one, other = TokenMinter(file, 900), TokenMinter(file, 900)
    assert other.nonces().takes(one.nonces().give(alice.now), alice.now)
    claims = RefreshClaims("alice", "d1", "login", 3, "thumbprint")
    assert other.read_refresh_token(one.refresh_token(claims)) == claims
