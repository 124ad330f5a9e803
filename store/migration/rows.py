"""What is to stand in Cassandra, as plain values.

Owns the types. Knows neither SQLite nor a driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from store.group_rules import Lives

Key = tuple[Any, ...]
Values = Mapping[str, Any]
LEAVE = -1
"""As the write time of a removal: it ends by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Facet:
    """Columns of a table that are compared and written together."""

    table: str
    partition: tuple[str, ...]
    clustering: tuple[str, ...] = ()
    """Empty: the static columns of the partition, or a row that is all of it."""
    columns: tuple[str, ...] = ()
    rises: frozenset[str] = frozenset()
    """Columns of which the greater value stays."""
    gone: Callable[[Key, Values], int | None] = lambda key, values: None
    """The write time, in µs, of the removal of a row; None: the one of the pass."""

    @property
    def key(self) -> tuple[str, ...]:
        """All columns of the primary key."""
        return self.partition + self.clustering


class Cells(NamedTuple):
    """Some columns of a row."""

    values: Values
    time_us: int | None = None
    """Their write time; None: the one of the pass."""
    ends_ms: int | None = None
    """When they end, Unix time; None: never."""


class Want(NamedTuple):
    """A row that is to be there."""

    facet: Facet
    key: Key
    cells: tuple[Cells, ...] = (Cells({}),)


@dataclass(slots=True)
class Unit:
    """What is copied, and compared, as a whole."""

    wants: list[Want] = field(default_factory=list)
    scopes: list[tuple[Facet, Key]] = field(default_factory=list)
    """Partitions of which all rows are this unit's: what is not wanted there goes."""

    def want(self, facet: Facet, key: Key, values: Values, ends_ms: int | None = None) -> None:
        """A row whose write time is the pass's."""
        self.wants.append(Want(facet, key, (Cells(values, None, ends_ms),)))


class Moment(NamedTuple):
    """What a copy depends on besides its unit."""

    now_ms: int
    """Unix time."""
    keep_days: int
    lives: Lives
    inbox_ttl_ms: int
