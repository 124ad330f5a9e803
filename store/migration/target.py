"""Cassandra, made to have what is wanted of it: what stands there is read, and only what differs is written.

Owns these statements, and what counts as different. Knows nothing of SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from protocol.errors import StoreError
from store.cassandra.batches import Write, batches
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests, Rows
from store.migration.people import USAGE
from store.migration.rows import LEAVE, Cells, Facet, Key, Unit, Values, Want
from store.settings import StoreSettings

_AT_ONCE = 500
_ASKED_AT_ONCE = 50
_FLEETING_MS = 600_000
"""What ends so soon may have ended when it is compared."""
Present = dict[tuple[Facet, Key], dict[Key, Values]]
"""The rows that stand, by facet and partition."""


class Target:
    """A keyspace that is being filled."""

    def __init__(self, settings: StoreSettings, connection: Connection, requests: Requests) -> None:
        self._settings = settings
        self._connection = connection
        self._requests = requests
        self._prepared: dict[str, Any] = {}

    def _bind(self, statement: str, values: Sequence[Any]) -> Any:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = self._connection.prepare(statement)
        return prepared.bind(values)

    # Reading.

    async def read(self, units: Iterable[Unit]) -> Present:
        """What stands of these units. Raises `StoreError`."""
        present: Present = {}
        scopes: dict[tuple[Facet, Key], None] = {}
        exact: dict[tuple[Facet, Key], set[Key]] = {}
        for unit in units:
            scopes |= dict.fromkeys(unit.scopes)
            mine = {facet for facet, _ in unit.scopes}
            for want in unit.wants:
                if want.facet not in mine:
                    partition = want.key[: len(want.facet.partition)]
                    exact.setdefault((want.facet, partition), set()).add(want.key[len(partition) :])
        await self._read_scopes(list(scopes), present)
        reads = []
        for (facet, partition), rests in exact.items():
            some = sorted(rests)
            chunks = [some[start : start + _ASKED_AT_ONCE] for start in range(0, len(some), _ASKED_AT_ONCE)]
            reads += [(facet, partition, self._reading(facet, partition, chunk)) for chunk in chunks]
        answers = await self._requests.run([statement for _, _, statement in reads])
        for (facet, partition, _), rows in zip(reads, answers, strict=True):
            _take(present, facet, partition, rows)
        return present

    async def _read_scopes(self, scopes: Sequence[tuple[Facet, Key]], present: Present) -> None:
        todo: list[tuple[Facet, Key, Any]] = [(facet, partition, None) for facet, partition in scopes]
        while todo:
            answers = await self._requests.run([self._scanning(*one) for one in todo])
            again = []
            for (facet, partition, _), rows in zip(todo, answers, strict=True):
                _take(present, facet, partition, rows)
                if len(facet.clustering) == 1 and len(rows) == _AT_ONCE:
                    again.append((facet, partition, rows[-1][0]))
            todo = again

    def _scanning(self, facet: Facet, partition: Key, after: Any) -> Any:
        """All rows of a partition; some at a time where one column tells them apart."""
        where, values = facet.partition, list(partition)
        statement = f"{_select(facet)} WHERE {' AND '.join(f'{name} = ?' for name in where)}"
        if len(facet.clustering) == 1:
            if after is not None:
                statement += f" AND {facet.clustering[0]} > ?"
                values.append(after)
            statement += f" LIMIT {_AT_ONCE}"
        elif not facet.clustering:
            statement += " LIMIT 1"
        return self._bind(statement, values)

    def _reading(self, facet: Facet, partition: Key, rests: Sequence[Key]) -> Any:
        """These rows of a partition."""
        statement = f"{_select(facet)} WHERE {' AND '.join(f'{name} = ?' for name in facet.partition)}"
        if not facet.clustering:
            return self._bind(statement + " LIMIT 1", partition)
        if len(facet.clustering) == 1:
            return self._bind(f"{statement} AND {facet.clustering[0]} IN ?", (*partition, [rest[0] for rest in rests]))
        return self._bind(f"{statement} AND ({', '.join(facet.clustering)}) IN ?", (*partition, list(rests)))

    # Writing.

    def differences(self, units: Iterable[Unit], present: Present, clock_us: int, now_ms: int) -> list[Write]:
        """The writes that make what stands what is wanted, under the pass's write time `clock_us`."""
        writes: list[Write] = []
        for unit in units:
            wanted: set[tuple[Facet, Key]] = set()
            for want in unit.wants:
                # What ends by time alone does so there, too.
                wanted.add((want.facet, want.key))
                cells = [one for one in want.cells if one.ends_ms is None or one.ends_ms > now_ms]
                if cells:
                    writes += self._putting(want, cells, _there(present, want), clock_us, now_ms)
            for facet, partition in unit.scopes:
                for key, values in present.get((facet, partition), {}).items():
                    if (facet, key) not in wanted:
                        writes += self._removing(facet, key, values, clock_us)
        return writes

    def _putting(
        self, want: Want, cells: Iterable[Cells], there: Values | None, clock_us: int, now_ms: int
    ) -> Iterator[Write]:
        facet, key = want.facet, want.key
        for one in cells:
            changed = _changed(one.values, there or {}, facet.rises)
            if not changed and there is not None:
                continue
            if facet is USAGE:
                yield self._counting(key, one.values, there)
                continue
            names = (*facet.key, *changed)
            ttl_s = 0 if one.ends_ms is None else max(1, (one.ends_ms - now_ms) // 1000)
            statement = (
                f"INSERT INTO {facet.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
                "USING TIMESTAMP ? AND TTL ?"
            )
            time_us = clock_us if one.time_us is None else one.time_us
            yield self._write(facet, key, statement, (*key, *changed.values(), time_us, ttl_s))

    def _counting(self, key: Key, values: Values, there: Values | None) -> Write:
        """Counters: by how much they are wrong."""
        before: Mapping[str, Any] = there or {}
        more = [values[name] - (before.get(name) or 0) for name in ("rows", "bytes")]
        statement = f"UPDATE {USAGE.table} SET rows = rows + ?, bytes = bytes + ? WHERE user = ? AND day = ?"
        return self._write(USAGE, key, statement, (*more, *key))

    def _removing(self, facet: Facet, key: Key, values: Values, clock_us: int) -> Iterator[Write]:
        if facet is USAGE:
            # A counter that is deleted must never be used again.
            if values["rows"] or values["bytes"]:
                yield self._counting(key, {"rows": 0, "bytes": 0}, values)
            return
        time_us = facet.gone(key, values)
        if time_us == LEAVE:
            return
        statement = f"DELETE FROM {facet.table} USING TIMESTAMP ? WHERE "
        statement += " AND ".join(f"{name} = ?" for name in facet.key)
        yield self._write(facet, key, statement, (clock_us if time_us is None else time_us, *key))

    def _write(self, facet: Facet, key: Key, statement: str, values: Sequence[Any]) -> Write:
        partition = facet.table, repr(key[: len(facet.partition)])
        size = sum([len(value) for value in values if isinstance(value, bytes | str)])
        return Write(partition, size, self._bind(statement, values))

    async def write(self, writes: Sequence[Write]) -> None:
        """Do these. Raises `StoreError`."""
        settings = self._settings
        counters = [write.statement for write in writes if write.queue[0] == USAGE.table]
        plain = [write for write in writes if write.queue[0] != USAGE.table]
        limits = (settings.cassandra_batch_rows, settings.cassandra_batch_bytes)
        # A statement for each partition, so that each is one mutation.
        await self._requests.run([*batches(plain, *limits, lambda partition: partition), *counters])

    # Comparing.

    def compare(self, units: Iterable[Unit], present: Present, now_ms: int) -> None:
        """Raises `StoreError` if anything is not as it is wanted, but for what is about to end."""
        for unit in units:
            wanted = {(want.facet, want.key) for want in unit.wants}
            for want in unit.wants:
                lasting = [one for one in want.cells if one.ends_ms is None or one.ends_ms > now_ms + _FLEETING_MS]
                there, rises = _there(present, want), want.facet.rises
                for one in lasting:
                    if there is None or _changed(one.values, there, rises):
                        raise _not_as_written(want.facet, want.key)
            for facet, partition in unit.scopes:
                for key, values in present.get((facet, partition), {}).items():
                    if (facet, key) not in wanted and not _may_stay(facet, key, values):
                        raise _not_as_written(facet, key)


def _select(facet: Facet) -> str:
    return f"SELECT {', '.join((*facet.clustering, *facet.columns)) or facet.partition[0]} FROM {facet.table}"


def _there(present: Present, want: Want) -> Values | None:
    return present.get((want.facet, want.key[: len(want.facet.partition)]), {}).get(want.key)


def _take(present: Present, facet: Facet, partition: Key, rows: Rows) -> None:
    width = len(facet.clustering)
    there = present.setdefault((facet, partition), {})
    for row in rows:
        # Static columns alone make a row without a key.
        if width and row[0] is None:
            continue
        values = {name: _plain(value) for name, value in zip(facet.columns, row[width:], strict=False)}
        there[(*partition, *row[:width])] = values


def _plain(value: Any) -> Any:
    """As Python has it; Cassandra has no empty sets."""
    if value is None or isinstance(value, int | str | bytes):
        return value
    return set(value) or None


def _changed(wanted: Values, there: Values, rises: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if _differs(value, there.get(name), rises=name in rises)}


def _differs(wanted: Any, there: Any, *, rises: bool) -> bool:
    if rises and wanted is not None and there is not None:
        return bool(there < wanted)
    return bool(wanted != there)


def _may_stay(facet: Facet, key: Key, values: Values) -> bool:
    if facet is USAGE:
        return not values["rows"] and not values["bytes"]
    return facet.gone(key, values) == LEAVE


def _not_as_written(facet: Facet, key: Key) -> StoreError:
    return StoreError(
        f"Cassandra's table {facet.table}: the row {key} is not what was written a moment ago: does another program "
        "write there, or is a clock behind?"
    )
