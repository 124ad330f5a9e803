"""JSON as we take it from others: an object in which each field stands once.

Owns that rule. What the fields are is for those who ask.
"""

from __future__ import annotations

from typing import Any


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, for `json.loads(object_pairs_hook=...)`. Raises `ValueError` for a field that is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a field is there twice")
    return values
