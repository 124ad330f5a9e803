"""The user API through the client library, against a real node: what each method does, and each refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from client import (
    ApiError,
    Client,
    Closed,
    ClosedError,
    Contact,
    DeviceRemovedError,
    Friend,
    Hint,
    HintKind,
    InvalidIdError,
    MisuseError,
    NotFoundError,
    Profile,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
    UserApi,
    WrongPasswordError,
)
from client.api.logins import Login
from protocol.errors import TooManyDevicesError
from sparrow.chat.account import SignIn, SignInOptions, Terminal
from tests.sparrow.people import Events, People
from tests.sparrow.serving import PASSWORD, Node


@pytest.fixture
def people(node: Node, request: pytest.FixtureRequest) -> People:
    return People(node, request.node.name)


def hint(kind: HintKind, user: str) -> Callable[[object], bool]:
    return lambda event: event == Hint(kind, user)


# Contacts.


async def test_friends(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with people.client(a) as alice, people.client(b, on_event=told.append) as bob:
        asked = await alice.contacts.ask(b)
        assert (asked.user, asked.asked, asked.friend) == (b, True, False)
        await told.until(hint(HintKind.FRIEND_ASKED, a))
        (request,) = await bob.contacts.requests()
        assert (request.user, request.asks, request.asked) == (a, True, False)
        assert [one.user for one in await alice.contacts.requests()] == [b]
        assert (await bob.contacts.accept(a)).friend
        assert (await bob.contacts.accept(a)).friend  # a repeat
        (friend,) = await alice.contacts.friends()
        assert isinstance(friend, Friend)
        assert (friend.user, friend.friend, friend.online) == (b, True, True)
        assert friend.since_ms > 1_600_000_000_000
        assert await alice.contacts.requests() == []
        await bob.profiles.change(hides_presence=True)
        (friend,) = await alice.contacts.friends()
        assert (friend.online, friend.last_seen_ms) == (None, None)
        assert not (await alice.contacts.unfriend(b)).friend
        await told.until(hint(HintKind.FRIEND_REMOVED, a))
        assert await bob.contacts.friends() == []


async def test_when_a_friend_was_there_last(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a) as alice:
        async with people.client(b) as bob:
            await alice.contacts.ask(b)
            await bob.contacts.ask(a)  # who has asked us is our friend at once
        async with asyncio.timeout(20):
            while True:
                (friend,) = await alice.contacts.friends()
                if friend.online is False and friend.last_seen_ms:
                    break
                await asyncio.sleep(0.05)
        assert friend.last_seen_ms > 1_600_000_000_000


async def test_declining_and_taking_back(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with people.client(a, on_event=told.append) as alice, people.client(b) as bob:
        await alice.contacts.ask(b)
        await bob.contacts.decline(a)
        await told.until(hint(HintKind.FRIEND_REFUSED, b))
        assert await bob.contacts.requests() == []
        await alice.contacts.ask(b)
        await alice.contacts.decline(b)  # taken back
        assert await bob.contacts.requests() == []
        with pytest.raises(NotFoundError):
            await bob.contacts.accept(a)


async def test_blocks(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a) as alice:
        assert (await alice.contacts.block(b)).blocked
        assert [(one.user, one.blocked) for one in await alice.contacts.blocks()] == [(b, True)]
        with pytest.raises(MisuseError, match="unblock them"):
            await alice.contacts.ask(b)
        assert not (await alice.contacts.unblock(b)).blocked
        assert await alice.contacts.blocks() == []
        assert (await alice.contacts.ask(b)).asked


async def test_contacts_that_cannot_be(people: People) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        contacts = alice.contacts
        changes: list[Callable[[str], Coroutine[Any, Any, Contact]]] = [contacts.ask, contacts.block]
        for change in changes:
            with pytest.raises(NotFoundError, match="no user"):
                await change("nobody.at.all")
        changes += [contacts.accept, contacts.decline, contacts.unfriend, contacts.unblock]
        for change in changes:
            with pytest.raises(MisuseError, match="another user"):
                await change(a)
            with pytest.raises(InvalidIdError):
                await change("../me")
        with pytest.raises(NotFoundError):
            await contacts.accept("nobody.at.all")
        # Ids that would be steps in a path.
        assert not (await contacts.unblock("..")).blocked
        assert not (await contacts.unfriend(".")).friend


async def test_long_lists(people: People) -> None:
    a = people.name("alice")
    others = sorted(people.name("crowd") for _ in range(105))
    async with people.client(a) as alice:
        for other in others:
            await alice.contacts.block(other)  # more than are taken in a second
        assert [one.user for one in await alice.contacts.blocks()] == others
        prefix = others[0].rpartition("-")[0]
        assert [one.user for one in await alice.profiles.search(prefix, 200)] == others
        assert [one.user for one in await alice.profiles.search(prefix, 102)] == others[:102]
        assert len(await alice.profiles.search(prefix)) == 50


# Profiles.


async def test_profiles(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a) as alice, people.client(b) as bob:
        own = await alice.profiles.own()
        assert (own.user, own.display_name, own.hides_presence) == (a, "", False)
        assert (await alice.profiles.change(display_name="Alice Ä.")).display_name == "Alice Ä."
        changed = await alice.profiles.change(hides_presence=True)
        assert (changed.display_name, changed.hides_presence) == ("Alice Ä.", True)
        assert await alice.profiles.own() == changed
        assert await bob.profiles.of(a) == Profile(a, "Alice Ä.")
        assert await bob.profiles.search(a) == [Profile(a, "Alice Ä.")]
        assert await bob.profiles.search("nobody.has.this") == []
        with pytest.raises(NotFoundError):
            await bob.profiles.of("nobody.at.all")
        for wrong in ("a", "UPPER", ""):
            with pytest.raises(MisuseError):
                await bob.profiles.search(wrong)
        with pytest.raises(MisuseError, match="display_name"):
            await alice.profiles.change(display_name="two\nlines")


# Devices, passwords, logins.


async def test_devices(people: People) -> None:
    a = people.name("alice")
    told = Events()
    async with people.client(a, label="laptop", on_event=told.append) as laptop:
        phone = people.client(a, label="phone")
        await phone.open()
        first, second = await laptop.devices.list()
        assert (first.device, first.label, first.current, first.logged_in) == (laptop.device, "laptop", True, True)
        assert (second.device, second.label, second.current) == (phone.device, "phone", False)
        assert (await laptop.devices.rename(phone.device, "old phone")).label == "old phone"
        await laptop.devices.remove(phone.device)
        await laptop.devices.remove(phone.device)  # a repeat
        await told.until(hint(HintKind.DEVICES_CHANGED, a))
        with pytest.raises(DeviceRemovedError):
            await anext(aiter(phone))
        with pytest.raises(DeviceRemovedError):
            await phone.devices.list()
        await phone.aclose()
        assert [one.device for one in await laptop.devices.list()] == [laptop.device]
        for change in (laptop.devices.remove, laptop.devices.log_out):
            with pytest.raises(NotFoundError):
                await change("0000")
            with pytest.raises(InvalidIdError):
                await change("../login")
        with pytest.raises(NotFoundError):
            await laptop.devices.rename("0000", "x")
        with pytest.raises(MisuseError, match="label"):
            await laptop.devices.rename(laptop.device, "\x1b")


async def test_a_device_that_is_logged_out(people: People, tmp_path: Path) -> None:
    a, state = people.name("alice"), tmp_path / "phone.db"
    async with people.client(a) as laptop:
        phone = people.client(a, state=state)
        await phone.open()
        device = phone.device
        await laptop.devices.log_out(device)
        with pytest.raises(TokenRejectedError, match="log in with the password"):
            await anext(aiter(phone))
        await phone.aclose()
        with pytest.raises(MisuseError, match="password or a token"):
            await people.client(a, state=state, password=None).open()
        async with people.client(a, state=state) as phone:
            assert phone.device == device
        # Of what happened while it was away it does not know yet; but it has the password.
        await laptop.devices.log_out(device)
        async with people.client(a, state=state) as phone:
            assert phone.device == device


async def test_logging_out(people: People, tmp_path: Path) -> None:
    a, state = people.name("alice"), tmp_path / "alice.db"
    told = Events()
    async with people.client(a, state=state, on_event=told.append) as alice:
        await alice.log_out()
        assert told[-1] == Closed(None)
        with pytest.raises(ClosedError, match="logged out"):
            await alice.profiles.own()
    with pytest.raises(MisuseError, match="password or a token"):
        await people.client(a, state=state, password=None).open()


async def test_changing_the_password(people: People) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        for old, new, error in (
            ("wrong horse", "another horse", WrongPasswordError),
            (PASSWORD, "x", MisuseError),
        ):
            with pytest.raises(error):
                await alice.change_password(old, new)
        await alice.change_password(PASSWORD, "another horse")
        await alice.change_password(PASSWORD, "another horse")  # a repeat
        assert (await alice.profiles.own()).user == a
    with pytest.raises(WrongPasswordError):
        await people.client(a).open()
    async with people.client(a, password="another horse", device=alice.device) as alice:
        assert alice.connected


async def test_a_login_whose_answer_was_lost(people: People, tmp_path: Path) -> None:
    """Who tries again, even after a restart, gets the same device."""
    a = people.name("alice")
    api = UserApi(people.node.api)
    first = await api.login(a, PASSWORD, label="x", key="0123456789abcdef")
    assert (await api.login(a, PASSWORD, label="x", key="0123456789abcdef")).device == first.device
    with pytest.raises(MisuseError, match="Idempotency-Key"):
        await api.login(a, PASSWORD, key="short")

    keys: list[str] = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        keys.extend(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("idempotency-key"))
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            client = people.client(a, api=url, state=tmp_path / "a.db", background=True)
            await client.open()
            seen = len(keys)
            async with asyncio.timeout(20):
                while len(keys) == seen:
                    await asyncio.sleep(0.01)
            await client.aclose()
    assert len(keys) >= 2
    assert len(set(keys)) == 1


# Tokens.


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A node whose access tokens are good for a moment."""
    made = Node(tmp_path_factory.mktemp("hasty"), userapi__access_token_lifetime_s=1).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


async def expired(node: Node, client: Client) -> None:
    """Wait until the user API refuses the client's token."""
    token = client._engine.credentials._token  # type: ignore[union-attr]
    api = UserApi(node.api)
    async with asyncio.timeout(20):
        while (await api.web.request("GET", "/v1/me", token=token)).status_code == 200:
            await asyncio.sleep(0.1)


async def test_a_token_that_expires_in_the_middle(hasty: Node) -> None:
    people = People(hasty, "expires")
    a = people.name("alice")
    async with people.client(a) as alice:
        for _ in range(2):
            await expired(hasty, alice)
            # All at once: with one refresh token used twice, the login would end.
            found = await asyncio.gather(*(alice.profiles.own() for _ in range(8)))
            assert {one.user for one in found} == {a}
        assert alice.connected


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A node whose users may have two devices."""
    limits = {"userapi__max_devices": 2, "userapi__max_failed_logins_per_hour_of_account": 3}
    made = Node(tmp_path_factory.mktemp("full"), **limits).start()
    yield made
    assert made.stop() == 0, made.log


class Nods(Terminal):
    """A person who says the same to everything."""

    def __init__(self, answer: bool) -> None:
        super().__init__()
        self.answer = answer
        self.asked = ""

    def agrees(self, question: str) -> bool:
        self.asked = question
        return self.answer


async def test_with_as_many_devices_as_allowed_the_password_replaces_one(full: Node, tmp_path: Path) -> None:
    api = UserApi(full.api)
    await api.register("alice", PASSWORD)
    first = await api.login("alice", PASSWORD, label="old phone")
    second = await api.login("alice", PASSWORD)
    with pytest.raises(TooManyDevicesError, match="replaces") as told:
        await api.login("alice", PASSWORD)
    assert [one["device"] for one in told.value.devices] == [first.device, second.device]
    account = SignInOptions("alice", full.api, tmp_path / "state.db", PASSWORD, False)
    no, yes = Nods(False), Nods(True)
    with pytest.raises(TooManyDevicesError):
        await asyncio.to_thread(SignIn(account, no).run)
    assert "2 devices" in no.asked
    assert "old phone, last there on 20" in no.asked
    await asyncio.to_thread(SignIn(account, yes).run)
    with pytest.raises(TokenRejectedError):
        await api.refresh(first.refresh_token)
    # Neither is a login of hers that strangers' guesses keep out.
    for _ in range(4):
        with pytest.raises((WrongPasswordError, UnavailableError)):
            await api.login("alice", "wrong horse")
    with pytest.raises(UnavailableError):
        await api.login("alice", PASSWORD, second.device)
    again = await api.login("alice", PASSWORD, second.device, proof=second.refresh_token)
    assert again.device == second.device


async def test_a_token_and_nothing_else(hasty: Node) -> None:
    people = People(hasty, "token")
    login = await UserApi(hasty.api).login(people.name("alice"), PASSWORD)
    arguments = {"password": None, "token": login.token, "connectors": login.connectors, "background": True}
    async with people.client(login.user, **arguments) as alice:
        await expired(hasty, alice)
        # The second where the connection was so late that its token had expired by then.
        with pytest.raises(TokenRejectedError, match=r"refresh|log in with the password"):
            await alice.profiles.own()


async def test_the_password_when_refreshing_is_over(people: People) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        credentials = alice._engine.credentials  # type: ignore[union-attr]
        credentials._refresh = "nonsense"
        await credentials.renew()
        assert (await alice.profiles.own()).user == a
        # A request that was on its way with a token from before that login.
        before = credentials._token
        await credentials._anew()
        credentials._refresh = "nonsense"
        await credentials.renew()
        assert await credentials.instead_of(before, expired=False) != before
        assert (await alice.profiles.own()).user == a


async def test_a_renewal_that_nobody_waits_for_any_more(people: People) -> None:
    """Its refresh token is kept all the same: an old one would end the login one day."""
    async with people.client(people.name("alice")) as alice:
        credentials = alice._engine.credentials  # type: ignore[union-attr]
        refresh, before, told = credentials._api.refresh, credentials._refresh, asyncio.Event()

        async def told_late(token: str, nonce: str) -> Login:
            login = await refresh(token, nonce)
            told.set()
            await asyncio.sleep(0.01)
            return login

        credentials._api.refresh = told_late  # type: ignore[method-assign]
        renewing = asyncio.create_task(credentials.renew())
        await asyncio.wait_for(told.wait(), 20)
        renewing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await renewing
        assert credentials._refresh != before
        assert (await alice.devices.list())[0].current


# Answers that are none.


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"items": 7, "next": null}',
        b'{"items": [7], "next": null}',
        b'{"items": [], "next": 7}',
        json.dumps({"items": [{"user": "bob", "friend": 1}], "next": None}).encode(),
    ],
)
async def test_answers_that_are_none(people: People, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(answer), answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        arguments = {"password": None, "token": "x", "connectors": ["127.0.0.1:1"], "background": True, "api": url}
        async with people.client("alice", **arguments) as alice:
            with pytest.raises(ApiError, match="does not answer like a user API"):
                await alice.contacts.friends()


async def drop_connections(client: Client) -> None:
    """Close what is kept, as a server does that has waited for long enough."""
    kept, client._api.web._kept = client._api.web._kept, None
    assert kept is not None
    await kept.aclose()


async def test_a_kept_connection_that_was_closed(people: People) -> None:
    """The request is told once more, on a new one; and with nobody there it says so."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        if served != 2:
            body = b'{"items": [], "next": null}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    arguments = {"password": None, "token": "x", "connectors": ["127.0.0.1:1"], "background": True, "api": url}
    async with people.client("alice", **arguments) as alice:
        assert await alice.contacts.friends() == []
        await drop_connections(alice)
        assert await alice.contacts.friends() == []
        assert served == 3
        server.close()
        await drop_connections(alice)
        with pytest.raises(UnreachableError):
            await alice.contacts.friends()
        contacts = alice.contacts
    with pytest.raises(ClosedError):
        await contacts.friends()
