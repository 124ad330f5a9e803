"""An engine against a model made of plain dicts: any sequence of calls gives the same answers."""

import asyncio
import dataclasses
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import AlreadyExistsError, NotFoundError
from store import Store
from store.interface import COMMON, NewRow, PageQuery, Removal
from store.sessions import NoSession, SessionStart
from tests.store.conftest import ENGINES
from tests.store.helpers import read_all

NAMES = ["alice", "bob", "carol"]
USERS = st.sampled_from(NAMES)
DEVICES = st.sampled_from(["d1", "d2"])
QUEUES = st.sampled_from(["d1", "d2", COMMON])
SESSIONS = st.integers(1, 3) | st.integers(1, (1 << 64) - 1)

STEPS = st.one_of(
    st.tuples(st.just("create_account"), USERS, st.sampled_from(["h1", "h2"])),
    st.tuples(st.just("add_device"), USERS, DEVICES),
    st.tuples(st.just("remove_device"), USERS, DEVICES),
    st.tuples(st.just("begin_sessions"), st.lists(st.tuples(USERS, DEVICES, SESSIONS), max_size=6)),
    st.tuples(
        st.just("append"), st.lists(st.tuples(USERS, QUEUES, st.integers(1, 2), st.binary(max_size=8)), max_size=9)
    ),
    st.tuples(st.just("remove"), USERS, QUEUES, st.integers(0, 3), st.integers(0, 6)),
    st.tuples(st.just("page"), USERS, QUEUES, st.integers(1, 5)),
    st.tuples(st.just("devices")),
)


@dataclasses.dataclass
class Model:
    """What should be kept, and the calls on it."""

    run: str = ""
    """Begins the names of all users, so that runs in one database do not meet."""
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)
    devices: dict[tuple[str, str], bool] = dataclasses.field(default_factory=dict)  # True: not removed
    sessions: dict[tuple[str, str], tuple[int, int]] = dataclasses.field(default_factory=dict)
    rows: list[tuple[str, str, int, bytes]] = dataclasses.field(default_factory=list)

    def view(self, user: str, device: str) -> list[tuple[int, bytes]]:
        return [(kind, body) for u, d, kind, body in self.rows if u == user and d in (device, COMMON)]

    async def create_account(self, store: Store, user: str, password_hash: str) -> None:
        if self.hashes.get(user, password_hash) != password_hash:
            with pytest.raises(AlreadyExistsError):
                await store.create_account(user, password_hash)
        else:
            self.hashes[user] = password_hash
            assert (await store.create_account(user, password_hash)).password_hash == password_hash

    async def add_device(self, store: Store, user: str, device: str) -> None:
        if user not in self.hashes:
            with pytest.raises(NotFoundError):
                await store.add_device(user, device, "")
        elif not self.devices.get((user, device), True):
            with pytest.raises(AlreadyExistsError):
                await store.add_device(user, device, "")
        else:
            self.devices[user, device] = True
            assert (await store.add_device(user, device, "")).device == device

    async def remove_device(self, store: Store, user: str, device: str) -> None:
        if (user, device) not in self.devices:
            with pytest.raises(NotFoundError):
                await store.remove_device(user, device)
            return
        await store.remove_device(user, device)
        self.devices[user, device] = False
        moved = [row for row in self.rows if row[:2] == (user, device)]
        self.rows = [row for row in self.rows if row[:2] != (user, device)]
        self.rows += [(user, COMMON, kind, body) for _, _, kind, body in moved]

    async def begin_sessions(self, store: Store, starts: list[tuple[str, str, int]]) -> None:
        expected: list[int | NoSession] = []
        for user, device, session in starts:
            if not self.devices.get((user, device), False):
                expected.append(NoSession.NO_DEVICE)
                continue
            newest, previous = self.sessions.get((user, device), (0, 0))
            if session == previous:
                expected.append(0)
                continue
            if newest != session:
                newest, previous = session, newest
            self.sessions[user, device] = (newest, previous)
            expected.append(previous)
        assert list(await store.begin_sessions([SessionStart(*start) for start in starts])) == expected

    async def append(self, store: Store, rows: list[tuple[str, str, int, bytes]]) -> None:
        await store.append([NewRow(*row) for row in rows])
        self.rows += rows

    async def remove(self, store: Store, user: str, device: str, start: int, count: int) -> None:
        chosen = (await read_all(store, user, device))[start : start + count]
        await store.remove([Removal(user, device, tuple(row.key for row in chosen))])
        mine = [number for number, row in enumerate(self.rows) if row[0] == user and row[1] in (device, COMMON)]
        gone = set(mine[start : start + count])
        self.rows = [row for number, row in enumerate(self.rows) if number not in gone]

    async def page(self, store: Store, user: str, device: str, limit: int) -> None:
        expected = self.view(user, device)[:limit]
        (page,) = await store.page([PageQuery(user, device, b"", True, limit)])
        assert [(row.kind, row.body) for row in page.rows] == expected

    async def check(self, store: Store) -> None:
        names = [self.run + name for name in NAMES]
        for user in names:
            for device in ("d1", "d2", COMMON):
                rows = await read_all(store, user, device, limit=3)
                assert [(row.kind, row.body) for row in rows] == self.view(user, device)
        found = await store.devices(names)
        for user, devices in found.items():
            alive = {device for (owner, device), there in self.devices.items() if owner == user and there}
            assert (None if devices is None else set(devices)) == (alive if user in self.hashes else None)


def renamed(run: str, value: object) -> object:
    """`value` with the run's users in it."""
    if isinstance(value, str) and value in NAMES:
        return run + value
    if isinstance(value, tuple | list):
        return type(value)(renamed(run, entry) for entry in value)
    return value


async def run(engine: str, folder: Path, steps: list[tuple[object, ...]]) -> None:
    model = Model(secrets.token_hex(4) + ".")
    async with ENGINES[engine](folder, chunk_rows=2) as store:
        for name, *arguments in steps:
            if name == "devices":
                await model.check(store)
            else:
                await getattr(model, str(name))(store, *(renamed(model.run, argument) for argument in arguments))
        await model.check(store)


# That rows come in the order of appends is more than the interface promises; with one process alone, both do it.
@pytest.mark.parametrize("engine", list(ENGINES))
def test_any_sequence_of_calls(engine: str, tmp_path: Path) -> None:
    examples = {"sqlite": 100, "cassandra": 40}[engine]

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=st.lists(STEPS, max_size=25))
    def check(steps: list[tuple[object, ...]]) -> None:
        asyncio.run(run(engine, tmp_path, steps))

    check()
