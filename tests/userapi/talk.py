"""Two people and what they wrote each other, as brokers keep it: for tests of conversations."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.timelines import Archived, Audience, Edit, Entry, Name, Result, Timelines, conversation_of
from tests.userapi.conftest import Api


class Person:
    """A user who is logged in, on one device."""

    def __init__(self, api: Api, user: str) -> None:
        self._api = api
        self.user = user
        api.register(user)
        self.tokens = api.log_in(user)
        self.device: str = self.tokens["device"]

    def asks(self, method: str, path: str, **more: Any) -> TestResponse:
        """A request of theirs."""
        return self._api.ask(self.tokens, method, path, **more)

    def gets(self, path: str) -> dict[str, Any]:
        """What one of them is answered."""
        answer = self.asks("GET", path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert isinstance(answer.json, dict)
        return answer.json

    def texts(self, other: str, more: str = "") -> list[str]:
        """What they read in a conversation, newest first."""
        return [one.get("text", "") for one in self.gets(f"/v1/conversations/{other}/messages{more}")["messages"]]


class Talk:
    """What is kept of everybody's conversations."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.written = 0
        self.alice, self.bob = Person(api, "alice"), Person(api, "bob")
        api.fabric.asked.clear()

    @property
    def timelines(self) -> Timelines:
        """What brokers keep it in."""
        return self._api.bridge.store.timelines

    def call(self, method: Any, *arguments: object) -> Any:
        """Of the store."""
        return self._api.bridge.call(method, *arguments)

    def stamp(self, after_ms: int) -> int:
        """So long after the tests' now."""
        return int(self._api.now * 1000 + after_ms) << STAMP_SHIFT

    def keeps(self, *batch: Any) -> list[Archived]:
        """All of it."""
        found = list(self.call(self.timelines.archive, list(batch)))
        assert {one.result for one in found} == {Result.KEPT}
        return found

    def writes(self, author: Person, other: str, text: str, **more: Any) -> Name:
        """A message, a second after the one before."""
        self.written += 1
        name = Name(author.user, author.device, 4711, self.written)
        at = more.pop("stamp", self.stamp(self.written * 1000 - 3_600_000))
        kind, body = more.pop("kind", TEXT), more.pop("body", text.encode())
        self.keeps(Entry(conversation_of(author.user, other), name, at, kind, body, **more))
        return name

    def edits(self, author: Person, other: str, target: Name, text: str, revision: int = 1) -> Name:
        """Another text of it."""
        self.written += 1
        name = Name(author.user, author.device, 4711, self.written)
        stamp = self.stamp(self.written * 1000 - 3_600_000)
        self.keeps(Edit(conversation_of(author.user, other), target, name, stamp, revision, text.encode()))
        return name

    def swallowed(self, author: Person, other: str, text: str) -> Name:
        """What a silent block keeps from the other."""
        return self.writes(author, other, text, audience=Audience.AUTHOR)

    def told(self) -> list[tuple[object, ...]]:
        """Hints since it was asked last."""
        asked, self._api.fabric.asked[:] = list(self._api.fabric.asked), []
        return [question[1:] for question in asked if question[0] == "hint"]


def path_of(name: Name, conversation: str) -> str:
    """Where a message is, to whoever has that conversation."""
    return f"/v1/conversations/{conversation}/messages/{name.device}/{name.stream}/{name.id}"


@pytest.fixture
def talk(api: Api) -> Talk:
    api.bridge.call(api.bridge.store.timelines.set_keep_days, 365, 0)
    return Talk(api)
