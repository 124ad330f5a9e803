"""The verdict on every message: what is lost, repeated, reordered or mixed up is seen, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from load.ledger import Tally, Verdict


def verdict(
    shown: Sequence[int], written: int, unanswered: Collection[int] = (), refused: Collection[int] = ()
) -> Verdict:
    """One conversation; a negative number was shown and marked as late."""
    tally = Tally()
    for number in shown:
        tally.show(abs(number), number < 0)
    made = Verdict()
    made.conversation(written, unanswered, refused, tally)
    return made


@pytest.mark.parametrize(
    ("shown", "written", "expected"),
    [
        ([1, 2, 3], 3, Verdict()),
        ([], 0, Verdict()),
        ([1, 3], 3, Verdict(lost=1)),
        ([1, 2], 5, Verdict(lost=3)),
        ([], 2, Verdict(lost=2)),
        ([1, 2, 2, 3], 3, Verdict(twice=1)),
        ([1, 2, 3, 1], 3, Verdict(twice=1)),
        ([1, 3, 2], 3, Verdict(out_of_order=1)),
        ([3, 2, 1], 3, Verdict(out_of_order=2)),
        ([1, 3, 2, 2], 3, Verdict(out_of_order=1, twice=1)),
        ([1, 3, -2], 3, Verdict(late=1)),
        ([1, 2, 4], 3, Verdict(lost=1, mixed_up=1)),
    ],
)
def test_a_conversation(shown: list[int], written: int, expected: Verdict) -> None:
    assert verdict(shown, written) == expected
    assert expected.kept == (expected in (Verdict(), Verdict(late=1)))


def test_what_was_not_sent_is_not_lost_but_told() -> None:
    assert verdict([1, 3], 4, unanswered={2}, refused={4}) == Verdict(unanswered=1)
    assert not Verdict(unanswered=1).kept
    # What was refused for good may have arrived all the same.
    assert verdict([1, 2], 2, refused={2}) == Verdict()


def test_who_never_came_back_is_counted_apart() -> None:
    tally = Tally()
    tally.show(1)
    made = Verdict(absent=1)
    made.conversation(36, {36}, (), tally, reader_absent=True)
    assert made == Verdict(absent=1, waiting=34, unanswered=1)
    made = Verdict(absent=1)
    made.conversation(36, {35, 36}, (), tally, author_absent=True, reader_absent=True)
    assert made == Verdict(absent=1, waiting=35)
    assert made.kept
    made.twice = 1
    assert not made.kept


def test_verdicts_add_up() -> None:
    total = Verdict(lost=1, late=2)
    total.add(Verdict(lost=2, twice=3, out_of_order=4, mixed_up=5, unanswered=6))
    assert total == Verdict(lost=3, twice=3, out_of_order=4, mixed_up=5, unanswered=6, late=2)
    assert total.as_json()["kept"] is False
    assert Verdict().as_json()["kept"] is True


def test_what_was_shown_is_known() -> None:
    tally = Tally()
    for number in (1, 2, 5):
        tally.show(number)
    assert [number for number in range(1, 8) if tally.has(number)] == [1, 2, 5]
