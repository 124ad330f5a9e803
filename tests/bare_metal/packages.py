"""What `scripts/package` makes of this tree, and of a newer one, for tests.

Owns the repositories that it is called in: copies of the files here, committed as they are, whoever is at work on them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bare_metal.machine import ROOT, wheels

WHO = {f"GIT_{role}_{what}": "x@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
WHEN = {f"GIT_{role}_DATE": "2026-01-02T03:04:05Z" for role in ("AUTHOR", "COMMITTER")}


class Repository:
    """A clone of what is here, of this version or another."""

    def __init__(self, folder: Path, version: str = "") -> None:
        self.folder = folder
        files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
        for name in files.split("\0"):
            source, target = ROOT / name, folder / name
            if name and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        if version:
            setup = folder / "setup.cfg"
            setup.write_text(re.sub(r"^version = .*$", f"version = {version}", setup.read_text(), flags=re.MULTILINE))
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "all of it")
        if version:
            self.git("tag", f"v{version}")

    def git(self, *arguments: str) -> str:
        """`git …`, always at the same time."""
        environment = os.environ | WHO | WHEN
        return subprocess.check_output(["git", *arguments], cwd=self.folder, env=environment, text=True).strip()

    def package(self, into: Path, umask: int = -1, **environment: str) -> subprocess.CompletedProcess[str]:
        """`scripts/package`, whatever comes of it."""
        return subprocess.run(
            [self.folder / "scripts" / "package", "--into", into, "--wheels", wheels()],
            env=os.environ | {"PYTHON": sys.executable} | environment, umask=umask, cwd="/",
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def made(folder: Path, version: str = "") -> Path:
    """Where all that `scripts/package` makes is; `version`: of a release of that version."""
    repository, out = Repository(folder / "repository", version), folder / "out"
    done = repository.package(out)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(repository.folder)
    return out
