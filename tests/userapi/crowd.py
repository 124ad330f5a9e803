"""People and their groups: for tests of groups over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.contacts import Change
from store.groups import Group
from store.timelines import Entry, Name, Result
from tests.userapi.conftest import Api, problem
from tests.userapi.talk import Person

T_S = 2.0
"""How long answers to changes are held back."""


class Crowd:
    """Everybody, and what is kept of their groups."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.people: dict[str, Person] = {}
        self.written = 0
        self.owner = self.person("alice")

    def person(self, user: str) -> Person:
        """Somebody who is logged in; the same for the same name."""
        if user not in self.people:
            self.people[user] = Person(self.api, user)
            self.api.fabric.asked.clear()
        return self.people[user]

    def call(self, method: Any, *arguments: object) -> Any:
        """Of the store."""
        return self.api.bridge.call(method, *arguments)

    def befriend(self, one: str, other: str, *, may_add: bool = False) -> None:
        """Friends; `may_add`: the other lets friends add them."""
        self.person(one), self.person(other)
        self.call(self.api.bridge.store.change_contact, one, other, Change.ASK)
        self.call(self.api.bridge.store.change_contact, other, one, Change.ACCEPT)
        if may_add:
            self.call(self.api.bridge.store.change_profile, other, None, None, True)

    def block(self, who: str, whom: str, *, silently: bool = False) -> None:
        """In the store alone."""
        self.person(who), self.person(whom)
        what = Change.BLOCK_SILENTLY if silently else Change.BLOCK
        self.call(self.api.bridge.store.change_contact, who, whom, what)

    def makes(self, *members: str, owner: str = "alice", **fields: str) -> str:
        """A group of the owner's, with these members; returns its id."""
        answer = self.person(owner).asks("POST", "/v1/groups", json={"name": "Lunch", **fields})
        assert answer.status_code == 201, answer.text
        assert answer.json is not None
        group: str = answer.json["group"]
        for user in members:
            self.befriend(owner, user, may_add=True)
            assert self.adds(group, user, by=owner) == 200
        self.told()
        return group

    def adds(self, group: str, user: str, by: str = "alice", **body: str) -> int:
        """Returns the answer's status."""
        return self.person(by).asks("PUT", f"/v1/groups/{group}/members/{user}", json=body).status_code

    def removes(self, group: str, user: str, by: str = "alice") -> int:
        """Returns the answer's status."""
        return self.person(by).asks("DELETE", f"/v1/groups/{group}/members/{user}").status_code

    def invites(self, group: str, user: str, by: str = "alice") -> None:
        """They are not added."""
        self.person(user)
        assert self.adds(group, user, by) == 202

    def group(self, group: str) -> Group:
        """As the store has it."""
        found: Group = self.call(self.api.bridge.store.groups.groups, [group])[group]
        return found

    def roles(self, group: str) -> dict[str, str]:
        """Of all who are in it."""
        return {user: member.role.name.lower() for user, member in self.group(group).members.items()}

    def is_out(self, group: str, user: str) -> bool:
        """To them, it is as if there were none."""
        problem(self.person(user).asks("GET", f"/v1/groups/{group}"), 404, "not_member")
        return user not in self.group(group).members

    def writes(self, group: str, author: str, text: str, **more: Any) -> Name:
        """A message in the group's version, a second after the one before."""
        self.written += 1
        found = self.group(group)
        name = Name(author, self.person(author).device, 4711, self.written)
        stamp = int(self.api.now * 1000 + self.written * 1000 - 3_600_000) << STAMP_SHIFT
        entry = Entry(
            group, name, stamp, TEXT, text.encode(), version=more.pop("version", found.version), open=found.open, **more
        )
        (done,) = self.call(self.api.bridge.store.timelines.archive, [entry])
        assert done.result == Result.KEPT
        return name

    def told(self) -> list[tuple[Any, ...]]:
        """What brokers were asked since it was asked last, and what was due."""
        self.api.notices.send()
        asked, self.api.fabric.asked[:] = list(self.api.fabric.asked), []
        self.api.slept.clear()
        return asked


@pytest.fixture
def crowd(api: Api) -> Crowd:
    """Alice, and whoever is asked for."""
    return Crowd(api)
