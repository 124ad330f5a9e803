"""Writes what the present tree leaves behind as a release: `python -m tests.releases [--again]`.

A release that is there stays as it is, unless it was not released yet and `--again` says so.
"""

from __future__ import annotations

import argparse
import configparser
from collections.abc import Sequence
from pathlib import Path

from tests.releases.making import make

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None, here: Path = HERE) -> int:
    """Write the folder in `here`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.releases", description=__doc__.partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="write it anew, though it is there")
    options = parser.parse_args(arguments)
    setup = configparser.ConfigParser()
    setup.read(HERE.parents[1] / "setup.cfg")
    name = ".".join(setup["metadata"]["version"].split(".")[:2])
    folder = here / name
    if folder.exists() and not options.again:
        print(f"{folder} is there: what was released stays as it is. If {name} was not released yet: --again")
        return 1
    make(folder)
    print(f"{folder} was written; look at git diff")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
