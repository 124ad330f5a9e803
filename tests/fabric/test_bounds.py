"""Bounds of numbers: what they admit, and how they are told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fabric.bounds import Bounds, bounds_of, number, port, shown, unit_of


@dataclasses.dataclass(frozen=True, slots=True)
class Some:
    """As rooms declare them."""

    wait_s: float = number(2.0, 0.5, 3600)
    rows: int = number(10, 2, 1_000_000, zero=True)
    free: int = number(0, 0, 5, zero=True)
    listen_port: int = port(7400)
    other_port: int = port(0, zero=True)
    name: str = "x"


FIELDS = {field.name: field for field in dataclasses.fields(Some)}


def test_a_field_has_its_default_and_its_bounds() -> None:
    assert Some() == Some(2.0, 10, 0, 7400, 0, "x")
    assert bounds_of(FIELDS["wait_s"]) == Bounds(0.5, 3600, False)
    assert bounds_of(FIELDS["rows"]) == Bounds(2, 1_000_000, True)
    assert bounds_of(FIELDS["free"]) == Bounds(0, 5, False)  # 0 is the least
    assert bounds_of(FIELDS["listen_port"]) == Bounds(1, 65535, False, is_port=True)
    assert bounds_of(FIELDS["other_port"]) == Bounds(0, 65535, False, is_port=True)
    assert bounds_of(FIELDS["name"]) is None


@pytest.mark.parametrize(
    ("value", "plain", "with_zero"),
    [(0.5, True, True), (3600, True, True), (0.49, False, False), (3600.1, False, False), (0, False, True)]
    + [(value, False, False) for value in (math.inf, -math.inf, math.nan, -1)],
)
def test_what_is_admitted(value: float, plain: bool, with_zero: bool) -> None:
    assert Bounds(0.5, 3600, False).admit(value) == plain
    assert Bounds(0.5, 3600, True).admit(value) == with_zero


def test_how_they_are_told() -> None:
    assert Bounds(0.5, 3600, False).range == "0.5 to 3,600"
    assert [shown(value) for value in (0.0001, 10_000, 2.0, 1e12)] == ["0.0001", "10,000", "2", "1,000,000,000,000"]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("heartbeat_s", "seconds"),
        ("inbox_ttl_days", "days"),
        ("cache_kib", "KiB"),
        ("max_sessions", ""),
        ("max_rows_per_day_of_author", "rows a day"),
        ("inbox_max_bytes_of_author", "bytes"),
        ("min_bytes_per_second", "bytes a second"),
        ("max_logins_per_minute_of_device", "a minute"),
        ("max_group_invitations_per_hour_of_account", "an hour"),
        ("min_free_bytes", "bytes"),
        ("max_bytes_kept", "bytes"),
    ],
)
def test_units(name: str, unit: str) -> None:
    assert unit_of(name) == unit
