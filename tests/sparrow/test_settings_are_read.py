"""Each setting is read where things run: one that nobody reads would lie."""

from __future__ import annotations

import ast
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparrow.config.settings import sections
from tests.test_rooms import ROOMS

ROOT = Path(__file__).parents[2]

CONFIG = ROOT / "sparrow" / "config"
LOOK_ONLY = {CONFIG / f"{name}.py" for name in ("checks", "defaults", "exposure", "openness", "preflight", "settings")}
"""They read, check and explain settings, and do nothing with them."""
CONSENTS = {
    "connector.plain_links",
    "connector.plain_tcp",
    "broker.plain_links",
    "userapi.plain_links",
    "userapi.plain_http",
}
"""What an operator says there, so that `sparrow check` and the start do not refuse something."""


def words(node: ast.expr) -> Iterator[str]:
    """The names in an expression's last step: `self._settings` → `_settings`."""
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id


def read(source: str) -> Iterator[tuple[str, str]]:
    """Of what, and what: `settings.broker.lease_s`, and `read(settings, "key_file")`, which reads it by its name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            for word in words(node.value):
                yield word, node.attr
        elif isinstance(node, ast.Call):
            given = [word for argument in node.args for word in words(argument)]
            names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            for name in names:
                if isinstance(name, str):
                    yield from ((word, name) for word in given)


@pytest.fixture(scope="module")
def readers() -> dict[str, set[str]]:
    """Setting's name → of what it is read, anywhere."""
    found: dict[str, set[str]] = defaultdict(set)
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if path not in LOOK_ONLY and not path.name.endswith("_pb2.py"):
                for word, name in read(path.read_text()):
                    found[name].add(word)
    return found


def test_the_helper_sees_what_it_should() -> None:
    source = 'a = self._settings.one; b = _read(settings, "two"); settings.three = 4; five.six; log("seven")'
    assert set(read(source)) == {("self", "_settings"), ("_settings", "one"), ("settings", "two"), ("five", "six")}


@pytest.mark.parametrize("section", sections())
def test_each_setting_is_read(readers: dict[str, set[str]], section: str) -> None:
    """Of settings, of its section, or by a property of its class."""
    unread = [
        f"{section}.{field.name}"
        for field in dataclasses.fields(sections()[section])
        if not any("settings" in word or word in (section, "self") for word in readers[field.name])
    ]
    assert set(unread) <= CONSENTS, "take it out (sparrow/config/renamed.py), or do what it says"


def test_what_is_looked_at_only_is_there() -> None:
    assert all(path.is_file() for path in LOOK_ONLY)
    exposure = {name for word, name in read((CONFIG / "exposure.py").read_text())}
    assert {one.partition(".")[2] for one in CONSENTS} <= exposure
