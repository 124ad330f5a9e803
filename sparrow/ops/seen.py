"""What the processes of a cluster tell of themselves, asked all at once.

Owns the asking: whom, for how long, and how much of an answer is read. Judges nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import httpx

from protocol.errors import ConfigError
from sparrow.config.settings import Settings

ASK_S = 4.0
"""A monitor that has not answered by then is down. It waits itself for a loop that stands still, but not so long."""
MAX_ANSWER_BYTES = 1024 * 1024
"""A monitor tells some 20 KiB; what is longer is none of ours."""
MAX_TEXT = 500
"""Characters of a name, or of a reason; what is beyond is cut off."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a process told of itself, or why it told nothing."""

    address: str
    at: float
    """When it was asked, by a steady clock in seconds."""
    trouble: str = ""
    name: str = ""
    role: str = ""
    version: str = ""
    up_s: float = 0.0
    not_ready: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    pid: int = 0
    """On its own machine."""
    cores: str = ""
    """What runs in it (`sparrow.compiled.cores`); empty: it does not tell."""

    @property
    def shown(self) -> str:
        """What it is called, where that is known."""
        return self.name or self.address

    @property
    def well(self) -> bool:
        """It answers, and can do its work."""
        return not self.trouble and not self.not_ready

    def value(self, name: str) -> float:
        """Of a metric, added up over its labels, without the prefix "sparrow_"; 0 where it has none."""
        return sum(value for _, value in self.labelled(name))

    def has(self, name: str) -> bool:
        """Whether it tells of this metric."""
        return any(True for _ in self.labelled(name))

    def labelled(self, name: str) -> Iterator[tuple[str, float]]:
        """Labels, as "code=UNAVAILABLE" (empty without any), and value of each sample of a metric."""
        full = f"sparrow_{name}"
        for key, value in self.values.items():
            if key == full:
                yield "", value
            elif key.startswith(full + "{"):
                yield key[len(full) + 1 : -1], value


async def ask_all(addresses: Sequence[str]) -> list[Seen]:
    """Ask every monitor at once; an address may begin with what the process is called, and "="."""
    async with httpx.AsyncClient(timeout=ASK_S, trust_env=False) as client:
        return list(await asyncio.gather(*(_ask(client, address) for address in addresses)))


async def _ask(client: httpx.AsyncClient, process: str) -> Seen:
    now = time.monotonic()
    name, _, address = process.rpartition("=")

    def down(trouble: str) -> Seen:
        return Seen(address, now, trouble, name)

    try:
        async with asyncio.timeout(ASK_S):  # httpx's own begins anew with each piece
            status, told = await _read(client, f"http://{address}/varz")
        if status == 503:
            return down(str(told["status"]))
        values = {sys.intern(str(key)): float(value) for key, value in told["values"].items()}
        not_ready = {_text(ability): _text(why) for ability, why in told["not_ready"].items()}
        return Seen(
            address, now, "", _text(told["name"]), _text(told["role"]), _text(told["version"]), float(told["up_s"]),
            not_ready, {key: value for key, value in values.items() if isfinite(value)}, int(told["pid"]),
            _text(told.get("cores", "")),
        )  # fmt: skip
    except (TimeoutError, httpx.TimeoutException):
        return down("no answer")
    except httpx.ConnectError:
        return down("nobody listens there")
    except httpx.HTTPError as error:
        return down(str(error) or type(error).__name__)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, httpx.InvalidURL):
        return down("what answers there is no monitor of Sparrow")


def _text(told: object) -> str:
    return str(told)[:MAX_TEXT]


async def _read(client: httpx.AsyncClient, url: str) -> tuple[int, Any]:
    """Status and JSON. Raises `ValueError` for what is too long, or no JSON."""
    body = bytearray()
    async with client.stream("GET", url) as answer:
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("too long")
    return answer.status_code, json.loads(body)


def addresses_of(settings: Settings) -> tuple[str, ...]:
    """Where all monitors are. Raises `ConfigError` if there are none."""
    monitor = settings.monitor
    if monitor.processes:
        return monitor.processes
    if monitor.listen_port:
        return (monitor.reached,)
    raise ConfigError(
        "there is nobody to ask: set monitor.processes to the host:port of each process' monitor "
        "(monitor.listen_port there)"
    )


def duration(seconds: float) -> str:
    """Such as 3d 4h, 12m 5s or 7s."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
