"""What is written of documents: sections that code and documents name are there, and lines wrap at 120."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_CHARACTERS = 120


def kept(*patterns: str) -> list[Path]:
    """Files that git keeps, or would, in this tree; a tree without git has the same by their names."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *patterns]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        found = [ROOT / name for name in listed if name]
    else:
        hidden = {"var", ".venv", "build", "node_modules"}
        found = [
            path
            for pattern in patterns
            for path in ROOT.rglob(pattern)
            if not hidden & set(path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in set(found) if path.is_file())


DOCUMENTS = kept("*.md")
SOURCES = [*kept("*.py", "*.proto", "*.toml", "*.yml", "*.yaml"), *kept("scripts/*")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Sections.

NAMED = re.compile(r'docs/([a-z/]+\.md)(?:,| \() ?"([^"]+)"(?: and "([^"]+)")?')
RULE = re.compile(r"docs/protocol\.md(?:,| \() ?([A-Z][0-9]+)\b")
LINK = re.compile(r"\]\(([^)\s]*?)#([^)\s]+)\)|\]\(([^)\s#:]+)\)")
"""To a section, or to a file of ours."""


def headings(path: Path) -> list[str]:
    """The titles, without marks."""
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text())
    return [re.sub(r"[`*]", "", found).strip() for found in re.findall(r"(?m)^#+ +(.+?) *#*$", text)]


def anchor(title: str) -> str:
    """What a link to a section ends with."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def plain(source: str) -> str:
    """Without line ends and marks of comments, between which a name may be split."""
    return re.sub(r"\s*\n\s*(?:#|//|\*)?\s*", " ", source)


def missing_sections(source: str) -> Iterator[str]:
    """Sections and rules that a text names, and that are not there."""
    source = plain(source)
    for file, *titles in NAMED.findall(source):
        path = ROOT / "docs" / file
        there = headings(path) if path.is_file() else []
        yield from (f'docs/{file}, "{title}"' for title in titles if title and title not in there)
    protocol = (ROOT / "docs" / "protocol.md").read_text()
    yield from (f"docs/protocol.md, {rule}" for rule in RULE.findall(source) if f"**{rule}**" not in protocol)


@pytest.mark.parametrize("path", [*SOURCES, *DOCUMENTS], ids=name)
def test_sections_that_are_named_are_there(path: Path) -> None:
    if path != Path(__file__):
        assert not list(missing_sections(path.read_text()))


def test_a_section_that_is_not_there_is_found() -> None:
    text = """
    # see docs/protocol.md,
    # "No such thing" and "Framing", docs/nothing.md ("Tokens"), docs/protocol.md, S4, docs/protocol.md, Z9.
    """
    expected = ['docs/protocol.md, "No such thing"', 'docs/nothing.md, "Tokens"', "docs/protocol.md, Z9"]
    assert list(missing_sections(text)) == expected


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for file, section, alone in LINK.findall(re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", path.read_text())):
        if "://" in file:
            continue
        target = (path.parent / (alone or file)).resolve() if alone or file else path
        assert target.exists(), f"{file or alone} is not there"
        if section and target.suffix == ".md":
            assert section in map(anchor, headings(target)), f"{file}#{section} is not there"


# Files and modules.

TOPS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"var", "build"}
A_PATH = re.compile(r"(?<![\w/.-])((?:" + "|".join(sorted(TOPS)) + r")/[\w./-]*\w)")
ALPN = "sparrow/1"
"""What clients and servers call the protocol in TLS; no file."""
A_MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_0-9]+)+)")


def missing_files(text: str) -> Iterator[str]:
    """Files of ours and modules to be run that a text names, and that are not there."""
    for found in A_PATH.findall(re.sub(r"\]\([^)\s]*\)", "]", text)):
        if not (ROOT / found).exists() and found != ALPN:
            yield found
    for module in A_MODULE.findall(text):
        path = ROOT / module.replace(".", "/")
        if module.partition(".")[0] in TOPS and not path.with_suffix(".py").is_file() and not path.is_dir():
            yield f"python -m {module}"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=name)
def test_files_that_are_named_are_there(path: Path) -> None:
    assert not list(missing_files(path.read_text()))


def test_a_file_that_is_not_there_is_found() -> None:
    text = (
        "`protocol/frames.py`, `protocol/ids.py`, scripts/test, scripts/tests, `python -m tests.nothing.x`, /protocol/x"
    )
    assert list(missing_files(text)) == ["protocol/frames.py", "scripts/tests", "python -m tests.nothing.x"]


# Lines.


def too_long(text: str) -> Iterator[int]:
    """Numbers of lines beyond `MAX_CHARACTERS`: not of tables and code, nor because of where a link leads."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if fenced or line.startswith("    ") or line.lstrip().startswith("|"):
            continue
        shown = re.sub(r"\]\([^)\s]*\)|<https?://[^>]*>", "]", line)
        if len(shown) > MAX_CHARACTERS and " " in shown.strip():
            yield number


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_lines_wrap(path: Path) -> None:
    assert not list(too_long(path.read_text())), f"lines beyond {MAX_CHARACTERS} characters"


def test_a_long_line_is_found() -> None:
    long = "word " * 25
    excepted = f"| {long} |\n    {long}\n```\n{long}\n```\n{'x' * 200}\n[link](https://{'x' * 200}) and more\n"
    assert list(too_long(f"{long}\n{excepted}- {long}\n")) == [1, 9]
