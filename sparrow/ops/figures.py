"""How much goes on in a cluster, and how quickly, from two looks at its processes.

Owns which figures there are, for `sparrow top` and the operator's page alike. Asks nobody, and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sparrow.ops.findings import rise
from sparrow.ops.seen import Seen

RATES = {
    "messages": ("connector_messages_total",),
    "copies": ("connector_copies_total", "connector_group_copies_total"),
    "failed": ("connector_failed_total",),
    "logins": ("connector_logins_total",),
    "routed": ("broker_routed_total",),
    "stored": ("broker_stored_total",),
    "requests": ("userapi_requests_total",),
    "refused": ("userapi_refused_total",),
}
"""What is counted, a second: figure → its counters."""
TIMES = {
    "lag": ("event_loop_lag_seconds_sum", "event_loop_lag_seconds_count"),
    "store": ("broker_store_seconds_sum", "broker_store_seconds_count"),
    "etcd": ("broker_etcd_seconds_sum", "broker_etcd_seconds_count"),
    "request": ("userapi_request_seconds_total", "userapi_requests_total"),
}
"""What takes time: figure → its seconds, and how many these are of."""
LEVELS = {
    "sessions": "connector_sessions",
    "behind": "connector_sessions_behind",
    "storing": "broker_storing_rows",
}
"""How many there are now."""
_SERVER_ERROR = "status=5"


class Figures(NamedTuple):
    """Of a process, or of all together."""

    rates: dict[str, float]
    """A second; "errors": requests that were answered with 5xx."""
    times_ms: dict[str, float]
    """On average, between the two looks. What did not happen is not in it."""
    levels: dict[str, float]
    cpu: float
    """Percent of a core."""
    mib: float
    """Resident."""


def figures(pairs: Iterable[tuple[Seen, Seen]]) -> Figures:
    """Of processes together: each as it was before, and is now."""
    rates = dict.fromkeys([*RATES, "errors"], 0.0)
    spent = {name: [0.0, 0.0] for name in TIMES}
    levels = dict.fromkeys(LEVELS, 0.0)
    cpu = mib = 0.0
    for old, new in pairs:
        passed_s = new.at - old.at
        for name, counters in RATES.items():
            rates[name] += sum(rise(new, old, counter) for counter in counters) / passed_s
        rates["errors"] += max(0.0, _errors(new) - _errors(old)) / passed_s
        for name, (seconds, count) in TIMES.items():
            spent[name][0] += rise(new, old, seconds)
            spent[name][1] += rise(new, old, count)
        for name, level in LEVELS.items():
            levels[name] += new.value(level)
        used_s = new.values.get("process_cpu_seconds_total", 0) - old.values.get("process_cpu_seconds_total", 0)
        cpu += 100 * max(0.0, used_s) / passed_s
        mib += new.values.get("process_resident_memory_bytes", 0) / 2**20
    times_ms = {name: 1000 * seconds / count for name, (seconds, count) in spent.items() if count}
    return Figures(rates, times_ms, levels, cpu, mib)


def comparable(before: Sequence[Seen], now: Sequence[Seen]) -> list[tuple[Seen, Seen]]:
    """Those that have told something at both looks."""
    pairs = zip(before, now, strict=True)
    return [(old, new) for old, new in pairs if not old.trouble and not new.trouble and new.at > old.at]


def _errors(seen: Seen) -> float:
    return sum(value for labels, value in seen.labelled("userapi_requests_total") if _SERVER_ERROR in labels)
