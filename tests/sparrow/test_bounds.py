"""Each number in the settings has both bounds, and the docs have all of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import get_type_hints

import pytest

from connector.settings import MESSAGE_OVERHEAD_BYTES
from fabric.bounds import unit_of
from protocol.client import MAX_WINDOW
from protocol.errors import ConfigError
from sparrow.config import table
from sparrow.config.defaults import descriptions
from sparrow.config.numbers import numbers
from sparrow.config.settings import Settings, check, load, sections
from store.timelines import MAX_KEEP_DAYS

ROOT = Path(__file__).parents[2]
NAMES = [f"{section}.{key}" for section, key in numbers()]


def variable(name: str) -> str:
    return f"SPARROW_{name.replace('.', '__')}".upper()


def test_each_number_has_both() -> None:
    wanted = {
        f"{section}.{key}"
        for section, kind in sections().items()
        for key, hint in get_type_hints(kind).items()
        if hint in (int, float)
    }
    assert wanted == set(NAMES)
    for bounds in numbers().values():
        assert 0 <= bounds.least < bounds.most <= 2**53
        assert math.isfinite(bounds.most)


@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_held(name: str) -> None:
    section, _, key = name.partition(".")
    bounds = numbers()[section, key]
    whole = get_type_hints(sections()[section])[key] is int
    assert bounds.admit(getattr(getattr(Settings(), section), key))
    admitted = [bounds.least, bounds.most, *([0] if bounds.zero else [])]
    for value in admitted:
        load(None, {variable(name): f"{int(value) if whole else value}"})
    refused = [bounds.most * 2, -1, *([] if whole else [math.inf, -math.inf, math.nan])]
    refused += [0] if bounds.least and not bounds.zero else []
    for value in refused:
        with pytest.raises(ConfigError) as error:
            load(None, {variable(name): f"{int(value) if whole else value}"})
        assert f"environment: {name} = " in str(error.value)
        assert f"{bounds.most:.0f}" in str(error.value).replace(",", "")
        assert unit_of(key) in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[broker]\nlease_s = 5000", "broker.lease_s = 5000: expected a number from 0.1 to 600 seconds"),
        ("[connector]\nheartbeat_s = 60000", "heartbeat_s = 60000: expected a number from 0.1 to 3,600 seconds"),
        (
            "[store]\ninbox_ttl_days = 1e15",
            "inbox_ttl_days = 10{15}.0: expected a number from 0.0001 to 3,650 days",
        ),
        ("[userapi]\nthreads = 1e1", "threads = 10.0: expected a whole number from 1 to 1,024"),
        ("[log]\nsession_lines_per_second = -inf", "a whole number from 1 to 1,000,000 a second, or 0"),
    ],
)
def test_what_is_said(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "my.toml", {})


def test_all_of_a_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("[broker]\nlease_s = 5000\nx = 1\n[connector]\nheartbeat_s = 60000\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "my.toml", {})
    assert str(error.value).startswith(f"{tmp_path}/my.toml: broker.lease_s = 5000: ")
    assert [part.split()[0] for part in str(error.value).split("; ")[1:]] == ["unknown", "did", "connector.heartbeat_s"]


def test_what_no_file_was_read_for_is_checked_too() -> None:
    broker = dataclasses.replace(Settings().broker, lease_s=5000.0)
    found = check(dataclasses.replace(Settings(), broker=broker))
    assert [(finding.key, finding.serious) for finding in found] == [("broker.lease_s", True)]
    assert "5000.0: must be a number from 0.1 to 600 seconds" in found[0].text


def test_bounds_that_others_set() -> None:
    assert numbers()["connector", "max_frame_bytes"].least == MESSAGE_OVERHEAD_BYTES + 1
    assert numbers()["connector", "max_unsettled_per_stream"].most == MAX_WINDOW - 1
    assert numbers()["history", "keep_days"].most == MAX_KEEP_DAYS
    retries = [bounds.most for (_, key), bounds in numbers().items() if key.endswith("_retry_s")]
    assert max(retries) * 1000 < 2**32  # as the protocol has them


def test_what_old_releases_and_tests_set_may_be_set() -> None:
    """Values of the samples of 0.1, scripts/cluster, the load test and tests."""
    values = {
        "userapi.argon2_memory_kib": 64,
        "userapi.access_token_lifetime_s": 1,
        "broker.inbox_max_rows": 10**9,
        "broker.inbox_max_bytes_of_author": 10**12,
        "history.max_bytes_of_author": 10**12,
        "connector.max_before_login_of_address": 1_000_000,
        "store.cassandra_start_timeout_s": 300,
        "store.purge_interval_s": 0,
        "userapi.max_history_messages_per_second_of_account": 10**9,
    }
    load(None, {variable(name): str(value) for name, value in values.items()})


def test_each_setting_has_a_meaning() -> None:
    silent = [
        f"{section}.{item.name}"
        for section, kind in sections().items()
        for item in dataclasses.fields(kind)
        if item.name not in descriptions(kind)
    ]
    assert not silent, "say it below the field"


def test_the_table_in_the_docs_is_of_today() -> None:
    again = "run .venv/bin/python -m sparrow.config.table >docs/settings.md"
    assert (ROOT / "docs" / "settings.md").read_text() == table.render(), again
    assert again.removeprefix("run ") in (ROOT / "CONTRIBUTING.md").read_text()
    assert "| `lease_s` | `5.0` | seconds | 0.1 to 600 | node, broker |" in table.render()
    assert '| `engine` | `"sqlite"` |  | `"sqlite"` or `"cassandra"` | node, broker, userapi |' in table.render()
