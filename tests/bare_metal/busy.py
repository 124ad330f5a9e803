"""People who use all of it while a machine is upgraded: they write to each other and to a group, and one has the page
open.

Owns what they do, and what must hold afterwards: all that was said is there once and in order, live and in the history,
and nobody was logged out.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

import httpx

from client import Client, Message
from tests.bare_metal.machine import GUARD_S
from tests.bare_metal.node import PAUSE_S
from tests.bare_metal.people import PASSWORD
from tests.userapi.proving import Key

RENEWAL_S = 1.0
"""Between renewals of a login; there is a limit for each account."""


class Page:
    """A login that is bound to a key, as the page's is: renewed all the while, and again after each interruption."""

    def __init__(self, api: str, user: str) -> None:
        self._http = httpx.AsyncClient(base_url=api, timeout=30)
        self._user = user
        self._key = Key()
        self._token = ""
        self.renewed = 0

    async def __aenter__(self) -> Page:
        body = {"user": self._user, "password": PASSWORD, "label": "page"}
        answer = await self._http.post("/v1/login", json=body, headers={"DPoP": self._key.proof()})
        assert answer.status_code == 200, answer.text
        self._token = answer.json()["refresh_token"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def stay(self) -> None:
        """Renew it until this is cancelled."""
        while True:
            await self.renew()
            await asyncio.sleep(RENEWAL_S)

    async def renew(self) -> None:
        """Return when there is a new token, whatever happens to the service meanwhile."""
        drawn, signed = secrets.token_urlsafe(15), None
        while True:
            with contextlib.suppress(httpx.TransportError):
                headers = {"DPoP": self._key.renewal(self._token, signed)}
                body = {"refresh_token": self._token, "nonce": drawn}
                answer = await self._http.post("/v1/token", json=body, headers=headers)
                if answer.status_code == 200:
                    self._token = answer.json()["refresh_token"]
                    self.renewed += 1
                    return
                if answer.status_code == 400 and answer.json()["code"] == "use_dpop_nonce":
                    signed = answer.headers["DPoP-Nonce"]
                    continue
                assert answer.status_code in (429, 503), answer.text
            await asyncio.sleep(RENEWAL_S)


class Busy:
    """Alice, who writes to Bob and to a group of both; Bob, who reads; and Alice's page."""

    def __init__(self, folder: Path, api: str, prefix: str) -> None:
        self._folder, self._api = folder, api
        self._names = f"{prefix}-alice", f"{prefix}-bob"
        self._said: dict[str, list[str]] = {}
        self._heard: dict[str, list[str]] = {}

    def _client(self, name: str, device: str = "") -> Client:
        state = self._folder / f"{name}{device}.db"
        register = not device and not state.exists()
        return Client(name, password=PASSWORD, register=register, api=self._api, state=state)

    async def through(self, disturb: Callable[[], None]) -> None:
        """All goes on while `disturb` runs in a thread, and nothing is amiss afterwards."""
        alice, bob = map(self._client, self._names)
        async with alice, bob, Page(self._api, self._names[0]) as page:
            team = (await alice.groups.make("team")).group
            if await alice.groups.add(team, bob.user) is None:
                await bob.groups.join(team)
            tasks = [asyncio.create_task(self._read(bob)), asyncio.create_task(page.stay())]
            disturbing = asyncio.create_task(asyncio.to_thread(disturb))
            number = 0
            while not disturbing.done() or number < 10:
                number += 1
                await self._say(alice, (bob.user, team)[number % 2], f"{number}")
                await asyncio.sleep(PAUSE_S)
            await disturbing
            await self._say(alice, bob.user, "after")
            await self._say(alice, team, "after")
            await self._all_heard()
            for task in tasks:
                assert not task.done(), task.exception()
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await page.renew()
            assert page.renewed > 1
        await self._all_kept(team)

    async def _say(self, alice: Client, dest: str, text: str) -> None:
        sending = await alice.send(dest, text)
        self._said.setdefault(dest, []).append(text)
        async with asyncio.timeout(GUARD_S):
            await sending.sent

    async def _read(self, bob: Client) -> None:
        async for message in bob:
            self._heard.setdefault(message.dest, []).append(_text(message))

    async def _all_heard(self) -> None:
        async with asyncio.timeout(GUARD_S):
            while sum(map(len, self._heard.values())) < sum(map(len, self._said.values())):
                await asyncio.sleep(0.05)
        assert self._heard == self._said

    async def _all_kept(self, team: str) -> None:
        """A further device of Bob's finds it in the conversations."""
        async with self._client(self._names[1], "-further") as bob:
            for peer, dest in ((self._names[0], self._names[1]), (team, team)):
                conversation = await bob.conversations.of(peer)
                kept = [_text(message) async for message in conversation.backwards()]
                assert kept[::-1][-len(self._said[dest]) :] == self._said[dest]


def _text(message: Message) -> str:
    assert message.text is not None
    return message.text
