"""The OpenAPI document, its pages, and what every answer carries."""

import json
import re
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.userapi.conftest import Api, problem, settings_in
from userapi.app import AREAS, create_app
from userapi.http.problems import CODES

SHARED = {"parameters"}
"""What a path has beside its methods."""
ORIGIN = "https://chat.example.net"


def test_the_document_is_valid_and_whole(api: Api) -> None:
    document = api.client.get("/v1/openapi.json").json
    assert document is not None
    validate(document)
    assert document["openapi"] == "3.1.0"
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in api.client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith(("api-docs", "docs", "page", "monitor"))
    }
    assert served == {(path, method) for path, methods in document["paths"].items() for method in set(methods) - SHARED}
    assert {tag["name"] for tag in document["tags"]} == {area.name for area in AREAS}


def test_each_endpoint_says_what_it_does_and_what_it_refuses(api: Api) -> None:
    document = api.client.get("/v1/openapi.json").json
    assert document is not None
    for methods in document["paths"].values():
        for operation in [methods[method] for method in set(methods) - SHARED]:
            assert operation["summary"]
            assert "default" not in operation["responses"]
            named = set(re.findall(r"- `(\w+)`", json.dumps(operation["responses"])))
            assert {"internal_error", "unavailable"} <= named <= set(CODES)
            for scheme in operation["security"]:
                assert set(scheme) <= set(document["components"]["securitySchemes"])


def test_the_pages_need_no_other_host_and_no_inline_script(api: Api) -> None:
    page = api.client.get("/v1/docs")
    assert page.status_code == 200
    assert not re.search(r"<script>|<style|onload=|//", page.text.replace("<!doctype html>", ""))
    assert "'unsafe" not in page.headers["Content-Security-Policy"]
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with api.client.get(f"/v1/{name}") as asset:
            assert asset.status_code == 200
    for other in ("swagger-ui.js", "../__init__.py", "nothing"):
        problem(api.client.get(f"/v1/docs/{other}"), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["//v1/openapi.json", "/v1//openapi.json", "/v1/me/", "/v1/%2e%2e/healthz", "/%00", "/v1/users/a%2Fb", "/%ff"],
)
def test_another_path_is_not_there(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert "Location" not in answer.headers
    problem(answer, 404, "not_found")


def test_headers_of_every_answer(api: Api) -> None:
    for path in ("/healthz", "/v1/openapi.json", "/nothing"):
        headers = api.client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in headers
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://evil.example.net", False)])
def test_cors(api: Api, tmp_path: Path, origin: str, allowed: bool) -> None:
    settings = settings_in(tmp_path, cors_origins=(ORIGIN,), tls_certificate_file="cert.pem")
    client = create_app(settings, api.bridge, api.fabric).test_client()
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Authorization, Content-Type",
    }
    for answer in (
        client.options("/v1/login", headers=asked),
        client.post("/v1/login", json={}, headers={"Origin": origin}),
        client.get("/healthz", headers={"Origin": origin}),
    ):
        assert answer.headers.get("Access-Control-Allow-Origin") == (ORIGIN if allowed else None)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Strict-Transport-Security" in answer.headers
