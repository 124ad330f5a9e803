"""Files over HTTP: uploads that break off and go on, downloads in ranges, and who may read what."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse

from tests.ports import free_port
from tests.userapi.conftest import Api
from tests.userapi.running_server import Server, serving
from tests.userapi.test_accounts import problem
from tests.userapi.test_contacts import Person

CHUNK = "application/offset+octet-stream"
CONTENT = random.Random(7).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}
SIZED = {**TUS, "Upload-Length": "5"}


def metadata(**pairs: str) -> dict[str, str]:
    encoded = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()]
    return {"Upload-Metadata": ",".join(encoded)}


class Owner(Person):
    """One who uploads."""

    def begins(self, size: int = len(CONTENT), **pairs: str) -> str:
        answer = self.asks("POST", "/v1/files", extra={**TUS, "Upload-Length": str(size), **metadata(**pairs)})
        assert answer.status_code == 201, answer.text
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        return str(answer.headers["Location"])

    def sends(self, path: str, offset: int, data: bytes) -> TestResponse:
        extra = {**TUS, "Upload-Offset": str(offset), "Content-Type": CHUNK}
        return self.asks("PATCH", path, extra=extra, data=data)

    def asks(self, method: str, path: str, *, extra: dict[str, str] | None = None, **arguments: object) -> TestResponse:
        headers = {**self.headers, **(extra or {})}
        return self._api.client.open(path, method=method, headers=headers, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def alice(api: Api) -> Owner:
    return Owner(api, "alice")


@pytest.fixture
def bob(api: Api, alice: Owner) -> Owner:
    return Owner(api, "bob")


def uploaded(alice: Owner, content: bytes = CONTENT, **pairs: str) -> str:
    path = alice.begins(len(content), **pairs)
    answer = alice.sends(path, 0, content)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(content))), answer.text
    return path


def test_an_upload_that_nobody_ends(api: Api, alice: Owner) -> None:
    hour_ms = 3_600_000
    begun, ended = alice.begins(5), uploaded(alice, b"all of it")
    assert alice.does("GET", begun)["expires_ms"] == int(api.now * 1000) + 24 * hour_ms
    assert alice.does("GET", ended)["expires_ms"] == int(api.now * 1000) + 30 * 24 * hour_ms


def test_up_and_down(api: Api, alice: Owner, bob: Owner) -> None:
    path = uploaded(alice, filename="Ünser cat.jpg", filetype="image/jpeg", sha256=SHA256, readers="bob")
    info = bob.does("GET", path)
    assert abs(int(str(info.pop("expires_ms"))) - (api.now + 30 * 86400) * 1000) < 1000
    assert info == {
        "file": path.rpartition("/")[2],
        "owner": "alice",
        "name": "Ünser cat.jpg",
        "media_type": "image/jpeg",
        "size": len(CONTENT),
        "complete": True,
        "sha256": SHA256,
    }
    answer = bob.asks("GET", f"{path}/content")
    assert answer.data == CONTENT
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["ETag"] == f'"{SHA256}"'
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''%C3%9Cnser")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert bob.asks("GET", f"{path}/content", extra={"If-None-Match": f'"{SHA256}"'}).status_code == 304


@pytest.mark.parametrize("media_type", ["\u0101/b", "text/\u00e9", "a/b\r\nx: y", "a", "text/plain; charset=x"])
def test_a_media_type_that_no_header_can_hold(alice: Owner, media_type: str) -> None:
    extra = {**SIZED, **metadata(filetype=media_type)}
    problem(alice.asks("POST", "/v1/files", extra=extra), 400, "malformed_upload")


def test_a_file_that_goes_while_a_reader_is_added(api: Api, alice: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    path = alice.begins()
    file = api.bridge.call(api.bridge.store.file, path.rpartition("/")[2])
    alice.asks("DELETE", path)

    async def still(_: str) -> object:
        return file

    monkeypatch.setattr(api.bridge.store, "file", still)
    problem(alice.asks("PUT", f"{path}/readers/bob"), 404, "no_such_file")


def test_an_upload_goes_on_where_it_stands(alice: Owner) -> None:
    path = alice.begins(filename="x.bin")
    for first, last in ((0, 10), (10, 300_000), (300_000, 300_001), (300_001, len(CONTENT))):
        answer = alice.asks("HEAD", path)
        assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == (str(first), str(len(CONTENT)))
        assert not alice.does("GET", path)["complete"]
        problem(alice.asks("GET", f"{path}/content"), 409, "incomplete_file")
        problem(alice.sends(path, first + 1, b"x"), 409, "wrong_offset")
        assert alice.sends(path, first, CONTENT[first:last]).status_code == 204
    assert alice.asks("HEAD", path).headers["Upload-Offset"] == str(len(CONTENT))
    assert alice.does("GET", path)["sha256"] == SHA256
    problem(alice.sends(path, len(CONTENT), b""), 409, "wrong_offset")


def test_the_last_bytes_came_and_the_worker_died(api: Api, alice: Owner) -> None:
    path = alice.begins(sha256=SHA256)
    store = api.bridge.store
    file = api.bridge.call(store.file, path.rpartition("/")[2])
    assert file is not None
    assert api.bridge.call(store.append_file, file, 0, CONTENT)
    assert alice.asks("HEAD", path).headers["Upload-Offset"] == str(len(CONTENT))
    assert alice.asks("GET", f"{path}/content").data == CONTENT


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=262143-262145", 262143, 262146),
        ("bytes=699999-", 699_999, len(CONTENT)),
        ("bytes=-5", len(CONTENT) - 5, len(CONTENT)),
        ("bytes=600000-9999999", 600_000, len(CONTENT)),
    ],
)
def test_ranges(alice: Owner, asked: str, first: int, last: int) -> None:
    path = uploaded(alice)
    answer = alice.asks("GET", f"{path}/content", extra={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(CONTENT)}"
    assert answer.data == CONTENT[first:last]


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{SHA256}"', 206),
        ('"of another file"', 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
        (f'W/"{SHA256}"', 200),  # a weak one is no proof that the bytes are the same
        (SHA256, 200),
    ],
)
def test_the_rest_of_what_one_has_a_part_of(alice: Owner, condition: str, status: int) -> None:
    path = uploaded(alice)
    answer = alice.asks("GET", f"{path}/content", extra={"Range": "bytes=5-", "If-Range": condition})
    assert answer.status_code == status
    assert answer.data == (CONTENT[5:] if status == 206 else CONTENT)


def test_a_name_with_unusual_spaces(alice: Owner) -> None:
    path = uploaded(alice, filename="Screenshot 9.41\u202fAM.png")
    assert alice.asks("GET", path).json["name"] == "Screenshot 9.41\u202fAM.png"  # type: ignore[index]


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=-100", b"12345", "0-4"),
        ("bytes=-5", b"12345", "0-4"),
        ("bytes=-1", b"12345", "4-4"),
        ("bytes=0-100", b"12345", "0-4"),
        ("bytes=4-", b"12345", "4-4"),
        ("bytes=-0", b"12345", None),
        ("bytes=-00", b"12345", None),
        ("bytes=5-9", b"12345", None),
        ("bytes=-100", b"", None),
        ("bytes=0-", b"", None),
    ],
)
def test_ranges_at_the_edges(alice: Owner, asked: str, content: bytes, told: str | None) -> None:
    path = uploaded(alice, content) if content else alice.begins(0)
    answer = alice.asks("GET", f"{path}/content", extra={"Range": asked})
    if told is None:
        problem(answer, 416, "wrong_range")
        assert answer.headers["Content-Range"] == f"bytes */{len(content)}"
    else:
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {told}/{len(content)}"
        first, last = map(int, told.split("-"))
        assert answer.data == content[first : last + 1]


@pytest.mark.parametrize("tag", [f'"{SHA256}"', f'W/"{SHA256}"', f'"x", W/"{SHA256}"', "*"])
def test_what_one_has_by_a_weak_tag_too(alice: Owner, tag: str) -> None:
    path = uploaded(alice)
    answer = alice.asks("GET", f"{path}/content", extra={"If-None-Match": tag})
    assert (answer.status_code, answer.data) == (304, b"")


def test_a_reader_is_taken_away(api: Api, alice: Owner, bob: Owner, caplog: pytest.LogCaptureFixture) -> None:
    path = uploaded(alice)
    alice.asks("PUT", f"{path}/readers/bob")
    problem(bob.asks("DELETE", f"{path}/readers/bob"), 404, "no_such_file")
    with caplog.at_level("INFO", "sparrow.audit"):
        for _ in range(2):
            assert alice.asks("DELETE", f"{path}/readers/bob").status_code == 204
            assert alice.asks("DELETE", f"{path}/readers/NOBODY").status_code == 204
    assert caplog.text.count("event=file_reader_removed") == 1
    problem(bob.asks("GET", path), 404, "no_such_file")
    assert alice.asks("PUT", f"{path}/readers/bob").status_code == 204
    assert bob.asks("GET", f"{path}/content").data == CONTENT


def test_ranges_that_are_none(alice: Owner) -> None:
    path = uploaded(alice, b"12345")
    answer = alice.asks("GET", f"{path}/content", extra={"Range": "bytes=5-"})
    problem(answer, 416, "wrong_range")
    assert answer.headers["Content-Range"] == "bytes */5"
    for ignored in ("bytes=a-b", "lines=1-2", "bytes=0-1,3-4"):
        assert alice.asks("GET", f"{path}/content", extra={"Range": ignored}).data == b"12345"


def test_nothing_is_a_file_too(alice: Owner) -> None:
    path = alice.begins(0)
    assert alice.does("GET", path)["complete"]
    assert alice.asks("GET", f"{path}/content").data == b""


def test_a_wrong_checksum(alice: Owner) -> None:
    path = alice.begins(5, sha256=SHA256)
    problem(alice.sends(path, 0, b"12345"), 422, "wrong_checksum")
    problem(alice.asks("GET", path), 404, "no_such_file")


def test_who_may_read(api: Api, alice: Owner, bob: Owner) -> None:
    path = uploaded(alice)
    for method, what in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path), ("HEAD", path)):
        assert bob.asks(method, what).status_code == 404
    problem(bob.sends(path, 0, b"x"), 404, "no_such_file")
    assert alice.asks("PUT", f"{path}/readers/bob").status_code == 204
    assert alice.asks("PUT", f"{path}/readers/bob").status_code == 204
    assert bob.asks("GET", f"{path}/content").data == CONTENT
    problem(bob.asks("PUT", f"{path}/readers/carol"), 404, "no_such_file")
    problem(bob.asks("DELETE", path), 404, "no_such_file")
    problem(alice.asks("PUT", f"{path}/readers/NOBODY"), 400, "invalid_user_id")
    assert alice.asks("DELETE", path).status_code == 204
    problem(alice.asks("DELETE", path), 404, "no_such_file")
    problem(bob.asks("GET", path), 404, "no_such_file")
    problem(api.client.get(path), 401, "no_token")


def test_too_many_readers(alice: Owner) -> None:
    names = [f"user{number}" for number in range(100)]
    path = uploaded(alice, b"x", readers=",".join(names))
    assert alice.asks("PUT", f"{path}/readers/user7").status_code == 204
    problem(alice.asks("PUT", f"{path}/readers/one"), 409, "too_many_readers")
    headers = {**SIZED, **metadata(readers=",".join([*names, "one"]))}
    problem(alice.asks("POST", "/v1/files", extra=headers), 409, "too_many_readers")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 412, "wrong_tus_version"),
        ({"Tus-Resumable": "0.2.2"}, 412, "wrong_tus_version"),
        (TUS, 400, "malformed_upload"),
        ({**TUS, "Upload-Length": "-1"}, 400, "malformed_upload"),
        ({**TUS, "Upload-Length": "1e3"}, 400, "malformed_upload"),
        ({**TUS, "Upload-Length": "9" * 16}, 400, "malformed_upload"),
        ({**TUS, "Upload-Length": str(100 * 1024 * 1024 + 1)}, 413, "file_too_large"),
        ({**SIZED, "Upload-Metadata": "filename ???"}, 400, "malformed_upload"),
        ({**SIZED, "Upload-Metadata": "filename /w=="}, 400, "malformed_upload"),
        ({**SIZED, **metadata(filename="x" * 256)}, 400, "malformed_upload"),
        ({**SIZED, **metadata(filename="a\nb")}, 400, "malformed_upload"),
        ({**SIZED, **metadata(filename="a\u2028b")}, 400, "malformed_upload"),
        ({**SIZED, **metadata(filetype="text")}, 400, "malformed_upload"),
        ({**SIZED, **metadata(filetype="text/html; charset=x")}, 400, "malformed_upload"),
        ({**SIZED, **metadata(sha256="x")}, 400, "malformed_upload"),
        ({**SIZED, **metadata(readers="bob,B OB")}, 400, "invalid_user_id"),
    ],
)
def test_uploads_that_do_not_begin(alice: Owner, headers: dict[str, str], status: int, code: str) -> None:
    problem(alice.asks("POST", "/v1/files", extra=headers), status, code)


def test_bytes_that_are_not_taken(alice: Owner) -> None:
    path = alice.begins(5)
    headers = {**TUS, "Upload-Offset": "0", "Content-Type": CHUNK}
    for missing, status, code in (
        ("Tus-Resumable", 412, "wrong_tus_version"),
        ("Upload-Offset", 400, "malformed_upload"),
        ("Content-Type", 415, "unsupported_media_type"),
    ):
        some = {name: value for name, value in headers.items() if name != missing}
        problem(alice.asks("PATCH", path, extra=some, data=b"12345"), status, code)
    problem(alice.sends(path, 0, b"123456"), 413, "file_too_large")
    assert alice.sends(path, 0, b"12345").status_code == 204
    problem(alice.sends("/v1/files/" + "0" * 32, 0, b"x"), 404, "no_such_file")


def test_a_file_is_gone_after_its_time(api: Api) -> None:
    api.now = 1_000_000_000.0  # long ago, so that what is uploaded has expired
    alice = Owner(api, "old")
    problem(alice.asks("GET", alice.begins(5)), 404, "no_such_file")


# On the real server.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, f"tcp://127.0.0.1:{free_port()}", workers=1) as made:
        yield made


def resident_kib(server: Server) -> int:
    """Of all its processes."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) == server.process.pid:
                total += int((entry / "status").read_text().partition("VmRSS:")[2].split()[0])
    return total


@contextlib.contextmanager
def signed_in(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        body = {"user": "alice", "password": "correct horse"}
        client.post("/v1/accounts", json=body)
        answer = client.post("/v1/login", json=body).json()
        client.headers.update({**TUS, "Authorization": f"Bearer {answer['access_token']}"})
        yield client


def goes_up_and_down(client: httpx.Client, block: bytes, blocks: int) -> None:
    length = str(blocks * len(block))
    path = client.post("/v1/files", headers={"Upload-Length": length}).headers["Location"]
    headers = {"Upload-Offset": "0", "Content-Type": CHUNK, "Content-Length": length}
    answer = client.patch(path, headers=headers, content=(block for _ in range(blocks)))
    assert answer.status_code == 204, answer.text
    digest = hashlib.sha256()
    with client.stream("GET", f"{path}/content") as answer:
        for data in answer.iter_bytes():
            digest.update(data)
    assert digest.hexdigest() == client.get(path).json()["sha256"]


def test_a_hundred_mebibytes_take_few_of_memory(server: Server) -> None:
    block = random.Random(1).randbytes(1024 * 1024)
    with signed_in(server) as client:
        goes_up_and_down(client, block, 4)
        before = resident_kib(server)
        goes_up_and_down(client, block, 100)
        assert resident_kib(server) - before < 10 * 1024


def test_what_came_before_the_connection_broke_is_kept(server: Server) -> None:
    with signed_in(server) as client:
        path = client.post("/v1/files", headers={"Upload-Length": str(len(CONTENT))}).headers["Location"]
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
                f"Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: {CHUNK}\r\n"
                f"Content-Length: {len(CONTENT)}\r\n\r\n".encode()
                + CONTENT[:500_000]
            )
        offset = 0
        for _ in range(2000):
            offset = int(client.head(path).headers["Upload-Offset"])
            if offset == 500_000:
                break
        assert offset == 500_000
        headers = {"Upload-Offset": str(offset), "Content-Type": CHUNK}
        answer = client.patch(path, headers=headers, content=CONTENT[offset:])
        assert answer.status_code == 204, answer.text
        assert client.get(f"{path}/content").content == CONTENT


@pytest.mark.parametrize(
    ("claimed", "served"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("image/SVG+XML", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("text/xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
        ("text/css", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("multipart/x-mixed-replace", "application/octet-stream"),
        ("image/png", "image/png"),
        ("video/mp4", "video/mp4"),
        ("text/plain", "text/plain"),
    ],
)
def test_nothing_that_a_browser_would_run(alice: Owner, claimed: str, served: str) -> None:
    """Also where it is asked for by a name that is told, a range, or anew: it is a download, of no type that runs."""
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    name = 'x.html"; filename=y'
    path = uploaded(alice, content, filename=name, filetype=claimed)
    assert alice.does("GET", path)["media_type"] == claimed
    whole = alice.asks("GET", f"{path}/content")
    part = alice.asks("GET", f"{path}/content", extra={"Range": "bytes=1-20"})
    same = alice.asks("GET", f"{path}/content", extra={"If-None-Match": whole.headers["ETag"]})
    head = alice.asks("HEAD", f"{path}/content")
    assert [answer.status_code for answer in (whole, part, same, head)] == [200, 206, 304, 200]
    for answer in (whole, part, same, head):
        headers = answer.headers
        assert parse_options_header(headers["Content-Disposition"]) == ("attachment", {"filename": name})
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers.get("Content-Type", served) == served
