"""Groups to write to: straight into the store, or over HTTP by links, which need nobody's consent but the member's own.

Owns how they are made. Who is in which one, the scenario says.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from client.api.logins import UserApi
from client.api.web import Web
from client.tls import Trust
from load.spec import Account
from protocol.errors import ConfigError
from protocol.ids import new_group_id
from store import Store, StoreSettings, open_store
from store.groups import GroupChange
from store.membership import after, made

NAME = "load test"
RANDOM_BYTES = 15
AT_ONCE = 16
TRIES = 6
"""Of a request that comes too soon."""
LONGEST_WAIT_S = 60.0


async def in_store(settings: StoreSettings, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
    """Make a group of each of these, the owner first, in a store of which no broker has asked for them yet.

    Raises `ConfigError`, `StoreError`.
    """
    async with open_store(settings) as store:
        ids = await asyncio.gather(*(_make(store, [one.user for one in some]) for some in members))
    return {group: some[0] for group, some in zip(ids, members, strict=True)}


async def _make(store: Store, users: Sequence[str]) -> str:
    now_ms, owner = int(time.time() * 1000), users[0]
    group, change = made(new_group_id(secrets.token_bytes(RANDOM_BYTES)), owner, NAME, now_ms)
    await store.groups.make(group, change)
    for user in users[1:]:
        change = GroupChange(group.version + 1, now_ms, owner, "added", user)
        group = after(group, change)
        await store.groups.change(group, change)
    return group.group


async def close_in_store(settings: StoreSettings, groups: Mapping[str, Account]) -> None:
    """End these, without a word to brokers. Raises `ConfigError`, `StoreError`."""
    async with open_store(settings) as store:
        for group in (await store.groups.groups(list(groups))).values():
            if group is not None:
                change = GroupChange(group.version + 1, int(time.time() * 1000), "", "closed")
                await store.groups.change(after(group, change), change)


async def over_http(url: str, trust: Trust, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
    """Make a group of each of these, the owner first. Raises what `UserApi` raises."""
    web, gate = UserApi(url, trust=trust).web, asyncio.Semaphore(AT_ONCE)

    async def one(some: Sequence[Account]) -> str:
        owner = some[0]
        made = await _ask(web, gate, "POST", "/v1/groups", owner, {"name": NAME})
        group = str(made["group"])
        if len(some) > 1:
            terms = {"hours": 1, "uses": len(some) - 1}
            link = await _ask(web, gate, "POST", f"/v1/groups/{group}/links", owner, terms)
            asked = {"secret": link["secret"]}
            await asyncio.gather(*(_ask(web, gate, "POST", "/v1/links/join", member, asked) for member in some[1:]))
        return group

    ids = await asyncio.gather(*map(one, members))
    return {group: some[0] for group, some in zip(ids, members, strict=True)}


async def close_over_http(url: str, trust: Trust, groups: Mapping[str, Account]) -> None:
    """End these. Raises what `UserApi` raises."""
    web, gate = UserApi(url, trust=trust).web, asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_ask(web, gate, "DELETE", f"/v1/groups/{id}", owner) for id, owner in groups.items()))


async def _ask(
    web: Web, gate: asyncio.Semaphore, method: str, path: str, who: Account, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The answer; whoever asks too soon asks again when they may."""
    more = {} if body is None else {"json": body}
    for tries in range(TRIES):
        async with gate:
            response = await web.request(method, path, token=who.token, **more)
        if response.status_code != 429:
            web.check(response)
            return {} if response.status_code == 204 else web.answer(response)
        told = response.headers.get("Retry-After", "1")
        await asyncio.sleep(min(float(told) if told.isdecimal() else 1.0, LONGEST_WAIT_S) * 1.5**tries)
    raise ConfigError(
        "the user API limits how fast groups come into being: give userapi.max_group_changes_per_minute_of_account and "
        "max_group_changes_per_minute_of_group room for the test, or use --config, or fewer members"
    )
