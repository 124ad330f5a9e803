"""Presence in etcd, for several brokers: a key for each device, under its connector's lease, and a map that follows.

Owns the map and the barriers. Every transaction that takes locations also writes one key, the *mark*; a barrier reads
the mark and waits until the map has come as far. So it costs etcd one read and no write, and needs nothing to happen.

Keys, under the prefix: `place/<user>/<device>` = connector and session; `mark`; and those of `broker.presence.changes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from broker.core.state import UNKNOWN_RANK, Location, Rank, Swapped
from broker.etcd import Etcd, Mirror
from broker.etcd import api_pb2 as api
from broker.etcd.client import TXN
from broker.presence.changes import Changes
from broker.presence.leases import Leases
from broker.presence.swaps import Removal, Swap, Swaps, decode_location, encode_location
from protocol.errors import SparrowError
from protocol.ids import address, split_address

LOCATIONS = b"place/"
MARK = b"mark"
GATHER_S = 0.002
"""Seconds for which barriers gather behind the one before: reading the mark costs far more than one more that waits
for it."""
STOOD_STILL_S = 1.0
"""A tick that comes so late says that this process stood still, with all that the watch has to tell unread."""
_NOBODY: Mapping[str, Location] = {}


class EtcdPresence:
    """`broker.core.state.Presence`. `event` wraps what happens by itself; `mirror` feeds the map."""

    def __init__(
        self,
        etcd: Etcd,
        mirror: Mirror,
        prefix: bytes,
        lease_s: float,
        barrier_timeout_s: float,
        event: Callable[[Callable[[], None]], None],
        superseded: Callable[[str, str, Location], None],
        on_changed: Callable[[Collection[str] | None], None],
        member: bytes,
    ) -> None:
        """`member` is the key that says that this broker is a member."""
        self._etcd = etcd
        self._mirror = mirror
        self._locations = prefix + LOCATIONS
        self._mark = prefix + MARK
        reads = (api.RangeRequest(key=self._mark), api.RangeRequest(key=member))
        self._look = api.TxnRequest(success=[api.RequestOp(range=read) for read in reads])
        self.joined = 0
        """`create_revision` of our own key, as the last barrier read it; 0: it was not there."""
        self._barrier_timeout_s = barrier_timeout_s
        self._event = event
        self._superseded = superseded
        self._loop = asyncio.get_running_loop()
        self._users: dict[str, dict[str, Location]] = {}
        self._revisions: dict[bytes, int] = {}
        """Name (`user/device`) → `mod_revision` of its key."""
        self._told: dict[bytes, Location] = {}
        """Who was told here that somebody took the location, before the map has learnt of it."""
        self._barriers: list[Callable[[bool], None]] = []
        self._passing: list[tuple[int, float, list[Callable[[bool], None]]]] = []
        """(revision to come to, when to give up, whom to tell)."""
        self._ticked_at = 0.0
        self._reader: asyncio.Task[None] | None = None
        self._leases = Leases(etcd, lease_s)
        self._swaps = Swaps(etcd, self._mark, event, self._known, self._leases.lost)
        self._changes = Changes(etcd, mirror, prefix, self._mark, event, on_changed)
        mirror.add(LOCATIONS, self)
        mirror.on_moved = self._moved

    # The port.

    @property
    def locations(self) -> Mapping[str, Mapping[str, Location]]:
        """See `broker.core.state.Presence`."""
        return self._users

    def where(self, user: str) -> Mapping[str, Location]:
        """Device → location, from the map."""
        return self._users.get(user, _NOBODY)

    def online(
        self,
        user: str,
        device: str,
        location: Location,
        lease: int,
        again: bool,
        done: Callable[[Swapped | None], None],
        rank: Rank = UNKNOWN_RANK,
    ) -> None:
        """Swap the location of a device in etcd."""
        if not lease or not self._mirror.revision:
            done(None)
            return
        name = address(user, device)

        def answered(found: Swapped | None, revision: int) -> None:
            replaced = None if found is None or found.taken else found.previous
            if replaced is not None and revision > self._mirror.revision:
                self._told[name] = replaced
            done(found)

        value = encode_location(location, rank)
        self._swaps.swap(Swap(self._locations + name, value, location, lease, again, answered, rank))

    def offline(self, user: str, device: str, location: Location) -> None:
        """Forget the location in etcd, if it is still this one; repeated while etcd is away."""
        name = address(user, device)
        # How it is written, only etcd knows; that it is this location, the map may know.
        revision = self._revisions.get(name, 0) if self.where(user).get(device) == location else 0
        self._swaps.remove(Removal(self._locations + name, encode_location(location), revision))

    def barrier(self, done: Callable[[bool], None]) -> None:
        """One read of the mark for all barriers of a moment."""
        if not self._mirror.revision:
            done(False)
            return
        self._barriers.append(done)
        if self._reader is None or self._reader.done():
            self._reader = self._loop.create_task(self._read_mark())

    def changed(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        """Written in etcd, for every broker's watch."""
        self._changes.tell(users, done)

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        """Answered at once; etcd is asked in the background."""
        self._leases.keep_alive(connector, lease, done)

    # Barriers.

    async def _read_mark(self) -> None:
        while self._barriers:
            barriers, self._barriers = self._barriers, []
            known = self._mirror.revision  # of now: the map may be past the answer by when that comes
            try:
                response = await self._etcd.call(TXN, self._look)
            except SparrowError:
                self._event(lambda barriers=barriers: _tell(barriers, False))  # type: ignore[misc]
                continue
            mark, member = (answer.range.kvs for answer in response.responses)
            revision = mark[0].mod_revision if mark else 0
            self.joined = member[0].create_revision if member else 0
            if response.header.revision < known:
                # The map is of no use.
                self._mirror.restart(f"etcd has lost its data: it is at revision {response.header.revision}")
                self._event(lambda barriers=barriers: _tell(barriers, False))  # type: ignore[misc]
            elif revision <= self._mirror.revision:
                self._event(lambda barriers=barriers: _tell(barriers, True))  # type: ignore[misc]
            else:
                self._passing.append((revision, self._loop.time() + self._barrier_timeout_s, barriers))
            await asyncio.sleep(GATHER_S)

    def _moved(self) -> None:
        if not self._passing:
            return
        passing, self._passing = self._passing, []
        for entry in passing:
            if entry[0] <= self._mirror.revision:
                _tell(entry[2], True)
            else:
                self._passing.append(entry)

    def tick(self, now: float) -> None:
        """Give up barriers that wait too long: the watch has fallen silent."""
        self._leases.tick(now)
        still_s, self._ticked_at = now - self._ticked_at, now
        if still_s >= STOOD_STILL_S:
            self._passing = [(revision, until + still_s, tell) for revision, until, tell in self._passing]
        late = [entry for entry in self._passing if entry[1] <= now]
        if late:
            self._passing = [entry for entry in self._passing if entry[1] > now]
            self._mirror.restart(f"revision {late[0][0]} has not come in {self._barrier_timeout_s:g} s")
            for entry in late:
                _tell(entry[2], False)

    # The map.

    def _known(self, key: bytes) -> tuple[Location | None, int]:
        name = key[len(self._locations) :]
        user, device = split_address(name)
        return self._users.get(user, _NOBODY).get(device), self._revisions.get(name, 0)

    def load(self, found: dict[bytes, api.KeyValue]) -> None:
        """Everything was read again: act on the differences."""
        for name in [name for name in self._revisions if name not in found]:
            self.delete(name)
        for name, kv in found.items():
            if self._revisions.get(name) != kv.mod_revision:
                self.put(name, kv)
        self._told.clear()

    def put(self, name: bytes, kv: api.KeyValue) -> None:
        """A device has a location."""
        location = decode_location(kv.value)
        if location is None:
            self.delete(name)
            return
        user, device = split_address(name)
        devices = self._users.get(user)
        if devices is None:
            devices = self._users[user] = {}
        old = devices.get(device)
        devices[device] = location
        self._revisions[name] = kv.mod_revision
        told = self._told.pop(name, None) if self._told else None
        if old is not None and old not in (location, told):
            self._superseded(user, device, old)

    def delete(self, name: bytes) -> None:
        """A device has none."""
        self._revisions.pop(name, None)
        user, device = split_address(name)
        devices = self._users.get(user)
        if devices is not None and devices.pop(device, None) is not None and not devices:
            del self._users[user]

    def __len__(self) -> int:
        return len(self._revisions)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._changes.close()
        await self._swaps.close()
        await self._leases.close()


def _tell(barriers: list[Callable[[bool], None]], passed: bool) -> None:
    for done in barriers:
        done(passed)
