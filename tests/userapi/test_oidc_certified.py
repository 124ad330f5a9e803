"""A login with a certified OpenID provider (oidc-provider), over HTTP, as a browser would go."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import parse_oidc_answer
from tests.services.openid import OpenIdProvider
from tests.userapi.conftest import Api, problem
from tests.userapi.vouching import LOOPBACK, Trying, enter, service_of
from userapi.identity.oidc import Provider
from userapi.service import EXTENSION
from userapi.settings import UserApiSettings


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(tmp_path, ["http://127.0.0.1/"]).start()
    yield made
    made.stop()


def browse(address: str, who: str) -> str:
    """Where the provider sends somebody back to who has logged in there."""
    at = httpx.URL(address)
    with httpx.Client(trust_env=False) as browser:
        while not str(at).startswith(LOOPBACK):
            found = browser.get(at)
            if not found.is_redirect:
                found = browser.post(at, data={"who": who, "answer": "yes"})
            at = at.join(found.headers["Location"])
    return str(at)


def test_a_certified_provider(api: Api, certified: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: str(value) for name, value in certified.settings.items()}
    settings = UserApiSettings(**values)  # type: ignore[arg-type]
    provider = Provider(settings)
    known = provider.look()
    assert known.names_itself
    assert known.takes_fragment
    assert known.algorithms == {"RS256", "ES256"}
    assert provider.try_client(LOOPBACK) == ""
    # There are the names, by the specification, where an access token is given as well.
    assert known.userinfo
    parts = service_of(api)
    monkeypatch.setitem(api.client.application.extensions, EXTENSION, dataclasses.replace(parts, oidc=provider))
    api.now = time.time()
    trying = Trying(api, None)  # type: ignore[arg-type]
    answer = parse_oidc_answer(browse(trying.start(), "alice of wonderland"))
    assert answer is not None
    assert answer.issuer == certified.issuer
    told = {"state": answer.state, "code": answer.code, "iss": answer.issuer}
    vouched = trying.show(**told).json
    assert vouched is not None
    assert (vouched["user"], vouched["is_new"]) == ("alice", True)
    tokens = enter(api, vouched).json
    assert tokens is not None
    assert tokens["user"] == "alice"
    # Its code is good once, and for this verifier alone.
    problem(trying.show(**told), 403, "oidc_refused")
    mine, theirs = Trying(api, None), Trying(api, None)  # type: ignore[arg-type]
    mine.start()
    stolen = parse_oidc_answer(browse(theirs.start(), "mallory"))
    assert stolen is not None
    problem(mine.show(state=mine.state, code=stolen.code, iss=stolen.issuer), 403, "oidc_refused")
    provider.close()
