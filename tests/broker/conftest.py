"""One etcd for the tests of presence; each has keys of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.settings import EtcdSettings
from tests.services.etcd import EtcdCluster

_numbers = itertools.count()


@pytest.fixture(scope="module")
def running_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member, which no test harms."""
    folder: Path = tmp_path_factory.mktemp("etcd")
    with EtcdCluster(folder) as etcd:
        yield etcd


@pytest.fixture
def etcd_settings(running_etcd: EtcdCluster) -> EtcdSettings:
    """A prefix of the running etcd that nobody else uses."""
    running_etcd.wait_healthy()
    return running_etcd.settings(prefix=f"test{next(_numbers)}/")
