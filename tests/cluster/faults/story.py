"""The story of a fault: people write to each other, something breaks, it heals, and each message is accounted for.

Owns who there is, how long things last, and the line that comes of it. What breaks is `rows`' business.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from load.measure import cpu_s
from tests.cluster.faults.crowd import Account, Spec
from tests.cluster.faults.far import FarBroker
from tests.cluster.whole import ROOT, Whole

HEAD = (
    "fault", "sent/s", "sent", "SENT", "delivered", "read", "to groups", "lost", "twice", "out of order", "late",
    "longest gap, others / hit, s", "paged", "edited", "erased", "elsewhere", "differing", "",
)  # fmt: skip
GROUPS = 3
"""Of each crowd; everybody is in one."""
GUARD_S = 150.0
"""Everything has arrived by then, after the fault."""
FINE = {"MOVE", "TRY_AGAIN"}
"""What servers that die and stand still may say to a client that does nothing wrong (`tests.cluster.story`)."""


@dataclass(frozen=True)
class Times:
    """How long things last, in seconds."""

    before: float
    """Traffic before the fault."""
    dead: float
    """From a kill to the restart."""
    pause: float
    """SIGSTOP to SIGCONT."""
    outage: float
    """A store is away."""
    link: float
    """A link is bad."""
    after: float
    """Traffic after all is whole again."""


SHORT = Times(before=2, dead=3, pause=8, outage=6, link=8, after=3)
"""For CI: still longer than the time-outs and leases which a fault is to exceed."""
FULL = Times(before=5, dead=5, pause=20, outage=30, link=20, after=8)


@dataclass(frozen=True)
class Size:
    """Who there is, for a rate of messages a second."""

    rate: float
    users: int
    """Of each crowd; every fourth with two devices."""
    away: int
    """One in so many is away until the end."""
    flapping: int
    """One in so many comes and goes."""
    crowds: int
    """Processes."""
    max_unsettled: int
    """Of a device."""
    changes: bool = True
    """They edit and erase, too."""


def size(rate: float) -> Size:
    """One process up to 1,000 messages a second; two, and more people, beyond."""
    if rate <= 1000:
        return Size(rate, users=20, away=10, flapping=5, crowds=1, max_unsettled=200)
    return Size(rate, users=60, away=20, flapping=10, crowds=2, max_unsettled=400)


class _Crowd:
    """A process of `tests.cluster.faults.crowd`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, spec: Spec, file: Path) -> _Crowd:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        file.touch(0o600)
        file.write_text(json.dumps(asdict(spec)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.cluster.faults.crowd", str(file),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            start_new_session=True,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def do(self, what: str, **arguments: object) -> Any:
        """Its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        async with asyncio.timeout(3 * GUARD_S):
            line = await self._process.stdout.readline()
        assert line, f"the crowd has ended while it was to {what}; see above"
        return json.loads(line)

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@dataclass
class Scene:
    """The cluster while a story is told, for what happens in it."""

    cluster: Whole
    times: Times
    far: FarBroker | None = None
    """A third broker, on a host of its own, where a row asks for it."""
    crowds: list[_Crowd] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """For the reader of the line."""

    async def fault(
        self, connectors: Sequence[str] = (), brokers: Sequence[str] = (), unsteady: bool = False
    ) -> list[str]:
        """Now it happens, and is to touch these (`Crowd.fault`). Returns the devices at the connectors."""
        ports = [self.cluster.settings(name).connector.listen_port for name in connectors]
        members = {name: self.cluster.settings(name).broker.endpoint for name in ("broker-1", "broker-2")}
        if self.far is not None:
            members["far"] = self.far.endpoint
        hit = [members[name] for name in brokers]
        found = await self.all("fault", ports=ports, brokers=hit, members=list(members.values()), unsteady=unsteady)
        return [name for names in found for name in names]

    async def want(self, device: str, online: bool) -> None:
        """Whether the device is to connect again once its connection is lost."""
        await self.all("want", device=device, online=online)

    @property
    def cassandra(self) -> list[str]:
        """The names of all nodes."""
        points = self.cluster.settings("broker-1").store.cassandra_contact_points
        return [f"cassandra-{at}" for at in range(1, len(points) + 1)]

    async def run(self, *arguments: str) -> str:
        """`scripts/cluster …`"""
        return await self.cluster.run(*arguments)

    async def status(self, name: str) -> str:
        """What `scripts/cluster status` says of a process, which need not be well."""
        done = await asyncio.to_thread(self.cluster.call, "status")
        return next(line for line in done.stdout.splitlines() if line.startswith(name))

    async def pids(self) -> dict[str, list[int]]:
        """Kind of process → those that live."""
        found: dict[str, list[int]] = {"crowds": [crowd.pid for crowd in self.crowds]}
        for line in (await self.run("status")).splitlines():
            name, pid, *_ = line.split()
            found.setdefault(name.partition("-")[0], []).append(int(pid))
        return found

    async def each(self, command: str, *names: str) -> None:
        """`scripts/cluster COMMAND NAME` for all names at once."""
        await asyncio.gather(*(self.cluster.run(command, name) for name in names))

    async def flows(self, seconds: float) -> None:
        """For so long there is traffic, and it must be some."""
        await asyncio.gather(asyncio.sleep(seconds), self.all("more", sent=20))

    async def heard(self, code: str) -> None:
        """Return when somebody was told Failed{code, retry_after} or Goodbye{code}."""
        async with asyncio.timeout(GUARD_S):
            while not any(code in told for told in await self.all("told")):
                await asyncio.sleep(0.2)

    async def counts(self) -> dict[str, int]:
        """What all crowds have come to by now (`Crowd.counts`)."""
        found = await self.all("counts")
        return {key: sum(one[key] for one in found) for key in found[0]}

    async def until(self, condition: Callable[[dict[str, int]], bool], why: str) -> float:
        """Return when their counts are so; after how many seconds."""
        began = time.monotonic()
        while not condition(now := await self.counts()):
            assert time.monotonic() - began < GUARD_S, f"waiting for {why}: {now}"
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def all(self, what: str, **arguments: object) -> list[Any]:
        """What all crowds answer."""
        return await asyncio.gather(*(crowd.do(what, **arguments) for crowd in self.crowds))

    # What etcd knows.

    async def leader(self) -> str:
        """The name of etcd's leader."""
        for at, url in enumerate(self._etcd(), 1):
            status = await asyncio.to_thread(_post, f"{url}/v3/maintenance/status", {})
            if status["leader"] == status["header"]["member_id"]:
                return f"etcd-{at}"
        raise AssertionError("etcd has no leader")

    async def places(self, prefix: str) -> int:
        """How many devices, `user/device` beginning so, presence has."""
        settings = self.cluster.settings("broker-1").etcd
        key = f"{settings.prefix}place/{prefix}".encode()
        asked = {"key": _base64(key), "range_end": _base64(key[:-1] + bytes([key[-1] + 1])), "count_only": True}
        return int((await asyncio.to_thread(_post, f"{self._etcd()[0]}/v3/kv/range", asked)).get("count", 0))

    def _etcd(self) -> tuple[str, ...]:
        return self.cluster.settings("broker-1").etcd.endpoints

    async def presence_is(self, prefix: str, count: int, within_s: float = 60.0) -> float:
        """Return when so many devices have a place; after how many seconds."""
        began = time.monotonic()
        while (found := await self.places(prefix)) != count:
            assert time.monotonic() - began < within_s, f"presence has {found} of {prefix}, not {count}"
            await asyncio.sleep(0.2)
        return time.monotonic() - began


def _post(url: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Row:
    """A row of the table: what happens, and what it says there."""

    name: str
    title: str
    happens: Callable[[Scene], Awaitable[None]]
    cassandra: int = 1
    """How many nodes the cluster must have at least."""
    far: bool = False
    """Whether a broker on a host of its own is among them."""


@dataclass
class Result:
    """How a row went."""

    title: str
    account: Account
    notes: list[str]
    cores: dict[str, float] = field(default_factory=dict)
    """Kind of process → how many cores it kept busy before the fault."""

    @property
    def cpu(self) -> str:
        """Where the machine's time went."""
        return ", ".join(f"{kind} {cores:.2f}" for kind, cores in self.cores.items())

    @property
    def line(self) -> str:
        """For docs/reliability.md."""
        found = self.account
        failed = [f"{count:,} × Failed{{{code}}}" for code, count in sorted(found.failed.items())]
        said = [f"{count:,} × {code}" for code, count in sorted(found.goodbyes.items())]
        values = (
            self.title, f"{found.rate:,.0f}", f"{found.written:,}", f"{found.sent:,}", f"{found.delivered:,}",
            f"{found.read:,}", f"{found.grouped:,}", found.lost, found.twice, found.out_of_order, f"{found.late:,}",
            f"{found.gap_s:.1f} / {found.gap_touched_s:.1f}", f"{found.paged:,}", f"{found.edited:,}",
            f"{found.erased:,}", f"{found.elsewhere:,}", len(found.differing), "; ".join([*self.notes, *failed, *said]),
        )  # fmt: skip
        return f"| {' | '.join(map(str, values))} |"

    def check(self) -> None:
        """The promise was kept, everything arrived, and nobody was told what is not so."""
        found = self.account
        assert not found.broken, found.broken
        assert not found.refused, found.refused
        assert (found.lost, found.twice, found.out_of_order) == (0, 0, 0), (self.line, found.waiting)
        assert not found.waiting, found.waiting
        assert not found.differing, found.differing
        assert found.paged >= 2 * found.texts
        assert found.sent == found.written > 0
        assert found.delivered == found.read == found.texts > 0
        assert found.grouped > 0
        assert found.goodbyes.keys() <= FINE, found.goodbyes


HEADER = f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}"

_numbers = itertools.count(1)


async def tell(cluster: Whole, row: Row, times: Times, size: Size, far: FarBroker | None = None) -> Result:
    """Everybody writes, it happens, all settles. People are new ones, so rows can share a cluster."""
    scene = Scene(cluster, times, far)
    number, devices = next(_numbers), 0
    prefix = f"p{os.getpid()}-{number}-"
    users: list[list[str]] = []
    """Of each crowd."""
    try:
        for at in range(size.crowds):
            spec = await _spec(cluster, size, f"{prefix}{at}-", seed=1000 * number + 300 * at)
            devices += len(spec.tokens)
            users.append(sorted({name.partition("/")[0] for name in spec.tokens}))
            scene.crowds.append(await _Crowd.start(spec, cluster.folder / f"crowd-{at}.json"))
        await scene.all("online")
        pids = await scene.pids()
        await scene.all("begin")
        used, began = {kind: cpu_s(of) for kind, of in pids.items()}, time.monotonic()
        await scene.flows(times.before)
        took_s = time.monotonic() - began
        cores = {kind: (cpu_s(of) - used[kind]) / took_s for kind, of in pids.items()}
        await row.happens(scene)
        await scene.flows(times.after)
        account = reduce(add, [Account(**found) for found in await scene.all("settle")])
        if not account.waiting:
            account = await _page(scene, users)
            await scene.presence_is(prefix, devices)
    finally:
        await asyncio.gather(*(crowd.close() for crowd in scene.crowds))
    return Result(row.title, account, scene.notes, cores)


async def _page(scene: Scene, users: Sequence[Sequence[str]]) -> Account:
    """What a new device of each person finds, crowd by crowd."""
    found = Account()
    for crowd, names in zip(scene.crowds, users, strict=True):
        tokens = await scene.cluster.new_devices(names)
        found += Account(**await crowd.do("page", tokens=tokens))
    return found


async def _spec(cluster: Whole, size: Size, prefix: str, seed: int) -> Spec:
    """Who is who in a crowd of this size."""
    users = [f"{prefix}{at:03}" for at in range(size.users)]
    names = [f"{user}/1" for user in users] + [f"{user}/2" for user in users[::4]]
    connectors = [cluster.settings(f"connector-{n}").connector for n in (1, 2, 3)]
    return Spec(
        tokens=await cluster.tokens(names),
        addresses=[("127.0.0.1", each.listen_port) for each in connectors],
        websockets=[f"wss://127.0.0.1:{each.websocket_listen_port}/" for each in connectors],
        ca=str(cluster.folder / "keys" / "ca.pem"),
        rate=size.rate / size.crowds,
        away=[f"{user}/1" for user in users[3 :: size.away]],
        flapping=[f"{user}/1" for user in users[1 :: size.flapping]],
        seed=seed,
        max_unsettled=size.max_unsettled,
        guard_s=GUARD_S,
        api=cluster.api,
        changes=size.changes,
        groups=await cluster.groups([users[at::GROUPS] for at in range(GROUPS)]),
    )
