"""A result: what goes into the JSON file, with names that stay (docs/load.md, "The JSON file").

Owns the format, its reading and writing, and the text that is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from load.ledger import Verdict
from load.spec import Options
from protocol.errors import ConfigError

FORMAT = 1
_TIMED = ("seconds", "warm_up_s")
USED = {
    "pairs": ("pairs", "in_flight", "read"),
    "rate": ("pairs", "rate", "read"),
    "idle": ("sessions",),
    "storm": ("sessions", "rate", "groups", "members"),
    "offline": ("users", "messages"),
    "flap": ("pairs", "rate", "flaps"),
    "mixed": ("users", "rate", "groups", "members"),
    "soak": ("users", "rate", "groups", "members"),
    "history": ("pairs", "messages", "devices", "rate"),
    "groups": ("groups", "members", "online", "in_flight", "writers"),
}
"""Which options make a scenario what it is."""


def settings(options: Options) -> dict[str, Any]:
    """Those that mean something for this scenario."""
    timed = () if options.scenario == "offline" else _TIMED
    over = ("websocket",) if options.websocket else ()
    names = (*USED[options.scenario], *timed, *over, "body_bytes", "processes")
    return {name: getattr(options, name) for name in names}


@dataclass
class Second:
    """One second of a run."""

    at: float
    """Since the beginning, in seconds."""
    phase: str
    online: int
    sent: int = 0
    """Texts in this second, as all that follow but `exceptions`, which are since the beginning."""
    received: int = 0
    sent_acks: int = 0
    delivered_acks: int = 0
    read_acks: int = 0
    exceptions: int = 0
    p50_ms: float | None = None
    """One way, in this second."""
    p99_ms: float | None = None
    cpu_percent: float | None = None
    """CPU that all server processes used together; 100 is one CPU."""
    resident_mib: float | None = None


@dataclass
class Report:
    """What came of one run."""

    scenario: str
    server: str
    shape: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    """What the scenario is for; None for what could not be measured."""
    promise: Verdict = field(default_factory=Verdict)
    counters: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, Any]] = field(default_factory=dict)
    histograms: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """Upper border in milliseconds, and count."""
    memory: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What distinguishes it from others."""
        without = ("members",) if not self.settings.get("groups") else ()
        names = [name for name in USED[self.scenario] if name not in without]
        used = ((name.replace("_", " "), self.settings.get(name)) for name in names)
        told = ", ".join(name if value is True else f"{name} {value:,g}" for name, value in used if value)
        return f"{self.scenario} ({told})"

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        values = {"format": FORMAT, **asdict(self)}
        values["promise"] = self.promise.as_json()
        return values

    @classmethod
    def of_json(cls, values: object) -> Report:
        """What `as_json` gave. Raises `ConfigError` for anything else."""
        rest = dict(values) if isinstance(values, Mapping) else {}
        if rest.pop("format", None) != FORMAT:
            raise ConfigError(f"not a result of `sparrow load` in format {FORMAT}")
        try:
            promise = {key: value for key, value in rest.pop("promise").items() if key != "kept"}
            seconds = [Second(**second) for second in rest.pop("seconds")]
            return cls(**rest, promise=Verdict(**promise), seconds=seconds)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"not a result of `sparrow load`: {error}") from None


def write(file: Path, reports: Iterable[Report]) -> None:
    """One as an object, several as a list. Raises `ConfigError`."""
    values = [report.as_json() for report in reports]
    text = json.dumps(values[0] if len(values) == 1 else values, indent=1)
    write_text(file, text + "\n")


def write_text(file: Path, text: str) -> None:
    """Raises `ConfigError` if that cannot be written."""
    try:
        file.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None


def read(file: Path) -> list[Report]:
    """What `write` wrote. Raises `ConfigError`."""
    try:
        values = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{file}: not JSON; give a file that --json wrote") from None
    try:
        return [Report.of_json(each) for each in (values if isinstance(values, list) else [values])]
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{file}: {error}") from None


def text(report: Report) -> str:
    """The summary for a person."""
    lines = [f"{report.title}: {report.server}, {report.shape}", ""]
    shown = ("sent", "received", "sent_acks", "delivered_acks", "read_acks", "exceptions")
    lines += [f"  {name.replace('_', '-'):16}{report.counters.get(name, 0):>12,}" for name in shown]
    lines += [f"    {count} × {error}" for error, count in sorted(report.errors.items())]
    lines.append("")
    lines += [f"  {name.replace('_', ' '):34}{_number(value):>12}" for name, value in report.figures.items()]
    for name, values in report.latency_ms.items():
        if values["count"]:
            row = "  ".join(f"{key.replace('_', '.')} {_number(values[key])}" for key in values if key != "count")
            lines.append(f"  {name.replace('_', ' ')}, ms: {row}")
    lines += [
        f"  {each['process']} ({each['pid']}): {each['first_mib']} to {each['last_mib']} MiB"
        + ("" if each["kib_per_hour"] is None else f", {each['kib_per_hour']:+,} KiB an hour")
        for each in report.memory
    ]
    promise = report.promise
    account = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in asdict(promise).items())
    lines += ["", f"  every message accounted for: {account}"]
    lines.append(f"  {promise.text}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
