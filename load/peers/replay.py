"""The crowd of `history` with NATS: pairs that write to one another, and new devices to which all of it is replayed.

Owns the replays, and the account of what they have brought. A conversation is a group of two (`load.peers.nats`), whose
stream keeps what was said.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from load.crowd import Crowd
from load.ledger import Tally, Verdict
from load.peers import nats
from load.spec import Account, Spec
from load.streams import Group
from load.wire import HEAD_BYTES, padding, read_head


class Replayers(Crowd):
    """As `Crowd`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        half = len(self.people) // 2
        for number, pair in enumerate(zip(self.people[:half], self.people[half:], strict=True), spec.first):
            group = f"pair{number}"
            self.world.groups[group] = Group(group, frozenset(one.user for one in pair))
        self._newcomers: list[Account] = []
        self._padding = padding(spec.options.body_bytes)
        self._judged = Verdict()

    async def converse(self) -> dict[str, Any]:
        """The pairs write to each other, both ways."""
        for group in self.world.groups.values():
            self.outs += [self.out_to_group(self.by_user[user], group) for user in sorted(group.members)]
        return {}

    async def meet(self, accounts: Sequence[Sequence[str]]) -> dict[str, Any]:
        """These are new devices of people of ours."""
        self._newcomers = [Account(*account) for account in accounts]
        return {}

    async def replay(self) -> dict[str, Any]:
        """Each new device is brought all conversations of its user, one device after the other."""
        verified = 0
        for newcomer in self._newcomers:
            for group in self.world.groups.values():
                if newcomer.user in group.members:
                    verified += await self._bring(newcomer, group)
        return {"verified": verified}

    async def _bring(self, newcomer: Account, group: Group) -> int:
        seen: defaultdict[int, Tally] = defaultdict(Tally)
        outs = {out.number: out for out in self.outs if out.group is group}
        try:
            async with asyncio.timeout(self._options.drain_s):
                async for content in self._replayed(newcomer, group):
                    _, number, stream = read_head(content)
                    if stream in outs and content[HEAD_BYTES:] == self._padding:
                        seen[stream].show(number)
                    else:
                        self._judged.mixed_up += 1
        except TimeoutError:
            self.world.error("a replay did not end")
        for out in outs.values():
            self._judged.reader(out.next - 1, {*out.open, *out.refused}, seen[out.number], absent=False)
        brought = sum(tally.shown for tally in seen.values())
        self.world.counts.paged += brought
        return brought

    async def _replayed(self, newcomer: Account, group: Group) -> AsyncIterator[bytes]:
        """All that was said there, by a consumer of its own; as many as the server says that there are."""
        address = self._spec.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(nats.CONNECT + b"SUB a 1\r\nSUB d.new 2\r\n" + nats.replay(group.id, "d.new", b"a"))
            data, brought, there = b"", 0, None
            while there is None or brought < there:
                read = await reader.read(1 << 18)
                if not read:
                    self.world.error("a replay was cut off")
                    return
                operations, data = nats.cut(data + read)
                for words, payload in operations:
                    if words[0] == b"MSG" and words[2] == b"1":
                        there = int(json.loads(payload).get("num_pending", 0))
                    elif words[0] == b"MSG":
                        brought += 1
                        yield payload
        finally:
            writer.close()

    async def account(self) -> dict[str, Any]:
        account = await super().account()
        judged = Verdict(**{key: value for key, value in account["verdict"].items() if key != "kept"})
        judged.add(self._judged)
        return {**account, "verdict": judged.as_json()}
