"""`sparrow status` and `sparrow top`: all processes of a cluster at a glance, from what their monitors tell.

Owns what is shown. What is asked is `sparrow.ops.seen`'s, what is wrong `sparrow.ops.findings`', and how much goes on
`sparrow.ops.figures`'.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from protocol.errors import ConfigError
from sparrow.config.settings import Settings
from sparrow.ops.figures import Figures, comparable, figures
from sparrow.ops.findings import Finding, by_reason, findings
from sparrow.ops.seen import Seen, addresses_of, ask_all, duration

WINDOW_S = 60.0
"""So far back `top` looks for what shows by its pace alone."""
_CLEAR = "\x1b[H\x1b[J"
_IN_THE_TABLE = {"SparrowProcessDown", "SparrowUnable"}


# What is shown.


def status_lines(seen: Iterable[Seen]) -> list[str]:
    """A line for each process."""
    rows = [("process", "version", "up", "state")]
    for each in seen:
        if each.trouble:
            rows.append((each.shown, "-", "-", f"down: {each.trouble}"))
        else:
            state = _unable(each.not_ready) if each.not_ready else _well(each)
            rows.append((f"{each.name} ({each.role})", _build(each), duration(each.up_s), state))
    return table(rows, "<<<<")


def _build(seen: Seen) -> str:
    """Its release, and whether its cores are compiled."""
    return f"{seen.version}, compiled" if seen.cores == "compiled" else seen.version


def _unable(not_ready: Mapping[str, str]) -> str:
    """What it cannot do, and why, each reason once."""
    return "NOT READY: " + "; ".join(f"cannot {', '.join(names)}: {why}" for why, names in by_reason(not_ready).items())


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


_SHOWN_RATES = ("messages", "copies", "failed", "logins", "routed", "stored", "requests", "errors")
_SHOWN_TIMES = ("lag", "store", "request")
_HEAD = (
    *("process", "cpu %", "MiB", "sessions"),
    *(f"{name}/s" for name in _SHOWN_RATES),
    *(f"{name} ms" for name in _SHOWN_TIMES),
)
_FIRST_TO_GO = ("routed/s", "request ms", "copies/s", "MiB", "stored/s", "store ms", "requests/s", "logins/s")
"""On a narrow screen."""
_ANY_WIDTH = 1_000_000


def top_lines(
    before: Sequence[Seen], now: Sequence[Seen], found: Sequence[Finding] = (), width: int = _ANY_WIDTH
) -> list[str]:
    """What is wrong, then a line for each process, of what went on between two looks, and one for all together, then
    what does not change from look to look. `width`: of the screen, for which columns are left out."""
    pairs = comparable(before, now)
    rows = [_HEAD, *(_top_row(new.name, figures([(old, new)])) for old, new in pairs), _top_row("all", figures(pairs))]
    compared = {new.address for _, new in pairs}
    missing = [new.shown for new in now if not new.trouble and new.address not in compared]
    return [
        *wrong_lines(found),
        *_table_within(rows, width),
        *(f"{name}: one more look, please" for name in missing),
        *_standing_lines(now),
    ]


def _table_within(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    for left_out in range(len(_FIRST_TO_GO) + 1):
        gone = _FIRST_TO_GO[:left_out]
        shown = [[cell for cell, name in zip(row, _HEAD, strict=True) if name not in gone] for row in rows]
        lines = table(shown, "<" + ">" * (len(shown[0]) - 1))
        if max(map(len, lines)) <= width:
            break
    return lines


def wrong_lines(found: Sequence[Finding]) -> list[str]:
    """A line for each finding, and an empty one behind them."""
    return [*(each.line for each in found), ""] if found else []


def _top_row(name: str, told: Figures) -> tuple[str, ...]:
    times = (f"{told.times_ms[each]:,.1f}" if each in told.times_ms else "-" for each in _SHOWN_TIMES)
    rates = (f"{told.rates[each]:,.1f}" for each in _SHOWN_RATES)
    return (name, f"{told.cpu:.1f}", f"{told.mib:.0f}", f"{told.levels['sessions']:,.0f}", *rates, *times)


def _standing_lines(now: Sequence[Seen]) -> Iterator[str]:
    unix_s = time.time()
    for label, told in _standing(now, unix_s).items():
        yield f"{label}: {', '.join(told)}"


def _standing(now: Sequence[Seen], unix_s: float) -> dict[str, list[str]]:
    """Stores, certificates, backups and versions, each thing with who tells of it."""
    there = [seen for seen in now if not seen.trouble]
    versions: dict[str, list[str]] = {}
    for seen in there:
        versions.setdefault(seen.version, []).append(seen.shown)
    return {
        "stores": [
            f"{seen.shown} {seen.value('store_free_bytes') / 2**30:,.1f} GiB free"
            for seen in there
            if seen.has("store_free_bytes")
        ],
        "certificates": [
            f"{seen.shown} {labels.partition('=')[2]} {duration(end - unix_s) if end > unix_s else 'EXPIRED'}"
            for seen in there
            for labels, end in seen.labelled("certificate_expiration_timestamp_seconds")
        ]
        or ["none in use"],
        "backups": [f"{seen.shown} {_backup(seen, unix_s)}" for seen in there if seen.has("backup_timestamp_seconds")]
        or ["nobody tells of any (monitor.backup_folder)"],
        "versions": [f"{version} ({', '.join(names)})" for version, names in versions.items()],
    }


def _backup(seen: Seen, unix_s: float) -> str:
    made_s = seen.value("backup_timestamp_seconds")
    return f"{duration(unix_s - made_s)} old" if made_s else "NONE YET"


# Commands.


def run_status(settings: Settings) -> int:
    """Print how every process is; 1 if one is not well."""
    seen = asyncio.run(ask_all(addresses_of(settings)))
    wrong = [each for each in findings(seen, unix_s=time.time()) if each.name not in _IN_THE_TABLE]
    print("\n".join([*wrong_lines(wrong), *status_lines(seen)]))
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
    width = shutil.get_terminal_size().columns if screen else _ANY_WIDTH
    looks_kept = deque([asyncio.run(ask_all(addresses))], maxlen=max(1, round(WINDOW_S / interval_s)))
    count = 0
    while not looks or count < looks:
        count += 1
        sleep(interval_s)
        now = asyncio.run(ask_all(addresses))
        found = findings(now, looks_kept[0], unix_s=time.time())
        print((_CLEAR if screen else "") + "\n".join(top_lines(looks_kept[-1], now, found, width)), flush=True)
        looks_kept.append(now)
    return 0
