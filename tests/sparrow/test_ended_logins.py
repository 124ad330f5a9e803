"""What ends a login ends it everywhere: over HTTP and on the chat connection of a running node."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame, Goodbye, Login
from store import StoreSettings, open_store
from store.codes import ResetCode
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

WITHIN_S = 10.0
"""Far more than it takes, on a machine that does much else."""


class Person:
    """An account, and its tokens of one device."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = f"alice-{secrets.token_hex(4)}"
        node.register(self.name)
        self.http = httpx.Client(base_url=node.api, trust_env=False, timeout=30)

    def log_in(self, **more: str) -> dict[str, Any]:
        body = {"user": self.name, "password": PASSWORD, **more}
        answer = self.http.post("/v1/login", json=body)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def ask(self, tokens: dict[str, Any], method: str, path: str, **more: Any) -> httpx.Response:
        return self.http.request(method, path, headers={"Authorization": f"Bearer {tokens['access_token']}"}, **more)


class Chat:
    """A session, from the client's side."""

    def __init__(self, node: Node, tokens: dict[str, Any], understands: Sequence[str] = ()) -> None:
        self.socket = socket.create_connection(("127.0.0.1", node.port), timeout=WITHIN_S)
        login = Login(token=tokens["access_token"], understands=understands)
        self.socket.sendall(delimit(Frame(login=login).SerializeToString()))
        self._reader = FrameReader(1 << 20)
        self.first = self.next()

    def next(self) -> Frame:
        while data := self.socket.recv(65536):
            for payload in self._reader.receive(data):
                frame = Frame.FromString(payload)
                if frame.WhichOneof("kind") in ("logged_in", "goodbye"):
                    return frame
        raise AssertionError("the connection has ended without a word")

    def ended(self) -> int:
        """The code of its Goodbye."""
        frame = self.next()
        self.socket.close()
        return frame.goodbye.code


def password(person: Person, tokens: dict[str, Any]) -> None:
    other = person.log_in()
    body = {"old_password": PASSWORD, "new_password": "battery staple"}
    assert person.ask(other, "PUT", "/v1/me/password", json=body).status_code == 204


def logout(person: Person, tokens: dict[str, Any]) -> None:
    assert person.ask(tokens, "DELETE", "/v1/me/login").status_code == 204


def stolen(person: Person, tokens: dict[str, Any]) -> None:
    token = tokens["refresh_token"]
    for _ in range(2):
        token = person.http.post("/v1/token", json={"refresh_token": token}).json()["refresh_token"]
    assert person.http.post("/v1/token", json={"refresh_token": tokens["refresh_token"]}).status_code == 401


def anew(person: Person, tokens: dict[str, Any]) -> None:
    person.log_in(device=tokens["device"])


@pytest.mark.parametrize("what", [logout, password, stolen, anew])
def test_its_session_ends_and_none_begins_with_its_token(node: Node, what: Any) -> None:
    person = Person(node)
    tokens = person.log_in()
    chat = Chat(node, tokens)
    assert chat.first.HasField("logged_in")
    what(person, tokens)
    assert chat.ended() == Goodbye.LOGGED_OUT
    again = Chat(node, tokens)
    assert again.first.goodbye.code == Goodbye.LOGGED_OUT
    again.socket.close()
    assert person.ask(tokens, "GET", "/v1/me").status_code == 401
    person.http.close()


def test_the_new_login_of_a_device_goes_on(node: Node) -> None:
    person = Person(node)
    before = person.log_in()
    after = person.log_in(device=before["device"])
    chat = Chat(node, after)
    assert chat.first.HasField("logged_in")
    time.sleep(1.5)  # whatever is repeated
    old = Chat(node, before)
    assert old.first.goodbye.code == Goodbye.LOGGED_OUT
    old.socket.close()
    # Another login of it would be told so.
    chat.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        chat.next()
    chat.socket.close()
    person.http.close()


def test_a_removed_device_is_told_so(node: Node) -> None:
    person = Person(node)
    tokens = person.log_in()
    chat = Chat(node, tokens)
    assert person.ask(tokens, "DELETE", f"/v1/me/devices/{tokens['device']}").status_code == 204
    assert chat.ended() == Goodbye.DEVICE_REMOVED
    person.http.close()


# By the operator.


def sparrow(node: Node, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "sparrow.cli", *arguments]
    return subprocess.run(
        command, cwd=node.folder, env=node.environment | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("whose", ["one", "all"])
def test_the_operator_ends_logins(node: Node, whose: str) -> None:
    person, other = Person(node), Person(node)
    tokens, others = person.log_in(), other.log_in()
    chat = Chat(node, tokens)
    done = sparrow(node, "end-logins", "--all" if whose == "all" else person.name)
    assert done.returncode == 0, done.stderr
    assert "ended: all logins of" in done.stdout
    assert f"event=logins_ended user={person.name} by=(administrator)" in done.stderr.replace('"', "")
    assert chat.ended() == Goodbye.LOGGED_OUT
    assert person.ask(tokens, "GET", "/v1/me").status_code == 401
    assert other.ask(others, "GET", "/v1/me").status_code == (401 if whose == "all" else 200)
    again = person.log_in(device=tokens["device"])
    assert person.ask(again, "GET", "/v1/me").status_code == 200
    person.http.close()
    other.http.close()


def test_the_operator_is_told_what_cannot_be_done(tmp_path: Path) -> None:
    node = Node(tmp_path)  # which is not started
    settings = StoreSettings(path=str(tmp_path / "var" / "sparrow.db"))

    async def make() -> None:
        async with open_store(settings) as store:
            for user in ("alice", "bob"):
                await store.create_account(user, "hash")
                await store.add_device(user, "d1", "")
                await store.begin_login(user, "d1", f"{user}'s login")
                await store.codes.put_reset_code(user, ResetCode("ab" * 32, 2**50))

    async def codes() -> list[bool]:
        """Who has one that is good."""
        async with open_store(settings) as store:
            found = [await store.codes.reset_code(user) for user in ("alice", "bob")]
            return [code is not None and not code.used for code in found]

    async def logins() -> list[str]:
        async with open_store(settings) as store:
            return [kept.id for user in ("alice", "bob") if (kept := await store.login(user, "d1")) is not None]

    asyncio.run(make())
    for arguments in ((), ("alice", "--all")):
        assert "name one user, or --all" in sparrow(node, "end-logins", *arguments).stderr
    assert 'there is no user "nobody-there"' in sparrow(node, "end-logins", "nobody-there").stderr
    assert asyncio.run(logins()) == ["alice's login", "bob's login"]
    away = f"tcp://127.0.0.1:{free_port()}"
    for whose, left in (("alice", ["", "bob's login"]), ("--all", ["", ""])):
        done = sparrow(node, "end-logins", whose, SPARROW_USERAPI__BROKERS=away)
        assert done.returncode == 1
        assert "no broker could be told" in done.stderr
        assert asyncio.run(logins()) == left
        assert asyncio.run(codes()) == [whose == "alice"] * 2  # all of them end, as after a restore


def test_a_disabled_account_keeps_its_devices(tmp_path: Path) -> None:
    token = tmp_path / "admin"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    node = Node(tmp_path, userapi__admin_token_file=token).start()
    try:
        person = Person(node)
        tokens = person.log_in()
        for understands, expected in (((), Goodbye.LOGGED_OUT), (("disabled",), Goodbye.ACCOUNT_DISABLED)):
            chat = Chat(node, tokens, understands)
            assert chat.first.HasField("logged_in")
            admin = {"headers": {"Authorization": f"Bearer {token.read_text()}"}}
            path = f"/v1/admin/accounts/{person.name}"
            assert person.http.post(f"{path}/disable", **admin).status_code == 204
            assert chat.ended() == expected
            refused = Chat(node, tokens, understands)
            assert refused.first.goodbye.code == expected
            refused.socket.close()
            assert person.http.post(f"{path}/enable", **admin).status_code == 204
        chat = Chat(node, tokens)
        assert person.http.post(f"{path}/end-logins", **admin).status_code == 204
        assert chat.ended() == Goodbye.LOGGED_OUT
        person.http.close()
    finally:
        assert node.stop() == 0
