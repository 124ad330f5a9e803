"""The commented default settings file, made from the settings classes.

`python -m sparrow.config.defaults >sparrow/config/sparrow.toml` writes it anew.

Owns how a setting looks in TOML. Reads the classes' source for their descriptions.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
from typing import Any

from fabric.bounds import bounds_of, unit_of
from sparrow.config.settings import PREFIX, Settings, sections

_HEAD = f"""\
# Sparrow's settings, all of them, with their defaults. To change one, remove the # before it.
# The environment wins over this file: {PREFIX}CONNECTOR__LISTEN_PORT=7401 (lists separated by commas).
# Names that end in _s are seconds, _ms milliseconds.
"""


def render() -> str:
    """The text of `sparrow/config/sparrow.toml`."""
    parts = [_HEAD]
    parts.extend(_entry(Settings, item) for item in dataclasses.fields(Settings) if item.name == "data_dir")
    for name, kind in sections().items():
        parts.append(f"[{name}]\n# {inspect.cleandoc(kind.__doc__ or '')}\n")
        parts.extend(_entry(kind, item) for item in dataclasses.fields(kind))
    return "\n".join(parts)


def _entry(kind: type[Any], item: dataclasses.Field[Any]) -> str:
    description = " ".join(descriptions(kind).get(item.name, "").split())
    comment = textwrap.fill(description, 116, initial_indent="# ", subsequent_indent="# ")
    return f"{comment}\n{_bounds(item)}#{item.name} = {in_toml(item.default)}\n"


def _bounds(item: dataclasses.Field[Any]) -> str:
    bounds = bounds_of(item)
    if bounds is None or bounds.is_port:
        return ""
    return f"# ({bounds.range} {unit_of(item.name)}".rstrip() + (", or 0)\n" if bounds.zero else ")\n")


def in_toml(value: object) -> str:
    """A value as a settings file has it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(in_toml, value)) + "]"
    return json.dumps(value)


def descriptions(kind: type[Any]) -> dict[str, str]:
    """Each field's docstring: the text literal that follows it."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(found, ast.ClassDef)
    texts: dict[str, str] = {}
    for before, after in zip(found.body, found.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    texts[before.target.id] = text
    return texts


if __name__ == "__main__":
    print(render(), end="")
