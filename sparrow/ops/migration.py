"""`sparrow migrate`: a node's data go from SQLite to Cassandra, most of it while the node runs; and back, while none
does.

Owns the order of the two ends, and what is said. What is copied, and how: `store.migration`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import ConfigError
from sparrow.config.settings import Settings
from store.migration.source import COMPARING, COPYING, READY, Move, Source
from store.ownership import Ownership
from store.settings import StoreSettings
from store.sqlite.backup import locked, making

if TYPE_CHECKING:
    from store.cassandra.connecting import Connection
    from store.migration.keyspace import Keyspace
    from store.migration.mover import Mover, Progress

_AGAIN = "sparrow migrate --to cassandra"
_SET = 'set store.engine = "cassandra"'
_DOING = {COPYING: "copying", COMPARING: "comparing"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `sparrow migrate`, beside --config."""
    parser.add_argument(
        "--to", required=True, choices=("cassandra", "sqlite"), help="where to; the settings of the store say which"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--finish", action="store_true", help="the last step to Cassandra, while no server runs")
    end.add_argument("--abort", action="store_true", help="forget it: the servers stay with SQLite")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """One step of it; each may be stopped anywhere and run again. Raises `ConfigError`, `StoreError`."""
    before = {"cassandra": "sqlite", "sqlite": "cassandra"}[options.to]
    if settings.store.engine != before:
        raise ConfigError(
            f'store.engine is "{settings.store.engine}": this is run with "{before}", as the servers are until the end'
        )
    if options.to == "sqlite":
        asyncio.run(_back(settings.store, options))
        return 0
    work = _abort if options.abort else _finish if options.finish else _catch_up
    asyncio.run(work(settings.store))
    return 0


async def _catch_up(settings: StoreSettings) -> None:
    with Source(settings) as source:
        if source.moved:
            raise ConfigError(f"{settings.path} was moved already: {_AGAIN} --finish ends it, if that was interrupted")
        if source.is_fenced:
            raise ConfigError(f"the last step has begun: {_AGAIN} --finish goes on with it, --abort undoes it")
        async with _opened(settings, source) as (mover, _):
            await mover.catch_up()
            due = mover.progress.due
    print("Cassandra has all of it, and it was compared row by row. Changed since, and due: " + f"{due:,}.")
    print(f"Now, or whenever it suits: stop the server, then {_AGAIN} --finish. Until then run this from time to time:")
    print("what changes meanwhile is noted, and the less of it is due, the shorter is the stop.")


async def _finish(settings: StoreSettings) -> None:
    with locked(Path(settings.path)), Source(settings) as source:
        move = source.move()
        if move is None or (not source.moved and move.phase != READY):
            raise ConfigError(f"not everything was copied yet: {_AGAIN}, while the server runs")
        if not source.moved:
            async with _opened(settings, source) as (mover, keyspace):
                await mover.finish()
                await asyncio.to_thread(keyspace.set_terms, *source.terms())
                source.leave()
        # Last: from now on somebody may write there.
        async with _connected(settings) as connection:
            await asyncio.to_thread(_open, settings, connection, move)
    print('Done. Set store.engine = "cassandra" in the settings, and start the server. The database')
    print(f"{settings.path} is as it was at the end, and no server opens it any more.")
    print("Keep it until there is a first snapshot (sparrow snapshot).")


def _open(settings: StoreSettings, connection: Connection, move: Move) -> bool:
    """Whether it was closed until now, by this migration."""
    from store.migration.keyspace import Keyspace

    connection.enter(settings.cassandra_keyspace)
    keyspace = Keyspace(settings, connection)
    if keyspace.holder() != move.id:
        return False
    keyspace.open()
    return True


async def _abort(settings: StoreSettings) -> None:
    with Source(settings) as source:
        if source.moved:
            await _take_back(settings, source)
        source.forget()
    print(f"Forgotten: the servers stay with {settings.path}. Drop the keyspace {settings.cassandra_keyspace} before")
    print("another begin.")


async def _take_back(settings: StoreSettings, source: Source) -> None:
    """Raises `ConfigError` if anybody may have written to the keyspace."""
    from store.migration.keyspace import Keyspace

    move = source.move()
    async with _connected(settings) as connection:
        connection.enter(settings.cassandra_keyspace)
        if move is None or Keyspace(settings, connection).holder() != move.id:
            raise ConfigError(f"it was finished, and servers may have gone on with Cassandra: {_SET}")


@asynccontextmanager
async def _connected(settings: StoreSettings) -> AsyncIterator[Connection]:
    from store.cassandra.opening import open_connection

    connection = await open_connection(settings)
    try:
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def _opened(settings: StoreSettings, source: Source) -> AsyncIterator[tuple[Mover, Keyspace]]:
    """The keyspace, closed for everybody else. Raises `ConfigError` if it is another one, or in use."""
    from store.cassandra.lease import Lease
    from store.cassandra.requests import Requests
    from store.migration.keyspace import prepare
    from store.migration.mover import Mover
    from store.migration.target import Target

    async with _connected(settings) as connection:
        keyspace = await asyncio.to_thread(prepare, settings, connection)
        await asyncio.to_thread(keyspace.close_for, source.begin().id)
        requests = Requests(settings, connection)
        lease = Lease(settings, connection, requests)
        await lease.take(Ownership.ALONE)
        try:
            yield Mover(settings, source, Target(settings, connection, requests), _say), keyspace
        finally:
            await lease.release()


# The way back.


async def _back(settings: StoreSettings, options: argparse.Namespace) -> None:
    from store.cassandra.lease import Lease
    from store.cassandra.requests import Requests
    from store.cassandra.schema import LEFT
    from store.migration.keyspace import Keyspace

    if options.finish:
        raise ConfigError("back to SQLite it is one step, while no server runs: run it without --finish")
    path = Path(settings.path)
    async with _connected(settings) as connection:
        connection.enter(settings.cassandra_keyspace)
        keyspace = Keyspace(settings, connection)
        if options.abort:
            if keyspace.holder() == LEFT:
                await asyncio.to_thread(keyspace.open)
            print(f"The servers stay with Cassandra. Remove {path}, if it is there, before another begin.")
            return
        if await asyncio.to_thread(path.exists):
            raise ConfigError(f"{path} is there already: move it away, or name another file in store.path")
        lease = Lease(settings, connection, Requests(settings, connection))
        await lease.take(Ownership.ALONE)
        try:
            await asyncio.to_thread(keyspace.leave)
            await asyncio.to_thread(_fill, path, connection)
        finally:
            await lease.release()
    print(f'Done. Set store.engine = "sqlite" in the settings, and start the server: {path} has all of it,')
    print("and no server opens the keyspace any more.")


def _fill(path: Path, connection: Connection) -> None:
    from store.migration.back import put_all

    with making(path) as database:
        put_all(connection, database, _say_rows)


def _say_rows(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say(progress: Progress) -> None:
    doing = _DOING.get(progress.phase, "catching up")
    print(
        f"{doing}: {progress.units:,} done, {progress.due:,} due, {progress.rows:,} rows written",
        file=sys.stderr,
        flush=True,
    )
