"""A crowd: a process full of people who write at a given rate, and read, whatever happens to the servers.

Owns who writes what and when, and for how long whom nothing reached. The account of each message is the ledger's of
`tests.cluster.people`. Told what to do by lines of JSON on standard input, it answers each with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import uvloop

from protocol.allowed import MAX_ABOUT_IDS
from protocol.sparrow_pb2 import TEXT, About, Failed, Goodbye, Message
from tests.cluster.ledger import Ledger, Written
from tests.cluster.pages import compare, page_all
from tests.cluster.people import People

READ_SHARE = 0.25
"""Of all messages, as long as there is something to read."""
PARTNERS = (1, 2, 5, 7, 11)
"""Whom a user writes to, counted from him or her."""
TICK_S = 0.01
FLAP_S = 2.0


@dataclass(frozen=True)
class Spec:
    """Who is there, and what they do."""

    tokens: dict[str, str]
    """user/device → login token."""
    addresses: list[tuple[str, int]]
    ca: str
    rate: float
    """Messages a second, READ included."""
    away: list[str]
    """Devices that come only at the end."""
    flapping: list[str]
    """Devices that come and go."""
    seed: int
    max_unsettled: int
    """Who has so many unsettled messages writes no more for now."""
    api: str
    """The user API's URL."""
    guard_s: float
    changes: bool = True
    """They edit and erase, too."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Group → its members."""
    websockets: list[str] = field(default_factory=list)
    """The URIs of those at `addresses`; empty: nobody goes over WebSocket."""


@dataclass
class Account:
    """What became of everything, in numbers."""

    written: int = 0
    sent: int = 0
    delivered: int = 0
    texts: int = 0
    read: int = 0
    grouped: int = 0
    """Of `sent`: to groups, where nobody is told that it was delivered or read."""
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    late: int = 0
    early: int = 0
    """Messages whose author was told DELIVERED before SENT."""
    paged: int = 0
    """Messages on the pages of a new device of each person, all conversations from the newest back; `edited` of them
    read as corrected, `erased` show that they were."""
    edited: int = 0
    erased: int = 0
    elsewhere: int = 0
    """Places of messages of more than one attempt that differ between a device and its page."""
    differing: list[str] = field(default_factory=list)
    """How pages and devices differ, which they must not."""
    gap_s: float = 0.0
    """The longest time in which nothing was shown to somebody online for whom there was something: where nothing
    of it had to do with what the fault hit."""
    gap_touched_s: float = 0.0
    """The same, of the others."""
    rate: float = 0.0
    """Written a second, before the fault."""
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    """Failed{retry_after}: code → how many."""
    goodbyes: dict[str, int] = field(default_factory=dict)
    """Code → how many."""
    waiting: list[str] = field(default_factory=list)
    """Some of what had not arrived when there was no more time."""

    def __add__(self, other: Account) -> Account:
        mine, theirs = asdict(self), asdict(other)
        for key, value in theirs.items():
            if key.startswith("gap"):
                mine[key] = max(mine[key], value)
            elif isinstance(value, dict):
                mine[key] = dict(Counter(mine[key]) + Counter(value))
            else:
                mine[key] += value
        return Account(**mine)


class Crowd(People):
    """People at a given rate, who read what they are shown."""

    def __init__(self, spec: Spec) -> None:
        tls = ssl.create_default_context(cafile=spec.ca)
        websockets = {
            (str(host), int(port)): uri for (host, port), uri in zip(spec.addresses, spec.websockets, strict=False)
        }
        super().__init__(spec.tokens, spec.addresses, spec.seed, tls, spec.groups, websockets)
        self._spec = spec
        self.changes = spec.changes
        self.ledger.guard_s = spec.guard_s
        self.ledger.on_shown = self._shown
        self._dice = random.Random(spec.seed)
        self._partners = {
            user: [self._users[(at + step) % len(self._users)] for step in PARTNERS]
            for at, user in enumerate(self._users)
        }
        self._writers = [device for name, device in self.devices.items() if name not in spec.away]
        self._steady = {name for name in self.devices if name not in spec.away and name not in spec.flapping}
        self._reader = {name.partition("/")[0]: name for name in reversed(self.devices)}
        """The device that a user reads with."""
        self._unread: dict[tuple[str, str, str, int], list[int]] = {}
        """(reader, author, author's device, stream) → ids."""
        self._fault_at = 0.0
        self._touched: set[str] = set()
        """Users and devices."""
        self._last: dict[tuple[str, bool], float] = {}
        self._gaps = [0.0, 0.0]
        self._began = 0.0
        self._rate = 0.0
        for name in spec.away:
            self.devices[name].wanted = False
        for device in self.devices.values():
            device.give_up_after_s = 5.0
            device.erases_unsent = True

    # Writing and reading.

    def begin(self) -> None:
        """Write, read, come and go."""
        self._began = time.monotonic()
        self._writing = [asyncio.create_task(self._pace())]
        self.come_and_go(*self._spec.flapping, every_s=FLAP_S)

    async def _pace(self) -> None:
        began, done = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * self._spec.rate)
            for _ in range(min(due - done, int(self._spec.rate * 10 * TICK_S) + 1)):
                self._one()
            done = due  # what could not be written in time is not made up for
            await asyncio.sleep(TICK_S)

    def _one(self) -> None:
        if self._unread and self._dice.random() < READ_SHARE:
            self._read_one()
            return
        device = self._dice.choice(self._writers)
        if device.core.unsettled < self._spec.max_unsettled:
            self.say(device, self._dice.choice(self._partners[device.name.partition("/")[0]]))

    def _read_one(self) -> None:
        key = next(iter(self._unread))
        reader, author, own, stream = key
        ids = self._unread.pop(key)
        if len(ids) > MAX_ABOUT_IDS:
            self._unread[key] = ids[MAX_ABOUT_IDS:]
        self.devices[reader].mark_read(author, About(from_device=own, stream=stream, ids=ids[:MAX_ABOUT_IDS]))

    def _shown(self, device: str, message: Message, written: Written) -> None:
        if message.kind == TEXT and self._reader.get(message.dest_id) == device:
            key = (device, message.from_id, message.from_device, message.stream)
            self._unread.setdefault(key, []).append(message.id)
        # What somebody wrote while away is shown when it can be: that is no gap.
        if self._fault_at and device in self._steady and written.author in self._steady:
            touched = not self._touched.isdisjoint((device, written.author, message.dest_id))
            now = time.monotonic()
            since = max(self._last.get((device, touched), self._fault_at), written.at)
            self._gaps[touched] = max(self._gaps[touched], now - since)
            self._last[device, touched] = now

    # The fault.

    def fault(self, ports: Sequence[int], brokers: Sequence[str], members: Sequence[str], unsteady: bool) -> list[str]:
        """From now on gaps count. Returns the devices at these connectors.

        What is touched: devices at connectors with these ports, users of these brokers among all members, and,
        if `unsteady`, everybody for whom something may have to be stored.
        """
        self._fault_at = time.monotonic()
        self._rate = len(self.ledger.written) / (self._fault_at - self._began)
        at = [name for name in sorted(self._steady) if (self.devices[name].at or ("", 0))[1] in ports]
        self._touched.update(at)
        dests = [*self._users, *self._spec.groups]
        self._touched.update(dest for dest in dests if brokers and _broker(dest, members) in brokers)
        if unsteady:
            gone = self.devices.keys() - self._steady
            self._touched.update(gone, (name.partition("/")[0] for name in gone))
        return at

    def told(self) -> list[str]:
        """Codes of all Failed{retry_after} and Goodbye so far."""
        return [*self._failed(), *self._goodbyes()]

    def counts(self) -> dict[str, int]:
        """As it is now. `to_keep`: written and no READ, which is in no timeline; `kept`: of these SENT; `unsettled`: of
        the device that has the most."""
        ledger = self.ledger
        unsettled = max(device.core.unsettled for device in self.devices.values())
        to_keep = ledger.to_keep - ledger.moot
        return {"to_keep": to_keep, "kept": ledger.kept, "early": len(ledger.early), "unsettled": unsettled}

    def want(self, device: str, online: bool) -> None:
        """Whether the device, if it is one of ours, is to connect again once its connection is lost."""
        if device in self.devices:
            self.devices[device].wanted = online
            self._steady.discard(device)

    def come(self) -> None:
        """Those who were to be away until the end come now."""
        for name in self._spec.away:
            self.devices[name].come()

    # The end.

    async def settle(self) -> Account:
        """Everybody comes, everything arrives and is read; the account, also if it does not."""
        reading = asyncio.create_task(self._read_all())
        ledger = self.ledger
        try:
            await self.finish()
            await ledger.until(
                lambda: (
                    all(written.read for written in ledger.texts)
                    and ledger.settled_all
                    and not ledger.missing(list(self.devices))
                ),
                "READ of everything",
            )
        except (TimeoutError, AssertionError):
            print(f"{self.account()}; unread {sum(map(len, self._unread.values()))}", file=sys.stderr)
        finally:
            reading.cancel()
        return self.sum()

    async def page(self, tokens: dict[str, str]) -> Account:
        """The account with what new devices find in all conversations; `tokens`: `user/device` → access token."""
        trust = ssl.create_default_context(cafile=self._spec.ca)
        found = compare(self.ledger, await page_all(self._spec.api, tokens, trust))
        paged = {"paged": found.paged, "edited": found.edited, "erased": found.erased, "elsewhere": found.elsewhere}
        return replace(self.sum(), **paged, differing=found.wrong[:10])

    async def _read_all(self) -> None:
        while True:
            while self._unread:
                self._read_one()
            await asyncio.sleep(0.1)

    def sum(self) -> Account:
        """As it is now."""
        ledger, names = self.ledger, list(self.devices)
        texts = list(ledger.texts)
        missing = ledger.missing(names)
        return Account(
            written=len(ledger.written) - ledger.moot,
            sent=ledger.sent,
            delivered=sum(written.delivered for written in texts),
            texts=len(texts),
            read=sum(written.read for written in texts),
            grouped=ledger.grouped,
            lost=len(missing),
            twice=ledger.twice,
            out_of_order=ledger.out_of_order,
            late=ledger.late,
            early=len(ledger.early),
            gap_s=self._gaps[False],
            gap_touched_s=self._gaps[True],
            rate=self._rate,
            refused=ledger.refused[:5],
            broken=ledger.broken[:5],
            failed=self._failed(),
            goodbyes=self._goodbyes(),
            waiting=self._waiting(ledger, missing),
        )

    def _failed(self) -> dict[str, int]:
        return {Failed.Code.Name(code): count for code, count in self.ledger.for_now.items()}

    def _goodbyes(self) -> dict[str, int]:
        said = (goodbye.code for device in self.devices.values() for goodbye in device.goodbyes)
        return dict(Counter(map(Goodbye.Code.Name, said)))

    def _waiting(self, ledger: Ledger, missing: list[tuple[str, bytes]]) -> list[str]:
        found = [f"{body!r} is not shown at {device}" for device, body in missing]
        for body, written in ledger.written.items():
            if not written.sent and not ledger.is_gone(written):
                kind = Message.Kind.Name(written.kind)
                found.append(f"{kind} {body!r} of {written.author} to {written.dest} is not SENT")
            elif written.dest in ledger.groups:
                continue
            elif written.kind == TEXT and not written.erased and not (written.delivered and written.read):
                found.append(f"{body!r} is SENT, delivered {written.delivered}, read {written.read}")
        return found[:10]


def _broker(dest: str, members: Sequence[str]) -> str:
    """Whose user or group this is, as connectors choose (connector/core/links.py)."""
    name = dest.encode()
    return max(members, key=lambda member: blake2b(name, key=member.encode()[-64:], digest_size=8).digest())


async def _obey(crowd: Crowd, command: dict[str, Any]) -> object:
    match command.pop("do"):
        case "online":
            await crowd.all_online()
        case "begin":
            crowd.begin()
        case "fault":
            return crowd.fault(**command)
        case "told":
            return crowd.told()
        case "counts":
            return crowd.counts()
        case "want":
            crowd.want(**command)
        case "come":
            crowd.come()
        case "more":
            await crowd.some_sent(command["sent"])
        case "settle":
            return asdict(await crowd.settle())
        case "page":
            return asdict(await crowd.page(**command))
        case other:
            raise ValueError(other)
    return None


async def main(spec: Spec) -> None:
    """Do what standard input says, until it ends."""
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd(spec)
    while line := await reader.readline():
        print(json.dumps(await _obey(crowd, json.loads(line))), flush=True)
    await crowd.close()


def _go_first() -> None:
    """Or the rate would be what busy servers leave us. As far as it is allowed."""
    with contextlib.suppress(OSError):
        os.nice(-10)
        Path("/proc/self/autogroup").write_text("-10")  # where niceness counts between sessions


if __name__ == "__main__":
    _go_first()
    uvloop.run(main(Spec(**json.loads(Path(sys.argv[1]).read_text()))))
