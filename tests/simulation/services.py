"""Simulated store and etcd, as one broker sees them: late, failing, timing out and yet doing it.

Row positions come from the clock of the broker that appends, as they would in Cassandra, and clocks are
up to 60 s apart; a reader's lower bound trails by `TRAIL_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from broker.core import Location
from broker.core.state import UNKNOWN_RANK, Rank, Swapped
from protocol.sparrow_pb2 import Message
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.interface import COMMON, NewRow, Page, PageQuery, Removal, Row, RowKind
from store.sessions import NoSession, SessionStart, Standing
from store.timelines import Archived, Edit, Entry, Erasure, Mark, Name, Result, members_of
from tests.simulation.groups import Memberships
from tests.simulation.timelines import Timelines
from tests.simulation.world import Process, World

ROW_MAX_AGE_S = 10.0
TRAIL_S = 60.0 + ROW_MAX_AGE_S + 10.0


@dataclass
class Database:
    """What all brokers share."""

    users: dict[str, dict[str, bool]] = field(default_factory=dict)
    """user → device → whether it still exists."""
    logins: dict[tuple[str, str], str] = field(default_factory=dict)
    """(user, device) → its login; empty: it is logged out."""
    sessions: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """The newest session of a device, and the one before."""
    tried: dict[tuple[str, str], Rank] = field(default_factory=dict)
    """Of which try of which start the newest session is."""
    queues: dict[tuple[str, str], dict[bytes, Row]] = field(default_factory=dict)
    names: dict[tuple[str, str], dict[tuple[str, str, int, int], int]] = field(default_factory=dict)
    """queue → message name → how many rows hold it: for the checker."""
    blocked: set[tuple[str, str]] = field(default_factory=set)
    """(author, receiver)."""
    unique: int = 0
    away: bool = False
    full: bool = False
    """The disk."""
    hiding: frozenset[str] = frozenset()
    """Users who hide their presence, for as long as a run goes on."""
    timelines: Timelines = field(default_factory=Timelines)
    groups: Memberships = field(default_factory=Memberships)

    def put(self, row: NewRow, key: bytes) -> None:
        """Insert, or the same again."""
        queue = self.queues.setdefault((row.user, row.device), {})
        if key not in queue:
            queue[key] = Row(key, row.kind, row.body)
            self._count(row.user, row.device, queue[key], 1)

    def drop(self, user: str, device: str, key: bytes) -> None:
        """Delete exactly this row."""
        row = self.queues.get((user, device), {}).pop(key, None)
        if row is not None:
            self._count(user, device, row, -1)

    def _count(self, user: str, device: str, row: Row, by: int) -> None:
        if row.kind == RowKind.MESSAGE:
            message = Message.FromString(row.body)
            names = self.names.setdefault((user, device), {})
            name = (message.from_id, message.from_device, message.stream, message.id)
            names[name] = names.get(name, 0) + by

    def holds(self, user: str, device: str, name: tuple[str, str, int, int]) -> bool:
        """Whether the device's view of the inbox has the message."""
        return any(self.names.get((user, d), {}).get(name, 0) > 0 for d in (device, COMMON))

    def standing(self, user: str) -> Standing | None:
        """What the user's sessions are held against."""
        devices = self.users.get(user)
        if devices is None:
            return None
        return Standing(False, {one: self.logins.get((user, one), "") for one, there in devices.items() if there})

    def begin_session(self, start: SessionStart) -> int | NoSession:
        """As each engine does it."""
        key = (start.user, start.device)
        standing = self.standing(start.user)
        refused = NoSession.NO_DEVICE if standing is None else standing.refuses(start.device, start.login)
        if refused is not None:
            return refused
        newest, before = self.sessions.get(key, (0, 0))
        if start.session == newest:
            return before
        if start.session == before:
            return 0
        rank = Rank(start.start, start.tries)
        if rank.is_behind(self.tried.get(key, Rank())):
            return NoSession.LATE
        self.sessions[key], self.tried[key] = (start.session, newest), rank
        return newest

    def waiting(self, user: str) -> dict[str, tuple[int, int]]:
        """Rows and bytes, by author."""
        found: dict[str, tuple[int, int]] = {}
        for (owner, _), queue in self.queues.items():
            for row in queue.values() if owner == user else ():
                author = Message.FromString(row.body).from_id if row.kind == RowKind.MESSAGE else ""
                rows, size = found.get(author, (0, 0))
                found[author] = (rows + 1, size + len(row.body))
        return found

    def drop_from(self, user: str, author: str) -> None:
        """A block: what waits from `author` goes."""
        for (owner, device), queue in self.queues.items():
            for key, row in list(queue.items()) if owner == user else ():
                if row.kind == RowKind.MESSAGE and Message.FromString(row.body).from_id == author:
                    self.drop(user, device, key)

    def drop_erased(self, conversation: str, name: Name) -> None:
        """What waits of an erased message goes."""
        for (owner, device), queue in self.queues.items():
            for key, row in list(queue.items()) if owner in members_of(conversation) else ():
                if row.kind == RowKind.MESSAGE:
                    message = Message.FromString(row.body)
                    if (message.from_id, message.from_device, message.stream, message.id) == name:
                        self.drop(owner, device, key)

    def remove_device(self, user: str, device: str) -> None:
        """Mark first; move second, which the caller does later."""
        self.users[user][device] = False

    def move_rows(self, user: str, device: str, wall_ms: int) -> None:
        """The rows of a removed device go to the common queue, under new positions."""
        for key, row in list(self.queues.get((user, device), {}).items()):
            self.unique += 1
            self.put(NewRow(user, COMMON, row.kind, row.body), make_key(wall_ms, self.unique))
            self.drop(user, device, key)


def are_friends(one: str, other: str) -> bool:
    """Half of all pairs are, for as long as a run goes on."""
    return sum(f"{one}{other}".encode()) % 2 == 0


def make_key(wall_ms: int, unique: int) -> bytes:
    """Position of a row: time, then something unique."""
    return wall_ms.to_bytes(8, "big") + unique.to_bytes(8, "big")


class SimStore:
    """The store port of one life of one broker."""

    def __init__(self, world: World, database: Database, broker: Process) -> None:
        self._world = world
        self._database = database
        self._broker = broker
        self._life = broker.life
        self.trouble = 0.0
        """Probability that a call fails."""
        self.slow_s = 0.02

    def _call(self, work: Callable[[], None], ok: Callable[[], None], failed: Callable[[], None]) -> None:
        """Do the work some time from now; tell so, or that it failed, whether or not it happened."""
        world = self._world
        takes = world.delay(0.0005, self.slow_s)
        back = world.delay(0.0002, self.slow_s / 2)
        if self._database.away or world.chance(self.trouble):
            if world.chance(0.5):
                world.after(world.delay(0.001, 5.0), work)
            world.after(takes + back, lambda: self._broker.event(failed, self._life))
            return

        def done() -> None:
            work()
            world.after(back, lambda: self._broker.event(ok, self._life))

        world.after(takes, done)

    def append(self, rows: Sequence[NewRow], done: Callable[[bool], None]) -> None:
        keys = []
        for _ in rows:
            self._database.unique += 1
            keys.append(make_key(self._broker.wall_ms, self._database.unique))

        def work() -> None:
            for row, key in zip(rows, keys, strict=True):
                self._database.put(row, key)

        self._call(work, lambda: done(True), lambda: done(False))

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None:
        pages: list[Page] = []
        now_ms = self._broker.wall_ms
        self._call(
            lambda: pages.extend(self._page(query, now_ms) for query in queries),
            lambda: done(pages),
            lambda: done(None),
        )

    def _page(self, query: PageQuery, now_ms: int) -> Page:
        """A cursor is where the scan is, when it began, and whether it is over, as in `store.cassandra.keys`."""
        at, began_ms, ended = query.after[:16], int.from_bytes(query.after[16:24], "big"), query.after[24:] == b"1"
        if not query.after:
            at, began_ms = make_key(0, 0), now_ms
        elif query.fresh:
            trail = make_key(max(0, began_ms - int(TRAIL_S * 1000)), 0)
            at, began_ms = trail if ended else min(trail, at), now_ms
        elif ended:
            return Page((), query.after, True)
        found: dict[bytes, Row] = {}
        for device in (query.device, COMMON):
            for key, row in self._database.queues.get((query.user, device), {}).items():
                if key > at:
                    found[b"%d" % (device == COMMON) + key] = row
        ordered = sorted(found.items(), key=lambda item: item[0][1:])
        taken = ordered[: query.limit]
        rows = tuple(Row(name, row.kind, row.body) for name, row in taken)
        if taken:
            at = taken[-1][0][1:]
        end = len(ordered) <= query.limit
        return Page(rows, at + began_ms.to_bytes(8, "big") + b"%d" % end, end)

    def remove(self, removals: Sequence[Removal]) -> None:
        def work() -> None:
            for removal in removals:
                for name in removal.keys:
                    device = COMMON if name[:1] == b"1" else removal.device
                    self._database.drop(removal.user, device, name[1:])

        self._call(work, lambda: None, lambda: None)

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None:
        found: dict[str, tuple[str, ...] | None] = {}

        def work() -> None:
            for user in users:
                devices = self._database.users.get(user)
                found[user] = None if devices is None else tuple(d for d, there in devices.items() if there)

        self._call(work, lambda: done(found), lambda: done(None))

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None:
        found: dict[tuple[str, str], Verdict] = {}

        def work() -> None:
            for author, receiver in pairs:
                blocked = self._database.blocked
                found[author, receiver] = (
                    Verdict.BLOCKED
                    if (author, receiver) in blocked
                    else Verdict.BLOCKS
                    if (receiver, author) in blocked
                    else Verdict.FRIEND
                    if are_friends(author, receiver)
                    else Verdict.STRANGER
                )

        self._call(work, lambda: done(found), lambda: done(None))

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        self._call(lambda: None, lambda: done(self._database.hiding.intersection(users)), lambda: done(None))

    def waiting(
        self,
        users: Collection[str],
        done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None],
    ) -> None:
        found: dict[str, Mapping[str, tuple[int, int]]] = {}
        self._call(
            lambda: found.update((user, self._database.waiting(user)) for user in users),
            lambda: done(found),
            lambda: done(None),
        )

    def no_space(self) -> bool:
        return self._database.full

    def saw(self, users: Collection[str]) -> None:
        pass

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None:
        previous: list[int | NoSession] = []

        def work() -> None:
            previous.extend(map(self._database.begin_session, starts))

        self._call(work, lambda: done(previous), lambda: done(None))

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        """Each has its own luck; what was written may be written again, by a hint or a repair, much later."""
        timelines, world = self._database.timelines, self._world
        failing = [world.chance(self.trouble / 4) for _ in batch]
        found: list[Archived] = []

        def work() -> None:
            for change, fails in zip(batch, failing, strict=True):
                found.append(Archived(Result.FAILED) if fails else timelines.answer(change))
                if not fails:
                    timelines.write(change)
                    if isinstance(change, Erasure):
                        self._database.drop_erased(change.conversation, change.target)
                if world.chance(0.05):
                    world.after(world.delay(0.1, 30.0), lambda change=change: timelines.write(change))  # type: ignore[misc]

        self._call(work, lambda: done(found[: len(batch)]), lambda: done(None))

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        found: dict[str, Group | None] = {}
        self._call(
            lambda: found.update((name, self._database.groups.groups.get(name)) for name in groups),
            lambda: done(found),
            lambda: done(None),
        )

    def scan_groups(self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]) -> None:
        pages: list[GroupPage] = []
        kept, timelines = self._database.groups, self._database.timelines
        self._call(
            lambda: pages.extend(kept.page(timelines, query) for query in queries),
            lambda: done(pages[: len(queries)]),
            lambda: done(None),
        )

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        self._call(lambda: self._database.groups.raise_checkpoints(checkpoints), lambda: None, lambda: None)

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        def work() -> None:
            for mark in marks:
                self._database.timelines.raise_mark(mark)

        self._call(work, lambda: None, lambda: None)

    def standing(self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]) -> None:
        found: dict[str, Standing | None] = {}

        def work() -> None:
            found.update((user, self._database.standing(user)) for user in users)

        self._call(work, lambda: done(found), lambda: done(None))


class Etcd:
    """Presence keys under leases, with a history that brokers watch."""

    LEASE_S = 3.0

    def __init__(self, world: World) -> None:
        self._world = world
        self.revision = 0
        self.keys: dict[tuple[str, str], tuple[Location, int]] = {}
        self.ranks: dict[Location, Rank] = {}
        self._leases: dict[int, float] = {}
        self._next_lease = 1
        self.watchers: list[SimPresence] = []
        self.away = False

    def grant(self) -> int:
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self.renew(lease)
        return lease

    def renew(self, lease: int) -> None:
        self._leases[lease] = self._world.now + self.LEASE_S
        self._world.after(self.LEASE_S + 0.01, lambda: self._expire(lease))

    def lives(self, lease: int) -> bool:
        return lease in self._leases

    def _expire(self, lease: int) -> None:
        until = self._leases.get(lease)
        if until is None:
            return
        if self.away:
            self.renew(lease)  # while there is no leader, leases do not run out
            return
        if until <= self._world.now:
            self.revoke(lease)

    def revoke(self, lease: int) -> None:
        """The lease is gone, and what hangs on it."""
        del self._leases[lease]
        for key in [key for key, (_, held) in self.keys.items() if held == lease]:
            self.delete(key)

    @property
    def leases(self) -> list[int]:
        """All that hold."""
        return list(self._leases)

    def put(self, key: tuple[str, str], location: Location, lease: int) -> None:
        self.keys[key] = (location, lease)
        self._changed(key, location)

    def delete(self, key: tuple[str, str]) -> None:
        del self.keys[key]
        self._changed(key, None)

    def tell(self, users: Collection[str]) -> None:
        """Something that the store keeps of these users has changed."""
        self._news(lambda watcher: watcher.on_changed(users))

    def _changed(self, key: tuple[str, str], location: Location | None) -> None:
        self._news(lambda watcher: watcher.located(key, location))

    def _news(self, news: Callable[[SimPresence], None]) -> None:
        self.revision += 1
        for watcher in self.watchers:
            watcher.history(self.revision, news)


class SimPresence:
    """The presence port of one life of one broker: calls to etcd, and a map that lags behind it."""

    OFFLINE_AGAIN_S = 0.2

    def __init__(
        self,
        world: World,
        etcd: Etcd,
        broker: Process,
        superseded: Callable[[str, str, Location], None],
        on_changed: Callable[[Collection[str] | None], None],
        member_since: Callable[[], int],
    ) -> None:
        self._member_since = member_since
        self.joined = 0
        self._world = world
        self._etcd = etcd
        self._broker = broker
        self._life = broker.life
        self._superseded = superseded
        self.on_changed = on_changed
        self._map: dict[str, dict[str, Location]] = {}
        self._last = 0.0
        self._watch = 0
        """Number of the watch that feeds the map."""
        self._broken = False
        self._barriers: list[tuple[int, Callable[[bool], None]]] = []
        self.revision = etcd.revision
        self.watch_delay_s = 0.02
        self.trouble = 0.0
        for (user, device), (location, _) in etcd.keys.items():
            self._map.setdefault(user, {})[device] = location
        etcd.watchers.append(self)

    @property
    def locations(self) -> Mapping[str, Mapping[str, Location]]:
        """See `broker.core.state.Presence`."""
        return self._map

    def where(self, user: str) -> Mapping[str, Location]:
        return self._map.get(user, {})

    # The watch.

    def history(self, revision: int, news: Callable[[SimPresence], None]) -> None:
        """etcd has changed; this broker learns of it later, in order."""
        if self._broken:
            return
        watch = self._watch
        self._last = max(self._last, self._world.now + self._world.delay(0.0005, self.watch_delay_s))
        self._world.at(self._last, lambda: self._broker.event(lambda: self._learn(watch, revision, news), self._life))

    def lose_location(self, seconds: float) -> None:
        """The watch breaks, and when it comes back, what it missed has been compacted: all is read again."""
        if self._broken:
            return
        self._broken = True
        self._watch += 1
        self._world.after(seconds, lambda: self._broker.event(self._reload, self._life))

    def _reload(self) -> None:
        """Act on the differences."""
        if self._etcd.away:
            self._world.after(0.5, lambda: self._broker.event(self._reload, self._life))
            return
        self._broken = False
        now = {key: location for key, (location, _) in self._etcd.keys.items()}
        before = [(user, device) for user, devices in self._map.items() for device in devices]
        for key in before:
            if key not in now:
                self.located(key, None)
        for key, location in now.items():
            self.located(key, location)
        self.on_changed(None)
        self._moved(self._etcd.revision)

    def _learn(self, watch: int, revision: int, news: Callable[[SimPresence], None]) -> None:
        if watch == self._watch:
            news(self)
            self._moved(revision)

    def located(self, key: tuple[str, str], location: Location | None) -> None:
        user, device = key
        devices = self._map.setdefault(user, {})
        old = devices.pop(device, None)
        if location is not None:
            devices[device] = location
            if old is not None and old != location:
                self._superseded(user, device, old)

    def _moved(self, revision: int) -> None:
        self.revision = revision
        waiting, self._barriers = self._barriers, []
        for wanted, done in waiting:
            self._wait_for(wanted, done)

    def _wait_for(self, revision: int, done: Callable[[bool], None]) -> None:
        if self.revision >= revision:
            done(True)
        else:
            self._barriers.append((revision, done))

    # Calls.

    def _call(
        self,
        work: Callable[[], None],
        ok: Callable[[], None],
        failed: Callable[[], None],
        late: Callable[[], None] | None = None,
    ) -> None:
        """`late` is what a call does that has failed for its caller, and happens all the same; nothing else: `work`."""
        world = self._world
        if self._etcd.away or world.chance(self.trouble):
            if not self._etcd.away and world.chance(0.5):
                world.after(world.delay(0.001, 2.0), late or work)
            world.after(world.delay(0.05, 2.0), lambda: self._broker.event(failed, self._life))
            return

        def done() -> None:
            work()
            world.after(world.delay(0.0002, 0.01), lambda: self._broker.event(ok, self._life))

        world.after(world.delay(0.0005, 0.02), done)

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
        found: list[Swapped | None] = []

        def work() -> None:
            if not self._etcd.lives(lease):
                found.append(None)
                return
            held = self._etcd.keys.get((user, device))
            previous = held[0] if held else None
            behind = previous is not None and rank.is_behind(self._etcd.ranks.get(previous, UNKNOWN_RANK))
            if previous is not None and previous != location and (again or behind):
                found.append(Swapped(previous, taken=True))
                return
            self._etcd.ranks[location] = rank
            self._etcd.put((user, device), location, lease)
            found.append(Swapped(previous))

        # A swap compares: one that comes late undoes nothing that came after it was sent.
        sent = self._etcd.keys.get((user, device))
        self._call(
            work,
            lambda: done(found[0]),
            lambda: done(None),
            lambda: work() if self._etcd.keys.get((user, device)) == sent else None,
        )

    def offline(self, user: str, device: str, location: Location) -> None:
        def work() -> None:
            held = self._etcd.keys.get((user, device))
            if held is not None and held[0] == location:
                self._etcd.delete((user, device))

        def again() -> None:  # until etcd has heard (docs/design/presence.md)
            self._world.after(self.OFFLINE_AGAIN_S, lambda: self._broker.event(ask, self._life))

        def ask() -> None:
            self._call(work, lambda: None, again)

        ask()

    def barrier(self, done: Callable[[bool], None]) -> None:
        seen: list[tuple[int, int]] = []

        def passed() -> None:
            revision, self.joined = seen[0]
            self._wait_for(revision, done)

        self._call(lambda: seen.append((self._etcd.revision, self._member_since())), passed, lambda: done(False))

    def changed(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        self._call(lambda: self._etcd.tell(users), lambda: done(True), lambda: done(False))

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        kept: list[int] = []

        def work() -> None:
            if self._etcd.lives(lease):
                self._etcd.renew(lease)
                kept.append(lease)
            else:
                kept.append(self._etcd.grant())

        self._call(work, lambda: done(kept[0]), lambda: done(None))
