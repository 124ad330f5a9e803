"""A result: what goes into the JSON file, with names that stay (docs/load.md, "The JSON file").

Owns the format, its reading and writing, and the text that is printed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from load import words
from load.ledger import Verdict
from load.spec import Options
from protocol.errors import ConfigError

FORMAT = 1
_LABEL = 40
"""Columns of what is printed for names."""
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
    logins: int = 0
    """In this second, as all that follow; 0.1 did not tell them."""
    refused: int = 0
    refused_for_now: int = 0
    resent: int = 0
    repeated_on_the_wire: int = 0
    disconnects: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """What the exceptions were."""


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
        """What `as_json` gave, of this version or another one with this format: what it does not know is passed over.

        Raises `ConfigError` for anything else.
        """
        if not isinstance(values, dict) or "format" not in values:
            raise ConfigError("not a result of `sparrow load`: give a file that --json wrote")
        if values["format"] != FORMAT:
            raise ConfigError(f"a result in format {values['format']!r}, and this version reads format {FORMAT} only")
        try:
            return cls._of_json(values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(f"not a result of `sparrow load`: {type(error).__name__}: {error}") from None

    @classmethod
    def _of_json(cls, values: Mapping[str, Any]) -> Report:
        known = _known(cls, values)
        promise = Verdict(**_known(Verdict, known.pop("promise")))
        seconds = [Second(**_known(Second, each)) for each in known.pop("seconds")]
        made = cls(**known, promise=promise, seconds=seconds)
        if made.scenario not in USED:
            raise ValueError(f"this version knows no scenario {made.scenario!r}")
        for name, holds in _HOLDS.items():
            if not all(map(holds, getattr(made, name).values())):
                raise TypeError(f"{name} are {getattr(made, name)!r:.40}")
        if not all(set(each) >= _MEMORY for each in made.memory):
            raise TypeError(f"memory is {made.memory!r:.40}")
        return made


def _known(kind: type[Report | Verdict | Second], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of this class, each of the type that it is to have. Raises `TypeError`."""
    found = {}
    for each in fields(kind):
        if each.name in values:
            value = found[each.name] = values[each.name]
            wanted = _TYPES[str(each.type).partition("[")[0]]
            if not isinstance(value, wanted) and each.name not in ("promise", "seconds"):
                raise TypeError(f"{each.name} is {value!r:.40}")
    return found


_NUMBER = (int, float)
_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": _NUMBER,
    "float | None": (*_NUMBER, type(None)),
    "dict": dict,
    "list": list,
    "Verdict": dict,
}
"""What JSON has for a field, by how its type is written."""


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, _NUMBER)


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(len(pair) == 2 and all(map(_is_number, pair)) for pair in value)


_HOLDS: dict[str, Callable[[Any], bool]] = {
    "settings": lambda value: isinstance(value, str) or _is_number(value),
    "figures": _is_number,
    "counters": lambda value: isinstance(value, int),
    "errors": lambda value: isinstance(value, int),
    "latency_ms": lambda value: all(map(_is_number, value.values())),
    "histograms": _are_pairs,
}
_MEMORY = {"pid", "process", "first_mib", "last_mib", "kib_per_hour", "samples"}


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
    except (ValueError, RecursionError):
        raise ConfigError(f"{file}: not JSON; give a file that --json wrote") from None
    try:
        return [Report.of_json(each) for each in (values if isinstance(values, list) else [values])]
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{file}: {error}") from None


def text(report: Report) -> str:
    """The summary for a person."""
    lines = [f"{report.title}: {report.server}, {words.shape(report.shape)}", ""]
    lines += [_row(*_told(words.figure(name), value)) for name, value in report.figures.items()]
    measured = {name: values for name, values in report.latency_ms.items() if values["count"]}
    if measured:
        lines += ["", f"  {'milliseconds':{_LABEL}}" + "".join(f"{name:>10}" for name in words.PERCENTILES.values())]
    for name, values in measured.items():
        cells = "".join(f"{words.number(values.get(key)):>10}" for key in words.PERCENTILES)
        lines.append(f"  {words.latency(name):{_LABEL}}{cells}")
    counted = {words.counter(name): value for name, value in report.counters.items()}
    lines += ["", *(_row(name, value) for name, value in counted.items() if value)]
    lines += [f"    {count:,} × {error}" for error, count in sorted(report.errors.items())]
    lines += textwrap.wrap(words.zeros(counted), 100, initial_indent="  ", subsequent_indent="    ")
    if report.memory:
        lines.append("")
    lines += [
        f"  memory of {each['process']} ({each['pid']}): {each['first_mib']} to {each['last_mib']} MiB"
        + ("" if each["kib_per_hour"] is None else f", {each['kib_per_hour']:+,} KiB an hour")
        for each in report.memory
    ]
    _, verdict = words.verdict(report.promise, report.counters)
    return "\n".join([*lines, "", *textwrap.wrap(verdict, 100, initial_indent="  ", subsequent_indent="  ")])


def _told(label: tuple[str, str], value: Any) -> tuple[str, Any, str]:
    name, unit = label
    return name, value, unit if value is not None else ""


def _row(name: str, value: Any, unit: str = "") -> str:
    return f"  {name:{_LABEL}}{words.number(value):>14} {unit}".rstrip()
