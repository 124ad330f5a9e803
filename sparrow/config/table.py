"""The table of all settings in the docs, made from the settings classes.

`python -m sparrow.config.table >docs/settings.md` writes it anew.

Owns how a setting looks there. What it may be, and what it means, stands beside it in its class.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from fabric.bounds import bounds_of, unit_of
from sparrow.config.defaults import descriptions, in_toml
from sparrow.config.roles import ROLES, roles_of
from sparrow.config.settings import CHOICES, Settings, sections

_HEAD = """\
# Settings

Every setting: its default, its unit, what it may be, and which processes read it. A value out of its bounds ends a
start, and `sparrow check` says which and why. [Operations](operations.md#settings) says where settings are written, and
what else `sparrow check` looks at.

This file is made from the settings classes: `.venv/bin/python -m sparrow.config.table >docs/settings.md` writes it
anew, after a change there.
"""
_COLUMNS = "| setting | default | unit | may be | of | meaning |\n|---|---|---|---|---|---|\n"


def render() -> str:
    """The text of `docs/settings.md`."""
    parts = [_HEAD, _COLUMNS + _row(Settings, "", next(iter(dataclasses.fields(Settings))))]
    for name, kind in sections().items():
        rows = "".join(_row(kind, name, item) for item in dataclasses.fields(kind))
        parts.append(f"## [{name}]\n\n{inspect.cleandoc(kind.__doc__ or '')}\n\n{_COLUMNS}{rows}")
    return "\n".join(parts)


def _row(kind: type[Any], section: str, item: dataclasses.Field[Any]) -> str:
    bounds = bounds_of(item)
    unit = "port" if bounds and bounds.is_port else unit_of(item.name) if bounds else ""
    meaning = " ".join(descriptions(kind).get(item.name, "").split())
    cells = (f"`{item.name}`", f"`{in_toml(item.default)}`", unit, _may_be(section, item), _of(section, item), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _may_be(section: str, item: dataclasses.Field[Any]) -> str:
    bounds = bounds_of(item)
    if bounds is not None:
        return bounds.range + (", or 0" if bounds.zero else "")
    choices = CHOICES.get((section, item.name), ())
    return " or ".join(f"`{in_toml(choice)}`" for choice in choices)


def _of(section: str, item: dataclasses.Field[Any]) -> str:
    roles = roles_of(f"{section}.{item.name}" if section else item.name)
    return "all" if roles == ROLES else ", ".join(roles)


if __name__ == "__main__":
    print(render(), end="")
