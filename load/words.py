"""What the names of a result mean to a person: words and units, the same on a terminal and on a page.

Owns these words. The names themselves are the JSON file's, and stay (docs/load.md, "The JSON file").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from load.ledger import Verdict

FIGURES: dict[str, tuple[str, str]] = {
    "delivered_per_second": ("delivered", "texts a second"),
    "delivered": ("delivered while measured", "texts"),
    "server_cpu_us_per_message": ("server CPU per message", "µs"),
    "generator_cpu_us_per_message": ("generator CPU per message", "µs"),
    "texts": ("sent to groups while measured", "texts"),
    "texts_per_second": ("sent to groups", "texts a second"),
    "server_cpu_us_per_text": ("server CPU per text to a group", "µs"),
    "latecomers": ("latecomers", "people"),
    "caught_up_per_second": ("caught up by latecomers", "texts a second"),
    "catch_up_cpu_us_per_message": ("server CPU per text caught up", "µs"),
    "logins_per_second": ("logged in", "clients a second"),
    "kib_per_session": ("memory per session", "KiB"),
    "kib_per_session_at_end": ("memory per session, at the end", "KiB"),
    "idle_cpu_percent": ("server CPU with nothing to do", "% of a core"),
    "online_at_end": ("online at the end", "clients"),
    "all_back_s": ("all were back after", "s"),
    "back_p50_ms": ("back, p50", "ms"),
    "back_p99_ms": ("back, p99", "ms"),
    "returns_per_second": ("came back", "clients a second"),
    "server_cpu_us_per_return": ("server CPU per return", "µs"),
    "messages": ("written in all", "messages"),
    "stored_per_second": ("stored", "messages a second"),
    "store_cpu_us_per_message": ("server CPU per message stored", "µs"),
    "pulled_per_second": ("pulled", "messages a second"),
    "pull_cpu_us_per_message": ("server CPU per message pulled", "µs"),
    "filled_per_second": ("filled", "messages a second"),
    "fill_cpu_us_per_message": ("server CPU per message filled", "µs"),
    "page_of_50_p50_ms": ("page of 50, p50", "ms"),
    "page_of_50_p99_ms": ("page of 50, p99", "ms"),
    "fetched_per_second_by_50": ("fetched in pages of 50", "messages a second"),
    "fetch_cpu_us_per_message_by_50": ("server CPU per message, pages of 50", "µs"),
    "page_of_500_p50_ms": ("page of 500, p50", "ms"),
    "page_of_500_p99_ms": ("page of 500, p99", "ms"),
    "fetched_per_second_by_500": ("fetched in pages of 500", "messages a second"),
    "fetch_cpu_us_per_message_by_500": ("server CPU per message, pages of 500", "µs"),
    "replayed_per_second": ("replayed", "messages a second"),
    "replay_cpu_us_per_message": ("server CPU per message replayed", "µs"),
    "disk_bytes_per_message": ("disk per message", "bytes"),
    "followed_paged": ("followed on pages", "messages"),
    "followed_live": ("followed live", "messages"),
    "changed": ("edited and erased", "messages"),
    "verified": ("verified on pages", "messages"),
}
COUNTERS: dict[str, str] = {
    "sent": "texts sent",
    "received": "texts shown to their readers",
    "due": "texts that were to be shown",
    "sent_acks": "texts with SENT",
    "sent_acks_of_groups": "texts with SENT, of groups",
    "delivered_acks": "texts with DELIVERED",
    "read_acks": "texts with READ",
    "reads_sent": "READ written",
    "reads_received": "READ received",
    "changes_sent": "edits and erasures written",
    "changes_received": "edits and erasures received",
    "paged": "messages on pages",
    "logins": "logins",
    "syncs": "Sync asked",
    "exceptions": "exceptions",
    "refused": "refused for good",
    "refused_for_now": "refused for now",
    "resent": "repeats written",
    "repeated_on_the_wire": "repeats dropped by readers",
    "disconnects": "connections lost",
    "foreign": "left over from earlier runs",
}
TROUBLES = ("exceptions", "refused", "refused_for_now", "resent", "repeated_on_the_wire", "disconnects")
"""Counters of what did not go smoothly."""
PROMISE: dict[str, str] = {
    "lost": "lost",
    "twice": "shown twice",
    "out_of_order": "out of order",
    "mixed_up": "mixed up",
    "unanswered": "unanswered",
    "late": "late, and marked so",
    "absent": "people who never came back",
    "waiting": "texts that wait for them",
}
LATENCIES: dict[str, str] = {"one_way": "one way", "to_sent": "until SENT", "after_absence": "after absence"}
PERCENTILES: dict[str, str] = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}
SETTINGS: dict[str, tuple[str, str]] = {
    "pairs": ("pairs of a writer and a reader", ""),
    "in_flight": ("in flight per pair or group", "texts"),
    "read": ("readers send READ", ""),
    "rate": ("rate", "texts a second"),
    "sessions": ("sessions", "clients"),
    "users": ("users", "people"),
    "messages": ("messages in all", ""),
    "devices": ("new devices", ""),
    "groups": ("groups", ""),
    "members": ("members of each group", "people"),
    "online": ("of these online (0: all)", "people"),
    "writers": ("writers in each group", "people"),
    "flaps": ("leave", "clients a second"),
    "seconds": ("measured for", "s"),
    "warm_up_s": ("warm-up", "s"),
    "body_bytes": ("body of a text", "bytes"),
    "processes": ("generator processes", ""),
    "websocket": ("over WebSocket, a message for each", ""),
}
MACHINE: dict[str, tuple[str, str]] = {
    "cpus": ("CPUs", ""),
    "system": ("system", ""),
    "python": ("Python", ""),
    "load_average": ("load average at the beginning", ""),
    "decode_us": ("decoding a message of 150 bytes", "µs"),
}
_ALL: dict[str, tuple[str, str]] = {"server": ("server", ""), "shape": ("shape", "")} | SETTINGS | MACHINE


def shape(told: str) -> str:
    """What was loaded, as a report says it."""
    first, comma, rest = told.partition(",")
    known = {"one": "one node", "running": "running servers", "scripts/cluster": "the cluster of scripts/cluster"}
    return known.get(first, first).replace(" 1 brokers", " 1 broker") + comma + rest


def figure(name: str) -> tuple[str, str]:
    """Words and unit; of a figure that another version wrote, its name."""
    return FIGURES.get(name, (plain(name), ""))


def setting(name: str) -> tuple[str, str]:
    """The same of a setting, or of what is said about the machine."""
    return _ALL.get(name, (plain(name), ""))


def counter(name: str) -> str:
    """Words for a counter."""
    return COUNTERS.get(name, plain(name))


def latency(name: str) -> str:
    """Words for a histogram."""
    return LATENCIES.get(name, plain(name))


def plain(name: str) -> str:
    """A name as words."""
    return name.replace("_", " ")


def number(value: Any) -> str:
    """As fine as matters: 1,234 or 12.3 or 0.034."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and (value.is_integer() or abs(value) >= 100)):
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return str(value)


def amount(value: Any, unit: str) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit}" if unit and value is not None else number(value)


def duration(seconds: float) -> str:
    """In what suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{number(round(seconds / size, 1))} {unit}"
    return f"{number(seconds)} s"


def zeros(names: Mapping[str, Any]) -> str:
    """What did not happen, in a line; empty if all did."""
    missing = [name for name, value in names.items() if not value]
    return f"none: {'; '.join(missing)}" if missing else ""


def verdict(promise: Verdict, counters: Mapping[str, int]) -> tuple[str, str]:
    """How the promise was kept: one word ("kept", "unsure" or "broken"), and sentences."""
    counted = promise.as_json()
    if not promise.kept:
        wrong = ("lost", "twice", "out_of_order", "mixed_up", "unanswered")
        told = ", ".join(f"{counted[name]:,} {PROMISE[name]}" for name in wrong if counted[name])
        return "broken", f"The promise was broken. Texts: {told}. Its figures count for nothing."
    if promise.absent:
        return "unsure", (
            f"Not every message can be accounted for. The promise was kept to whoever came back; {promise.absent:,} "
            f"never did, and {promise.waiting:,} texts wait."
        )
    sent, shown = counters.get("sent_acks", 0), counters.get("received", 0)
    if not sent:
        return "kept", "The promise was kept. No texts were sent, so there was little to keep."
    once = "once each" if shown == sent else f"once to each reader, {shown:,} times in all"
    told = f"The promise was kept. All {sent:,} texts that the servers took were shown {once}, in order and unchanged."
    return "kept", told + (f" {promise.late:,} came late and were marked so, as they may." if promise.late else "")
