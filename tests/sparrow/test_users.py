"""`sparrow user`, against a node over TLS, whose certificate is for another name than the one it is asked by."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from client.credentials import DEVICE
from client.journal import SqliteJournal
from protocol.errors import ConfigError, MisuseError, UnreachableError, WrongCodeError, WrongPasswordError
from protocol.sparrow_pb2 import Goodbye
from sparrow.chat.account import SignIn, SignInOptions, Terminal
from sparrow.cli import ERROR, main
from sparrow.ops import users
from sparrow.ops.administration import Administration, address_of
from tests.certificates import Authority
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node
from tests.sparrow.test_ended_logins import Chat
from userapi.settings import UserApiSettings

TOKEN = "0123456789abcdef" * 4
NEW = "battery staple"
CODE = re.compile(r"^  ([a-z2-7-]{32})$", re.MULTILINE)
Sparrow = Callable[..., str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    (folder / "admin").write_text(TOKEN)
    (folder / "admin").chmod(0o600)
    certificate, key = authority.issue("localhost", host="localhost")
    made = Node(
        folder,
        userapi__admin_token_file=folder / "admin",
        userapi__tls_certificate_file=certificate,
        userapi__tls_private_key_file=key,
        userapi__registration="invitation",
        userapi__page_url="https://chat.example.net/",
    ).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


@pytest.fixture
def sparrow(node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sparrow:
    """Runs `sparrow user …`; returns what it prints."""
    for name, value in node.environment.items():
        if name.startswith("SPARROW_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(node.folder)

    def run(*arguments: str, status: int = 0) -> str:
        found = main(["user", *arguments])
        said = capsys.readouterr()
        assert found == status, said
        return said.out if status == 0 else said.out + said.err

    return run


def code_in(text: str) -> str:
    """The one that stands alone in a line, and in a link."""
    found = CODE.search(text)
    assert found is not None, text
    assert re.search(rf"^  https://chat.example.net/#(invite=|reset=[a-z]+:){found[1]}$", text, re.MULTILINE), text
    return found[1]


def ask(node: Node, path: str, **body: str) -> httpx.Response:
    return httpx.post(f"{node.api}{path}", json=body, trust_env=False, verify=False)


def test_the_days_of_an_account(node: Node, sparrow: Sparrow) -> None:
    code = code_in(sparrow("add", "alice"))
    reset = {"user": "alice", "code": code, "new_password": PASSWORD}
    assert ask(node, "/v1/password-reset", **reset).status_code == 204
    tokens = ask(node, "/v1/login", user="alice", password=PASSWORD, label="phone").json()
    chat = Chat(node, tokens)
    assert chat.first.HasField("logged_in")
    shown = sparrow("show", "alice")
    assert tokens["device"] in shown
    assert "logged in" in shown
    # She has lost it: all of hers ends when the code is used, and no moment before.
    code = code_in(sparrow("password", "alice"))
    assert "open for a new password" in sparrow("show", "alice")
    assert ask(node, "/v1/password-reset", **(reset | {"code": code, "new_password": NEW})).status_code == 204
    assert chat.ended() == Goodbye.LOGGED_OUT
    assert ask(node, "/v1/login", user="alice", password=PASSWORD).status_code == 401
    again = {"user": "alice", "password": NEW, "device": tokens["device"]}
    assert ask(node, "/v1/login", **again).status_code == 200
    sparrow("disable", "alice")
    assert ask(node, "/v1/login", **again).json()["code"] == "account_disabled"
    assert "sparrow user enable alice" in sparrow("password", "alice", status=ERROR)
    sparrow("enable", "alice")
    tokens = ask(node, "/v1/login", **again).json()
    sparrow("logout", "alice")
    assert ask(node, "/v1/token", refresh_token=tokens["refresh_token"]).status_code == 401
    assert "nothing was removed" in sparrow("remove", "alice", status=1)
    sparrow("remove", "alice", "--yes")
    sparrow("remove", "alice", "--yes")  # once more is no error
    assert "no such user" in sparrow("show", "alice", status=ERROR)
    log = node.log
    assert "event=password_reset" in log
    assert "event=account_deleted user=alice by=(administrator)" in log.replace('"', "")
    assert code not in log
    assert TOKEN not in log


def test_lists(node: Node, sparrow: Sparrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_AT_ONCE", 2)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    long = "a-name-that-is-as-long-as-they-come." + "x" * 28
    for user in ("listed1", "listed2", long):
        sparrow("add", user, "--password-file", str(tmp_path / "password"))
    rows = sparrow("list").splitlines()
    assert [row.split("  ")[0] for row in rows].count("user") == 1
    assert {"listed1", "listed2", long} <= {row.split()[0] for row in rows[1:]}
    assert all(re.search(r"[^ ]  +[^ ]", row) for row in rows)
    found = [json.loads(row) for row in sparrow("list", "--prefix", "listed", "--json").splitlines()]
    assert [one["user"] for one in found] == ["listed1", "listed2"]
    assert json.loads(sparrow("show", "listed1", "--json"))["user"] == "listed1"
    assert "taken" in sparrow("add", "listed1", status=ERROR)
    assert "64" in sparrow("show", "Not a user", status=ERROR)
    assert "prefix" in sparrow("list", "--prefix", "l", status=ERROR)
    assert "password" in sparrow("add", "listed3", "--password-file", str(tmp_path), status=ERROR)


class Scripted(Terminal):
    """Somebody who answers so."""

    def __init__(self, *answers: str) -> None:
        self.interactive = True
        self.asked: list[str] = []
        self._answers = list(answers)

    def say(self, text: str) -> None:
        self.asked.append(text)

    def password(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self._answers.pop(0)


def test_invitations_and_the_chat(node: Node, sparrow: Sparrow, authority: Authority, tmp_path: Path) -> None:
    made = sparrow("invite", "--note", "the choir", "--uses", "2", "--hours", "2")
    code, invitation = code_in(made), made.split()[1].rstrip(":")
    api = f"https://localhost:{node.api_port}"

    def signs_in(user: str, *answers: str, given: str = "") -> Scripted:
        terminal = Scripted(*answers)
        options = SignInOptions(user, api, tmp_path / user, PASSWORD, True, Path(authority.file), given)
        SignIn(options, terminal).run()
        return terminal

    assert "The code of your invitation: " in signs_in("bob", code).asked
    assert not any("invitation" in one for one in signs_in("carol", given=code).asked)
    with contextlib.closing(SqliteJournal(tmp_path / "bob")) as journal:
        assert journal.value(DEVICE)
    with pytest.raises(WrongPasswordError, match="wrong, was used or has ended"):
        signs_in("dave", code)
    assert "by the invitation" in sparrow("show", "bob")
    # Bob has lost his password.
    options = SignInOptions("bob", api, tmp_path / "bob", None, False, Path(authority.file), reset=True)
    reset = code_in(sparrow("password", "bob"))
    with pytest.raises(MisuseError, match="differ"):
        SignIn(options, Scripted(reset, NEW, PASSWORD)).run()
    with pytest.raises(WrongCodeError):
        SignIn(options, Scripted(code, NEW, NEW)).run()
    SignIn(options, Scripted(reset.upper(), NEW, NEW)).run()
    assert ask(node, "/v1/login", user="bob", password=NEW, device="no-such").json()["code"] == "no_such_device"
    listed = sparrow("invite", "--list")
    assert re.search(rf"^{invitation} +2/2 .* the choir +bob carol$", listed, re.MULTILINE), listed
    sparrow("invite", "--withdraw", invitation)
    assert "no such invitation" in sparrow("invite", "--withdraw", invitation, status=ERROR)
    assert invitation not in sparrow("invite", "--list", "--json")
    assert "uses" in sparrow("invite", "--uses", "0", status=ERROR)
    assert "--note" in sparrow("invite", "--note", "two\nlines", status=ERROR)


def test_where_there_is_no_administration(node: Node, sparrow: Sparrow, monkeypatch: pytest.MonkeyPatch) -> None:
    other = node.folder / "other"
    other.write_text("f" * 64)
    other.chmod(0o600)
    with monkeypatch.context() as changed:
        changed.setenv("SPARROW_USERAPI__ADMIN_TOKEN_FILE", "")
        assert "openssl rand -hex 32" in sparrow("list", status=ERROR)
        changed.setenv("SPARROW_USERAPI__ADMIN_TOKEN_FILE", str(other))
        assert "takes another administrator's token" in sparrow("list", status=ERROR)
    with monkeypatch.context() as changed:
        changed.setenv("SPARROW_USERAPI__LISTEN_PORT", str(free_port()))
        assert "is the node, or the user API, up?" in sparrow("list", status=ERROR)
    assert "everybody on the way" in sparrow("--api", "http://chat.example.net", "list", status=ERROR)
    assert "--ca is for --api" in sparrow("--ca", str(other), "list", status=ERROR)


def test_no_other_certificate_is_believed(node: Node, tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "admin").write_text(TOKEN)
    (tmp_path / "admin").chmod(0o600)
    certificate, _ = authority.issue("other", host="localhost")  # of the same authority
    settings = UserApiSettings(
        listen_port=node.api_port,
        admin_token_file=str(tmp_path / "admin"),
        tls_certificate_file=str(certificate),
    )
    with pytest.raises(Exception, match="not trusted") as found:
        Administration(settings).ask("GET", "/v1/admin/accounts")
    assert not isinstance(found.value, UnreachableError)
    (tmp_path / "none.pem").write_text("no certificate")
    wrong = UserApiSettings(admin_token_file=str(tmp_path / "admin"), tls_certificate_file=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="no certificate is in it"):
        Administration(wrong)
    by_name = Administration(settings, f"https://localhost:{node.api_port}", Path(authority.file))
    assert by_name.ask("GET", "/v1/admin/accounts")["accounts"] is not None
    with pytest.raises(MisuseError, match="such administration"):
        by_name.ask("GET", "/v1/admin/not-yet")


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (UserApiSettings(), "http://127.0.0.1:7480"),
        (UserApiSettings(listen_host="0.0.0.0"), "http://127.0.0.1:7480"),
        (UserApiSettings(listen_host="::", tls_certificate_file="x"), "https://[::1]:7480"),
        (UserApiSettings(listen_host="10.0.0.1", admin_listen_port=7481), "http://127.0.0.1:7481"),
    ],
)
def test_where_it_is_sought(settings: UserApiSettings, address: str) -> None:
    assert address_of(settings) == address


def test_who_at_a_provider_an_account_is_of(node: Node, sparrow: Sparrow) -> None:
    issuer = "https://id.example.net"
    sparrow("add", "olga")
    sparrow("add", "oleg")
    assert "OpenID provider" in sparrow("link", "olga", "4711", status=ERROR)  # here is none
    sparrow("link", "olga", "4711", "--issuer", issuer)
    assert f"subject:   4711 of {issuer}" in sparrow("show", "olga")
    assert '"olga"' in sparrow("link", "oleg", "4711", "--issuer", issuer, status=ERROR)
    assert "sparrow user logout olga" in sparrow("unlink", "olga", "4711", "--issuer", issuer)
    assert "does not lead" in sparrow("unlink", "olga", "4711", "--issuer", issuer, status=ERROR)
    assert "subject:" not in sparrow("show", "olga")
