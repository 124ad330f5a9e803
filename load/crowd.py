"""A crowd: all clients of one generator process, what they do, and the account of it.

Owns the clients. When things begin and end, the conductor says (`load.conductor`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from client.tls import Trust
from load.dialects import DIALECTS
from load.histogram import Histogram
from load.ledger import Tally, Verdict
from load.people import Person
from load.spec import LATENCIES, Spec
from load.streams import Group, Out
from load.talker import log_in
from load.traffic import AWAY, AWAY_S, READ_AFTER_S, Day, Pace
from load.world import World

TURN_S = 0.002
"""Open loops look at the clock at least this often; latencies count from the intended times anyway."""
PINGS_PER_HEARTBEAT = 1.5


class Crowd:
    """Told what to do by the names of its public methods; each returns what goes back as JSON."""

    def __init__(self, spec: Spec) -> None:
        options = spec.options
        self._spec = spec
        self._options = options
        trust = Trust(spec.ca or None)
        self.world = World(
            seed=options.seed or None,
            tls=(trust.for_websockets if options.websocket else trust.for_connectors)
            if any(address.tls for address in spec.addresses)
            else None,
            each_frame=options.websocket == "frame",
            addresses=spec.addresses,
            sources=spec.sources,
            at_once=options.logins_at_once,
        )
        if options.read:
            self.world.read_after = lambda: 0.0
        make = DIALECTS[spec.dialect]
        self.people: list[Person] = [
            make(account, options.body_bytes, self.world, spec.first + n) for n, account in enumerate(spec.accounts)
        ]
        self.by_user = {person.user: person for person in self.people}
        self.devices = {account.user: account.device for account in spec.accounts}
        for person in self.people:
            person.devices = self.devices
        self.outs: list[Out] = []
        """Those that the traffic goes through."""
        self._latencies = {name: Histogram() for name in LATENCIES}
        self._second_one_way = Histogram()
        self._measuring = False
        self._traffic: list[asyncio.Task[None]] = []
        self._keeping = asyncio.create_task(self._keep())

    # Who is where.

    async def log_in(self, who: str = "all") -> dict[str, Any]:
        """Bring "all", "writers" (the first half) or "readers" (the rest); returns the number and how long it took."""
        chosen = self._some(who)
        addresses = self._spec.addresses
        # A server that has just started may say "try again"; this wait is none of a login.
        await asyncio.gather(*(each.stay(address) for each, address in zip(chosen, addresses, strict=False)))
        began = self.world.clock()
        await log_in([each for each in chosen if not each.online], addresses)
        return {"count": len(chosen), "seconds": self.world.clock() - began}

    async def leave(self, who: str) -> dict[str, Any]:
        """These go."""
        for person in self._some(who):
            person.away = True
            await self._leave(person)
        return {}

    def _some(self, who: str) -> list[Person]:
        half = len(self.people) // 2
        return {"all": self.people, "writers": self.people[:half], "readers": self.people[half:]}[who]

    async def log_in_pairs(self) -> dict[str, Any]:
        """All: the writers at the first half of the connectors, the readers at the others."""
        addresses, half = self._spec.addresses, len(self.people) // 2
        at = max(1, len(addresses) // 2)
        first, second = addresses[:at], addresses[at:] or addresses
        await asyncio.gather(*(each.stay(address) for each, address in zip(self.people, addresses, strict=False)))
        for each in self.people[: len(addresses)]:
            await self._leave(each)
        began = self.world.clock()
        await asyncio.gather(log_in(self.people[:half], first), log_in(self.people[half:], second))
        return {"count": len(self.people), "seconds": self.world.clock() - began}

    async def drop_all(self) -> dict[str, Any]:
        """Every connection breaks at once; returns how long it took until each was back, and all were."""
        back = Histogram()
        began = self.world.clock()

        async def returns(person: Person) -> None:
            await self._leave(person)
            await person.stay(person.address)
            back.record(self.world.clock() - began)

        await asyncio.gather(*map(returns, self.people))
        return {"seconds": self.world.clock() - began, "back": back.as_json()}

    async def found(self, groups: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
        """There are these groups: the id and the members of each."""
        for group, members in groups:
            self.world.groups[group] = Group(group, frozenset(members))
        return {}

    def out_to_group(self, person: Person, group: Group) -> Out:
        """What this one writes there; begun if need be."""
        out = person.out_to(group.id)
        out.reach = len(self._readers(out))
        return out

    def _readers(self, out: Out) -> list[Person]:
        """Who is to be shown what is SENT there."""
        if out.group is None:
            return [self.by_user[out.dest]]
        return [self.by_user[user] for user in out.group.members if user != out.owner.user and user in self.by_user]

    async def tokens(self, tokens: Sequence[str]) -> dict[str, Any]:
        """New login tokens, for all in their order."""
        for person, token in zip(self.people, tokens, strict=True):
            person.token = token
        return {}

    # What they do.

    async def pair_up(self) -> dict[str, Any]:
        """Each of the first half writes to one of the second."""
        half = len(self.people) // 2
        self.outs = [
            writer.out_to(reader.user) for writer, reader in zip(self.people[:half], self.people[half:], strict=True)
        ]
        return {}

    async def keep_in_flight(self) -> dict[str, Any]:
        """From now on each of the pairs keeps so many texts under way that have no SENT yet."""
        for out in self.outs:
            out.owner.going = True
            now = out.owner.now = self.world.clock()
            for _ in range(self._options.in_flight):
                out.owner.text(out, now)
            out.owner.flush()
        return {}

    async def say_in_groups(self) -> dict[str, Any]:
        """A text in each group; returns when all of them were shown, or it has taken too long."""
        for group in self.world.groups.values():
            person = self.by_user[min(group.members)]
            person.say(self.out_to_group(person, group), self.world.clock())
        await self._until(self._all_settled)
        return {}

    async def open_loop(self) -> dict[str, Any]:
        """From now on one pair after the other writes, at the rate that was chosen, however the server does."""
        self._run(self._open_loop())
        return {}

    async def _open_loop(self) -> None:
        pace, number = Pace(self._options.rate, self.world.clock()), 0
        while True:
            for at in pace.due(self.world.clock()):
                out = self.outs[number % len(self.outs)]
                out.owner.say(out, at)
                number += 1
            await asyncio.sleep(min(TURN_S, max(0.0, pace.next_at - self.world.clock())))

    async def live(self) -> dict[str, Any]:
        """From now on a day passes: friends, bursts, some offline, receipts read after a pause."""
        chance = self.world.random
        self.world.read_after = lambda: chance.expovariate(1.0 / READ_AFTER_S)
        self._run(self._day())
        self._run(self._come_and_go(max(1, round(len(self.people) * AWAY)), AWAY_S))
        return {}

    async def _day(self) -> None:
        groups = list(self.world.groups.values())
        number = {person.user: n for n, person in enumerate(self.people)}
        inside = [[number[user] for user in sorted(group.members)] for group in groups]
        day = Day(len(self.people), self._options.rate, self.world.clock(), self.world.random, inside)
        while True:
            for at, me, friend in day.due(self.world.clock()):
                person = self.people[me]
                if friend < len(self.people):
                    person.say(person.out_to(self.people[friend].user), at)
                else:
                    person.say(self.out_to_group(person, groups[friend - len(self.people)]), at)
            await asyncio.sleep(min(TURN_S, max(0.0, day.next_at - self.world.clock())))

    async def _come_and_go(self, away: int, away_s: float) -> None:
        """So many are offline at any time, each for this long on average."""
        chance = self.world.random
        gone = chance.sample(self.people, away)
        for person in gone:
            person.away = True
            person.close()
        while True:
            await asyncio.sleep(chance.expovariate(away / away_s))
            back = gone.pop(chance.randrange(len(gone)))
            await back.gone()
            self.world.spawn(back.stay(back.address))
            there = [person for person in self.people if person.online]
            leaving = chance.choice(there) if there else back
            leaving.away = True
            leaving.close()
            gone.append(leaving)

    async def flap(self) -> dict[str, Any]:
        """From now on so many clients a second leave, and come back within a second."""
        self._run(self._flap())
        return {}

    async def _flap(self) -> None:
        chance, pace = self.world.random, Pace(self._options.flaps, self.world.clock())
        while True:
            for _ in pace.due(self.world.clock()):
                person = chance.choice(self.people)
                if person.online:
                    self.world.spawn(self._away(person, chance.uniform(0.0, 1.0)))
            await asyncio.sleep(max(0.0, pace.next_at - self.world.clock()))

    async def _leave(self, person: Person) -> None:
        person.wanted = False
        person.drop()
        await person.gone()

    async def _away(self, person: Person, seconds: float) -> None:
        person.away = True
        await self._leave(person)
        try:
            await asyncio.sleep(seconds)
        finally:
            person.wanted = True
        await person.stay(person.address)

    async def write_all(self, each: int) -> dict[str, Any]:
        """Every pair's writer writes so many; returns when all are SENT."""
        began = self.world.clock()
        for out in self.outs:
            now = out.owner.now = self.world.clock()
            for _ in range(each):
                out.owner.text(out, now)
            out.owner.flush()
        await self._until(lambda: not any(map(_open, self.outs)))
        return {"seconds": self.world.clock() - began}

    async def all_shown(self) -> dict[str, Any]:
        """Return when every text that is SENT was shown, or it has taken too long."""
        await self._until(lambda: self.world.counts.received >= self.world.counts.due)
        return {}

    async def size(self) -> dict[str, Any]:
        """How many people this crowd has."""
        return {"count": len(self.people)}

    def _run(self, work: Any) -> None:
        self._traffic.append(self.world.spawn(work))

    async def stop(self) -> dict[str, Any]:
        """Nobody writes any more; who is away comes back."""
        for task in self._traffic:
            task.cancel()
        self._traffic.clear()
        for person in self.people:
            person.going = False
        coming = [self.world.spawn(each.stay(each.address)) for each in self.people if not each.wanted]
        if coming:
            # Not for ever: they go on trying, and who is not there at the end is counted.
            await asyncio.wait(coming, timeout=self._options.drain_s)
        if self.world.read_after is not None:
            self.world.read_after = lambda: 0.0
            for person in self.people:
                person.read_all()
        return {}

    # What has come of it.

    async def mark(self, *, latencies: bool = True) -> dict[str, Any]:
        """Latencies count from now on, if they are to; returns the counts so far."""
        self._fold()
        if latencies:
            self._latencies = {name: Histogram() for name in LATENCIES}
            self._measuring = True
        return self._snapshot()

    async def measured(self) -> dict[str, Any]:
        """Latencies count no more; returns counts, and latencies since `mark`."""
        self._fold()
        self._measuring = False
        return self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        return {**self.world.snapshot(), "generator_cpu_us": int(time.process_time() * 1e6)}

    def _fold(self) -> None:
        taken: dict[str, Histogram] = {name: getattr(self.world, name).take() for name in LATENCIES}
        self._second_one_way.add(taken["one_way"])
        if self._measuring:
            for name, histogram in taken.items():
                self._latencies[name].add(histogram)

    def second(self) -> dict[str, Any]:
        """What happened since this was asked last, for the live view."""
        self._fold()
        return {
            "counts": self.world.snapshot(),
            "online": sum(person.online for person in self.people),
            "one_way": self._second_one_way.take().as_json(),
            "errors": dict(self.world.errors.most_common(5)),
        }

    async def account(self) -> dict[str, Any]:
        """Wait until every text has its answer and was shown; then compare both ends."""
        await self._until(self._all_settled)
        verdict = Verdict(mixed_up=self.world.mixed_up, absent=sum(not person.online for person in self.people))
        for person in self.people:
            for out in person.outs.values():
                unanswered = {*out.open, *range(out.next, out.next + len(out.backlog))}
                verdict.answers(unanswered, absent=not person.online)
                for reader in self._readers(out):
                    heard = reader.ins.get(out.key)
                    seen = heard.tally if heard is not None else Tally()
                    verdict.reader(out.next - 1, unanswered | out.refused, seen, absent=not reader.online)
        return {
            "verdict": verdict.as_json(),
            "counts": self.world.snapshot(),
            "errors": dict(self.world.errors),
            "latencies": {name: histogram.as_json() for name, histogram in self._latencies.items()},
            "online": sum(person.online for person in self.people),
        }

    def _all_settled(self) -> bool:
        counts = self.world.counts
        return (
            not any(map(_open, self._all_outs()))
            and counts.received >= counts.due
            and counts.reads_received >= counts.reads_sent
            and counts.changes_received >= counts.changes_sent
            and not any(out.undelivered for out in self._all_outs())
        )

    def _all_outs(self) -> Iterator[Out]:
        for person in self.people:
            yield from person.outs.values()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Give up after a while: what is missing then is told."""
        deadline = self.world.clock() + self._options.drain_s
        while True:
            if done() or self.world.clock() > deadline:
                return
            await asyncio.sleep(0.02)

    def everybody(self) -> Iterator[Person]:
        """All clients."""
        return iter(self.people)

    async def _keep(self) -> None:
        """Repeats, questions about gaps, and pings, each second."""
        at = 0
        while True:
            await asyncio.sleep(1.0)
            for person in self.everybody():
                if person.unsettled or person.acks_later or person in self.world.blocked:
                    person.overdue()
            share = -(-len(self.people) * PINGS_PER_HEARTBEAT // min(person.heartbeat_s for person in self.people))
            for person in islice(self.people, at, at + int(share)):
                person.ping()
            at = at + int(share) if at + int(share) < len(self.people) else 0

    async def close(self) -> dict[str, Any]:
        """Everybody leaves."""
        self._keeping.cancel()
        await self.world.close()
        for person in self.people:
            person.close()
        await asyncio.sleep(0)
        return {}


def _open(out: Out) -> bool:
    return bool(out.open or out.backlog)
