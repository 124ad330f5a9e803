"""For all tests: how long those of each folder took, for the last lines of `scripts/test`; settings of hypothesis."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from tests import CORES

# What is installed on this machine is nobody's business here.
os.environ["SPARROW_SETTINGS_DIR"] = ""
# A machine that is busy is no failure.
settings.register_profile("sparrow", deadline=None, print_blob=True)
settings.load_profile("sparrow")

_seconds: Counter[str] = Counter()
_tests: Counter[str] = Counter()


def _folder(nodeid: str) -> str:
    """`tests/broker/test_core.py::test` → `broker`; what stands in tests/ itself → `tests`."""
    parts = nodeid.partition("::")[0].split("/")[1:-1]
    return "/".join(parts) or "tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CORES == "compiled":
        built_in = pytest.mark.skip(
            reason="it changes a constant or a function of the cores, which compiled ones have built in"
        )
        for item in items:
            if item.get_closest_marker("changes_cores"):
                item.add_marker(built_in)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[_folder(report.nodeid)] += report.duration
    _tests[_folder(report.nodeid)] += report.when == "call"


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = os.environ.get("SPARROW_TEST_TIMES")
    if told and not hasattr(session.config, "workerinput"):
        with Path(told).open("a") as file:
            file.writelines(f"{folder}\t{_seconds[folder]:.3f}\t{_tests[folder]}\n" for folder in sorted(_seconds))
