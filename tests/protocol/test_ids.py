"""Ids, addresses and stamps."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidIdError
from protocol.ids import (
    MAX_STAMP_AHEAD_MS,
    Stamper,
    address,
    check_device_id,
    check_new_user_id,
    check_user_id,
    split_address,
    stamp_ms,
)

GOOD_USERS = ["a", "0", "alice", "a.b_c-9", "..", "-", "x" * 64]
BAD_USERS = ["", "x" * 65, "Alice", "a b", "a/b", "ä", "a\n", "a\x00", "é", "١"]
GOOD_DEVICES = ["a", "7", "d" * 32]
BAD_DEVICES = ["", "d" * 33, "D", "a-b", "a.b", "a/b", "a\n", "٣"]


@pytest.mark.parametrize("user", GOOD_USERS)
def test_user_ids(user: str) -> None:
    assert check_user_id(user) == user


@pytest.mark.parametrize("user", BAD_USERS)
def test_what_is_no_user_id(user: str) -> None:
    with pytest.raises(InvalidIdError, match="1 to 64"):
        check_user_id(user)


@pytest.mark.parametrize("device", GOOD_DEVICES)
def test_device_ids(device: str) -> None:
    assert check_device_id(device) == device


@pytest.mark.parametrize("device", BAD_DEVICES)
def test_what_is_no_device_id(device: str) -> None:
    with pytest.raises(InvalidIdError, match="at login"):
        check_device_id(device)


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    allowed = 1 <= len(text) <= 64 and set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    if allowed:
        assert check_user_id(text) == text
    else:
        with pytest.raises(InvalidIdError):
            check_user_id(text)


def test_an_error_never_repeats_a_long_id() -> None:
    with pytest.raises(InvalidIdError) as caught:
        check_user_id("x" * 100_000)
    assert len(str(caught.value)) < 300


@given(st.sampled_from(GOOD_USERS), st.sampled_from([*GOOD_DEVICES, ""]))
def test_an_address_names_both(user: str, device: str) -> None:
    raw = address(user, device)
    assert split_address(raw) == (user, device)
    assert len(raw) <= 255
    assert re.fullmatch(rb"[^/]+/[^/]*", raw)


@given(st.lists(st.integers(0, 2**43), min_size=1))
def test_stamps_rise_or_follow_the_clock(clock: list[int]) -> None:
    stamper = Stamper()
    stamps = [stamper.next(now) for now in clock]
    for (before, after), now in zip(itertools.pairwise(stamps), clock[1:], strict=True):
        assert after > before or after == now << 20
    for stamp, now in zip(stamps, clock, strict=True):
        assert now <= stamp_ms(stamp) <= now + MAX_STAMP_AHEAD_MS
        assert stamp < 2**64


@given(st.integers(0, 2**43))
def test_a_first_stamp_tells_the_time(now: int) -> None:
    stamp = Stamper().next(now)
    assert stamp_ms(stamp) == now
    assert stamp == (now << 20) or now == 0


def test_a_clock_that_steps_back_a_little_is_waited_for() -> None:
    stamper = Stamper()
    first = stamper.next(1_000_000)
    assert stamper.next(999_001) == first + 1
    assert stamper.next(999_999) == first + 2
    assert stamp_ms(stamper.next(1_000_001)) == 1_000_001


def test_a_clock_that_steps_back_further_is_followed() -> None:
    stamper = Stamper()
    stamper.next(1_000_000)
    assert stamp_ms(stamper.next(999_000)) == 999_000
    assert stamp_ms(stamper.next(400_000)) == 400_000
    assert stamper.next(400_000) == (400_000 << 20) + 1


@pytest.mark.parametrize("user", ["alice", "7", "a-._", "x" * 64, "mee", "m.e"])
def test_ids_of_new_accounts(user: str) -> None:
    assert check_new_user_id(user) == user


@pytest.mark.parametrize("user", [".", "..", "-", "--", "_x", ".alice", "-rf", "me", "system", "sparrow"])
def test_ids_that_only_old_accounts_have(user: str) -> None:
    assert check_user_id(user) == user
    with pytest.raises(InvalidIdError, match="begin with a letter or a digit"):
        check_new_user_id(user)
