"""The Dockerfile and the compose file, without Docker: the steps are done in a Debian of our own, the settings read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparrow.cli import COMMANDS
from sparrow.config.checks import check
from sparrow.config.settings import load
from tests.bare_metal.machine import ROOT, copy_tree, fresh_debian, wheels

CONTAINERS = ROOT / "scripts" / "containers"
COMPOSED: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
OURS = sorted(name for name, service in COMPOSED["services"].items() if service["image"] == "sparrow")


def steps() -> list[tuple[str, str]]:
    """Of the Dockerfile: an instruction and its argument each."""
    lines = (CONTAINERS / "Dockerfile").read_text().splitlines()
    found = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(instruction, argument) for instruction, argument in found]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for name, text in steps() if name == "ENV" for pair in text.split())


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The file system of a container that is being built, with wheels in the place of a package index."""
    made = tmp_path / "root"
    subprocess.run(["cp", "-a", fresh_debian(), made], check=True)
    shutil.copytree(wheels(), made / "wheels")
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
def test_the_image_can_be_built(root: Path, tmp_path: Path) -> None:
    context = copy_tree(ROOT, tmp_path / "context")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}

    def run(*command: str) -> str:
        inside = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "chroot", root, *command]
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    for instruction, argument in steps():
        if instruction == "RUN":
            run("/bin/sh", "-c", argument)
        elif instruction == "COPY":
            *sources, target = argument.split()
            place = root / target.lstrip("/")
            for source in sources:
                if (context / source).is_dir():
                    shutil.copytree(context / source, place)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(context / source, place)
    assert run(
        "setpriv", "--reuid=sparrow", "--regid=sparrow", "--clear-groups", "/opt/sparrow/bin/sparrow", "--version"
    )
    assert "nothing to complain" in run(
        "env",
        *(f"{k}={v}" for k, v in image_environment().items()),
        "setpriv",
        "--reuid=sparrow",
        "--regid=sparrow",
        "--clear-groups",
        "/opt/sparrow/bin/sparrow",
        "check",
    )


def test_instructions_are_known() -> None:
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "USER", "ENTRYPOINT", "CMD"}
    assert {instruction for instruction, _ in steps()} == known
    assert dict(steps())["ENTRYPOINT"] == '["/opt/sparrow/bin/sparrow"]'


def test_there_is_a_cluster() -> None:
    assert OURS == ["broker-1", "broker-2", "connector-1", "connector-2", "schema", "userapi"]
    assert sorted(set(COMPOSED["services"]) - set(OURS)) == ["cassandra", "etcd"]


@pytest.mark.parametrize("name", OURS)
def test_sparrow_knows_what_a_service_says(name: str) -> None:
    service = COMPOSED["services"][name]
    command = service["command"][0]
    assert command in COMMANDS
    settings = load(None, image_environment() | service["environment"])
    rooms = {"broker": ("broker", "etcd", "store"), "schema": ("store",), "userapi": ("userapi", "store")}
    found = [one for one in check(settings) if one.key.partition(".")[0] in rooms.get(command, (command,))]
    # Files are where the image and the volumes have them, not here.
    assert [one for one in found if one.serious and not one.key.endswith(("_file", ".path"))] == []


@pytest.mark.parametrize("name", sorted(COMPOSED["services"]))
def test_what_a_service_names_is_there(name: str) -> None:
    service = COMPOSED["services"][name]
    assert set(service.get("depends_on", ())) <= set(COMPOSED["services"])
    assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSED["volumes"])
    hosts = {
        part.partition("//")[2].partition(":")[0]
        for key, value in service.get("environment", {}).items()
        if key.endswith(("BROKERS", "ADVERTISE", "ENDPOINTS"))
        for part in value.split(",")
    }
    assert hosts <= set(COMPOSED["services"])


def test_a_stop_has_time_enough() -> None:
    connector = load(None, {}).connector
    drain_s = connector.max_sessions / connector.drain_per_second + connector.stop_timeout_s
    for name in OURS:
        assert float(COMPOSED["services"][name]["stop_grace_period"].removesuffix("s")) > drain_s
