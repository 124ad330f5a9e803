"""What each number in the settings may be, as rooms declare it beside the setting (`fabric.bounds`).

Owns what is said of one that is out of its bounds, wherever it comes from.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric.bounds import Bounds, bounds_of, unit_of
from sparrow.config.tree import sections

if TYPE_CHECKING:
    from sparrow.config.tree import Settings


@functools.cache
def numbers() -> dict[tuple[str, str], Bounds]:
    """Section and key → bounds."""
    return {
        (name, item.name): found
        for name, kind in sections().items()
        for item in dataclasses.fields(kind)
        if (found := bounds_of(item)) is not None
    }


def told(key: str, bounds: Bounds, *, whole: bool) -> str:
    """What the number `key` may be, to somebody who gave another."""
    if bounds.is_port:
        return f"a port number, {bounds.least:.0f} to {bounds.most:.0f}"
    text = f"a {'whole ' if whole else ''}number from {bounds.range} {unit_of(key)}".rstrip()
    return text + (", or 0" if bounds.zero else "")


def out_of_bounds(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Those of settings that no file was read for: key, text, and that it is serious."""
    for (section, key), bounds in numbers().items():
        value = getattr(getattr(settings, section), key)
        if not bounds.admit(value):
            yield f"{section}.{key}", f"{value!r}: must be {told(key, bounds, whole=isinstance(value, int))}", True
