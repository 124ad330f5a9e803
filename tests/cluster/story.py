"""The story that all tests of real processes tell: people write, something happens, and in the end nothing is amiss.

Owns who there is and what must hold. What happens is each test's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from protocol.sparrow_pb2 import Goodbye
from tests.cluster.pages import Comparison, compare, page_all
from tests.cluster.people import People
from tests.cluster.processes import GUARD_S, Process

DEVICES = ("alice/a1", "bob/b1", "bob/b2", "carol/c1", "dave/d1", "erin/e1")
"""Bob has two devices; Dave and Erin come and go."""
TEAMS = (("alice", "bob", "carol", "dave", "erin"), ("bob", "erin"))
"""Groups."""
PER_SECOND = 30.0
"""Messages of each device."""
FINE = (Goodbye.MOVE, Goodbye.TRY_AGAIN)
"""What servers that stop, start and stand still may say to a client that does nothing wrong."""


class Deployed(Protocol):
    """Where it happens: the processes, and accounts that are made straight in the store."""

    processes: list[Process]

    @property
    def api(self) -> str: ...

    def userapi(self) -> Process: ...

    async def tokens(self, devices: Sequence[str]) -> dict[str, str]: ...

    async def groups(self, teams: Sequence[Sequence[str]]) -> dict[str, list[str]]: ...

    async def new_devices(self, users: Sequence[str]) -> dict[str, str]: ...


@asynccontextmanager
async def writing(
    deployment: Deployed,
    connectors: Sequence[Process],
    per_second: float = PER_SECOND,
    patient: bool = False,
    prefix: str = "",
) -> AsyncIterator[People]:
    """Everybody writes, edits and erases, until the block ends; then everything must arrive, and stand in the pages.

    `patient`: nobody leaves a silent server. `prefix`: of everybody's name, where others were there before.
    """
    devices = [prefix + name for name in DEVICES]
    teams = [[prefix + name for name in team] for team in TEAMS]
    tokens, addresses = await deployment.tokens(devices), [connector.address for connector in connectors]
    websockets = {connector.address: connector.websocket for connector in connectors}
    people = People(tokens, addresses, groups=await deployment.groups(teams), websockets=websockets)
    people.changes = True
    if patient:
        for device in people.devices.values():
            device.give_up_after_s = 2 * GUARD_S
    try:
        await people.all_online()
        people.write(per_second)
        people.come_and_go(*devices[-2:], every_s=0.7)
        await people.some_sent(200)
        yield people
        await people.some_sent(200)
        await people.finish()
        compared = await paged(deployment, people)
    except BaseException:
        print(*people.open_ends(), sep="\n")
        raise
    finally:
        print(people.account())
        await people.close()
    ledger = people.ledger
    assert (ledger.twice, ledger.out_of_order, ledger.refused, ledger.broken) == (0, 0, [], [])
    assert not ledger.missing(devices)
    assert not compared.wrong, compared.wrong[:10]
    assert compared.paged >= 2 * sum(1 for _ in ledger.texts) > 0
    assert ledger.grouped
    assert compared.edited
    assert compared.erased
    assert not [
        goodbye for device in people.devices.values() for goodbye in device.goodbyes if goodbye.code not in FINE
    ]


async def paged(deployment: Deployed, people: People) -> Comparison:
    """A new device of each person pages all of their conversations."""
    if not any(process.name.startswith(("serve", "userapi")) for process in deployment.processes):
        await start(deployment.userapi())
    tokens = await deployment.new_devices(sorted({name.partition("/")[0] for name in people.devices}))
    compared = compare(people.ledger, await page_all(deployment.api, tokens))
    print(compared)
    return compared


async def start(*processes: Process) -> None:
    """Start all; return when all are up."""
    for process in processes:
        process.start()
    for process in processes:
        await process.up()
