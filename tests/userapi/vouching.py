"""Somebody's login with an OpenID provider, step by step, and an API whose people may come by it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.userapi.conftest import Api, problem
from tests.userapi.openid import CLIENT, SECRET, Provider, providing
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
