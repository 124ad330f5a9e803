"""Another user system, as endpoints use it: the HTTP hook and entry points, accounts that begin by themselves."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from protocol.errors import ConfigError, UnavailableError
from tests.certificates import Authority
from tests.userapi.conftest import Api, settings_in
from tests.userapi.test_accounts import problem
from userapi.app import create_app
from userapi.identity import Identity, choosing, open_identity

GOOD = {"user": "alice", "password": "correct horse"}


class Hook:
    """Somebody's user system."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str | None]] = []
        """(body, Authorization)"""
        self.status = 0
        """Answered whatever is asked, if it is set."""
        self.wait = threading.Event()
        self.wait.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked.append((body, self.headers["Authorization"]))
                hook.wait.wait(30)
                self.send_response(hook.status or (200 if body == GOOD else 401))
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Hook]:
    made = Hook()
    if context is not None:
        made.server.socket = context.wrap_socket(made.server.socket, server_side=True)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.wait.set()
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@contextmanager
def asking(folder: Path, hook: Hook, scheme: str = "http", **changes: object) -> Iterator[Identity]:
    values = {"identity": "hook", "hook_url": f"{scheme}://127.0.0.1:{hook.port}/login", **changes}
    made = open_identity(settings_in(folder, **values))
    assert made is not None
    yield made
    made.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with serving() as made:
        yield made


@pytest.fixture
def there(api: Api, hook: Hook, tmp_path: Path) -> Iterator[Api]:
    """An API whose passwords are the hook's."""
    with asking(tmp_path, hook) as identity:
        app = create_app(api.settings, api.bridge, api.fabric, clock=lambda: api.now, identity=identity)
        api.client = app.test_client()
        yield api


def test_the_hook(hook: Hook, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("its secret\n")
    secret.chmod(0o600)
    with asking(tmp_path, hook, hook_secret_file=str(secret)) as asked:
        assert asked.check("alice", "correct horse")
        assert hook.asked == [(GOOD, "Bearer its secret")]
        assert not asked.check("alice", "wrong")
        for status in (401, 403):
            hook.status = status
            assert not asked.check("alice", "correct horse")
        for status in (201, 204, 302, 404, 429, 500, 503):
            hook.status = status
            with pytest.raises(UnavailableError, match=f"answers {status}"):
                asked.check("alice", "correct horse")
    with asking(tmp_path, hook, identity_timeout_s=0.3) as asked:
        hook.wait.clear()
        with pytest.raises(UnavailableError, match="Timeout"):
            asked.check("alice", "correct horse")


def test_the_hook_over_https(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "keys"), Authority(tmp_path / "other", "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    with serving(context) as hook:
        with asking(tmp_path, hook, "https", hook_ca_file=str(authority.file)) as asked:
            assert asked.check("alice", "correct horse")
        strange = asking(tmp_path, hook, "https", hook_ca_file=str(stranger.file))
        with strange as asked, pytest.raises(UnavailableError, match="certificate"):
            asked.check("alice", "correct horse")


def test_an_account_begins_with_its_first_login(there: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "sparrow.audit"):
        first = there.client.post("/v1/login", json=GOOD)
    assert first.status_code == 200
    assert "event=account_created user=alice" in caplog.text
    kept = there.bridge.call(there.bridge.store.account, "alice")
    assert kept is not None
    assert kept.password_hash == ""
    device = first.json["device"]  # type: ignore[index]
    again = there.client.post("/v1/login", json={**GOOD, "device": device})
    assert again.json["device"] == device  # type: ignore[index]
    # Were the passwords ours again, nobody could log in with anything.
    ours = create_app(there.settings, there.bridge, there.fabric).test_client()
    for password in ("correct horse", ""):
        problem(ours.post("/v1/login", json={**GOOD, "password": password}), 401, "wrong_credentials")


def test_no(there: Api, hook: Hook) -> None:
    problem(there.client.post("/v1/login", json={**GOOD, "password": "wrong"}), 401, "wrong_credentials")
    asked = len(hook.asked)
    for changes in ({"user": "Alice"}, {"user": "alice "}, {"user": "a/b"}, {"password": ""}):
        problem(there.client.post("/v1/login", json={**GOOD, **changes}), 401, "wrong_credentials")
    assert len(hook.asked) == asked
    assert there.bridge.call(there.bridge.store.account, "alice") is None
    problem(there.client.post("/v1/accounts", json=GOOD), 403, "passwords_elsewhere")


def test_away(there: Api, hook: Hook) -> None:
    hook.status = 500
    answer = there.client.post("/v1/login", json=GOOD)
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert there.client.get("/healthz").status_code == 200
    hook.status = 0
    assert there.client.post("/v1/login", json=GOOD).status_code == 200


def test_its_outage_hurts_nobody_who_is_logged_in(there: Api, hook: Hook) -> None:
    tokens = there.log_in()
    hook.status = 500
    for path, body in (("/v1/login", GOOD), ("/v1/me/deletion", {"password": GOOD["password"]})):
        answer = there.ask(tokens, "POST", path, json=body)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert there.ask(tokens, "GET", "/v1/me").status_code == 200
    refreshed = there.client.post("/v1/token", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 200
    assert there.ask(refreshed.json, "DELETE", "/v1/me/login").status_code == 204


def test_an_account_ends_with_the_password_that_another_system_keeps(there: Api, hook: Hook) -> None:
    tokens = there.log_in()
    for password in ("wrong horse", ""):
        answer = there.ask(tokens, "POST", "/v1/me/deletion", json={"password": password})
        problem(answer, 403, "wrong_password")
    assert there.ask(tokens, "POST", "/v1/me/deletion", json={"password": "correct horse"}).status_code == 204
    asked = len(hook.asked)
    assert there.ask(tokens, "POST", "/v1/me/deletion", json={"password": "correct horse"}).status_code == 204
    assert len(hook.asked) == asked
    # The other system knows them still, but the name is nobody's any more.
    problem(there.client.post("/v1/login", json=GOOD), 401, "wrong_credentials")


def test_a_slow_one_does_not_take_all_threads(there: Api, hook: Hook) -> None:
    hook.wait.clear()
    app = there.client.application
    answers: list[int] = []

    def log_in() -> None:
        answers.append(app.test_client().post("/v1/login", json=GOOD).status_code)

    threads = [threading.Thread(target=log_in) for _ in range(there.settings.identity_max_at_once)]
    for thread in threads:
        thread.start()
    deadline = threading.Event()
    for _ in range(600):
        if len(hook.asked) == len(threads):
            break
        deadline.wait(0.05)
    assert len(hook.asked) == len(threads)
    problem(there.client.post("/v1/login", json=GOOD), 503, "unavailable")
    hook.wait.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * len(threads)


class Example:
    """Of whoever installs it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def check(self, user: str, password: str) -> bool:
        return (user, password) == ("alice", self.file)

    def close(self) -> None:
        pass


def _fails(file: str) -> Identity:
    raise RuntimeError(f"no {file}")


def _refuses(file: str) -> Identity:
    raise ConfigError(f"{file}: this is wrong")


NOTHING = str


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        EntryPoint(name, f"{__name__}:{value}", choosing.GROUP)
        for name, value in (
            ("example", "Example"),
            ("fails", "_fails"),
            ("refuses", "_refuses"),
            ("nothing", "NOTHING"),
            ("absent", "Absent"),
        )
    )
    monkeypatch.setattr(choosing, "entry_points", lambda group: points.select(group=group))

    def opened(name: str) -> Identity | None:
        return open_identity(settings_in(tmp_path, identity=name, identity_file="its file"))

    made = opened("example")
    assert made is not None
    assert made.check("alice", "its file")
    for name, text in (
        ("else", 'no such entry point .* known are: "own", "ldap", "hook", "absent", "example"'),
        ("fails", "could not be loaded .RuntimeError: no its file"),
        ("refuses", "its file: this is wrong"),
        ("nothing", "has no method check"),
        ("absent", "could not be loaded .AttributeError"),
    ):
        with pytest.raises(ConfigError, match=text):
            opened(name)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hook_url": ""}, "hook_url"),
        ({"hook_url": "ftp://host/"}, "hook_url"),
        ({"hook_ca_file": "nothing.pem"}, "hook_ca_file"),
        ({"hook_secret_file": "nothing"}, "hook_secret_file: nothing"),
    ],
)
def test_settings(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    values = {"identity": "hook", "hook_url": "https://host/login", **changes}
    with pytest.raises(ConfigError, match=text):
        open_identity(settings_in(tmp_path, **values))


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [(b"secret", 0o644, "chmod 600"), (b"\nsecret", 0o600, "is empty"), (b"\xff", 0o600, "UTF-8")],
)
def test_secrets(tmp_path: Path, content: bytes, mode: int, text: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(mode)
    with pytest.raises(ConfigError, match=text):
        open_identity(settings_in(tmp_path, identity="hook", hook_url="https://host", hook_secret_file=str(secret)))
