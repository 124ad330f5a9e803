"""Logins with an OpenID provider: the whole way, and what a person, an attacker or a provider can do wrong there."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from werkzeug.test import TestResponse

from protocol.errors import ConfigError, UnavailableError
from tests.userapi.conftest import PASSWORD, Api, problem, settings_in, with_each_engine
from tests.userapi.openid import CLIENT, SECRET, Provider, new_key, providing
from tests.userapi.proving import TOKEN_URL
from tests.userapi.proving import Key as ProvingKey
from userapi.endpoints.admin import read_admin_token
from userapi.http.limits import Limits
from userapi.identity import oidc
from userapi.service import EXTENSION, Service

ADMIN = "0123456789abcdef" * 2
PAGE = "https://chat.example.net/"
LOOPBACK = "http://127.0.0.1:54321/"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as made:
        yield made


def use(api: Api, provider: Provider, folder: Path, **changes: Any) -> oidc.Provider:
    """Have this API send people to that provider."""
    for name, text in (("client", SECRET), ("admin", ADMIN)):
        file = folder / name
        file.write_text(text)
        file.chmod(0o600)
    values = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret_file": str(folder / "client"),
        "admin_token_file": str(folder / "admin"),
        "page_url": PAGE,
        **changes,
    }
    api.settings = dataclasses.replace(api.settings, **values)
    provider.clock = lambda: api.now
    made = oidc.Provider(api.settings, lambda: api.now, lambda: api.now)
    # An application of its own for each test would cost more than all that is tested.
    api.client.application.extensions[EXTENSION] = dataclasses.replace(
        service_of(api),
        settings=api.settings,
        limits=Limits(api.settings, lambda: api.now),
        admin_token=read_admin_token(api.settings),
        oidc=made,
    )
    return made


def service_of(api: Api) -> Service:
    found: Service = api.client.application.extensions[EXTENSION]
    return found


@pytest.fixture
def there(api: Api, provider: Provider, tmp_path: Path) -> Iterator[Api]:
    """An API whose people may come by the provider."""
    made = use(api, provider, tmp_path)
    yield api
    made.close()


@contextmanager
def with_settings(api: Api, provider: Provider, folder: Path, **changes: object) -> Iterator[Api]:
    made = use(api, provider, folder, **changes)
    yield api
    made.close()


@dataclasses.dataclass
class Trying:
    """Somebody's login, step by step."""

    api: Api
    provider: Provider
    redirect_uri: str = LOOPBACK
    verifier: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def start(self) -> str:
        asked = {"redirect_uri": self.redirect_uri, "code_challenge": self.challenge}
        answer = self.api.client.post("/v1/oidc/start", json=asked)
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json, dict)
        self.state = answer.json["state"]
        return str(answer.json["authorization_url"])

    def show(self, **told: str) -> TestResponse:
        """What the provider has answered, to the service."""
        return self.api.client.post("/v1/oidc/ticket", json={**told, "code_verifier": self.verifier})

    def ticket(self, subject: str = "4711", **claims: object) -> dict[str, Any]:
        answer = self.show(**self.provider.log_in(self.start(), subject, **claims))
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json, dict)
        return answer.json


def ticket(api: Api, provider: Provider, subject: str = "4711", **claims: object) -> dict[str, Any]:
    return Trying(api, provider).ticket(subject, **claims)


def enter(api: Api, ticket: dict[str, Any], **more: object) -> TestResponse:
    return api.client.post("/v1/oidc/login", json={"ticket": ticket["ticket"], **more})


def log_in(api: Api, provider: Provider, subject: str = "4711", **claims: object) -> dict[str, Any]:
    """Tokens of somebody whom the provider knows."""
    answer = enter(api, ticket(api, provider, subject, **claims))
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json, dict)
    return answer.json


def admin(api: Api, method: str, path: str, **more: Any) -> TestResponse:
    return api.client.open(f"/v1/admin{path}", method=method, headers={"Authorization": f"Bearer {ADMIN}"}, **more)


def refused(api: Api, provider: Provider, code: str = "oidc_refused", status: int = 403) -> str:
    """A whole login that the service refuses; why."""
    trying = Trying(api, provider)
    answer = trying.show(**provider.log_in(trying.start(), preferred_username="alice"))
    return str(problem(answer, status, code)["detail"])


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


# What strangers do.


def test_a_login_ends_where_it_began(there: Api, provider: Provider) -> None:
    mine, other = Trying(there, provider), Trying(there, provider)
    back = provider.log_in(mine.start(), preferred_username="alice")
    theirs = provider.log_in(other.start(), "666", preferred_username="mallory")
    # The state, or the whole answer, of another browser.
    problem(mine.show(**{**back, "state": theirs["state"]}), 403, "oidc_expired")
    problem(other.show(**back), 403, "oidc_expired")
    # A code that somebody has slipped in.
    answer = mine.show(**{**back, "code": theirs["code"]})
    assert "does not take the code" in str(problem(answer, 403, "oidc_refused")["detail"])
    # The provider was not asked but for this.
    assert len(provider.forms) == 1
    assert mine.show(**back).status_code == 200


def test_a_code_is_good_once(there: Api, provider: Provider) -> None:
    trying = Trying(there, provider)
    back = provider.log_in(trying.start(), preferred_username="alice")
    assert trying.show(**back).status_code == 200
    problem(trying.show(**back), 403, "oidc_refused")


def test_states_and_tickets_end(there: Api, provider: Provider) -> None:
    trying = Trying(there, provider)
    back = provider.log_in(trying.start(), preferred_username="alice")
    there.now += 601
    problem(trying.show(**back), 403, "oidc_expired")
    found = ticket(there, provider, preferred_username="alice")
    there.now += 301
    problem(enter(there, found), 403, "oidc_expired")


def test_what_was_not_made_here(there: Api, provider: Provider) -> None:
    trying = Trying(there, provider)
    back = provider.log_in(trying.start(), preferred_username="alice")
    found = ticket(there, provider, preferred_username="alice")
    minter = service_of(there).minter
    for wrong in (
        "",
        "x",
        "a.b",
        found["ticket"],
        back["state"][:-1],
        minter.sealing(b"sparrow oidc", "other").dumps([1]),
    ):
        problem(trying.show(**{**back, "state": wrong}), 403, "oidc_expired")
    for wrong in ("", "x", back["state"], found["ticket"][:-2], there.settings.oidc_client_id):
        problem(enter(there, {"ticket": wrong}), 403, "oidc_expired")


def test_a_provider_that_was_changed_ends_what_was_begun(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path):
        found = ticket(api, provider, preferred_username="alice")
    with providing() as another, with_settings(api, another, tmp_path):
        problem(enter(api, found), 403, "oidc_expired")


NOWHERE = (
    "",
    "https://chat.example.net",
    "https://chat.example.net/x",
    "https://evil.example/",
    "http://127.0.0.1/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:1/x",
    "http://127.0.0.1:1/?x",
    "http://127.0.0.1:1@evil.example/",
    "http://localhost:1/",
    "http://10.0.0.1:1/",
    "https://127.0.0.1:1/",
    "javascript:alert(1)",
)


def test_where_nobody_is_sent(there: Api) -> None:
    for address in NOWHERE:
        asked = {"redirect_uri": address, "code_challenge": "a" * 43}
        problem(there.client.post("/v1/oidc/start", json=asked), 403, "redirect_not_allowed")


def test_where_people_are_sent(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_redirect_uris=("https://other.example/chat",)):
        for address in (PAGE, "https://other.example/chat", "http://127.0.0.1:1/", "http://[::1]:65535/"):
            Trying(api, provider, address).start()
    with with_settings(api, provider, tmp_path, page_url=""):
        asked = {"redirect_uri": "", "code_challenge": "a" * 43}
        problem(api.client.post("/v1/oidc/start", json=asked), 403, "redirect_not_allowed")
        asked = {"redirect_uri": PAGE, "code_challenge": "a" * 43}
        assert "page_url" in str(problem(api.client.post("/v1/oidc/start", json=asked), 403, "redirect_not_allowed"))


def test_beginnings_cost_nothing_here(there: Api, provider: Provider) -> None:
    """However many are never ended: nothing is kept of them, and the provider is not asked."""
    Trying(there, provider).start()
    asked = len(provider.asked)
    for _ in range(50):
        Trying(there, provider).start()
    assert len(provider.asked) == asked == 1


def test_tries_are_bounded_by_address(api: Api, provider: Provider, tmp_path: Path) -> None:
    changes = {"max_logins_per_minute_of_address": 3, "unlimited_addresses": ()}
    with with_settings(api, provider, tmp_path, **changes):
        trying = Trying(api, provider)
        for _ in range(3):
            problem(trying.show(state="x", code="y"), 403, "oidc_expired")
        problem(trying.show(state="x", code="y"), 429, "too_many_requests")


# What a provider, or somebody who speaks for it, does.


def signed_with(key: Any, algorithm: str, **header: object) -> Any:
    return lambda claims: jwt.encode(claims, key, algorithm, headers=header)


def test_tokens_of_other_keys(there: Api, provider: Provider) -> None:
    other = new_key("first")
    provider.sign = signed_with(other.private, "ES256", kid="first")
    assert "InvalidSignatureError" in refused(there, provider)
    provider.sign = signed_with(other.private, "ES256", kid="other")
    assert "does not publish" in refused(there, provider)
    # Without a name, a key that fits is tried, and is another's.
    provider.sign = signed_with(other.private, "ES256")
    assert "InvalidSignatureError" in refused(there, provider)
    provider.sign = None
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_algorithms_that_prove_nothing(there: Api, provider: Provider) -> None:
    provider.metadata = {"id_token_signing_alg_values_supported": ["none", "HS256", "ES256"]}
    provider.sign = signed_with(None, "none", kid="first")
    assert "none" in refused(there, provider)
    # What everybody knows, taken for a secret: the public key, and the client's own.
    public = json.dumps(provider.keys[0].published())
    for secret in (public, SECRET):
        provider.sign = lambda claims, secret=secret: hs256(claims, secret)  # type: ignore[misc]
        assert "HS256" in refused(there, provider)


def hs256(claims: dict[str, Any], secret: str) -> str:
    """By hand: a library would not sign with such a key."""
    parts = [{"alg": "HS256", "kid": "first"}, claims]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    made = hmac.digest(secret.encode(), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_keys_that_are_none(there: Api, provider: Provider) -> None:
    key = provider.keys[0].published()
    for wrong in (
        [],
        [{**key, "use": "enc"}],
        [{**key, "alg": "ES384"}],
        [{**key, "d": "AAAA"}],
        [{"kty": "oct", "k": "AAAA", "kid": "first"}],
        [{**key, "x": "AAAA"}],
        ["key"],
        [{**key, "kid": "another"}],
        [{key: value for key, value in key.items() if key != "kid"}, {**key, "kid": ""}],
    ):
        provider.published = wrong
        there.now += 11
        assert "does not publish" in refused(there, provider), wrong
    provider.published = [{"kty": "EC"}, key]
    there.now += 11
    log_in(there, provider, preferred_username="alice")


def test_other_algorithms(there: Api, provider: Provider) -> None:
    for algorithm in ("RS256", "PS256", "EdDSA"):
        provider.keys = [new_key(algorithm, algorithm)]
        there.now += 11
        assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_an_algorithm_that_the_provider_does_not_name(there: Api, provider: Provider) -> None:
    provider.metadata = {"id_token_signing_alg_values_supported": ["RS256"]}
    assert "ES256" in refused(there, provider)


WRONG_CLAIMS: tuple[tuple[str, object, str], ...] = (
    ("iss", "https://evil.example", "InvalidIssuerError"),
    ("aud", "another", "InvalidAudienceError"),
    ("aud", [], "not good"),
    ("aud", [CLIENT, "another"], "another client"),
    ("azp", "another", "another client"),
    ("nonce", "another", "another login"),
    ("nonce", None, "another login"),
    ("nonce", 7, "another login"),
    ("exp", 1_799_999_000, "expired"),
    ("exp", "soon", "is not good|times"),
    ("exp", True, "times"),
    ("iat", 1_800_001_000, "future"),
    ("nbf", 1_800_001_000, "future"),
    ("nbf", "later", "times"),
    ("sub", "", "no subject"),
    ("sub", 7, "not good|no subject"),
    ("sub", "x" * 256, "no subject"),
    ("sub", "a\nb", "no subject"),
    ("sub", None, "MissingRequiredClaimError"),
    ("exp", None, "MissingRequiredClaimError|times"),
)


def test_claims_that_are_wrong(there: Api, provider: Provider) -> None:
    for claim, value, why in WRONG_CLAIMS:

        def change(claims: dict[str, Any], claim: str = claim, value: object = value) -> None:
            claims[claim] = value
            if value is None:
                del claims[claim]

        provider.change = change
        detail = refused(there, provider)
        assert any(word in detail for word in why.split("|")), (claim, value, detail)
    provider.change = lambda claims: None
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_claims_that_are_right(there: Api, provider: Provider) -> None:
    def change(claims: dict[str, Any]) -> None:
        claims.update(aud=[CLIENT, "another"], azp=CLIENT, exp=there.now - 30, iat=there.now + 30, nbf=there.now + 30)

    provider.change = change  # clocks are apart
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_new_keys_of_the_provider(there: Api, provider: Provider) -> None:
    log_in(there, provider, preferred_username="alice")
    there.now += 11
    # It has one more, and soon signs with that; then the old one goes.
    provider.keys.insert(0, new_key("second"))
    log_in(there, provider)
    old = provider.keys.pop()
    # What names keys at will has it asked no oftener.
    provider.sign = signed_with(old.private, "ES256", kid="third")
    count = provider.asked.count("/realm/keys")
    for _ in range(5):
        refused(there, provider)
    assert provider.asked.count("/realm/keys") <= count + 1
    # And after an hour nothing of what was published before counts.
    there.now += 3601
    provider.sign = signed_with(old.private, "ES256", kid="first")
    assert "does not publish" in refused(there, provider)


def test_an_answer_of_another_provider(there: Api, provider: Provider) -> None:
    trying = Trying(there, provider)
    back = provider.log_in(trying.start(), preferred_username="alice")
    answer = trying.show(**{**back, "iss": "https://evil.example"})
    assert "another provider" in str(problem(answer, 403, "oidc_refused")["detail"])
    assert provider.forms == []  # nobody gets the code
    del back["iss"]
    assert trying.show(**back).status_code == 200
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    there.now += 3601
    trying = Trying(there, provider)
    back = provider.log_in(trying.start(), preferred_username="alice")
    del back["iss"]
    assert "whose it is" in str(problem(trying.show(**back), 403, "oidc_refused")["detail"])


WRONG_METADATA: tuple[tuple[dict[str, object], str], ...] = (
    ({"issuer": "https://evil.example"}, "calls itself"),
    ({"issuer": None}, "calls itself"),
    ({"token_endpoint": "http://169.254.169.254/latest"}, "token_endpoint"),
    ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
    ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
    ({"jwks_uri": None}, "jwks_uri"),
    ({"userinfo_endpoint": "ftp://x/"}, "userinfo_endpoint"),
)


def test_what_a_provider_must_not_say(there: Api, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    asked = {"redirect_uri": LOOPBACK, "code_challenge": "a" * 43}
    for changes, why in WRONG_METADATA:
        provider.metadata = changes
        caplog.clear()
        problem(there.client.post("/v1/oidc/start", json=asked), 503, "unavailable")
        assert why in caplog.text


NONSENSE = ((500, b"oops"), (200, b"oops"), (200, b"[]"), (302, b""), (200, b"[" * 100_000), (200, b" " * 1_100_000))


def test_a_provider_that_talks_nonsense(there: Api, provider: Provider) -> None:
    asked = {"redirect_uri": LOOPBACK, "code_challenge": "a" * 43}
    for answer in NONSENSE:
        provider.answers["/.well-known/openid-configuration"] = answer
        there.now += 3601
        problem(there.client.post("/v1/oidc/start", json=asked), 503, "unavailable")
        provider.answers.clear()
        there.now += 3
        trying = Trying(there, provider)
        back = provider.log_in(trying.start(), preferred_username="alice")
        provider.answers["/token"] = answer
        problem(trying.show(**back), 503, "unavailable")
    assert "/elsewhere" not in provider.asked


def test_a_provider_that_is_away(there: Api, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    there.register("bob")
    provider.answers["/.well-known/openid-configuration"] = (503, b"")
    asked = {"redirect_uri": LOOPBACK, "code_challenge": "a" * 43}
    for _ in range(3):
        problem(there.client.post("/v1/oidc/start", json=asked), 503, "unavailable")
    assert provider.asked == ["/realm/.well-known/openid-configuration"]  # it is left alone for a while
    assert "OpenID provider" in caplog.text
    assert there.log_in("bob")["user"] == "bob"  # whoever does not need it
    provider.answers.clear()
    there.now += 3
    assert log_in(there, provider, preferred_username="alice")["user"] == "alice"


def test_a_provider_that_is_slow(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, identity_timeout_s=0.1):
        provider.wait.clear()
        began = time.monotonic()
        asked = {"redirect_uri": LOOPBACK, "code_challenge": "a" * 43}
        problem(api.client.post("/v1/oidc/start", json=asked), 503, "unavailable")
        assert time.monotonic() - began < 10


def test_a_client_that_the_provider_does_not_know(api: Api, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_client_id="another"):
        refused(api, provider, "unavailable", 503)


def test_how_the_client_shows_who_it_is(api: Api, provider: Provider, tmp_path: Path) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    with with_settings(api, provider, tmp_path):
        log_in(api, provider, preferred_username="alice")
    assert (provider.forms[-1]["client_secret"], "by" in provider.forms[-1]) == (SECRET, False)
    with with_settings(api, provider, tmp_path, oidc_client_secret_file=""):
        log_in(api, provider)
    assert "client_secret" not in provider.forms[-1]


WRONG_SETTINGS: tuple[tuple[dict[str, object], str], ...] = (
    ({"oidc_issuer": "http://id.example.net"}, "oidc_issuer"),
    ({"oidc_issuer": "https://id.example.net/?x=1"}, "oidc_issuer"),
    ({"oidc_issuer": "id.example.net"}, "oidc_issuer"),
    ({"oidc_issuer": "https://[::1"}, "oidc_issuer"),
    ({"oidc_client_id": ""}, "oidc_client_id"),
    ({"oidc_scopes": ("profile",)}, "oidc_scopes"),
    ({"oidc_required_claims": ("groups",)}, "oidc_required_claims"),
    ({"oidc_client_secret_file": "/nowhere"}, "oidc_client_secret_file"),
    ({"oidc_ca_file": "/nowhere"}, "oidc_ca_file"),
    ({"page_url": "http://chat.example.net/"}, "page_url"),
    ({"oidc_redirect_uris": ("https://x/#y",)}, "oidc_redirect_uris"),
    ({"oidc_issuer": "", "password_login": False}, "password_login"),
)


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    for changes, names in WRONG_SETTINGS:
        values = {"oidc_issuer": "https://id.example.net", "oidc_client_id": "sparrow", **changes}
        with pytest.raises(ConfigError, match=names):
            oidc.open_provider(settings_in(tmp_path, **values))
    assert oidc.open_provider(settings_in(tmp_path)) is None
