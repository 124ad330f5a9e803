"""Rows put together into few statements.

Owns their size. A statement costs a hundred microseconds, a row in one of twenty a fourth of that or less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cassandra.query import BatchStatement, BatchType

Queue = tuple[str, str]
"""User and device."""
Bound = tuple[Queue, int, tuple[object, ...]]
"""One row: its partition, its size in bytes, and a statement's values."""

ROW_BYTES = 64
"""What Cassandra counts for a row besides its body."""
MAX_PARTITIONS = 10
"""Cassandra warns of a batch that covers more."""


def batches(prepared: Any, rows: Iterable[Bound], max_rows: int, max_bytes: int) -> Iterator[Any]:
    """Statements that write all rows; unlogged batches, mostly of one partition, and single rows."""
    queues: dict[Queue, list[Bound]] = {}
    for row in rows:
        queues.setdefault(row[0], []).append(row)
    batch: list[Bound] = []
    size = partitions = 0
    for queue in queues.values():
        partitions += 1
        for at, row in enumerate(queue):
            more = row[1] + ROW_BYTES
            if batch and (len(batch) >= max_rows or size + more > max_bytes or partitions > MAX_PARTITIONS):
                yield _statement(prepared, batch)
                batch, size, partitions = [], 0, 1
            batch.append(row)
            size += more
            if at == 0 and len(queue) >= max_rows and len(batch) > 1:
                # A long queue begins a statement of its own.
                yield _statement(prepared, batch[:-1])
                batch, size, partitions = [row], more, 1
    if batch:
        yield _statement(prepared, batch)


def _statement(prepared: Any, rows: list[Bound]) -> Any:
    if len(rows) == 1:
        return prepared.bind(rows[0][2])
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    for _, _, values in rows:
        batch.add(prepared, values)
    return batch
