"""A deployment for each test, in a folder of its own; nothing of it outlives the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import Deployment


@pytest.fixture
def deployed() -> dict[str, object]:
    """Settings of a deployment, as `connector__login_timeout_s`; for modules to say otherwise."""
    return {}


@pytest.fixture
def deployment(tmp_path: Path, deployed: dict[str, object]) -> Iterator[Deployment]:
    """Nothing runs in it yet."""
    with Deployment(tmp_path, **deployed) as made:
        yield made
        at = min((at for word in ("Traceback", "Warning") if (at := made.logs.find(word)) >= 0), default=-1)
        assert at < 0, made.logs[max(0, at - 500) : at + 5000]
