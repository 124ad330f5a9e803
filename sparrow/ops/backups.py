"""`sparrow backup`: one archive, or one more in a folder of them, each tried out, the oldest removed.

Owns that folder: names, and how many stay. What an archive is, is `sparrow.ops.backup`'s business.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from protocol.errors import ConfigError
from sparrow.config.settings import Settings
from sparrow.ops.backup import make, try_out
from sparrow.ops.backup_notes import Good, keep_newest, note

_NAME = "sparrow-%Y%m%dT%H%M%SZ.tar"
_OURS = re.compile(r"sparrow-\d{8}T\d{6}Z\.tar")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow backup`."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="what to make; nothing that is there is written over"
    )
    where.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="make one there that is named by the time, try it out, and remove the oldest: for a timer",
    )
    parser.add_argument("--keep", type=int, default=14, metavar="N", help="with --into: so many stay (default: 14)")
    parser.add_argument("--with-keys", action="store_true", help="put the token keys and the CURVE keys in, too")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Make an archive of a node, which may run. Raises `ConfigError`, `LocalFileError`, `StoreError`."""
    if options.into is None:
        make(settings, options.file, with_keys=options.with_keys)
    else:
        one_more(settings, options.into, options.keep, with_keys=options.with_keys)
    return 0


def one_more(settings: Settings, folder: Path, keep: int, *, with_keys: bool) -> None:
    """Make an archive, try it out, note it, and remove all but the newest `keep`. Whatever fails before that removes
    nothing.

    Raises `ConfigError`, `LocalFileError`, `StoreError`.
    """
    if keep < 1:
        raise ConfigError("--keep must be at least 1")
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: make it, for the server's user alone (mode 0700)")
    made_s = time.time()
    file = folder / time.strftime(_NAME, time.gmtime(made_s))
    make(settings, file, with_keys=with_keys)
    print(f"tried out, in a scratch database: {try_out(settings, file)}")
    note(folder, Good(file.name, made_s, file.stat().st_size))
    keep_newest(folder, _OURS, keep)
