"""Logins with an OpenID provider: the whole way, who comes the first time, and what becomes of accounts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from protocol.errors import UnavailableError
from tests.userapi.conftest import PASSWORD, Api, problem, with_each_engine
from tests.userapi.openid import CLIENT, SECRET, Provider
from tests.userapi.proving import TOKEN_URL
from tests.userapi.proving import Key as ProvingKey
from tests.userapi.vouching import (
    LOOPBACK,
    PAGE,
    Trying,
    admin,
    enter,
    log_in,
    refused,
    ticket,
    with_settings,
)
from tests.userapi.vouching import provider as provider
from tests.userapi.vouching import there as there

# The way.


@with_each_engine
def test_a_login(api: Api, provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sparrow.audit")
    with with_settings(api, provider, tmp_path):
        trying = Trying(api, provider)
        address = trying.start()
        asked = dict(parse_qsl(urlsplit(address).query))
        assert asked["client_id"] == CLIENT
        assert asked["scope"] == "openid profile"
        assert asked["redirect_uri"] == LOOPBACK
        assert "response_mode" not in asked  # a program reads no fragment
        assert len(asked["nonce"]) >= 22
        told = trying.show(**provider.log_in(address, preferred_username="alice", name="Alice Liddell")).json
        assert told is not None
        assert (told["user"], told["is_new"], told["proposed"]) == ("alice", True, "")
        answer = enter(api, told, label="page")
        tokens = answer.json
        assert tokens is not None
        assert tokens["user"] == "alice"
        # As any other login: it can be used, is listed, told of, and ends.
        me = api.ask(tokens, "GET", "/v1/me").json
        assert me is not None
        assert me["display_name"] == "Alice Liddell"
        renewed = api.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"]})
        assert renewed.status_code == 200
        again = log_in(api, provider)
        assert (again["user"], again["device"] != tokens["device"]) == ("alice", True)
        assert api.slept == [api.settings.further_device_delay_s]
        assert any(asked[0] == "hint" for asked in api.fabric.asked)
        assert admin(api, "POST", "/accounts/alice/end-logins").status_code == 204
        problem(api.ask(tokens, "GET", "/v1/me"), 401, "logged_out")
        shown = admin(api, "GET", "/accounts/alice").json
        assert shown is not None
        assert shown["subjects"] == [{"issuer": provider.issuer, "subject": "4711"}]
        assert not shown["own_password"]
    lines = [record.getMessage() for record in caplog.records]
    assert any("account_created" in line and "alice" in line and "oidc" in line for line in lines)
    assert sum("logged_in" in line and "way=oidc" in line for line in lines) == 2
    # No code, verifier or ticket is in it.
    secrets_of_it = (trying.verifier, told["ticket"], tokens["access_token"], tokens["refresh_token"], trying.state)
    assert not [line for line in lines for secret in secrets_of_it if secret in line]
    (first, _) = provider.forms
    assert (first["by"], first["client_id"], first["client_secret"]) == ("header", CLIENT, SECRET)


def test_a_page_gets_the_code_where_no_server_sees_it(there: Api, provider: Provider) -> None:
    asked = dict(parse_qsl(urlsplit(Trying(there, provider, PAGE).start()).query))
    assert (asked["redirect_uri"], asked["response_mode"]) == (PAGE, "fragment")


def test_ways_to_log_in(api: Api, provider: Provider, tmp_path: Path) -> None:
    ways = {"passwords": True, "registration": "open", "oidc_name": None}
    assert api.client.get("/v1/login").json == ways
    with with_settings(api, provider, tmp_path, oidc_name="Example Ltd", registration="admin"):
        assert api.client.get("/v1/login").json == {
            "passwords": True,
            "registration": "admin",
            "oidc_name": "Example Ltd",
        }
    with with_settings(api, provider, tmp_path, oidc_name="", password_login=False):
        found = api.client.get("/v1/login").json
        assert found is not None
        assert (found["passwords"], found["oidc_name"]) == (False, "127.0.0.1")


def test_without_a_provider(api: Api) -> None:
    asked = {"redirect_uri": LOOPBACK, "code_challenge": "a" * 43}
    problem(api.client.post("/v1/oidc/start", json=asked), 403, "oidc_off")
    shown = {"state": "s", "code": "c", "code_verifier": "v" * 43}
    problem(api.client.post("/v1/oidc/ticket", json=shown), 403, "oidc_off")
    problem(api.client.post("/v1/oidc/login", json={"ticket": "t"}), 403, "oidc_off")


def test_without_passwords(api: Api, provider: Provider, tmp_path: Path) -> None:
    api.register()
    with with_settings(api, provider, tmp_path, password_login=False):
        known = {"user": "alice", "password": PASSWORD}
        problem(api.client.post("/v1/login", json=known), 403, "passwords_off")
        problem(api.client.post("/v1/accounts", json={**known, "user": "bob"}), 403, "passwords_off")
        reset = {"user": "alice", "code": "c", "new_password": "battery staple"}
        problem(api.client.post("/v1/password-reset", json=reset), 403, "passwords_off")
        problem(admin(api, "POST", "/accounts/alice/password-reset"), 403, "passwords_off")
        problem(admin(api, "POST", "/invitations", json={}), 403, "passwords_off")
        assert log_in(api, provider, preferred_username="bob")["user"] == "bob"


def test_a_repeat_is_the_same_device_and_a_known_device_may_be_named(there: Api, provider: Provider) -> None:
    found = ticket(there, provider, preferred_username="alice")
    first, second = enter(there, found).json, enter(there, found).json
    assert first is not None
    assert second is not None
    assert first["device"] == second["device"]
    problem(there.ask(first, "GET", "/v1/me"), 401, "logged_out")  # by the repeat
    third = enter(there, ticket(there, provider), device=first["device"]).json
    assert third is not None
    assert third["device"] == first["device"]
    problem(enter(there, ticket(there, provider), device="nosuchdevice"), 404, "no_such_device")


def test_too_many_devices(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, max_devices=1):
        first = log_in(api, provider, preferred_username="alice")
        found = ticket(api, provider)
        problem(enter(api, found), 409, "too_many_devices")
        second = enter(api, found, replaces=first["device"]).json
        assert second is not None
        assert second["device"] != first["device"]


def test_a_login_is_bound_to_a_key(there: Api, provider: Provider) -> None:
    key = ProvingKey()
    asked = {"ticket": ticket(there, provider, preferred_username="alice")["ticket"]}
    made = key.proof(htu="http://localhost/v1/oidc/login")
    tokens = there.client.post("/v1/oidc/login", json=asked, headers={"DPoP": made}).json
    assert tokens is not None
    stolen = there.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"]})
    problem(stolen, 400, "invalid_dpop_proof")
    wrong = {"DPoP": key.proof(htu=TOKEN_URL)}
    problem(there.client.post("/v1/oidc/login", json=asked, headers=wrong), 400, "invalid_dpop_proof")


# Who comes the first time.


def test_no_name_leads_to_an_account_that_is_there(api: Api, provider: Provider, tmp_path: Path) -> None:
    api.register("alice")
    with with_settings(api, provider, tmp_path):
        trying = Trying(api, provider)
        claims = {"preferred_username": "alice", "email": "alice@example.net", "email_verified": True}
        problem(trying.show(**provider.log_in(trying.start(), "666", **claims)), 409, "oidc_name_unusable")
        # Nor to one that another person of the provider has.
        bob = log_in(api, provider, "1", preferred_username="bob")
        trying = Trying(api, provider)
        answer = trying.show(**provider.log_in(trying.start(), "2", preferred_username="bob"))
        problem(answer, 409, "oidc_name_unusable")
        # A provider that calls people otherwise one day changes nothing.
        assert log_in(api, provider, "1", preferred_username="alice")["user"] == bob["user"] == "bob"
        # Nor does one that gives a name once more, to somebody else.
        trying = Trying(api, provider)
        answer = trying.show(**provider.log_in(trying.start(), "3", preferred_username="Bob"))
        problem(answer, 409, "oidc_name_unusable")
        # The name of who has gone is nobody's again.
        assert admin(api, "DELETE", "/accounts/bob").status_code == 204
        for subject in ("1", "4"):
            trying = Trying(api, provider)
            answer = trying.show(**provider.log_in(trying.start(), subject, preferred_username="bob"))
            problem(answer, 409, "oidc_name_unusable")
        assert api.client.post("/v1/login", json={"user": "alice", "password": PASSWORD}).status_code == 200


NO_NAMES: tuple[object, ...] = (
    "al\u0131ce",
    "\u0430lice",
    "al\u200dice",
    "alice@example.org",
    "alice@example.net@example.org",
    "",
    "~alice",
    ".alice",
    "a/b",
    "x" * 65,
    None,
    7,
    ["alice"],
)


def test_names_that_are_none(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_user_domain="example.net"):
        for name in NO_NAMES:
            trying = Trying(api, provider)
            answer = trying.show(**provider.log_in(trying.start(), preferred_username=name))
            problem(answer, 409, "oidc_name_unusable")


def test_a_domain_is_taken_off(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_user_domain="Example.net", oidc_user_claim="upn"):
        assert ticket(api, provider, upn="Alice@EXAMPLE.NET")["user"] == "alice"


def test_who_chooses_a_name(api: Api, provider: Provider, tmp_path: Path) -> None:
    api.register("bob")
    with with_settings(api, provider, tmp_path, oidc_newcomers="choose"):
        found = ticket(api, provider, preferred_username="bob")
        assert (found["user"], found["is_new"], found["proposed"]) == (None, True, "")
        assert ticket(api, provider, preferred_username="alice")["proposed"] == "alice"
        problem(enter(api, found), 409, "oidc_name_needed")
        problem(enter(api, found, user="Not One"), 400, "invalid_user_id")
        problem(enter(api, found, user="bob"), 409, "user_taken")
        tokens = enter(api, found, user="alice").json
        assert tokens is not None
        assert tokens["user"] == "alice"
        # Of another ticket of this very person, the name that they have counts.
        for more in ({}, {"user": "carol"}):
            tokens = enter(api, ticket(api, provider), **more).json
            assert tokens is not None
            assert tokens["user"] == "alice"
        assert ticket(api, provider)["is_new"] is False


def test_of_two_names_at_once_one_counts(api: Api, provider: Provider, tmp_path: Path) -> None:
    """Two tabs of somebody who comes the first time."""
    with with_settings(api, provider, tmp_path, oidc_newcomers="choose"):
        one, other = ticket(api, provider), ticket(api, provider)
        store = api.bridge.store
        link = store.subjects.link
        wanted = iter(["second"])

        async def late(subject: Any, user: str) -> str:
            # The other tab is quicker, by a hair.
            for quicker in wanted:
                await store.create_account(quicker, "its mark")
                await link(subject, quicker)
            return await link(subject, user)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.subjects, "link", late)
            tokens = enter(api, one, user="first").json
        assert tokens is not None
        assert tokens["user"] == "second"
        assert api.bridge.call(store.account, "first") is None
        tokens = enter(api, other, user="third").json
        assert tokens is not None
        assert tokens["user"] == "second"


def test_a_first_login_that_broke_off_is_gone_on_with(there: Api, provider: Provider) -> None:
    """The account was made, and not linked: nobody else comes to it, and this person does."""
    store, found = there.bridge.store, ticket(there, provider, preferred_username="alice")

    async def broken(subject: Any, user: str) -> str:
        raise UnavailableError("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.subjects, "link", broken)
        problem(enter(there, found), 503, "unavailable")
    trying = Trying(there, provider)
    answer = trying.show(**provider.log_in(trying.start(), "666", preferred_username="alice"))
    problem(answer, 409, "oidc_name_unusable")
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_who_is_refused_is_told_what_a_link_needs(there: Api, provider: Provider) -> None:
    there.register("alice")
    detail = refused(there, provider, "oidc_name_unusable", 409)
    assert '"alice"' in detail
    assert "4711" in detail
    assert admin(there, "POST", "/accounts/alice/link", json={"subject": "4711"}).status_code == 204
    assert log_in(there, provider)["user"] == "alice"


def test_keys_that_cannot_be_had(there: Api, provider: Provider) -> None:
    """They are asked for no oftener than the provider is said to be away."""
    provider.answers["/keys"] = (404, b"{}")
    for _ in range(3):
        refused(there, provider, "unavailable", 503)
    assert provider.asked.count("/realm/keys") == 1
    provider.answers.clear()
    there.now += 3
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_nobody_new(api: Api, provider: Provider, tmp_path: Path) -> None:
    api.register("alice")
    with with_settings(api, provider, tmp_path, oidc_newcomers="refused"):
        assert "4711" in refused(api, provider, "oidc_not_allowed")
        assert admin(api, "POST", "/accounts/alice/link", json={"subject": "4711"}).status_code == 204
        assert log_in(api, provider)["user"] == "alice"


def test_what_the_provider_must_say(api: Api, provider: Provider, tmp_path: Path) -> None:
    required = ("groups=chat", "realm.roles=user", "email_verified=true")
    with with_settings(api, provider, tmp_path, oidc_required_claims=required):
        good: dict[str, Any] = {
            "preferred_username": "alice",
            "groups": ["chat", "others"],
            "realm": {"roles": "user"},
            "email_verified": True,
        }
        assert log_in(api, provider, **good)["user"] == "alice"
        for bad in (
            {"groups": ["chatter"]},
            {"groups": "chat others"},
            {"groups": None},
            {"realm": "roles"},
            {"email_verified": False},
        ):
            # Also of who was let in before.
            trying = Trying(api, provider)
            answer = trying.show(**provider.log_in(trying.start(), **{**good, **bad}))
            problem(answer, 403, "oidc_not_allowed")


def test_what_only_userinfo_says(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_required_claims=("groups=chat",)):
        provider.userinfo = {"sub": "4711", "preferred_username": "alice", "groups": ["chat"], "iss": "another"}
        assert log_in(api, provider)["user"] == "alice"
        provider.userinfo["sub"] = "4712"
        assert "somebody else" in refused(api, provider)
        provider.answers["/userinfo"] = (500, b"{}")
        refused(api, provider, "unavailable", 503)


# Accounts afterwards.


def test_disabled_accounts(there: Api, provider: Provider) -> None:
    log_in(there, provider, preferred_username="alice")
    found = ticket(there, provider)
    assert admin(there, "POST", "/accounts/alice/disable").status_code == 204
    refused(there, provider, "account_disabled")
    problem(enter(there, found), 403, "account_disabled")
    assert admin(there, "POST", "/accounts/alice/enable").status_code == 204
    problem(enter(there, found), 403, "oidc_expired")  # of before
    assert log_in(there, provider)["user"] == "alice"


def test_what_ends_logins_ends_tickets(there: Api, provider: Provider) -> None:
    new = ticket(there, provider, preferred_username="alice")
    enter(there, new)
    known = ticket(there, provider)
    assert admin(there, "POST", "/accounts/alice/end-logins").status_code == 204
    for found in (new, known):
        problem(enter(there, found), 403, "oidc_expired")
    assert log_in(there, provider)["user"] == "alice"
    known = ticket(there, provider)
    assert admin(there, "DELETE", "/accounts/alice").status_code == 204
    problem(enter(there, known), 403, "oidc_expired")


def test_one_deletes_an_account_without_a_password(there: Api, provider: Provider) -> None:
    alice = log_in(there, provider, preferred_username="alice")
    bobs = ticket(there, provider, "2", preferred_username="bob")
    enter(there, bobs)
    for wrong in ({"password": ""}, {"password": "!oidc"}):
        problem(there.ask(alice, "POST", "/v1/me/deletion", json=wrong), 403, "wrong_password")
    problem(there.ask(alice, "POST", "/v1/me/deletion", json={}), 400, "missing_field")
    problem(there.ask(alice, "POST", "/v1/me/deletion", json={"ticket": bobs["ticket"]}), 403, "oidc_expired")
    assert there.ask(alice, "POST", "/v1/me/deletion", json=ticket_only(there, provider)).status_code == 204
    assert there.bridge.call(there.bridge.store.account, "alice") is None


def ticket_only(api: Api, provider: Provider) -> dict[str, str]:
    return {"ticket": ticket(api, provider)["ticket"]}


def test_linking(there: Api, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sparrow.audit")
    there.register("alice")
    there.register("bob")
    alice, bob = "/accounts/alice", "/accounts/bob"
    for _ in range(2):
        assert admin(there, "POST", f"{alice}/link", json={"subject": "4711"}).status_code == 204
    problem(admin(there, "POST", f"{bob}/link", json={"subject": "4711"}), 409, "subject_taken")
    problem(admin(there, "POST", "/accounts/carol/link", json={"subject": "1"}), 404, "no_such_user")
    problem(there.client.post(f"/v1/admin{alice}/link", json={"subject": "666"}), 401, "wrong_admin_token")
    assert log_in(there, provider, preferred_username="bob")["user"] == "alice"
    assert there.log_in("alice")["user"] == "alice"  # with the password, too
    problem(admin(there, "POST", f"{bob}/unlink", json={"subject": "4711"}), 404, "no_such_subject")
    assert admin(there, "POST", f"{alice}/unlink", json={"subject": "4711"}).status_code == 204
    refused(there, provider, "oidc_name_unusable", 409)
    assert (caplog.text.count("event=subject_linked"), caplog.text.count("event=subject_unlinked")) == (1, 1)


def test_who_was_unlinked_does_not_come_back_by_the_name(there: Api, provider: Provider) -> None:
    """Neither to an account that had begun with them."""
    log_in(there, provider, preferred_username="alice")
    assert admin(there, "POST", "/accounts/alice/unlink", json={"subject": "4711"}).status_code == 204
    refused(there, provider, "oidc_name_unusable", 409)
    assert admin(there, "POST", "/accounts/alice/link", json={"subject": "4712"}).status_code == 204
    assert log_in(there, provider, "4712")["user"] == "alice"
    refused(there, provider, "oidc_name_unusable", 409)
