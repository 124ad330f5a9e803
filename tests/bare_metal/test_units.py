"""The units by themselves: systemd understands every line, what they allow, and that their times fit the settings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sparrow.config.settings import Settings
from tests.bare_metal.machine import ROOT, ensure

UNITS = ROOT / "scripts" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
WORST = 2.0
"""The highest exposure, of 10, that `systemd-analyze security` may find."""


def analyze(*arguments: object) -> str:
    program = ensure("systemd-analyze", "systemd")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_there_are_units() -> None:
    assert SERVICES == [
        "sparrow-backup.service",
        "sparrow-broker@.service",
        "sparrow-connector@.service",
        "sparrow-operator.service",
        "sparrow-userapi.service",
        "sparrow.service",
    ]


def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    shutil.copytree(UNITS, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):  # the program is not here
        path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE))
    units = [path for path in sorted((tmp_path / "units").iterdir()) if path.is_file()]
    assert analyze("verify", "--man=no", *units) == ""


@pytest.mark.parametrize("name", SERVICES)
def test_exposure(name: str) -> None:
    said = analyze("security", "--offline=true", "--no-pager", UNITS / name)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", said)
    assert found is not None, said
    assert float(found[1]) <= WORST, said


def seconds(name: str, key: str) -> float:
    found = re.search(rf"^{key}=(\d+)$", (UNITS / name).read_text(), flags=re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_a_stop_has_time_enough() -> None:
    settings = Settings()
    connector = settings.connector
    drain_s = connector.max_sessions / connector.drain_per_second + connector.stop_timeout_s
    broker_s = settings.broker.stop_timeout_s + settings.store.call_timeout_s
    userapi_s = settings.userapi.stop_timeout_s + settings.store.call_timeout_s
    assert seconds("sparrow-connector@.service", "TimeoutStopSec") > drain_s
    assert seconds("sparrow-broker@.service", "TimeoutStopSec") > broker_s
    assert seconds("sparrow-userapi.service", "TimeoutStopSec") > userapi_s
    assert seconds("sparrow.service", "TimeoutStopSec") > drain_s + settings.broker.stop_timeout_s


def test_a_file_for_every_session() -> None:
    common = UNITS / "sparrow-.service.d" / "common.conf"
    assert (UNITS / "sparrow.service.d" / "common.conf").read_text() == common.read_text()
    found = re.search(r"^LimitNOFILE=(\d+)$", common.read_text(), flags=re.MULTILINE)
    assert found is not None
    assert int(found[1]) > Settings().connector.max_sessions
