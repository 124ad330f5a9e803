"""What the user API counts, for Prometheus: requests by operation and outcome, the time that they took, and refusals.

Owns the numbers, in memory that all worker processes of one service share. Knows no endpoint.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, Metric

_P = "sparrow_userapi_"
MAX_OPERATIONS = 128
_MAX_NAMES_BYTES = 64 * MAX_OPERATIONS
_STATUSES = ("2xx", "3xx", "4xx", "5xx")
_SLOTS = len(_STATUSES) + 1
REASONS = (
    "body_timeout",
    "evicted",
    "handshake_failed",
    "handshake_timeout",
    "head_timeout",
    "healths_busy",
    "idle_timeout",
    "malformed",
    "passwords_busy",
    "providers_busy",
    "requests_busy",
    "too_many_connections",
    "writing_timeout",
)
"""Why connections were closed or requests refused before the application saw them."""
_NUMBERS = {reason: number for number, reason in enumerate(REASONS)}
GROUPS = (
    "made",
    "renamed",
    "picture",
    "settings",
    "added",
    "joined",
    "left",
    "removed",
    "role",
    "closed",
    "invited",
    "lost_race",
    "hint_dropped",
)
"""What happens to groups: kinds of changes; and invitations, changes that another one came before, and hints that were
too many to be told."""
_GROUP_NUMBERS = {event: number for number, event in enumerate(GROUPS)}


class Counts:
    """Make it before the workers are forked, which then count into the same memory."""

    def __init__(self, way: Literal["fork", "spawn"] = "fork") -> None:
        """`way`: how the process is made that counts here, or the one that forks it."""
        context = multiprocessing.get_context(way)
        self._values = context.Array("d", MAX_OPERATIONS * _SLOTS)
        self._refused = context.Array("d", len(REASONS))
        self._pages = context.Array("d", 2)
        self._groups = context.Array("d", len(GROUPS))
        self._names = context.RawArray("c", _MAX_NAMES_BYTES)

    def name(self, operations: Sequence[str]) -> None:
        """What the operations are called, by number; before any is counted."""
        self._names.value = "\n".join(operations).encode()

    def refused(self, reason: str) -> None:
        """One more for one of `REASONS`; for anything else nothing."""
        if reason in _NUMBERS:
            with self._refused.get_lock():
                self._refused[_NUMBERS[reason]] += 1

    def count(self, operation: int, status: int, seconds: float) -> None:
        """A request was answered."""
        first = operation * _SLOTS
        with self._values.get_lock():
            self._values[first + min(max(status // 100, 2), 5) - 2] += 1
            self._values[first + len(_STATUSES)] += seconds

    def group(self, event: str) -> None:
        """One more for one of `GROUPS`; for anything else nothing."""
        if event in _GROUP_NUMBERS:
            with self._groups.get_lock():
                self._groups[_GROUP_NUMBERS[event]] += 1

    def page(self, messages: int) -> None:
        """A page of history was answered, with so many messages."""
        with self._pages.get_lock():
            self._pages[0] += 1
            self._pages[1] += messages

    def metrics(self) -> Iterator[Metric]:
        """All of them. Takes no lock, which a process that is killed may have held."""
        values = _read(self._values)
        operations = self._names.value.decode().split("\n")
        requests = CounterMetricFamily(
            _P + "requests", "Requests answered, by operation and status.", labels=("operation", "status")
        )
        seconds = CounterMetricFamily(
            _P + "request_seconds", "The time that they took, in seconds, by operation.", labels=("operation",)
        )
        for number, operation in enumerate(operations):
            first = number * _SLOTS
            for at, status in enumerate(_STATUSES):
                requests.add_metric((operation, status), values[first + at])
            seconds.add_metric((operation,), values[first + len(_STATUSES)])
        yield requests
        yield seconds
        refused = CounterMetricFamily(
            _P + "refused", "Connections closed, and requests refused, before they were looked at.", labels=("reason",)
        )
        for reason, count in zip(REASONS, _read(self._refused), strict=True):
            refused.add_metric((reason,), count)
        yield refused
        groups = CounterMetricFamily(_P + "groups", "What happened to groups, by event.", labels=("event",))
        for event, count in zip(GROUPS, _read(self._groups), strict=True):
            groups.add_metric((event,), count)
        yield groups
        pages, messages = _read(self._pages)
        yield CounterMetricFamily(_P + "history_pages", "Pages of history answered.", value=pages)
        yield CounterMetricFamily(_P + "history_messages", "Messages on these pages.", value=messages)


def _read(values: Any) -> list[float]:
    """As they are now, without the lock."""
    return list(values.get_obj()[:])
