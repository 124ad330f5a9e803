"""What a deliberate defect is: patches, and within how many seeds they must be found.

Owns that shape. The defects are in `tests.simulation.defects` and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True)
class Defect:
    """What is wrong, and within how many seeds that shows."""

    name: str
    seeds: int
    patches: tuple[tuple[Any, str, Any], ...]
    emphasis: tuple[str, ...] = ()
    """What the runs have more of, so that a rare sequence of events comes often."""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Switch it on."""
        with ExitStack() as stack:
            for target, attribute, replacement in self.patches:
                stack.enter_context(patch.object(target, attribute, replacement))
            yield
