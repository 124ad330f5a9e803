"""What root installs is known by its hash: hashes.txt is of this tree, and nothing goes around it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = re.compile(r"\bpip\S*\s+(?:\"[^\"]*\"\s+)?(?:install|download|wheel)\b.*")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: str) -> dict[str, str]:
    """Package → version."""
    return {
        canonical(found[1]): found[2]
        for found in re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / file).read_text(), re.MULTILINE)
    }


def test_hashes_are_of_the_versions_that_are_tested() -> None:
    hashes, constraints = pinned("hashes.txt"), pinned("constraints.txt")
    assert hashes.items() <= constraints.items()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {extra: text for extra, text in setup["options.extras_require"].items() if extra != "test"}
    lines = "\n".join([setup["options"]["install_requires"], *extras.values()]).split("\n")
    needs = {re.split(r"[\[>=<!~;]", line)[0] for line in lines if line} - {"sparrow-im"}
    assert {*map(canonical, needs), "setuptools", "wheel"} <= hashes.keys()


def test_each_has_its_hashes() -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / "hashes.txt").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line[:80]


@pytest.mark.parametrize("script", ["scripts/install", "scripts/package", "scripts/containers/Dockerfile"])
def test_whatever_an_index_gives_is_held_against_them(script: str) -> None:
    calls = [found[0] for found in PIP.finditer((ROOT / script).read_text().replace("\\\n", " "))]
    assert len(calls) >= 2
    for call in calls:
        assert ("--require-hashes" in call and "--only-binary :all:" in call) or (
            "--no-deps" in call and "--no-index" in call
        ), call


def test_all_rooms_are_installed() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    included = setup["options.packages.find"]["include"].split()
    assert {*included} == rooms | {f"{room}.*" for room in rooms}
    for script, pattern in (
        ("scripts/install", r"^PACKAGES=\((.+)\)$"),
        ("scripts/containers/Dockerfile", r"^COPY (\w+) /"),
    ):
        found = re.findall(pattern, (ROOT / script).read_text(), re.MULTILINE)
        assert {*" ".join(found).split()} == rooms, script


def test_the_page_is_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["userapi"].split(", ")
    packed = {path for pattern in patterns for path in (ROOT / "userapi").glob(pattern)}
    assert packed == {path for path in (ROOT / "userapi" / "page").rglob("*") if path.is_file()}
