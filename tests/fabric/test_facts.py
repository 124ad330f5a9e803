"""The form of log lines that tell facts."""

from __future__ import annotations

import json
import logging
import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.facts import tell

LOG = logging.getLogger("sparrow.test")


def test_plain_values_stand_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tell(LOG, "session_began", user="alice", lasted_s=1.5, why="it is over", **{"from": "[::1]:7400"})
    (record,) = caplog.records
    assert record.message == 'event=session_began user=alice lasted_s=1.5 why="it is over" from=[::1]:7400'
    assert record.facts == {  # type: ignore[attr-defined]
        "event": "session_began",
        "user": "alice",
        "lasted_s": "1.5",
        "why": "it is over",
        "from": "[::1]:7400",
    }


@given(st.text())
def test_a_value_is_found_again_and_ends_no_line(value: str) -> None:
    with patch.object(LOG, "info") as info:
        tell(LOG, "e", what=value)
    line = info.call_args.args[1]
    assert line.isascii()
    assert not re.search(r"[\n\r]", line)
    told = line.removeprefix("event=e what=")
    assert (json.loads(told) if told.startswith('"') else told) == value[:128]


@pytest.mark.parametrize("name", ["password", "new_password", "access_token", "hook_secret"])
def test_secrets_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        tell(LOG, "e", **{name: "x"})
