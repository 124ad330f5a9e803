"""What `sparrow check` says of an OpenID provider's settings, and `--try` of one that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparrow.config.checks import check
from sparrow.config.preflight import try_out
from sparrow.config.settings import load
from tests.sparrow.test_preflight import settings
from tests.userapi.openid import CLIENT, SECRET, Provider, providing

OIDC = {
    "OIDC_ISSUER": "https://id.example.net",
    "OIDC_CLIENT_ID": CLIENT,
    "PAGE_URL": "https://chat.example.net/",
}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, ""),
        ({"OIDC_ISSUER": "http://id.example.net"}, "userapi.oidc_issuer"),
        ({"OIDC_ISSUER": ""}, "userapi.oidc_client_id"),
        ({"OIDC_ISSUER": "", "OIDC_CLIENT_ID": "", "PASSWORD_LOGIN": "false"}, "userapi.oidc_issuer"),
        ({"OIDC_ISSUER": "https://login.microsoftonline.com/common/v2.0"}, "userapi.oidc_issuer"),
        ({"OIDC_ISSUER": "https://accounts.google.com"}, "userapi.oidc_required_claims"),
        ({"OIDC_ISSUER": "https://accounts.google.com", "OIDC_REQUIRED_CLAIMS": "hd=example.net"}, ""),
        ({"OIDC_NEWCOMERS": "refused"}, "userapi.oidc_newcomers"),
        ({"PAGE_URL": ""}, "userapi.page_url"),
        ({"PAGE_URL": "https://chat.example.net"}, "userapi.page_url"),
        ({"PAGE_URL": "https://chat.example.net/chat"}, "userapi.page_url"),
        ({"PAGE_URL": "", "PAGE": "false"}, ""),
        ({"REGISTRATION": "admin"}, ""),
    ],
)
def test_findings(tmp_path: Path, changes: dict[str, str], key: str) -> None:
    values = {**OIDC, **changes}
    environ = {f"SPARROW_USERAPI__{name}": value for name, value in values.items() if value}
    found = check(load(None, environ | {"SPARROW_DATA_DIR": str(tmp_path)}))
    assert [finding.key for finding in found] == ([key] if key else [])


async def trying(provider: Provider, folder: Path, **changes: object) -> dict[str, str]:
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    named = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret_file": str(secret),
        "brokers": (),
        **changes,
    }
    of = settings(userapi=named, store={"path": str(folder / "sparrow.db")})
    return {finding.key: finding.text async for finding in try_out(of, ("userapi",))}


async def test_a_provider_that_is_there(tmp_path: Path) -> None:
    with providing() as provider:
        assert await trying(provider, tmp_path) == {}
        assert provider.forms[-1]["code"] == "-"  # nobody's
        found = await trying(provider, tmp_path, oidc_client_id="another")
        assert "invalid_client" in found["userapi.oidc_client_id"]
        provider.published = []
        assert "no key" in (await trying(provider, tmp_path))["userapi.oidc_issuer"]
        provider.metadata = {"issuer": "https://id.example.net"}
        assert 'calls itself "https://id.example.net"' in (await trying(provider, tmp_path))["userapi.oidc_issuer"]
        provider.answers["/.well-known/openid-configuration"] = (404, b"")
        assert "answers 404" in (await trying(provider, tmp_path))["userapi.oidc_issuer"]
    assert "ConnectError" in (await trying(provider, tmp_path))["userapi.oidc_issuer"]
