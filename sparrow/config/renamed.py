"""Settings of earlier releases that are called otherwise now, or are gone.

Owns the tables, and what is said of a setting that is still written so. An old settings file goes on working: its
value goes to the new name, or nowhere, and `sparrow check` and the log of a start say which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

RENAMED: dict[str, str] = {
    "broker.nudge_repeat_s": "broker.notify_repeat_s",
    "broker.nudge_timeout_s": "broker.notify_timeout_s",
    "connector.max_held_bytes": "connector.max_buffered_bytes",
}
"""Old name → new name, both with their section: `"connector.old_s": "connector.new_s"`. The value means the same, in
the same unit."""

GONE: dict[str, str] = {
    "broker.retry_after_ms": "a sender is told one second when store or presence is away",
}
"""Old name → why nothing is lost without it; ends a sentence."""

FORMER_VALUES: dict[tuple[str, object], tuple[object, str]] = {
    ("log.level", "debug"): ("info", "nothing is logged that is less than info"),
}
"""Name (a new one) and a value that it took → the value that says the same now, and why; ends a sentence."""


class Entry(NamedTuple):
    """A setting as it was written."""

    written: str
    """The name that stands there, which may be an old one."""
    value: object


def translate(entries: Mapping[str, object]) -> tuple[dict[str, Entry], list[tuple[str, str]]]:
    """Settings of one source (name with section → value) by their names of today; and for each that was written in an
    old way, a name of today or a gone one and what to say.

    A setting that is written with both its names has the value of the new one.
    """
    found: dict[str, Entry] = {}
    notes: list[tuple[str, str]] = []
    for written, value in entries.items():
        if written in GONE:
            notes.append((written, f"is gone and does nothing: {GONE[written]}. Take it out"))
            continue
        name = RENAMED.get(written, written)
        if name != written:
            notes.append((name, f"is still called {written}, its old name, in your settings: write {name}"))
            if name in entries:
                continue
        if isinstance(value, str) and (name, value) in FORMER_VALUES:
            instead, why = FORMER_VALUES[name, value]
            notes.append((name, f'"{value}" is "{instead}" now: {why}. Write "{instead}"'))
            value = instead
        found[name] = Entry(written, value)
    return found, notes
