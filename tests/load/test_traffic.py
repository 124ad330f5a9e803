"""Schedules: intended times do not depend on when they are asked for; who writes to whom."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from load.traffic import FRIENDS, Day, Pace, Zipf


def test_a_pace_that_is_asked_late_gives_the_times_that_were_meant() -> None:
    pace = Pace(10.0, began=5.0)
    assert list(pace.due(5.0)) == [5.0]
    late = list(pace.due(7.0))
    assert len(late) == 20
    assert late == pytest.approx([5.0 + n / 10 for n in range(1, 21)])
    assert list(pace.due(7.0)) == []
    assert pace.next_at == pytest.approx(7.1)


def test_a_zipf_draws_the_first_most() -> None:
    chance, zipf = random.Random(1), Zipf(10)
    drawn = Counter(zipf.draw(chance) for _ in range(20_000))
    assert set(drawn) == set(range(10))
    assert drawn[0] / drawn[1] == pytest.approx(2.0, rel=0.15)
    assert drawn[0] / drawn[4] == pytest.approx(5.0, rel=0.2)


def test_a_day_has_its_rate_from_the_beginning_and_nobody_writes_to_themselves() -> None:
    day = Day(100, 50.0, 1000.0, random.Random(3))
    texts = list(day.due(1000.0 + 200.0))
    times = [at for at, _, _ in texts]
    assert times == sorted(times)
    assert times[0] >= 1000.0
    assert len(texts) / 200.0 == pytest.approx(50.0, rel=0.1)
    assert sum(at < 1020.0 for at in times) / 20.0 == pytest.approx(50.0, rel=0.3)
    assert all(me != friend for _, me, friend in texts)
    friends: dict[int, set[int]] = {}
    for _, me, friend in texts:
        friends.setdefault(me, set()).add(friend)
    assert max(map(len, friends.values())) <= FRIENDS
    assert day.next_at > 1200.0


def test_a_day_that_is_asked_late_gives_the_same() -> None:
    often, once = (Day(20, 30.0, 0.0, random.Random(5)) for _ in range(2))
    at_once = list(once.due(10.0))
    in_steps = [text for step in range(101) for text in often.due(step / 10)]
    assert in_steps == at_once


def test_two_people_are_a_day() -> None:
    texts = list(Day(2, 20.0, 0.0, random.Random(1)).due(5.0))
    assert {(me, friend) for _, me, friend in texts} == {(0, 1), (1, 0)}
