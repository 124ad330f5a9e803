"""Slow, silent and broken clients on real sockets: they stop nobody, and are let go."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.certificates import Authority
from tests.metrics import nonzero
from tests.ports import free_port
from tests.userapi.openid import providing
from tests.userapi.raw import HEAD, ask, connect, is_closed, many, read
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import Server, command, serving, sqlite, wait_until_up
from tests.userapi.test_files import TUS

GOOD = {"user": "alice", "password": "correct horse"}
MANY = 40
_LOOK = {"verify_signature": False}
GET = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
ADMIN = "0123456789abcdef" * 2


@contextlib.contextmanager
def small(folder: Path, broker: str = "", **changes: object) -> Iterator[Server]:
    """A server with one process and two threads, for which no address is an exception."""
    (folder / "admin").write_text(ADMIN)
    (folder / "admin").chmod(0o600)
    values: dict[str, object] = {
        "workers": 1,
        "threads": 2,
        "unlimited_addresses": [],
        "trusted_proxies": [],
        "max_requests_per_second_of_address": 0,
        "max_logins_per_minute_of_address": 0,
        "admin_token_file": str(folder / "admin"),
        **changes,
    }
    with serving(folder, broker or f"tcp://127.0.0.1:{free_port()}", **values) as server:  # type: ignore[arg-type]
        yield server


def refused(server: Server) -> dict[str, float]:
    """What it counts of those whom it let go."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    from prometheus_client.parser import text_string_to_metric_families

    text = httpx.get(f"{server.url}/v1/admin/metrics", headers=headers).text
    found = nonzero(text_string_to_metric_families(text), "sparrow_userapi_")
    return {name.split()[1]: value for name, value in found.items() if name.startswith("refused_total")}


def token(server: Server) -> str:
    """Of a first device, which needs no broker: alice's, the first time."""
    for user in ("alice", *(f"user{number}" for number in range(100))):
        body = {**GOOD, "user": user}
        if httpx.post(f"{server.url}/v1/accounts", json=body, timeout=30).status_code == 201:
            return str(httpx.post(f"{server.url}/v1/login", json=body, timeout=30).json()["access_token"])
    pytest.fail("no user is left")


def begun(server: Server, access: str, size: int) -> str:
    """An upload; its path."""
    headers = {**TUS, "Authorization": f"Bearer {access}", "Upload-Length": str(size)}
    return httpx.post(f"{server.url}/v1/files", headers=headers).headers["Location"]


def patch(path: str, access: str, *lines: str, offset: int = 0) -> bytes:
    """The head of a PATCH."""
    fixed = [
        f"PATCH {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {access}",
        "Content-Type: application/offset+octet-stream",
        "Tus-Resumable: 1.0.0",
        f"Upload-Offset: {offset}",
    ]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def length(server: Server, path: str, access: str) -> int:
    """How far an upload has come."""
    headers = {**TUS, "Authorization": f"Bearer {access}"}
    return int(httpx.head(server.url + path, headers=headers).headers["Upload-Offset"])


# They stop nobody.


def test_halves_of_all_kinds_take_no_thread(tmp_path: Path) -> None:
    with small(tmp_path, file_piece_bytes=4096) as server:
        access = token(server)
        path = begun(server, access, 10**6)
        halves = [
            b"",
            b"GET /v1/me HT",
            b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-Long: ",
            HEAD + b'Content-Length: 100\r\n\r\n{"user": ',
            HEAD + b'Transfer-Encoding: chunked\r\n\r\n20\r\n{"user": ',
            patch(path, access, "Content-Length: 1000000") + b"x",
            patch(path, access, "Transfer-Encoding: chunked") + b"100000\r\nx",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]
        with contextlib.ExitStack() as stack:
            for number, half in enumerate(halves):
                stack.enter_context(many(server.port, half, MANY, f"127.0.0.{10 + number}"))
            headers = {"Authorization": f"Bearer {access}"}
            for _ in range(20):
                assert httpx.get(f"{server.url}/v1/me", headers=headers).status_code == 200
                assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert "Traceback" not in server.log()


def test_half_a_tls_hello_takes_no_thread_and_has_a_deadline(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    port = free_port()
    files = {"tls_certificate_file": str(certificate), "tls_private_key_file": str(key)}
    with tls_serving(tmp_path, port, **files):
        context = ssl.create_default_context(cafile=str(authority.file))
        url = f"https://127.0.0.1:{port}/healthz"
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        with many(port, hello, MANY) as half, many(port, b"", MANY) as silent:
            for _ in range(10):
                assert httpx.get(url, verify=context).status_code == 200
            for one in (half[0], silent[-1]):
                assert is_closed(one)
        with httpx.Client(verify=context) as kept:  # requests of one connection, one after another
            used = {id(kept.get(url).extensions["network_stream"]) for _ in range(50)}
            assert len(used) == 1
        # One that speaks plain HTTP there is told nothing, and does no harm.
        assert ask(port, GET) is None
        body = b"x" * 200_000
        assert httpx.post(f"https://127.0.0.1:{port}/v1/login", content=body, verify=context).status_code in (413, 415)
        assert httpx.get(url, verify=context).status_code == 200


@contextlib.contextmanager
def tls_serving(folder: Path, port: int, **files: str) -> Iterator[None]:
    line = command(folder, port, handshake_timeout_s=1.0, header_timeout_s=1.0, unlimited_addresses=[], **files)
    with (folder / "tls.log").open("w") as log:
        process = subprocess.Popen(line, stderr=log, text=True)
    try:
        deadline = time.monotonic() + 30
        while "user API listens" not in (folder / "tls.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
        assert "Traceback" not in (folder / "tls.log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def test_answers_that_nobody_takes_hold_no_thread_and_end(tmp_path: Path) -> None:
    with small(tmp_path, stall_timeout_s=0.5, min_bytes_per_second=10_000_000) as server:
        access = token(server)
        size = 16 * 1024 * 1024
        path = begun(server, access, size)
        headers = {**TUS, "Authorization": f"Bearer {access}", "Content-Type": "application/offset+octet-stream"}
        sent = httpx.patch(
            server.url + path, headers={**headers, "Upload-Offset": "0"}, content=b"x" * size, timeout=60
        )
        assert sent.status_code == 204
        download = f"GET {path}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access}\r\n\r\n".encode()
        with many(server.port, download, 20) as readers:
            for _ in range(10):
                assert httpx.get(f"{server.url}/v1/me", headers=headers).status_code == 200
            deadline = time.monotonic() + 20
            while refused(server).get("writing_timeout", 0) < 20:
                assert time.monotonic() < deadline, refused(server)
                time.sleep(0.1)
            assert all(map(is_closed, readers))
        assert len(httpx.get(f"{server.url}{path}/content", headers=headers, timeout=60).content) == size


def test_logins_of_further_devices_hold_no_thread(tmp_path: Path) -> None:
    with (
        RunningBroker(sqlite(tmp_path)) as broker,
        small(tmp_path, broker.endpoint, further_device_delay_s=3.0, access_token_lifetime_s=3.0) as server,
        ThreadPoolExecutor(10) as pool,
    ):
        token(server)
        began = time.time()
        logins = [pool.submit(httpx.post, f"{server.url}/v1/login", json=GOOD, timeout=30) for _ in range(10)]
        time.sleep(1)
        assert httpx.get(f"{server.url}/v1/me").status_code == 401
        assert not any(login.done() for login in logins)
        assert {login.result().status_code for login in logins} == {200}
        # What they get is not older for having been held back.
        assert {login.result().json()["expires_in"] for login in logins} <= {2, 3}
        claims = [jwt.decode(login.result().json()["access_token"], options=_LOOK) for login in logins]
        assert all(claim["exp"] > began + 5 for claim in claims)


class _Slow(BaseHTTPRequestHandler):
    """A login hook that answers when it is told to."""

    go = threading.Event()

    def do_POST(self) -> None:
        self.go.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


def test_passwords_have_a_lane_of_their_own_which_says_when_it_is_full(tmp_path: Path) -> None:
    _Slow.go.clear()
    hook = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    hook.daemon_threads = True
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{hook.server_port}/"
    few = {"identity_max_at_once": 2, "max_waiting_passwords": 8}
    try:
        with (
            small(tmp_path, identity="hook", hook_url=url, identity_timeout_s=30.0, **few) as server,
            ThreadPoolExecutor(20) as pool,
        ):
            bodies = [{"user": f"user{number}", "password": "correct horse"} for number in range(20)]
            logins = [pool.submit(httpx.post, f"{server.url}/v1/login", json=body, timeout=30) for body in bodies]
            full = [login for login in logins if _status(login) == 503]
            assert len(full) == 10
            assert {int(login.result().headers["Retry-After"]) for login in full} == {2}
            assert {login.result().json()["code"] for login in full} == {"unavailable"}
            for path, status in (("/v1/me", 401), ("/healthz", 200), ("/readyz", 503)):
                assert httpx.get(server.url + path).status_code == status
            assert refused(server)["passwords_busy"] == 10
            _Slow.go.set()
            assert [login.result().status_code for login in logins].count(200) == 10
    finally:
        _Slow.go.set()
        hook.shutdown()
        hook.server_close()


@pytest.mark.full
def test_a_provider_that_hangs_takes_no_thread_of_others(tmp_path: Path) -> None:
    few = {"identity_max_at_once": 2, "max_waiting_passwords": 2, "identity_timeout_s": 30.0}
    with providing() as provider, ThreadPoolExecutor(20) as pool:
        provider.wait.clear()
        named = {"oidc_issuer": provider.issuer, "oidc_client_id": "sparrow", "password_threads": 1, "threads": 1}
        with small(tmp_path, **few, **named) as server:
            body = {"redirect_uri": "http://127.0.0.1:1/", "code_challenge": "a" * 43}
            starts = [pool.submit(httpx.post, f"{server.url}/v1/oidc/start", json=body, timeout=30) for _ in range(8)]
            assert [_status(start) for start in starts].count(503) == 4
            # Who has a password comes in as always.
            known = {"user": "alice", "password": "correct horse"}
            assert httpx.post(f"{server.url}/v1/accounts", json=known).status_code == 201
            assert httpx.post(f"{server.url}/v1/login", json=known).status_code == 200
            assert httpx.get(f"{server.url}/v1/login").json()["oidc_name"] == "127.0.0.1"
            assert refused(server)["providers_busy"] == 4
            provider.wait.set()
            assert [start.result().status_code for start in starts].count(200) == 4
            # All of them asked the provider once.
            assert provider.asked == ["/realm/.well-known/openid-configuration"]


def _status(login: Any) -> int | None:
    with contextlib.suppress(TimeoutError):
        return int(login.result(timeout=0.5).status_code)
    return None


# They are let go.


def test_deadlines(tmp_path: Path) -> None:
    with small(tmp_path, header_timeout_s=0.5, stall_timeout_s=0.5) as server:
        body = HEAD + b'Content-Length: 100\r\n\r\n{"user": '
        with (
            connect(server.port) as silent,
            connect(server.port) as head,
            connect(server.port) as late,
            connect(server.port) as again,
        ):
            head.sendall(b"GET /v1/me HTTP/1.1\r\n")
            late.sendall(body)
            again.sendall(GET + b"GET")
            assert read(silent) is None
            for one in (head, late):
                reply = read(one)
                assert reply is not None
                assert (reply.status, reply.code) == (408, "request_timeout")
                assert is_closed(one)
            first = read(again)
            assert first is not None
            assert first.status == 200
            assert is_closed(again)
        counted = refused(server)
        assert (counted["head_timeout"], counted["body_timeout"]) == (3, 1)


def test_a_slow_body_is_none_that_stalls(tmp_path: Path) -> None:
    with small(tmp_path, header_timeout_s=1.0, stall_timeout_s=0.5, min_bytes_per_second=20) as server:
        token(server)
        body = json.dumps(GOOD).encode()
        with connect(server.port) as phone:
            phone.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            for byte in body:
                phone.sendall(bytes([byte]))
                time.sleep(0.02)
            reply = read(phone)
        assert reply is not None
        assert reply.status in (200, 503)  # it has no broker, and the device is its second


def test_whoever_has_most_connections_loses_one(tmp_path: Path) -> None:
    with small(tmp_path, max_connections=30, max_connections_of_address=20, header_timeout_s=300.0) as server:
        with many(server.port, b"GET", 20, "127.0.0.2") as mine, many(server.port, b"", 10, "127.0.0.3") as others:
            # Of an address: its own oldest.
            with connect(server.port, "127.0.0.2") as one_more:
                assert 1 <= len(select.select(mine, [], [], 20)[0]) <= 2  # the one that saw it start may be there
                one_more.sendall(GET)
                assert read(one_more) is not None
            # Of all: the oldest of whoever has most, which is not whoever comes.
            for number in range(5):
                reply = ask(server.port, GET, f"127.0.1.{number}")
                assert reply is not None
                assert reply.status == 200
            with connect(server.port, "127.0.2.1") as newcomer:
                newcomer.sendall(GET)
                assert read(newcomer) is not None
            for one in others:
                one.sendall(GET)
                assert read(one) is not None
        assert refused(server)["evicted"] >= 1


def test_who_has_just_come_stays_before_who_waits_for_nothing(tmp_path: Path) -> None:
    """People behind one address, whose browsers keep what they had open, and one more who opens several at once."""
    with small(tmp_path, max_connections_of_address=8) as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            kept = stack.enter_context(connect(server.port, "127.0.0.2"))
            kept.sendall(GET)
            assert read(kept) is not None
        new = [stack.enter_context(connect(server.port, "127.0.0.2")) for _ in range(6)]
        time.sleep(0.2)  # all are in, and nothing is asked yet
        for one in new:
            one.sendall(GET)
        replies = [read(one) for one in new]
        assert [reply.status for reply in replies if reply is not None] == [200] * 6


def test_a_proxy_may_have_as_many_as_it_likes(tmp_path: Path) -> None:
    with (
        small(tmp_path, max_connections_of_address=5, trusted_proxies=["127.0.0.9"]) as server,
        many(server.port, b"", 50, "127.0.0.9") as connections,
    ):
        connections[0].sendall(GET)
        assert read(connections[0]) is not None


def test_without_descriptors_it_takes_fewer_and_says_so_once(tmp_path: Path) -> None:
    """It keeps some for the store, and goes on with those that it has."""
    port = free_port()
    line = command(tmp_path, port, unlimited_addresses=[], trusted_proxies=[], max_connections_of_address=1000)
    with (tmp_path / "log").open("w") as log:
        limited = ["prlimit", "--nofile=120:120", *line]
        process = subprocess.Popen(limited, stderr=log, text=True, start_new_session=True)
    try:
        wait_until_up(port)
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(connect(port))
            for _ in range(5):
                reply = ask(port, GET, "127.0.0.2")
                assert reply is not None
                assert reply.status == 200
        said = (tmp_path / "log").read_text()
        assert said.count("does not fit the limit of 120 open files: 56 it is") == 1
        assert "Traceback" not in said
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


# What they are told.


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with small(tmp_path_factory.mktemp("shared"), file_piece_bytes=4096) as server:
        yield server


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/me\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/me HTTP/2.0\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/me HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/me HTTP/1.1\r\nHost: x\r\nBad name: y\r\n\r\n", 400, "bad_request"),
        (b"GET v1/me HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Content-Length: x\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, "bad_request"),
        (HEAD + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400, "bad_request"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx", 400, "bad_request"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", 413, "request_entity_too_large"),
        (HEAD + b"Content-Length: " + b"9" * 15 + b"\r\n\r\n", 413, "request_entity_too_large"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2000\r\n" + b"x" * 8192 + b"\r\n2001\r\n" + b"x" * 8193, 413,
         "request_entity_too_large"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
        (b"GET /" + b"x" * 100_000, 414, "uri_too_long"),
        (HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417, "expectation_failed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431, "request_header_fields_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000, 431, "request_header_fields_too_large"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
        (b"GET /nothing HTTP/1.0\r\n\r\n", 404, "not_found"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"),
        (b"GET http://x:1/v1/me HTTP/1.1\r\nHost: x\r\n\r\n", 401, "no_token"),
        (b"PUT /v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    ],
)  # fmt: skip
def test_every_error_is_a_problem(shared: Server, data: bytes, status: int, code: str) -> None:
    reply = ask(shared.port, data)
    assert reply is not None
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "Traceback" not in shared.log()


def test_nonsense_is_counted_and_writes_no_log(shared: Server) -> None:
    before, size = refused(shared).get("malformed", 0), len(shared.log())
    for number in range(100):
        assert ask(shared.port, os.urandom(100) + b"\r\n\r\n" if number % 2 else HEAD + b"A: \x00\r\n\r\n") is not None
    assert refused(shared)["malformed"] == before + 100
    assert len(shared.log()) == size


def test_one_connection_after_another_request(shared: Server) -> None:
    with connect(shared.port) as one:
        one.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + GET + GET)  # at once
        answers = b""
        while answers.count(b"200 OK") < 3 or answers.count(b'"openapi"') < 2 or not answers.endswith(b"}"):
            answers += one.recv(65536)
        one.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        while not answers.endswith(b"HTTP/1.1 100 \r\n\r\n"):
            answers += one.recv(65536)
        one.sendall(b"{}")
        reply = read(one)
        assert reply is not None
        assert (reply.status, reply.code, reply.headers["connection"]) == (400, "missing_field", "close")
        assert is_closed(one)


def test_who_closes_half_the_connection_gets_the_answer(shared: Server) -> None:
    with connect(shared.port) as one:
        one.sendall(GET)
        one.shutdown(socket.SHUT_WR)
        reply = read(one)
        assert reply is not None
        assert reply.status == 200
        assert is_closed(one)
    with connect(shared.port) as one:
        one.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
        one.shutdown(socket.SHUT_WR)
        assert is_closed(one)


def test_a_header_with_an_underscore_is_not_the_one_with_a_hyphen(tmp_path: Path) -> None:
    with small(tmp_path, trusted_proxies=["127.0.0.1"]) as server:
        body = json.dumps({**GOOD, "password": "wrong horse"}).encode()
        heads = (b"X_Forwarded_For: 192.0.2.1\r\n", b"X-Forwarded-For: 192.0.2.2\r\n")
        for line in heads:
            assert ask(server.port, HEAD + line + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) is not None
        assert "192.0.2.1" not in server.log()


# Uploads.


def test_an_upload_that_breaks_keeps_what_came(shared: Server) -> None:
    access = token(shared)
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    for lines, data, kept, told in (
        (["Transfer-Encoding: chunked"], chunk + b"1000\r\n" + b"x" * 1000, 0x2000 + 1000, None),
        (["Transfer-Encoding: chunked"], chunk + b"nonsense\r\n", 0x2000, 400),
        (["Content-Length: 20000"], b"x" * 10_001, 10_001, None),
        (["Content-Length: 20000"], b"x" * 12_288, 12_288, None),
    ):
        path = begun(shared, access, 20_000)
        with connect(shared.port) as one:
            one.sendall(patch(path, access, *lines) + data)
            if told:
                reply = read(one)
                assert reply is not None
                assert (reply.status, reply.code) == (told, "bad_request")
        deadline = time.monotonic() + 10
        while length(shared, path, access) != kept:
            assert time.monotonic() < deadline, (lines, length(shared, path, access))
            time.sleep(0.05)
        # And it goes on from there.
        rest = 20_000 - kept
        reply = ask(shared.port, patch(path, access, f"Content-Length: {rest}", offset=kept) + b"x" * rest)
        assert reply is not None
        assert (reply.status, reply.headers["upload-offset"]) == (204, "20000")


@pytest.mark.parametrize("size", [100, 4096, 4097, 20_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_an_upload_that_is_too_long_is_refused_and_not_complete(shared: Server, size: int, chunked: bool) -> None:
    access = token(shared)
    for more in (1, 5000):
        path = begun(shared, access, size)
        data = b"x" * (size + more)
        if chunked:
            sent = patch(path, access, "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        else:
            sent = patch(path, access, f"Content-Length: {len(data)}") + data
        reply = ask(shared.port, sent)
        assert reply is not None
        assert (reply.status, reply.code) == (413, "file_too_large")
        assert length(shared, path, access) < size
        reply = ask(shared.port, patch(path, access, "Transfer-Encoding: chunked", offset=0) + b"0\r\n\r\n")
        assert reply is not None
        assert reply.status in (204, 409)


def test_a_hundred_readers_of_64_characters_fit(shared: Server) -> None:
    access = token(shared)
    readers = ",".join(f"{number:064}" for number in range(100))
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}"
        for name, value in (("filename", "ä" * 255), ("filetype", "text/plain"), ("readers", readers))
    )
    headers = {**TUS, "Authorization": f"Bearer {access}", "Upload-Length": "5", "Upload-Metadata": metadata}
    answer = httpx.post(f"{shared.url}/v1/files", headers=headers)
    assert answer.status_code == 201, answer.text


def test_administration_has_a_door_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with small(tmp_path, admin_listen_port=port, max_connections=20) as server, many(server.port, b"GET", 20):
        assert httpx.get(f"http://127.0.0.1:{port}/v1/admin/counts", headers=headers).status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        for path in ("/v1/admin/counts", "//v1/admin/counts", "http://x/v1/admin/counts", "/v1/%61dmin/counts"):
            lines = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
            reply = ask(server.port, lines.encode())
            assert reply is not None
            assert (reply.status, reply.code) == (404, "not_found")
        assert httpx.get(f"http://127.0.0.1:{port}/v1/me").status_code == 404


def test_an_upload_counts_as_one_request(tmp_path: Path) -> None:
    with small(tmp_path, file_piece_bytes=1024, max_requests_per_second_of_account=3) as server:
        access = token(server)
        path = begun(server, access, 100_000)
        reply = ask(server.port, patch(path, access, "Content-Length: 100000") + b"x" * 100_000)
        assert reply is not None
        assert (reply.status, reply.headers["upload-offset"]) == (204, "100000")
        text = httpx.get(f"{server.url}/v1/admin/metrics", headers={"Authorization": f"Bearer {ADMIN}"}).text
        assert 'requests_total{operation="upload",status="2xx"} 1.0' in text
        # Who may not upload is told after a piece, not after all.
        with connect(server.port) as one:
            one.sendall(patch(path, "nonsense", "Content-Length: 100000000") + b"x" * 2000)
            refusal = read(one)
            assert refusal is not None
            assert (refusal.status, refusal.code) == (401, "invalid_token")


# The end.


def test_an_orphan_leaves_the_port_at_once(tmp_path: Path) -> None:
    with small(tmp_path, stop_timeout_s=30.0) as server, many(server.port, HEAD + b"Content-Length: 9\r\n\r\n{", 5):
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(server.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", server.port))
                    break
            assert time.monotonic() < deadline, "the port is held"
            time.sleep(0.1)
        for child in children:
            os.kill(int(child), signal.SIGKILL)
