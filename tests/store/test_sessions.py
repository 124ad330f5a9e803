"""The chain of sessions in Cassandra, on simulated replicas: logins at once, late and lost writes, clocks apart.

Weaker than Cassandra: reads repair nothing, each replica answers a read at a moment of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial

import pytest

from store.cassandra import sessions
from store.cassandra.sessions import (
    ANSWER_TS,
    BEGIN_TS,
    FOLLOWED_TS,
    Decision,
    SessionRow,
    decide,
    draw_time,
    told_before,
)

REPLICAS, QUORUM = 3, 2


@dataclass
class Cells:
    """A row as a replica has it: each cell with its timestamp."""

    at: tuple[int, int] | None = None
    previous: tuple[int, int] | None = None
    deleted: int = -1

    def merge(self, other: Cells) -> None:
        self.at = max(filter(None, (self.at, other.at)), default=None)
        self.previous = max(filter(None, (self.previous, other.previous)), default=None)
        self.deleted = max(self.deleted, other.deleted)

    def row(self, session: int) -> SessionRow | None:
        at = self.at if self.at and self.at[0] > self.deleted else None
        previous = self.previous if self.previous and self.previous[0] > self.deleted else None
        return None if at is None else SessionRow(session, at[1], None if previous is None else previous[1])


Rows = dict[int, Cells]


def put(rows: Rows, more: Rows) -> None:
    for session, cells in more.items():
        rows.setdefault(session, Cells()).merge(cells)


Step = Rows | None
"""A write, or (None) a read."""


def log_in(session: int, now: int) -> Generator[Step, list[SessionRow], int]:
    """The steps of `Sessions._log_in`, for one device."""
    before = yield None
    told = told_before(session, before)
    if told is not None:
        return told
    at = draw_time(before, now)
    yield {session: Cells(at=(at + BEGIN_TS, at))}
    decision = sessions.decide(session, (yield None))
    batch = {session: Cells(previous=(at + ANSWER_TS, decision.previous))}
    for row in decision.followed:
        batch[row.session] = Cells(deleted=row.at_us + FOLLOWED_TS)
    yield batch
    return decision.previous


@dataclass
class Login:
    session: int
    kept: int
    steps: Generator[Step, list[SessionRow], int]
    step: int = 0
    """Which step it is at, so that late answers to earlier ones do not count."""
    waits_for: int = 0
    read: Rows = field(default_factory=dict)
    answer: int | None = None


class Cluster:
    """Three replicas of a device's rows, and everything that is on its way to them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.replicas: list[Rows] = [{} for _ in range(REPLICAS)]
        self.on_the_way: list[Callable[[], None]] = []

    def begin(self, login: Login) -> None:
        self._send(login, next(login.steps))

    def _send(self, login: Login, step: Step) -> None:
        login.step, login.read, login.waits_for = login.step + 1, {}, QUORUM
        asked = self.chance.sample(range(REPLICAS), QUORUM) if step is None else range(REPLICAS)
        for number in asked:
            if step is None or self.chance.random() > 0.05:  # else this replica's write is lost
                self.on_the_way.append(partial(self._arrive, login, login.step, step, number))

    def _arrive(self, login: Login, at: int, step: Step, number: int) -> None:
        if step is not None:
            put(self.replicas[number], step)
        elif at == login.step:
            put(login.read, self.replicas[number])
        if at != login.step:
            return
        login.waits_for -= 1
        if login.waits_for == 0:
            rows = [cells.row(session) for session, cells in login.read.items()]
            try:
                self._send(login, login.steps.send([row for row in rows if row is not None]))
            except StopIteration as end:
                login.answer = end.value

    def go_on(self) -> None:
        self.on_the_way.pop(self.chance.randrange(len(self.on_the_way)))()


def run(seed: int) -> int:
    """One device with copies of its state logging in at random; returns how many went on with their streams."""
    chance = random.Random(seed)
    cluster = Cluster(chance)
    now, last = 1_000, 0
    kept = [0]  # by sessions that were answered; 0 in the beginning
    logins: list[Login] = []
    told: dict[int, set[int]] = {}
    for _ in range(400):
        now += chance.choice((0, 1, 1, 5))
        busy = [login for login in logins if login.answer is None]
        if len(logins) < 12 and len(busy) < 4 and chance.random() < (0.1 if cluster.on_the_way else 1.0):
            skew = chance.choice((0, 0, -50, 50))
            if busy and chance.random() < 0.2:  # a connector that asks another broker for the same once more
                session, state = busy[-1].session, busy[-1].kept
            else:
                last += 1
                session, state = last, chance.choice(kept[-2:])
            login = Login(session, state, log_in(session, now + skew))
            logins.append(login)
            cluster.begin(login)
        elif cluster.on_the_way:
            cluster.go_on()
        for login in busy:
            if login.answer is not None:
                kept.append(login.session)
                if login.answer == login.kept:
                    told.setdefault(login.kept, set()).add(login.session)
    for session, followers in told.items():
        # Before the very first session there is nothing to go on with.
        assert session == 0 or len(followers) == 1, f"seed {seed}: {followers} were all told {session}"
    return sum(len(followers) for followers in told.values())


def test_at_most_one_login_goes_on_with_a_sessions_streams() -> None:
    went_on = sum(run(seed) for seed in range(3000))
    assert went_on > 3000


def oldest_of_several(session: int, rows: list[SessionRow]) -> Decision:
    """Names a session where nobody can say."""
    others = sorted((row for row in rows if row.session != session), key=lambda row: row.at_us)
    return Decision(others[0].session if others else 0, decide(session, rows).followed)


def the_unanswered_do_not_count(session: int, rows: list[SessionRow]) -> Decision:
    """Overlooks logins that are under way."""
    others = [row for row in rows if row.session != session and row.previous is not None]
    return Decision(others[0].session if others else 0, tuple(row for row in rows if row.session != session))


@pytest.mark.parametrize("wrong", [oldest_of_several, the_unanswered_do_not_count])
def test_the_simulation_finds_defects(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "decide", wrong)
    with pytest.raises(AssertionError, match="were all told"):
        for seed in range(5_000):
            run(seed)


def test_one_after_the_other_they_form_a_chain() -> None:
    for seed in range(200):
        cluster = Cluster(random.Random(seed))
        before = 0
        for session in range(1, 8):
            login = Login(session, before, log_in(session, 1000 - session))  # a clock that goes back
            cluster.begin(login)
            while login.answer is None and cluster.on_the_way:
                cluster.go_on()
            if login.answer is None:
                break  # two of three replicas lost its write
            assert login.answer in (before, session)
            before = session
