"""The link of a node: who gets a turn when, and what an end that fails does to the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fabric.pump import MAX_ROUNDS, Pump

Said = list[tuple[str, object]]


class End:
    """One end, which says what it is told in `said`."""

    def __init__(self, name: str, said: Said, send: Callable[[bytes], None]) -> None:
        self.name = name
        self.said = said
        self.send = send
        self.answers: list[bytes] = []
        """What it sends at the end of its next turns, one each."""
        self.fails_at: bytes | None = None
        """The batch that it fails at; b"": the end of its turn."""
        self.fails_when_broken = False

    def time(self, now: float, wall_ms: int) -> None:
        self.said.append((self.name, (now, wall_ms)))

    def take(self, batch: bytes) -> None:
        self.said.append((self.name, batch))
        if batch == self.fails_at:
            raise LookupError(batch)

    def end_turn(self) -> None:
        self.said.append((self.name, "ends"))
        if self.fails_at == b"":
            raise LookupError("flush")
        if self.answers:
            self.send(self.answers.pop(0))

    def link_broken(self) -> None:
        self.said.append((self.name, "broken"))
        if self.fails_when_broken:
            raise LookupError("again")


class Node:
    """A pump and its ends."""

    def __init__(self) -> None:
        self.said: Said = []
        self.errors: list[Exception] = []
        self.pump = Pump(self.errors.append)
        self.connector = End("connector", self.said, self.pump.to_broker.append)
        self.broker = End("broker", self.said, self.pump.to_connector.append)
        self.pump.connector, self.pump.broker = self.connector, self.broker

    def run(self, first: str = "connector") -> bool:
        return self.pump.run(self.broker if first == "broker" else self.connector, 1.5, 1500)


@pytest.fixture
def node() -> Node:
    return Node()


def test_nothing_waits(node: Node) -> None:
    assert not node.run()
    assert node.said == [("connector", (1.5, 1500)), ("connector", "ends")]


def test_all_batches_are_one_turn_of_the_end_that_takes_them(node: Node) -> None:
    node.connector.answers = [b"1"]
    node.pump.to_broker.append(b"0")
    node.broker.answers = [b"2"]
    assert not node.run()
    assert node.said == [
        ("connector", (1.5, 1500)),
        ("connector", "ends"),
        ("broker", (1.5, 1500)),
        ("broker", b"0"),
        ("broker", b"1"),
        ("broker", "ends"),
        ("connector", (1.5, 1500)),
        ("connector", b"2"),
        ("connector", "ends"),
    ]


def test_the_broker_may_begin(node: Node) -> None:
    node.broker.answers = [b"1"]
    node.connector.answers = [b"2"]
    assert not node.run("broker")
    assert [(who, what) for who, what in node.said if isinstance(what, bytes)] == [
        ("connector", b"1"),
        ("broker", b"2"),
    ]


def test_ends_that_always_have_something_to_say_give_way(node: Node) -> None:
    node.connector.answers = [b"c"] * 30
    node.broker.answers = [b"b"] * 30
    assert node.run()
    turns = [who for who, what in node.said if what == "ends"]
    assert turns == ["connector", *["broker", "connector"] * MAX_ROUNDS]
    node.said.clear()
    assert node.run("broker")
    assert node.said[1] == ("broker", b"c"), "it goes on where it was"


@pytest.mark.parametrize("failing", ["connector", "broker"])
def test_an_end_that_fails_breaks_the_link_and_what_stands_behind_is_given(node: Node, failing: str) -> None:
    waiting = node.pump.to_connector if failing == "connector" else node.pump.to_broker
    end = node.connector if failing == "connector" else node.broker
    end.fails_at = b"1"
    waiting.extend((b"1", b"2"))
    assert not node.run(failing)
    assert [str(error) for error in node.errors] == ["b'1'"]
    told = [(who, what) for who, what in node.said if not isinstance(what, tuple)]
    assert told == [(failing, b"1"), ("connector", "broken"), (failing, b"2"), (failing, "ends")]


@pytest.mark.parametrize("failing", ["connector", "broker"])
def test_so_does_one_that_fails_at_the_end_of_its_turn(node: Node, failing: str) -> None:
    (node.connector if failing == "connector" else node.broker).fails_at = b""
    assert not node.run(failing)
    assert [str(error) for error in node.errors] == ["flush"]
    assert node.said[1:] == [(failing, "ends"), ("connector", "broken")]


def test_that_the_connector_cannot_even_hear_of_it_is_told(node: Node) -> None:
    node.broker.fails_at = b"1"
    node.connector.fails_when_broken = True
    node.pump.to_broker.append(b"1")
    assert not node.run()
    assert [str(error) for error in node.errors] == ["b'1'", "again"]
