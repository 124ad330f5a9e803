"""The generator processes, as their conductor sees them.

Owns the processes and the lines that go to and fro. What a crowd is told is `load.conductor`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from load.histogram import Histogram
from load.spec import LINE_BYTES, Account, Options, Spec
from load.targets import Target
from load.world import loopback_sources
from protocol.errors import ConfigError, ServiceError

END_TIMEOUT_S = 15.0


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.latest: dict[str, Any] = {}
        """The last line of a second."""
        self.one_way = Histogram()
        """Since this was taken last."""
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, spec: Spec) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "load.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES,
        )  # fmt: skip
        worker = cls(process)
        await worker._write(spec.as_json())
        return worker

    async def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with _if_it_still_reads():
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "second" in said:
                self.latest = said["second"]
                self.one_way.add(Histogram.of_json(self.latest.pop("one_way")))
            else:
                self._answers.put_nowait(said)
        self._answers.put_nowait({})

    async def do(self, what: str, **arguments: object) -> dict[str, Any]:
        """Its answer. Raises `ServiceError` if it has ended, `ConfigError` for what it complained about."""
        await self._write(json.dumps({"do": what, **arguments}))
        said = await self._answers.get()
        if "error" in said:
            raise ConfigError(said["error"])
        if "answer" not in said:
            raise ServiceError(f"a generator process has ended while it was to {what}; see above")
        answer: dict[str, Any] = said["answer"]
        return answer

    async def close(self) -> None:
        assert self._process.stdin is not None
        with _if_it_still_reads():
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._listening


def _if_it_still_reads() -> contextlib.suppress:
    """A process that has ended says so by the end of its answers; uvloop complains by `RuntimeError`."""
    return contextlib.suppress(ConnectionError, RuntimeError)


class Crew:
    """All of them. `start`, then `do`, then `close`."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []

    async def start(self, options: Options, target: Target, accounts: Sequence[Account]) -> None:
        """Share the accounts out; with pairs, each writer's reader goes along."""
        sources = loopback_sources(len(accounts), target.addresses)
        for spec in share(options, target, accounts, sources):
            self.workers.append(await _Worker.start(spec))

    async def do(self, what: str, **arguments: object) -> list[dict[str, Any]]:
        """Tell all, and return their answers when all have one."""
        return await asyncio.gather(*(worker.do(what, **arguments) for worker in self.workers))

    async def tokens(self, tokens: Sequence[str], shares: Sequence[int]) -> None:
        """New tokens for everybody, in the order of the accounts."""
        at = 0
        for worker, size in zip(self.workers, shares, strict=True):
            await worker.do("tokens", tokens=tokens[at : at + size])
            at += size

    async def found(self, groups: Sequence[Sequence[tuple[str, Sequence[str]]]]) -> None:
        """There are groups now, for each process those of its people: the id and the members of each."""
        for worker, some in zip(self.workers, groups, strict=True):
            await worker.do("found", groups=some)

    async def meet(self, newcomers: Sequence[Sequence[Account]]) -> None:
        """New devices, for each process those of its people."""
        for worker, accounts in zip(self.workers, newcomers, strict=True):
            await worker.do("meet", accounts=accounts)

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(worker.close() for worker in self.workers))
        self.workers.clear()


def parts(total: int, processes: int) -> list[int]:
    """`total` in almost equal parts, without empty ones."""
    return [size for n in range(processes) if (size := total // processes + (n < total % processes))]


def share(options: Options, target: Target, accounts: Sequence[Account], sources: Sequence[str]) -> list[Spec]:
    """A process' own community each: whole pairs, or groups, of people, and its part of the rates and numbers."""
    unit = options.members if options.scenario == "groups" else 2
    sizes = [unit * size for size in parts(len(accounts) // unit, options.processes)] or [0]
    sizes[-1] += len(accounts) % unit
    specs, at = [], 0
    for n, size in enumerate(sizes):
        part = size / len(accounts)
        late = options.latecomers // len(sizes) + (n < options.latecomers % len(sizes))
        own = replace(options, rate=options.rate * part, flaps=options.flaps * part, latecomers=late)
        specs.append(
            Spec(own, accounts[at : at + size], target.addresses, target.dialect, target.ca, target.api, sources, at)
        )
        at += size
    return specs
