"""The crowd of `groups`: who is online writes, and of who is not some come behind it and catch up.

Owns who is online. What each was shown is accounted for as everywhere (`load.crowd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from load.crowd import Crowd
from load.people import Person, say_by_turns
from load.spec import Spec
from load.talker import log_in


class GroupCrowd(Crowd):
    """As `Crowd`; its people are those who are online, and at last the latecomers."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        size, online = self._options.members, self._options.online or self._options.members
        self._count = len(self.people)
        everybody, self.people = self.people, []
        self._asleep: list[Person] = []
        for at in range(0, len(everybody), size):
            self.people += everybody[at : at + online]
            self._asleep += everybody[at + online : at + size]
        self.by_user = {person.user: person for person in self.people}

    async def size(self) -> dict[str, Any]:
        return {"count": self._count}

    async def tokens(self, tokens: Sequence[str]) -> dict[str, Any]:
        """Runs of `groups` are shorter than their tokens are good for."""
        return {}

    async def keep_talking(self) -> dict[str, Any]:
        """From now on each group has so many texts under way that have no SENT yet; its writers take turns."""
        for group in self.world.groups.values():
            there = [person for person in self.people if person.user in group.members]
            outs = [self.out_to_group(person, group) for person in there[: self._options.writers]]
            group.next_writer = cycle(outs)
            for out in outs:
                out.owner.going = True
            say_by_turns(group.next_writer, self._options.in_flight, self.world.clock())
        return {}

    async def quiet(self) -> dict[str, Any]:
        """Nobody writes any more; returns when all who are online were shown everything, or it has taken too long."""
        for person in self.people:
            person.going = False
        await self._until(self._all_settled)
        return {}

    async def catch_up(self) -> dict[str, Any]:
        """Some log in who were never here; returns when they were shown everything, or it has taken too long."""
        step = max(1, len(self._asleep) // max(1, self._options.latecomers))
        late = self._asleep[::step][: self._options.latecomers]
        before = self.world.counts.received
        self.people += late
        self.by_user |= {person.user: person for person in late}
        for out in self._all_outs():
            reach = len(self._readers(out))
            self.world.counts.due += out.sent * (reach - out.reach)
            out.reach = reach
        if late:
            await log_in(late, self._spec.addresses)
            await self._until(self._all_settled)
        return {"latecomers": len(late), "messages": self.world.counts.received - before}
