"""What the client library refuses at the call, and what of its surroundings does not end it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

from client import FILE, TEXT, Client, ClosedError, ReplacedError, UnreachableError, UserApi
from client.core import ClientCore
from protocol.errors import ConfigError, InvalidIdError, MisuseError
from protocol.sparrow_pb2 import Goodbye, Login
from tests.client.test_client_dialogue import options, polite, silent, talking, until
from tests.sparrow.serving import FakeServer

HALF = "secret \udc80 word"


@pytest.mark.parametrize("argument", ["password", "token", "label", "name"])
def test_half_a_pair_is_told_at_the_call(argument: str) -> None:
    values: dict[str, Any] = {"password": "x", argument: HALF}
    with pytest.raises(MisuseError, match="half a surrogate pair") as caught:
        Client("alice", **values)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("user", [None, 7, b"alice", "al\udc80ice", "alice\n"])
def test_what_is_no_user(user: Any) -> None:
    with pytest.raises(InvalidIdError):
        Client(user, password="x")


async def test_a_password_is_in_no_error() -> None:
    api = UserApi("http://127.0.0.1:1")
    for call in (
        api.login("alice", HALF),
        api.register("alice", HALF),
        api.refresh(HALF),
        api.login("alice", "x", HALF),
    ):
        with pytest.raises(MisuseError) as caught:
            await call
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret" not in repr(error)
            error = error.__cause__ or error.__context__


async def test_text_of_requests() -> None:
    async with talking() as (alice, _):
        for call in (
            alice.change_password("x", HALF),
            alice.profiles.search(HALF),
            alice.profiles.change(display_name=HALF),
            alice.devices.remove(HALF),
            alice.send("bob", HALF),
        ):
            with pytest.raises(MisuseError):
                await call
        await (await alice.send("bob", "it goes on")).sent


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("x", 0),
        ("x", 3),
        ("x", 4),
        ("x", 999),
        ("x", -1),
        ("x", 2**31),
        ("x", 1.5),
        ("x", True),
        ("x", None),
        (b"\xff", TEXT),
        (b"\xed\xa0\x80", TEXT),
        (None, TEXT),
        (["x"], 1000),
    ],
)
async def test_what_no_client_may_send(body: Any, kind: Any) -> None:
    async with talking() as (alice, server):
        with pytest.raises(MisuseError):
            await alice.send("bob", body, kind=kind)
        for good in (b"\xff", "x"):
            await (await alice.send("bob", good, kind=1000)).sent
        await (await alice.send("bob", b"{}", kind=FILE)).sent
        assert [each.body for each in server.sessions[0].received[1:4]] == [b"\xff", b"x", b"{}"]


@pytest.mark.parametrize(
    ("device", "stream", "ids"),
    [
        ("", 1, [1]),
        ("B1", 1, [1]),
        ("x" * 33, 1, [1]),
        ("b�", 1, [1]),
        (None, 1, [1]),
        ("b1", 0, [1]),
        ("b1", 2**64, [1]),
        ("b1", -1, [1]),
        ("b1", "1", [1]),
        ("b1", 1, [0]),
        ("b1", 1, [1, 2**53]),
        ("b1", 1, [-1]),
        ("b1", 1, [1.0]),
        ("b1", 1, ["1"]),
        ("b1", 1, range(1, 10**6)),
    ],
)
async def test_names_that_no_message_has(device: Any, stream: Any, ids: Any) -> None:
    async with talking() as (alice, _):
        with pytest.raises(MisuseError):
            await alice.mark_read("bob", device, stream, ids)
        await alice.mark_read("bob", "b1", 2**64 - 1, [1, 2**53 - 1])
        await (await alice.send("bob", "it goes on")).sent


async def test_a_turn_that_fails_ends_loudly(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with talking() as (alice, _):

        def broken(self: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(ClientCore, "flush", broken)
        sending = await alice.send("bob", "x")
        with pytest.raises(ClosedError, match="a bug: ZeroDivisionError"):
            await sending.sent
        with pytest.raises(ClosedError, match="a bug"):
            await alice.send("bob", "y")
        with pytest.raises(ClosedError, match="a bug"):
            await alice.mark_read("bob", "b1", 1, [1])
    assert "has failed" in caplog.text


async def test_what_could_not_be_kept_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with talking(state=tmp_path / "state.db") as (alice, _):

        def broken(self: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(ClientCore, "flush", broken)
        with pytest.raises(ClosedError, match="a bug"):
            await alice.send("bob", "x")


# Surroundings.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://me:secret@127.0.0.1:1"),
        ("HTTP_PROXY", "gopher://x"),
        ("HTTPS_PROXY", "http://h:port"),
        ("NO_PROXY", "::1/128"),
        ("no_proxy", "[::1]"),
    ],
)
async def test_proxies_that_cannot_be_used_are_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(each.lower(), raising=False)
    monkeypatch.setenv(name, value)
    for url in ("http://192.0.2.1", "https://chat.example"):
        with pytest.raises(ConfigError, match=name) as caught:
            await UserApi(url, 0.1).login("alice", "x")
        assert "secret" not in str(caught.value)
    # None of them is for this machine.
    with pytest.raises(UnreachableError):
        await UserApi("http://[::1]:1", 0.1).login("alice", "x")


@pytest.mark.parametrize("bad", ["a" * 64 + ".example:1", "a..b:1", "ex\0ample:1", "\u0378\u2100..:1"])
async def test_a_name_that_no_resolver_takes_is_passed_over(bad: str) -> None:
    async with FakeServer(polite) as server:
        arguments = server.arguments(options=options())
        arguments["connectors"] = [bad, *arguments["connectors"], bad]
        async with Client("alice", **arguments) as alice:
            await (await alice.send("bob", "x")).sent


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://chat.example", True),
        ("http://192.0.2.1:7480", True),
        ("http://127.0.0.2:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
        ("https://chat.example", False),
    ],
)
async def test_plain_http_to_another_machine(url: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with talking(api=url):
            pass
    assert ("can be read by everybody on the way" in caplog.text) == warned


# Replaced.


async def test_whoever_gave_up_a_connection_comes_back_once() -> None:
    async with talking(silent) as (alice, server):
        session = server.sessions[0]
        session.transport.abort()
        await until(lambda: len(server.sessions) == 2 and server.sessions[1].received)
        for again in (2, 3):
            server.sessions[-1].goodbye(Goodbye.REPLACED)
            server.sessions[-1].flush()
            if again == 2:
                await until(lambda: len(server.sessions) == 3 and server.sessions[2].received)
        with pytest.raises(ReplacedError):
            await (await alice.send("bob", "x")).sent
        assert len(server.sessions) == 3
        assert isinstance(server.sessions[2].received[0], Login)
