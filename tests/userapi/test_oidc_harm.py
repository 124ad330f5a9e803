"""Logins with an OpenID provider: what strangers do, and what a provider, or who speaks for it, can do wrong."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from protocol.errors import ConfigError
from tests.userapi.conftest import Api, problem, settings_in
from tests.userapi.openid import CLIENT, SECRET, Provider, new_key, providing
from tests.userapi.vouching import (
    LOOPBACK,
    PAGE,
    Trying,
    enter,
    log_in,
    refused,
    service_of,
    ticket,
    with_settings,
)
from tests.userapi.vouching import provider as provider
from tests.userapi.vouching import there as there
from userapi.identity import oidc

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
