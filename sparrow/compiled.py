"""Compiled cores: which modules there are compiled, whether of these sources, and having them imported instead.

Owns the folder `sparrow/_compiled`, which `scripts/compile` fills, and what is imported from there. The sources stay
what they are, and what runs where nothing is compiled, or something else was.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent / "_compiled"
BUILT = FOLDER / "built"
"""Holds `digest()` of what was compiled; written last."""
WHOLE = ("connector/core", "broker/core")
SINGLE = (
    "protocol/framing.py",
    "protocol/server.py",
    "protocol/ids.py",
    "protocol/strict.py",
    "protocol/allowed.py",
    "fabric/records.py",
    "fabric/rates.py",
    "fabric/pump.py",
    "fabric/heartbeats.py",
    "fabric/control.py",
    "fabric/group_records.py",
    "fabric/signal_records.py",
    "connector/server.py",
    "connector/buffers.py",
    "broker/server.py",
)
GENERIC = frozenset({"cached", "devices", "policy", "hiding", "memberships", "__init__"})
"""Of these mypyc cannot make classes: they are generic, with slots, or have such a base."""


def sources() -> list[Path]:
    """What is compiled, relative to the folder of all packages."""
    cores = (path for folder in WHOLE for path in sorted((ROOT / folder).glob("*.py")) if path.stem not in GENERIC)
    return [*(path.relative_to(ROOT) for path in cores), *map(Path, SINGLE)]


def digest() -> str:
    """Of all sources, and of what they are compiled for."""
    found = hashlib.sha256(f"{sys.version} {importlib.machinery.EXTENSION_SUFFIXES[0]}".encode())
    for path in sources():
        found.update(f"\0{path}\0".encode())
        found.update((ROOT / path).read_bytes())
    return found.hexdigest()


def use() -> None:
    """Have what was compiled imported instead of its sources, if it is of these. To be called before any of it is.

    SPARROW_CORES=python in the environment keeps to the sources.
    """
    if os.environ.get("SPARROW_CORES") == "python" or not _is_built():
        return
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    files = {path.name.removesuffix(suffix): path for path in FOLDER.glob(f"*{suffix}")}
    sys.meta_path.insert(0, _Finder(files))


def _is_built() -> bool:
    try:
        return BUILT.read_text() == digest()
    except OSError:
        return False


def cores() -> str:
    """What runs in this process: "compiled" or "python"."""
    return "compiled" if any(isinstance(finder, _Finder) for finder in sys.meta_path) else "python"


class _Finder(MetaPathFinder):
    """Finds what was compiled, by its name."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)
