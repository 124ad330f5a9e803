"""A result: what goes into the JSON file, with names that stay (docs/load.md, "The JSON file").

Owns the format, its reading and writing, and the text that is printed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError
from marshmallow import fields as of
from marshmallow.fields import Field
from marshmallow.validate import OneOf

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
            known = _RESULT().load(values, unknown=EXCLUDE)
            promise, seconds = Verdict(**known.pop("promise")), [Second(**each) for each in known.pop("seconds")]
            made = cls(**known, promise=promise, seconds=seconds)
            _ = made.title, float(made.settings.get("seconds") or 0)  # numbers, where there have to be some
        except ValidationError as error:
            raise ConfigError(f"not a result of `sparrow load`: {_first(error.messages)}") from None
        except (TypeError, ValueError):
            raise ConfigError("not a result of `sparrow load`: settings are no numbers") from None
        return made


def _first(messages: object) -> str:
    """Of what is wrong in a file."""
    at = []
    while isinstance(messages, dict | list) and messages:
        if isinstance(messages, dict):
            key, messages = next(iter(messages.items()))
            at += [str(key)] if key not in ("value", "_schema") else []
        else:
            messages = messages[0]
    return f"{'.'.join(at)}: {messages}"


def _schema(kind: type[Verdict | Second]) -> type[Schema]:
    """What its fields are in a file; those that have a default may be missing."""
    kinds: dict[str, Callable[..., Field[Any]]] = {
        "str": of.String,
        "int": of.Integer,
        "float": of.Float,
        "float | None": partial(of.Float, allow_none=True),
        "dict[str, int]": partial(of.Dict, keys=of.String(), values=of.Integer()),
    }
    return Schema.from_dict(
        {
            each.name: kinds[str(each.type)](required=each.default is each.default_factory is MISSING)
            for each in fields(kind)
        }
    )


def _plain(value: object) -> None:
    if not isinstance(value, str | int | float | None):
        raise ValidationError("Neither a number nor words.")


_TEXT, _COUNT, _NUMBER = of.String(required=True), of.Integer(), of.Float(allow_none=True)
_PAIRS = of.List(of.Tuple((of.Float(), of.Integer())), required=True)
_VALUES = of.Dict(of.String(), of.Raw(allow_none=True, validate=_plain), required=True)
_MEMORY = Schema.from_dict(
    {
        "pid": of.Integer(required=True),
        "process": _TEXT,
        "first_mib": of.Float(required=True),
        "last_mib": of.Float(required=True),
        "kib_per_hour": of.Float(required=True, allow_none=True),
        "samples": _PAIRS,
    }
)
_RESULT = Schema.from_dict(
    {
        "scenario": of.String(required=True, validate=OneOf(USED, error="this version does not know {input!r}")),
        "server": _TEXT,
        "shape": _TEXT,
        "settings": _VALUES,
        "machine": _VALUES,
        "figures": of.Dict(of.String(), _NUMBER),
        "promise": of.Nested(_schema(Verdict), unknown=EXCLUDE, required=True),
        "counters": of.Dict(of.String(), _COUNT),
        "errors": of.Dict(of.String(), _COUNT),
        "latency_ms": of.Dict(of.String(), of.Dict(of.String(), _NUMBER)),
        "histograms": of.Dict(of.String(), _PAIRS),
        "memory": of.List(of.Nested(_MEMORY, unknown=EXCLUDE)),
        "seconds": of.List(of.Nested(_schema(Second), unknown=EXCLUDE), required=True),
    }
)
"""The file, as docs/load.md has it."""


def write(file: Path, reports: Iterable[Report]) -> None:
    """One as an object, several as a list. Raises `ConfigError`."""
    values = [report.as_json() for report in reports]
    text = json.dumps(values[0] if len(values) == 1 else values, indent=1)
    write_text(file, text + "\n")


def write_text(file: Path, text: str) -> None:
    """Raises `ConfigError` if that cannot be written."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None


def read(file: Path) -> list[Report]:
    """What `write` wrote. Raises `ConfigError`."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
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
