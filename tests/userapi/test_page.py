"""The web page: what is served, how it is cached and compressed, and what it may do in a browser."""

from __future__ import annotations

import dataclasses
import gzip
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from protocol.errors import ConfigError
from tests.userapi.conftest import Api, problem
from userapi.app import create_app
from userapi.http import page
from userapi.http.handover import ADMIN, DOOR

INDEX = b"<!doctype html>\n" + b"<p>chat</p>\n" * 200
ASSETS = {
    "app-8SDF72KL.js": (b"let a = 1;\n" * 500, "text/javascript; charset=utf-8"),
    "app-Q7RT1111.css": (b"p { color: red }\n" * 100, "text/css; charset=utf-8"),
    "icon-AAAA0000.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 30, "image/svg+xml"),
    "icon-BBBB0000.png": (b"\x89PNG" + bytes(2000), "image/png"),
    "page-CCCC0000.webmanifest": (b"{}", "application/manifest+json"),
}
CONNECTORS = (
    "tls://chat.example.net:7400",
    "wss://chat.example.net/sparrow",
    "wss://chat.example.net/other",
    "ws://127.0.0.1:7402",
    "ws://[::1]:7402",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a page that is built."""
    made = tmp_path / "page"
    (made / "assets").mkdir(parents=True)
    (made / "index.html").write_bytes(INDEX)
    for name, (body, _) in ASSETS.items():
        (made / "assets" / name).write_bytes(body)
    (made / "assets" / ".hidden.js").write_bytes(b"hidden")
    (made / "secret.txt").write_bytes(b"secret")
    return made


def client(api: Api, folder: Path, **changes: object) -> FlaskClient:
    """Of an API with that page, for which no time passes between requests."""
    settings = dataclasses.replace(api.settings, **changes)  # type: ignore[arg-type]
    app = create_app(settings, api.bridge, api.fabric, steady=lambda: 1000.0, page_folder=folder)
    return app.test_client()


def test_the_page_and_its_assets(api: Api, folder: Path) -> None:
    web = client(api, folder)
    answer = web.get("/")
    assert (answer.status_code, answer.data) == (200, INDEX)
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    for name, (body, media_type) in ASSETS.items():
        answer = web.get(f"/assets/{name}")
        assert (answer.status_code, answer.data, answer.content_type) == (200, body, media_type)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        head = web.head(f"/assets/{name}")
        assert (head.status_code, head.data) == (200, b"")
        assert {**head.headers} == {**answer.headers}


@pytest.mark.parametrize(
    "path",
    [
        *("/index.html", "/assets", "/assets/", "/assets/nothing.js", "/assets/.hidden.js", "/assets/../secret.txt"),
        *("/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt", "/assets/%2e%2e%2fsecret.txt", "/secret.txt"),
        *("//assets/app-8SDF72KL.js", "/assets//app-8SDF72KL.js", "/assets/app-8SDF72KL.js/", "/%00"),
    ],
)
def test_nothing_else_is_there(api: Api, folder: Path, path: str) -> None:
    answer = client(api, folder).get(path)
    problem(answer, 404, "not_found")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors")


def test_two_slashes_are_not_one(api: Api, folder: Path) -> None:
    """The test client would take them for one; on the wire they are two."""
    answer = client(api, folder).get("/", environ_overrides={"PATH_INFO": "//", "RAW_URI": "//"})
    problem(answer, 404, "not_found")


def test_nothing_is_changed_there(api: Api, folder: Path) -> None:
    for path in ("/", "/assets/app-8SDF72KL.js"):
        answer = client(api, folder).post(path, json={})
        problem(answer, 405, "method_not_allowed")
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip, deflate, br, zstd", True), ("*", True), ("", False), ("br", False), ("gzip;q=0", False), ("GZIP", True)],
)
def test_compression(api: Api, folder: Path, accepted: str, packed: bool) -> None:
    web = client(api, folder)
    plain = web.get("/")
    answer = web.get("/", headers={"Accept-Encoding": accepted} if accepted else {})
    assert answer.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    if packed:
        assert gzip.decompress(answer.data) == INDEX
        assert len(answer.data) < len(INDEX) / 10
        # Strong tags are of bytes.
        assert answer.headers["ETag"] != plain.headers["ETag"]
    else:
        assert answer.data == INDEX
        assert answer.headers["ETag"] == plain.headers["ETag"]


def test_what_is_packed_already_is_sent_as_it_is(api: Api, folder: Path) -> None:
    for name in ("icon-BBBB0000.png", "page-CCCC0000.webmanifest"):
        answer = client(api, folder).get(f"/assets/{name}", headers={"Accept-Encoding": "gzip"})
        assert answer.data == ASSETS[name][0]
        assert "Content-Encoding" not in answer.headers


def test_what_a_browser_has_is_not_sent_again(api: Api, folder: Path) -> None:
    web = client(api, folder)
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        had = web.get("/", headers=headers)
        etag = had.headers["ETag"]
        assert re.fullmatch(r'"[0-9a-f]{32}(-gzip)?"', etag)
        for sent in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            answer = web.get("/", headers={**headers, "If-None-Match": sent})
            assert (answer.status_code, answer.data) == (304, b"")
            for name in ("ETag", "Cache-Control", "Vary", "Content-Security-Policy"):
                assert answer.headers[name] == had.headers[name]
            assert "Content-Encoding" not in answer.headers
        assert web.get("/", headers={**headers, "If-None-Match": '"other"'}).status_code == 200
    # All processes, and the next start, have the same.
    assert client(api, folder).get("/", headers={"If-None-Match": etag, **headers}).status_code == 304
    (folder / "index.html").write_bytes(INDEX + b"new")
    assert client(api, folder).get("/", headers={"If-None-Match": etag, **headers}).status_code == 200


def directives(answer: TestResponse) -> dict[str, str]:
    found = {}
    for part in answer.headers["Content-Security-Policy"].split(";"):
        name, _, sources = part.strip().partition(" ")
        assert name not in found
        found[name] = sources
    return found


def test_what_the_page_may_do(api: Api, folder: Path) -> None:
    web = client(api, folder, connectors=CONNECTORS)
    for path in ("/", "/assets/app-8SDF72KL.js"):  # a worker goes by its own file's
        answer = web.get(path)
        assert directives(answer) == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob:",
            "media-src": "blob:",
            "font-src": "'self'",
            # Without paths, each once; what a policy cannot name is left out.
            "connect-src": "'self' wss://chat.example.net ws://127.0.0.1:7402",
            "worker-src": "'self'",
            "manifest-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "sparrow",
        }
        headers = answer.headers
        permissions = headers["Permissions-Policy"].split(", ")
        assert {"camera=()", "microphone=()", "geolocation=()", "usb=()", "payment=()"} <= {*permissions}
        assert [one for one in permissions if not one.endswith("=()")] == [
            "clipboard-write=(self)",
            "fullscreen=(self)",
        ]
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in headers
        assert "Strict-Transport-Security" not in headers
    secure = client(api, folder, tls_certificate_file="cert.pem").get("/")
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_name_cannot_write_into_the_policy(api: Api, folder: Path) -> None:
    """`sparrow check` refuses such an address; should it come here, it is one source, or none."""
    web = client(
        api, folder, connectors=("ws://a.example;script-src *", "ws://b.example, x", "ws://c.example 'unsafe'")
    )
    assert directives(web.get("/"))["connect-src"] == "'self'"


def test_it_can_be_turned_off(api: Api, folder: Path, tmp_path: Path) -> None:
    for web in (client(api, folder, page=False), client(api, tmp_path / "nowhere", page=False)):
        for path in ("/", "/assets/app-8SDF72KL.js"):
            problem(web.get(path), 404, "not_found")
        assert web.get("/v1/docs").status_code == 200


def test_the_administrators_listener_has_no_page(api: Api, folder: Path) -> None:
    web = client(api, folder, admin_listen_port=7481)
    assert web.get("/").status_code == 200
    for path in ("/", "/assets/app-8SDF72KL.js"):
        problem(web.get(path, environ_overrides={DOOR: ADMIN}), 404, "not_found")


def test_an_office_opens_it_at_once(api: Api, folder: Path) -> None:
    """A hundred people behind one address, six files each; and the page's requests take nothing of the API's."""
    web = client(api, folder, unlimited_addresses=(), max_requests_per_second_of_address=200)
    here = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    for number in range(600):
        path = "/assets/app-8SDF72KL.js" if number % 6 else "/"
        assert web.get(path, **here).status_code == 200
    for _ in range(200):
        assert web.get("/v1/nothing", **here).status_code == 404
    problem(web.get("/v1/nothing", **here), 429, "too_many_requests")


def test_there_is_an_end_to_it(api: Api, folder: Path) -> None:
    web = client(api, folder, unlimited_addresses=(), max_requests_per_second_of_address=2)
    here = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    assert [web.get("/", **here).status_code for _ in range(21)] == [*([200] * 20), 429]
    assert web.get("/", environ_base={"REMOTE_ADDR": "192.0.2.8"}).status_code == 200
    off = client(api, folder, unlimited_addresses=(), max_requests_per_second_of_address=0)
    assert {off.get("/", **here).status_code for _ in range(100)} == {200}


def test_a_page_that_is_not_there(api: Api, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"userapi\.page: cannot read .*index\.html .*or say userapi\.page = false"):
        client(api, tmp_path)


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_BYTES"])
def test_a_page_that_is_too_much(api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(page, limit, 3)
    with pytest.raises(ConfigError, match=r"userapi\.page: there is more in "):
        client(api, folder)


def test_the_page_of_the_package() -> None:
    """It asks for what is there, from nowhere else, and has no code in it."""
    files = page.read(page.FOLDER)
    index = files["/"].body.decode()
    asked = re.findall(r'(?:src|href)="([^"]+)"', index)
    assert asked
    for url in asked:
        assert f"/{url.removeprefix('/')}" in files, url
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", index)
    for path, file in files.items():
        assert file.media_type != "application/octet-stream", path
        assert path == "/" or re.fullmatch(r"/assets/[\w.-]+-[A-Z0-9]{8}\.[a-z0-9]+(\.txt)?", path), path
