"""`sparrow status` and `sparrow top`: all processes of a cluster at a glance, from what their monitors tell.

Owns the asking, and what is shown. Knows processes only by `monitor.processes`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from protocol.errors import ConfigError
from sparrow.config.settings import Settings

ASK_S = 4.0
"""A monitor that has not answered by then is down. It waits itself for a loop that stands still, but not so long."""
_CLEAR = "\x1b[H\x1b[J"
_FOR_PEOPLE = {"log_in": "log in", "deliver": "deliver", "store": "store", "serve": "serve", "notify": "notify brokers"}


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
        full = f"sparrow_{name}"
        return sum(value for key, value in self.values.items() if key == full or key.startswith(full + "{"))


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
        answer = await client.get(f"http://{address}/varz")
        told: Any = answer.json()
        if answer.status_code == 503:
            return down(str(told["status"]))
        return Seen(
            address, now, "", told["name"], told["role"], told["version"], told["up_s"], told["not_ready"],
            told["values"], told["pid"],
        )  # fmt: skip
    except httpx.TimeoutException:
        return down("no answer")
    except httpx.HTTPError as error:
        return down(str(error) or type(error).__name__)
    except (ValueError, KeyError, TypeError, httpx.InvalidURL):
        return down("what answers there is no monitor of Sparrow")


# What is shown.


def status_lines(seen: Iterable[Seen]) -> list[str]:
    """A line for each process."""
    rows = [("process", "version", "up", "state")]
    for each in seen:
        if each.trouble:
            rows.append((each.shown, "-", "-", f"down: {each.trouble}"))
        else:
            state = _unable(each.not_ready) if each.not_ready else _well(each)
            rows.append((f"{each.name} ({each.role})", each.version, duration(each.up_s), state))
    return table(rows, "<<<<")


def _unable(not_ready: Mapping[str, str]) -> str:
    """What it cannot do, and why, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for ability, why in not_ready.items():
        by_reason.setdefault(why, []).append(_FOR_PEOPLE.get(ability, ability))
    return "NOT READY: " + "; ".join(f"cannot {', '.join(names)}: {why}" for why, names in by_reason.items())


def table(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines whose columns are as wide as they must be; `sides`: "<" or ">" of each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{text:{side}{width}}" for text, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def _well(seen: Seen) -> str:
    facts = []
    if seen.role in ("connector", "node"):
        brokers = [value for key, value in seen.values.items() if key.startswith("sparrow_connector_broker_up{")]
        facts += [
            f"{seen.value('connector_sessions'):,.0f} sessions",
            f"{seen.value('connector_sessions_behind'):,.0f} behind",
            f"{sum(brokers):.0f} of {len(brokers)} brokers up",
        ]
    if seen.role in ("broker", "node"):
        facts += [
            f"{seen.value('broker_online'):,.0f} devices online",
            f"{seen.value('broker_members'):.0f} brokers alive",
            f"{seen.value('broker_storing_rows'):,.0f} copies being stored",
        ]
    if "sparrow_backup_timestamp_seconds" in seen.values:
        made_s = seen.value("backup_timestamp_seconds")
        facts.append(f"backup {duration(time.time() - made_s)} old" if made_s else "NO BACKUP YET")
    if seen.role == "userapi":
        facts.append(f"{seen.value('userapi_requests_total'):,.0f} requests answered")
    return "ready: " + ", ".join(facts) if facts else "ready"


_RATES = (
    ("messages/s", "connector_messages_total"),
    ("copies/s", "connector_copies_total"),
    ("failed/s", "connector_failed_total"),
    ("routed/s", "broker_routed_total"),
    ("stored/s", "broker_stored_total"),
    ("requests/s", "userapi_requests_total"),
)


def top_lines(before: Sequence[Seen], now: Sequence[Seen]) -> list[str]:
    """A line for each process, of what went on between two looks, one for all together, and what is wrong."""
    rows = [("process", "cpu %", "MiB", "sessions", *(name for name, _ in _RATES))]
    notes: list[str] = []
    totals = [0.0] * len(_RATES)
    sessions = cpu = memory = 0.0
    for old, new in zip(before, now, strict=True):
        if new.trouble or old.trouble or new.at <= old.at:
            notes.append(f"{new.shown}: {new.trouble or 'one more look, please'}")
            continue
        if new.not_ready:
            notes.append(f"{new.shown}: {_unable(new.not_ready)}")
        passed = new.at - old.at
        rates = [max(0.0, new.value(key) - old.value(key)) / passed for _, key in _RATES]
        used = 100 * (new.values.get("process_cpu_seconds_total", 0) - old.values.get("process_cpu_seconds_total", 0))
        mib = new.values.get("process_resident_memory_bytes", 0) / 2**20
        held = new.value("connector_sessions")
        rows.append(_top_row(new.name, used / passed, mib, held, rates))
        totals = [total + rate for total, rate in zip(totals, rates, strict=True)]
        sessions, cpu, memory = sessions + held, cpu + used / passed, memory + mib
    rows.append(_top_row("all", cpu, memory, sessions, totals))
    return [*table(rows, "<" + ">" * (len(rows[0]) - 1)), *notes]


def _top_row(name: str, cpu: float, mib: float, sessions: float, rates: Sequence[float]) -> tuple[str, ...]:
    return (name, f"{cpu:.1f}", f"{mib:.0f}", f"{sessions:,.0f}", *(f"{rate:,.1f}" for rate in rates))


def duration(seconds: float) -> str:
    """Such as 3d 4h, 12m 5s or 7s."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


# Commands.


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


def run_status(settings: Settings) -> int:
    """Print how every process is; 1 if one is not well."""
    seen = asyncio.run(ask_all(addresses_of(settings)))
    print("\n".join(status_lines(seen)))
    return 0 if all(each.well for each in seen) else 1


def add_top_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `sparrow top`, beside --config."""
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between looks (default: 1)")
    parser.add_argument("--looks", type=int, default=0, metavar="N", help="end after so many (default: go on)")


def run_top(settings: Settings, interval_s: float, looks: int, sleep: Callable[[float], None] = time.sleep) -> int:
    """Print what goes on, again and again, until interrupted."""
    if interval_s <= 0:
        raise ConfigError("--interval must be above 0")
    addresses = addresses_of(settings)
    screen = sys.stdout.isatty()
    before = asyncio.run(ask_all(addresses))
    count = 0
    while not looks or count < looks:
        count += 1
        sleep(interval_s)
        now = asyncio.run(ask_all(addresses))
        print((_CLEAR if screen else "") + "\n".join(top_lines(before, now)), flush=True)
        before = now
    return 0
