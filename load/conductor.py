"""The conductor: runs a scenario with its crew against a target, watches the servers, and gathers the result.

Owns phases and samples. What the phases of each scenario are, `load.scenarios` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load.crew import Crew
from load.histogram import Histogram, summary_ms
from load.ledger import Verdict
from load.measure import GONE, cpu_s, machine, resident_kib, role, slope_kib_per_hour
from load.report import Report, Second, settings
from load.spec import LATENCIES, Account, Options
from load.targets import Target
from protocol.errors import SparrowError

EXTRA_S = 600.0
"""A run that takes so much longer than planned has failed."""


_ACCOUNTS = "accounts"
_EACH_SECOND = (
    "sent", "received", "sent_acks", "delivered_acks", "read_acks", "logins", "refused", "refused_for_now", "resent",
    "repeated_on_the_wire", "disconnects",
)  # fmt: skip
"""Counters of which a `Second` has its part."""


@dataclass
class Stretch:
    """What was measured between two moments."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    """How much each has risen."""

    def cpu_us_per(self, count: float) -> float | None:
        """CPU microseconds of all server processes for each of so many; None if there are no processes to look at."""
        return round(self.cpu_s / max(1, count) * 1e6, 2) if self.cpu_s else None


class Conductor:
    """For one run."""

    def __init__(self, options: Options, target: Target, show: Callable[[Second], None] = lambda second: None) -> None:
        """`show` is told of each second."""
        self.options = options
        self.target = target
        self.crew = Crew()
        self.report = Report(
            scenario=options.scenario,
            server=target.name,
            shape=target.shape,
            settings=settings(options),
            machine=machine(),
        )
        self._show = show
        self._phase = _ACCOUNTS
        self._began = time.monotonic()
        self._accounts: list[Account] = []
        self._newcomers: list[Account] = []
        self._groups: Mapping[str, Account] = {}
        self._troubles: Counter[str] = Counter()
        self._memory: dict[int, list[tuple[float, int]]] = {}
        self._roles: dict[int, str] = {}

    async def run(self, scenario: Callable[[Conductor], Any]) -> Report:
        """Raises `SparrowError` if it cannot be run, `TimeoutError` if it does not end."""
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(None) as self._limit:
                await scenario(self)
        finally:
            watching.cancel()
            await self.crew.close()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        self._sum_up_memory()
        return self.report

    def phase(self, name: str) -> None:
        """For the viewer."""
        self._phase = name

    # What scenarios are made of.

    async def gather(self, count: int) -> None:
        """Start the crew with so many accounts."""
        self._accounts = await self.target.accounts(count)
        # Accounts take as long as they take: thousands of them over HTTP many minutes.
        self._limit.reschedule(asyncio.get_running_loop().time() + 2 * self.options.seconds + EXTRA_S)
        self.phase("starting")
        await self.crew.start(self.options, self.target, self._accounts)

    async def meet(self, devices: int) -> None:
        """So many new devices, of as many people: those of each pair, one pair after the other."""
        sizes = [each["count"] for each in await self.crew.do("size")]
        chosen: list[list[str]] = []
        at = left = 0
        for n, size in enumerate(sizes):
            left = devices // len(sizes) + (n < devices % len(sizes))
            pairs = zip(self._accounts[at : at + size // 2], self._accounts[at + size // 2 : at + size], strict=True)
            chosen.append([account.user for pair in pairs for account in pair][:left])
            at += size
        self._newcomers = await self.target.further([user for users in chosen for user in users])
        new = iter(self._newcomers)
        await self.crew.meet([[next(new) for _ in users] for users in chosen])

    async def found(self, choose: Callable[[Sequence[Account]], Sequence[Sequence[Account]]]) -> None:
        """Groups are made, among the people of each process; `choose` says of whom, the owner first."""
        self.phase("making groups")
        sizes = [each["count"] for each in await self.crew.do("size")]
        chosen, at = [], 0
        for size in sizes:
            chosen.append(choose(self._accounts[at : at + size]))
            at += size
        self._groups = await self.target.make_groups([members for some in chosen for members in some])
        ids = iter(self._groups)
        await self.crew.found([[(next(ids), [one.user for one in members]) for members in some] for some in chosen])

    async def disband(self) -> None:
        """The groups are no more."""
        await self.target.disband(self._groups)

    async def part(self) -> None:
        """The new devices are gone."""
        await self.target.drop(self._newcomers)

    async def log_in(self, how: str = "log_in", **arguments: object) -> None:
        """Bring everybody; figures of logins and of the memory that sessions take."""
        self.phase("logging in")
        before = resident_kib(self.target.connector_pids())
        answers = await self.crew.do(how, **arguments)
        count, took = sum(each["count"] for each in answers), max(each["seconds"] for each in answers)
        self.report.figures["logins_per_second"] = round(count / took) if took else None
        if self.target.pids():
            after = resident_kib(self.target.connector_pids())
            self.report.figures["kib_per_session"] = round((after - before) / count, 2)

    async def measure(self, seconds: float) -> Stretch:
        """Let it go on for so long, behind the warm-up."""
        self.phase("warming up")
        await asyncio.sleep(self.options.warm_up_s)
        self.phase("measuring")
        async with self.stretch() as stretch:
            await asyncio.sleep(seconds)
        return stretch

    @contextlib.asynccontextmanager
    async def stretch(self, *, latencies: bool = True) -> AsyncIterator[Stretch]:
        """Measure what happens inside; `latencies`: those of this stretch are told, and not of one before."""
        pids, made = self.target.pids(), Stretch()
        before = _total(await self.crew.do("mark", latencies=latencies))
        cpu, began = cpu_s(pids), time.monotonic()
        yield made
        made.cpu_s, made.seconds = cpu_s(pids) - cpu, time.monotonic() - began
        after = _total(await self.crew.do("measured"))
        made.counts = {key: value - before[key] for key, value in after.items()}

    async def finish(self) -> None:
        """Nobody writes any more; wait for what is under way, and account for all."""
        self.phase("draining")
        await self.crew.do("stop")
        latencies = {name: Histogram() for name in LATENCIES}
        verdict, counts, errors = Verdict(), Counter[str](), Counter[str]()
        for answer in await self.crew.do("account"):
            kept = {key: value for key, value in answer["verdict"].items() if key != "kept"}
            verdict.add(Verdict(**kept))
            counts.update(answer["counts"])
            errors.update(answer["errors"])
            for name, histogram in latencies.items():
                histogram.add(Histogram.of_json(answer["latencies"][name]))
            self.report.figures["online_at_end"] = self.report.figures.get("online_at_end", 0) + answer["online"]
        errors.update(self._troubles)
        counts["exceptions"] += sum(self._troubles.values())
        self.report.promise = verdict
        self.report.counters, self.report.errors = dict(counts), dict(errors)
        self.report.latency_ms = {name: summary_ms(histogram) for name, histogram in latencies.items()}
        self.report.histograms = {name: histogram.buckets_ms() for name, histogram in latencies.items()}

    # Beside it.

    async def _watch(self) -> None:
        """Once a second: look at the servers, and tell."""
        before: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        cpu, looked = cpu_s(self.target.pids()), time.monotonic()
        renewed = looked
        while True:
            await asyncio.sleep(1.0)
            pids = self.target.pids()
            now = time.monotonic()
            at, took, looked = now - self._began, now - looked, now
            for pid in pids:
                self._memory.setdefault(pid, []).append((at, resident_kib((pid,))))
                if self._roles.get(pid, GONE) == GONE:
                    self._roles[pid] = role(pid, pids)
            counts: Counter[str] = Counter()
            errors = Counter(self._troubles)
            one_way = Histogram()
            for worker in self.crew.workers:
                counts.update(worker.latest.get("counts", {}))
                errors.update(worker.latest.get("errors", {}))
                one_way.add(worker.one_way.take())
            spent = cpu_s(pids)
            second = Second(
                at=round(at, 2),
                phase=f"{self._phase} {self.target.progress}".strip() if self._phase == _ACCOUNTS else self._phase,
                online=sum(worker.latest.get("online", 0) for worker in self.crew.workers),
                exceptions=counts["exceptions"] + self._troubles.total(),
                p50_ms=summary_ms(one_way)["p50"],
                p99_ms=summary_ms(one_way)["p99"],
                cpu_percent=round((spent - cpu) / took * 100, 1) if pids else None,
                resident_mib=round(resident_kib(pids) / 1024, 1) if pids else None,
                errors=dict(errors - wrong),
                **{name: counts[name] - before[name] for name in _EACH_SECOND},
            )
            before, wrong, cpu = counts, errors, spent
            self.report.seconds.append(second)
            self._show(second)
            wait_s = self.target.renews_tokens_s
            if wait_s and self.crew.workers and now - renewed > wait_s:
                renewed = now
                await self._renew_tokens()

    async def _renew_tokens(self) -> None:
        try:
            accounts = await self.target.accounts(len(self._accounts))
        except SparrowError as error:
            self._troubles[f"new tokens: {error}"] += 1
            return
        sizes = await self.crew.do("size")
        await self.crew.tokens([account.token for account in accounts], [each["count"] for each in sizes])

    def _sum_up_memory(self) -> None:
        """For each server process: first, last, and how fast it grows, without the first fifth."""
        for pid, samples in self._memory.items():
            if self._roles[pid] == GONE:
                continue  # seen for a moment, on its way in or out
            steady = samples[len(samples) // 5 :]
            slope = slope_kib_per_hour(steady) if self.options.scenario == "soak" else None
            self.report.memory.append(
                {
                    "pid": pid,
                    "process": self._roles[pid],
                    "first_mib": round(samples[0][1] / 1024, 1),
                    "last_mib": round(samples[-1][1] / 1024, 1),
                    "kib_per_hour": None if slope is None else round(slope),
                    "samples": [(round(at, 1), kib) for at, kib in samples[:: max(1, len(samples) // 500)]],
                }
            )


def _total(answers: list[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for answer in answers:
        total.update(answer)
    return total
