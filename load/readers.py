"""The crowd of `history`: pairs that write to one another, and new devices that read all of it back.

Owns the new devices, and the account of what they have read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from client.api.web import TIMEOUT_S, Web
from client.tls import Trust
from load.clients import LoadClient
from load.crowd import Crowd
from load.histogram import Histogram
from load.ledger import Verdict
from load.newcomers import Newcomer
from load.people import Person
from load.readback import Readback, is_open, sent
from load.spec import Account, Spec
from load.streams import Out
from load.talker import log_in
from load.world import World

CHANGED = 10
"""One of so many texts is edited, and another one erased."""
MAX_CHANGED = 200
"""Of each stream."""


class Readers(Crowd):
    """As `Crowd`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._web = Web(spec.api, TIMEOUT_S, Trust(spec.ca or None))
        self._web.keep_connections()
        self._theirs = World(
            tls=self.world.tls,
            each_frame=self.world.each_frame,
            addresses=spec.addresses,
            sources=spec.sources,
            at_once=spec.options.logins_at_once,
        )
        self._theirs.streams, self._theirs.blocked = self.world.streams, self.world.blocked
        self._newcomers: list[Newcomer] = []
        self._followed: list[tuple[Newcomer, str, Readback]] = []
        self._judged = Verdict()

    async def converse(self) -> dict[str, Any]:
        """The pairs write to each other, both ways."""
        await self.pair_up()
        self.outs += [self._person(out.dest).out_to(out.owner.user) for out in self.outs]
        return {}

    async def meet(self, accounts: Sequence[Sequence[str]]) -> dict[str, Any]:
        """These are new devices of people of ours."""
        first = len(self.people)
        self._newcomers = [
            Newcomer(Account(*account), self._web, self._theirs, self._spec.first + first + n)
            for n, account in enumerate(accounts)
        ]
        return {}

    async def read_back(self, limit: int) -> dict[str, Any]:
        """Each new device reads all conversations of its user, one device after the other."""
        took, began, verified = Histogram(), self.world.clock(), 0
        for newcomer in self._newcomers:
            others = await newcomer.conversations()
            for other in self._others(newcomer.user):
                read = await self._read(newcomer, other, limit, took, settled=True)
                # What is not in the list is not found.
                missing = self._sent(newcomer.user, other) - (read.seen if other in others else set())
                self._judged.add(read.verdict(len(missing)))
                verified += len(read.seen)
        return {"took": took.as_json(), "seconds": self.world.clock() - began, "verified": verified}

    async def follow(self) -> dict[str, Any]:
        """The new devices log in, and from now on read all that was said, while more is being said."""
        await log_in(self._newcomers, self._spec.addresses)
        for newcomer in self._newcomers:
            self._run(self._catch_up(newcomer))
        return {}

    async def _catch_up(self, newcomer: Newcomer) -> None:
        for other in self._others(newcomer.user):
            self._followed.append((newcomer, other, await self._read(newcomer, other, 500, Histogram(), settled=False)))

    async def caught_up(self) -> dict[str, Any]:
        """Traffic ends; when new devices have all of it, on pages or as messages, they leave."""
        for person in self.people:
            person.going = False
        traffic, self._traffic = self._traffic[:1], self._traffic[1:]
        for task in traffic:
            task.cancel()
        await self._until(lambda: all(task.done() for task in self._traffic) and self._all_settled())
        await self._until(lambda: not any(self._missing(*one) for one in self._followed))
        paged = live = verified = 0
        for newcomer, other, read in self._followed:
            verdict = read.verdict(len(self._missing(newcomer, other, read)))
            self._judged.add(verdict)
            paged += len(read.seen)
            live += len(newcomer.live)
            verified += len(read.seen | newcomer.live)
        for newcomer in self._newcomers:
            for heard in newcomer.ins.values():
                self._judged.add(Verdict(twice=heard.tally.twice, out_of_order=heard.tally.out_of_order))
            self._judged.lost += not any(newcomer is one for one, _, _ in self._followed)
            newcomer.close()
        self._judged.mixed_up += self._theirs.mixed_up
        return {"paged": paged, "live": live, "verified": verified}

    def _missing(self, newcomer: Newcomer, other: str, read: Readback) -> set[tuple[int, int]]:
        return self._sent(newcomer.user, other) - read.seen - newcomer.live

    async def change(self) -> dict[str, Any]:
        """Authors edit some of their texts and erase others; returns when all of that is SENT."""
        chance, changed = self.world.random, 0
        for out in self.outs:
            author = out.owner
            assert isinstance(author, LoadClient)
            author.now = self.world.clock()
            texts = [number for number in range(1, out.next) if not is_open(out, number)]
            count = min(MAX_CHANGED, len(texts) // CHANGED)
            chosen = chance.sample(texts, 2 * count)
            for number in chosen[:count]:
                author.edit(out, number)
            for number in chosen[count:]:
                author.erase(out, number)
            changed += len(chosen)
            author.flush()
        await self._until(self._all_settled)
        return {"changed": changed}

    async def account(self) -> dict[str, Any]:
        account = await super().account()
        judged = Verdict(**{key: value for key, value in account["verdict"].items() if key != "kept"})
        judged.add(self._judged)
        self.world.counts.paged += self._theirs.counts.paged
        errors = dict(account["errors"])
        for what, count in self._theirs.errors.items():
            errors[what] = errors.get(what, 0) + count
        counts = self.world.snapshot()
        counts["exceptions"] += self._theirs.counts.exceptions
        counts["refused_for_now"] += self._theirs.counts.refused_for_now
        return {**account, "verdict": judged.as_json(), "counts": counts, "errors": errors}

    async def close(self) -> dict[str, Any]:
        await self._theirs.close()
        for newcomer in self._newcomers:
            newcomer.close()
        await self._web.aclose()
        return await super().close()

    def everybody(self) -> Iterator[Person]:
        yield from super().everybody()
        yield from self._newcomers

    async def _read(self, newcomer: Newcomer, other: str, limit: int, took: Histogram, *, settled: bool) -> Readback:
        read = Readback(self.world, self.devices, newcomer.user, other, self._options.body_bytes)
        async for messages in newcomer.pages(other, limit, took):
            read.page(messages, settled=settled)
        return read

    def _person(self, user: str) -> LoadClient:
        person = next(person for person in self.people if person.user == user)
        assert isinstance(person, LoadClient)
        return person

    def _others(self, user: str) -> list[str]:
        """With whom this one writes."""
        return sorted({out.dest for out in self.outs if out.owner.user == user})

    def _sent(self, user: str, other: str) -> set[tuple[int, int]]:
        members = {user, other}
        outs: list[Out] = [out for out in self.outs if {out.owner.user, out.dest} == members]
        return sent(self.world, outs)
