"""`sparrow trace`: follows what a user writes through all processes of a cluster.

Owns the asking of monitors, and what is printed. What is told of an attempt is decided where it happens.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import httpx

from protocol.errors import ConfigError, ServiceError
from protocol.ids import check_user_id
from sparrow.config.settings import Settings
from sparrow.ops.seen import ASK_S, addresses_of, ask_all

LOOK_S = 0.5


class Line(NamedTuple):
    """One thing that has happened, and where."""

    at: float
    """Unix time."""
    address: str
    """Of the process' monitor."""
    attempt: str
    text: str

    def shown(self, name: str) -> str:
        """As people read it."""
        when = datetime.fromtimestamp(self.at).strftime("%H:%M:%S.%f")
        return f"{when}  {name}  {self.attempt:>24}  {self.text}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `sparrow trace`, beside --config."""
    parser.add_argument("user", metavar="USER", help="whose messages to follow")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="for how long (default: 60)")


def run_trace(settings: Settings, user: str, seconds: float) -> int:
    """Print what happens to messages that `user` writes from now on. Raises `ConfigError`, `ServiceError`."""
    check_user_id(user)
    if seconds <= 0:
        raise ConfigError("--seconds must be above 0")
    asyncio.run(_follow(addresses_of(settings), user, seconds))
    return 0


async def _follow(addresses: Sequence[str], user: str, seconds: float) -> None:
    async with httpx.AsyncClient(timeout=ASK_S, trust_env=False) as client:
        asked = {"user": user, "seconds": str(seconds)}
        seen = await ask_all(addresses)
        # User APIs have no part in messages.
        names = {each.address: each.shown for each in seen if each.role != "userapi"}
        await asyncio.gather(*(_ask(client, "POST", address, asked) for address in names))
        end = time.monotonic() + seconds
        after = dict.fromkeys(names, time.time() - LOOK_S)
        width = max(map(len, names.values()))
        while time.monotonic() < end:
            await asyncio.sleep(LOOK_S)
            for line in sorted(await _news(client, after)):
                print(line.shown(f"{names[line.address]:{width}}"), flush=True)


async def _news(client: httpx.AsyncClient, after: dict[str, float]) -> list[Line]:
    """What all processes have to tell since what each told last."""
    answers = await asyncio.gather(
        *(_ask(client, "GET", address, {"after": repr(at)}) for address, at in after.items())
    )
    lines = []
    for address, found in zip(list(after), answers, strict=True):
        for at, attempt, text in found:
            after[address] = max(after[address], at)
            lines.append(Line(at, address, attempt, text))
    return lines


async def _ask(client: httpx.AsyncClient, method: str, address: str, asked: dict[str, str]) -> Any:
    try:
        answer = await client.request(method, f"http://{address}/trace", params=asked)
        told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ServiceError(f"{address} tells nothing ({str(error) or type(error).__name__}): is it up?") from error
    if answer.status_code != 200:
        raise ServiceError(f"{address}: {told['status']}")
    return told
