"""The documents as a site: links lead somewhere, nothing comes from elsewhere, and the client library is told whole."""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

import client
from protocol import errors

ROOT = Path(__file__).parent.parent
NOT_FOR_APPLICATIONS = {"Sending.advance", "Sending.fail", "Sending.close", "Sending.wake", "UserApi.web"}
"""Public within the library: what they are for is told by its engine."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What scripts/docs builds."""
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_nothing_comes_from_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*", text), path
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)]*", path.read_text()), path


def test_everything_of_the_client_library_is_told(site: Path) -> None:
    told = set(
        re.findall(r"id=\"(?:client|protocol)[\w.]*\.(\w+)\"", "".join(map(Path.read_text, site.rglob("*.html"))))
    )
    assert not {name for name in client.__all__ if not name.isupper()} - told - {"Event"}


# The form of docstrings.


def public() -> Iterator[tuple[str, griffe.Object]]:
    """What applications use, by name, as griffe reads it."""
    load = functools.cache(functools.partial(griffe.load, search_paths=[ROOT]))
    for name in client.__all__:
        real = getattr(client, name)
        if not inspect.isfunction(real) and not inspect.isclass(real):
            continue
        package, _, module = real.__module__.partition(".")
        found = load(package)[f"{module}.{name}"]
        yield name, found
        if inspect.isclass(real) and not issubclass(real, errors.SparrowError):
            for member, each in found.members.items():
                if not member.startswith("_") and f"{name}.{member}" not in NOT_FOR_APPLICATIONS:
                    yield f"{name}.{member}", each


@pytest.mark.parametrize(("name", "found"), [pytest.param(*each, id=each[0]) for each in public()])
def test_a_docstring_stands_alone(name: str, found: griffe.Object) -> None:
    assert found.docstring is not None, name
    text = found.docstring.value
    summary = text.partition("\n\n")[0]
    assert "\n" not in summary
    assert summary[0].isupper() or summary[0] in "`0", summary
    assert summary[-1] in ".?…)", summary
    assert "Raises `" not in text, "as a section"
    if isinstance(found, griffe.Function):
        parts = {part.kind.value: part.value for part in found.docstring.parse("google")}
        arguments = [parameter.name for parameter in found.parameters if parameter.name != "self"]
        assert [one.name for one in parts.get("parameters", [])] == arguments
        for raised in parts.get("raises", []):
            assert issubclass(getattr(errors, str(raised.annotation)), errors.SparrowError)
