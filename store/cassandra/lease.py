"""The lease on a keyspace: which broker with presence in memory works on it.

Owns the table `owners`, one row, written by compare-and-set under a time to live. Who holds it renews it; what a dead
one held runs out, or is taken at once by a process that can see that it is dead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from pathlib import Path

from protocol.errors import ConfigError, StoreError
from store.cassandra.addresses import where
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.ownership import Holder, Ownership, taken
from store.settings import StoreSettings

_log = logging.getLogger("sparrow.store")

TTL_S = 15
"""What a process held that died on another machine is free after so long."""
RENEW_S = 4.0
_LOOK_S = 1.0
_PATIENCE_S = TTL_S + 2 * _LOOK_S
_MARGIN_S = 2.0
"""The lease counts as lost so long before it can have run out."""

_READ = "SELECT claim, holder FROM owners WHERE id = 0"
_INSERT = f"INSERT INTO owners (id, claim, holder) VALUES (0, ?, ?) IF NOT EXISTS USING TTL {TTL_S}"
_RENEW = f"UPDATE owners USING TTL {TTL_S} SET claim = ?, holder = ? WHERE id = 0 IF claim = ?"
_DELETE = "DELETE FROM owners WHERE id = 0 IF claim = ?"


class Lease:
    """Held from `take` on until `release`."""

    def __init__(self, settings: StoreSettings, connection: Connection, requests: Requests) -> None:
        self._settings = settings
        self._requests = requests
        self._read = connection.prepare(_READ)
        self._insert = connection.prepare(_INSERT)
        self._renew = connection.prepare(_RENEW)
        self._delete = connection.prepare(_DELETE)
        self._token = secrets.token_hex(16)
        me = Holder.me()
        self._holder = json.dumps([me.pid, me.host, me.since_ms, _machine(), _started(me.pid)])
        self._until: float | None = None
        """Until when the lease is held, by a steady clock in seconds; None: it is not held."""
        self._renewing: asyncio.Task[None] | None = None

    async def take(self, ownership: Ownership) -> None:
        """Waits for as long as a dead process may have left it. Raises `ConfigError` if others hold it."""
        if ownership is Ownership.NONE:
            return
        name = f"store {where(self._settings)}"
        deadline = time.monotonic() + _PATIENCE_S
        told = False
        while (holder := await self._held_by(ownership)) is not None:
            if time.monotonic() > deadline:
                cure = "name another keyspace in store.cassandra_keyspace, or share presence (broker.presence)"
                raise ConfigError(taken(name, _holder(holder), cure))
            if not told:
                told = True
                _log.warning("%s is held by %s; waiting up to %d s to see", name, _holder(holder), TTL_S)
            await asyncio.sleep(_LOOK_S)
        if ownership is Ownership.ALONE:
            self._renewing = asyncio.create_task(self._renew_for_ever())

    async def _held_by(self, ownership: Ownership) -> str | None:
        """Who else holds it; None if nobody does, and then it is ours where we want it alone."""
        found = await self._found()
        if ownership is Ownership.SHARED:
            return None if found is None or _is_dead(found[1]) else found[1]
        if found is None:
            statement = self._insert.bind((self._token, self._holder))
        elif _is_dead(found[1]):
            statement = self._renew.bind((self._token, self._holder, found[0]))
        else:
            return found[1]
        if await self._changed(statement):
            return None
        found = await self._found()
        return "" if found is None else found[1]

    async def _found(self) -> tuple[str, str] | None:
        (rows,) = await self._requests.run([self._read.bind(())])
        return (rows[0][0], rows[0][1]) if rows and rows[0][0] else None

    async def _changed(self, statement: object) -> bool:
        began = time.monotonic()
        applied: bool = (await self._requests.conditional(statement))["[applied]"]
        if applied:
            self._until = began + TTL_S - _MARGIN_S
        return applied

    async def _renew_for_ever(self) -> None:
        mine = (self._token, self._holder)
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                # One that ran out while Cassandra was away may be had again, if nobody else has it.
                if not await self._changed(self._renew.bind((*mine, self._token))):
                    if await self._changed(self._insert.bind(mine)):
                        continue
                    found = await self._found()
                    holder = "another process" if found is None else _holder(found[1])
                    _log.error("store %s was taken by %s; nothing is stored here", where(self._settings), holder)
            except StoreError as error:
                _log.warning("renewing the lease: %s", error)

    def check(self) -> None:
        """Raises `StoreError` if it was held, and may be held by somebody else now."""
        if self._until is not None and time.monotonic() > self._until:
            raise StoreError(f"store {where(self._settings)}: our lease on it has run out; trying to renew it")

    async def _stop(self) -> None:
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def release(self) -> None:
        """Nothing happens if it is not held."""
        if self._renewing is None:
            return
        await self._stop()
        try:
            await self._requests.conditional(self._delete.bind((self._token,)))
        except StoreError as error:
            _log.warning("giving the lease back, which runs out in %d s: %s", TTL_S, error)


def _holder(text: str) -> Holder | None:
    try:
        pid, host, since_ms, *_ = json.loads(text)
        return Holder(int(pid), str(host), int(since_ms))
    except (ValueError, TypeError):
        return None


def _is_dead(text: str) -> bool:
    """Whether the holder is a process of this machine (and container) that has ended."""
    try:
        pid, _, _, machine, started = json.loads(text)
        return bool(machine) and machine == _machine() and started != _started(int(pid))
    except (ValueError, TypeError):
        return False


def _machine() -> str:
    """What tells this machine, since its start, and this space of process ids from all others; "" if it cannot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When the process was started, in ticks of this machine; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
