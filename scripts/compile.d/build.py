"""Builds `sparrow/_compiled` (`sparrow.compiled`) with mypyc, in a folder that it is given. `scripts/compile` calls it.

Owns how: one group of modules, so that they call each other as C.
"""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from sparrow import compiled  # noqa: E402


def build(work: Path) -> None:
    """Compile in `work`, then put all in place. What was there before is gone first, `built` comes last."""
    built = compiled.digest()
    modules = mypycify(
        ["--config-file", str(ROOT / "setup.cfg"), *map(str, compiled.sources())],
        opt_level="2",
        debug_level="0",
        multi_file=False,
        target_dir=str(work / "c"),
    )
    command = build_ext(Distribution({"name": "cores", "ext_modules": modules}))
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "o")
    command.ensure_finalized()
    command.run()
    shutil.rmtree(compiled.FOLDER, ignore_errors=True)
    compiled.FOLDER.mkdir()
    for file in (work / "lib").rglob(f"*{EXTENSION_SUFFIXES[0]}"):
        shutil.copy(file, compiled.FOLDER / ".".join(file.relative_to(work / "lib").parts))
    compiled.BUILT.write_text(built)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
