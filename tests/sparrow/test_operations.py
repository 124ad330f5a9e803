"""What the documents tell operators to type, and to write into settings: that there is such a thing. And the sequences
of docs/operations.md that need no more than one node, as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client
from sparrow.cli import _parse
from sparrow.config.settings import Settings, load
from tests.sparrow.serving import PASSWORD, Node

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = ROOT / "docs" / "operations.md"
SECTIONS = ("connector", "broker", "etcd", "store", "history", "userapi", "monitor", "log")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_SETTING = re.compile(rf"(?:{'|'.join(SECTIONS)})\.[a-z][a-z0-9_]+")


def blocks(path: Path) -> Iterator[str]:
    """What is indented or fenced, without that."""
    text = path.read_text()
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for block in re.findall(r"(?:(?<=\n\n)(?:    .*\n|\n(?=    ))+)", text):
        yield "".join(line[4:] if line.strip() else line for line in block.splitlines(keepends=True))


def commands(path: Path) -> Iterator[str]:
    """Each `sparrow …` that is shown, alone on its line, behind a pipe, or in a sentence."""
    shown = [line for block in blocks(path) for line in block.splitlines()]
    for line in [*shown, *_INLINE.findall(path.read_text())]:
        for part in re.split(r"\||&&|;| >>? ?\S+", line.partition(" #")[0]):
            words = part.strip().removeprefix("$ ")
            if re.match(r"(sudo |\S*/)?sparrow [a-z]", words):
                yield words


def parses(command: str) -> bool:
    """Whether the command line takes it. What stands for something, such as $(hostname -s), is an argument."""
    words = shlex.split(re.sub(r"\$\([^)]*\)|\$\w+|…|\.\.\.", "x", _without_options(command)))
    at = next(number for number, word in enumerate(words) if word.rpartition("/")[2] == "sparrow")
    words = words[at + 1 :]
    # In a sentence it may be the command alone, whatever it is given.
    more = ["x"] if words[-1].startswith("--") else ["--help"] if len(words) <= 2 and words[-1].isalpha() else []
    return _understood(words) or (bool(more) and _understood([*words, *more]))


def _without_options(command: str) -> str:
    """Without what is in brackets, and of alternatives the first."""
    while (shorter := re.sub(r"\[[^][]*\]", "", command)) != command:
        command = shorter
    return re.sub(r"\{(\w+)[^}]*\}", r"\1", command)


def _understood(words: list[str]) -> bool:
    try:
        _parse(words)
    except SystemExit as end:
        return not end.code
    return True


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_are_shown_are_understood(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [command for command in commands(path) if not parses(command)] == []


def test_commands_are_found_and_one_that_is_wrong_too() -> None:
    assert len(list(commands(OPERATIONS))) > 40
    assert not parses("sparrow chekc")
    assert not parses("sparrow history keep --for 90")
    assert not parses("sparrow keys certificates x y")
    assert parses("sparrow keys connector connector-$(hostname -s) /etc/sparrow/keys")


def test_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    shown = [block for path in DOCS for block in blocks(path) if re.match(r"\[[a-z]", block)]
    assert len(shown) > 4
    for block in shown:
        tomllib.loads(block)
        (tmp_path / "shown.toml").write_text(block)
        load(tmp_path / "shown.toml", {})  # it knows each of them


def test_settings_that_are_named_are_settings() -> None:
    settings = Settings()
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in DOCS
        for inline in _INLINE.findall(path.read_text())
        for name in _SETTING.findall(inline)
        if not path.is_relative_to(ROOT / "docs" / "library")
        and not (ROOT / name.replace(".", "/")).exists()
        and not (ROOT / f"{name.replace('.', '/')}.py").exists()
        and not name.endswith((".toml", ".key", ".pub", ".py", ".pem", ".env", ".service"))
        and not hasattr(getattr(settings, name.partition(".")[0]), name.partition(".")[2])
    }
    assert wrong == set()


def section(title: str) -> list[str]:
    """The lines that docs/operations.md shows there."""
    text = OPERATIONS.read_text()
    begun = text.index(f" {title}\n")
    end = re.search(r"^#{2,3} ", text[begun:], re.MULTILINE)
    assert end is not None
    part = text[begun : begun + end.start()]
    return [line[4:] for line in part.splitlines() if line.startswith("    sparrow ")]


def run(node: Node, line: str, status: int = 0) -> str:
    """Type it, in the node's folder; what it says."""
    words = line.replace("/backups/", "backups/").removeprefix("sparrow ")
    done = subprocess.run(
        f"{sys.executable} -m sparrow.cli {words}",
        shell=True,
        env=node.environment,
        cwd=node.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.full
async def test_what_is_done_to_one_node(tmp_path: Path) -> None:
    """Its keys, history, one user's data and end, and a backup and the way back."""
    node = Node(tmp_path)
    (tmp_path / "backups").mkdir()
    assert "connector-1" in [run(node, line) for line in section("Keys between servers")][1]
    node.start()
    try:
        async with Client("alice", password=PASSWORD, register=True, api=node.api) as alice:
            await (await alice.send("alice", "a note")).sent
        for line in section("History"):
            run(node, line)
        run(node, "sparrow history keep 90")
        backups, restore = section("Backup and restore with SQLite")[:-1], section("Backup and restore with SQLite")[-1]
        for line in backups:
            run(node, line)
        for line in section("End all logins"):
            run(node, line)
        look, take, list_what_goes, end = section("One user: export and removal")
        assert "account alice" in run(node, look)
        run(node, take)
        assert "nothing was removed" in run(node, list_what_goes, status=1)
        run(node, end)
        assert "alice" not in run(node, look, status=2)
    finally:
        assert node.stop() == 0, node.log
    for path in (tmp_path / "var").glob("sparrow.db*"):
        path.unlink(missing_ok=True)
    run(node, restore)
    node.start()
    try:
        run(node, look)
    finally:
        assert node.stop() == 0, node.log
