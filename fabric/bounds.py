"""What a number in the settings may be: declared once, beside the setting.

Owns how bounds are declared and told. Reads no settings.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, TypeVar

_KEY = "bounds"
_LARGEST_PORT = 65535
_UNITS = {
    "_s": "seconds",
    "_days": "days",
    "_hours": "hours",
    "_bytes": "bytes",
    "_kib": "KiB",
    "_pages": "pages of 4 KiB",
    "_rows": "rows",
    "_batches": "batches",
}
"""How a setting's name ends → what its value counts."""
_RATES = {"_per_second": "a second", "_per_minute": "a minute", "_per_hour": "an hour", "_per_day": "a day"}

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a number may be."""

    least: float
    most: float
    zero: bool
    """Whether 0, which is below the least, may be set as well: what it then means, the setting says."""
    is_port: bool = False

    def admit(self, value: float) -> bool:
        """Whether the number may be set; not infinity, nor what is no number."""
        return self.least <= value <= self.most or (self.zero and value == 0)

    @property
    def range(self) -> str:
        """The least and the most, as people read them."""
        return f"{shown(self.least)} to {shown(self.most)}"


def number(default: Number, least: float, most: float, *, zero: bool = False) -> Number:
    """A field of a settings class that is a number, of the type of `default`, and of its bounds."""
    made: Any = field(default=default, metadata={_KEY: Bounds(least, most, zero and least > 0)})
    return made  # type: ignore[no-any-return]


def port(default: int, *, zero: bool = False) -> int:
    """The same of a TCP port."""
    made: Any = field(default=default, metadata={_KEY: Bounds(0 if zero else 1, _LARGEST_PORT, False, is_port=True)})
    return made  # type: ignore[no-any-return]


def bounds_of(item: Field[Any]) -> Bounds | None:
    """Those of a field; None for one that is no number."""
    found: Bounds | None = item.metadata.get(_KEY)
    return found


def unit_of(name: str) -> str:
    """What a number counts, as its setting's name says it: "bytes", "bytes a second", "a minute"; empty: things."""
    stem, _, _ = name.partition("_of_")
    rate = next((end for end in _RATES if stem.endswith(end)), "")
    stem = stem.removesuffix(rate)
    padded = f"_{stem}"
    units = [unit for end, unit in _UNITS.items() if padded.endswith(end)]
    units = units or [unit for end, unit in _UNITS.items() if f"{end}_" in padded and end in ("_bytes", "_rows")]
    return " ".join([*units[:1], *([_RATES[rate]] if rate else [])])


def shown(value: float) -> str:
    """A number as people read it: 10,000, 0.25."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
