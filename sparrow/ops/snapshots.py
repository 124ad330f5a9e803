"""`sparrow snapshot`: this machine's part of a Cassandra cluster, by Cassandra's own snapshots, as files of a folder.

Owns the order of the snapshots, the copy, and that it is whole. How they are read again, docs/operations.md says
("Backup and restore with Cassandra").
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocol.errors import ConfigError, LocalFileError, SparrowError, UnavailableError
from sparrow.config.settings import Settings
from sparrow.ops.backup_notes import Good, keep_newest, note
from sparrow.ops.newfiles import copied, created, errors_of

MANIFEST = "manifest.json"
_NAME = "sparrow_%Y%m%dT%H%M%SZ"
"""No hyphen: `nodetool import` passes over files whose folder is in a folder with one in its name, and says nothing."""
_OURS = re.compile(r"sparrow_\d{8}T\d{6}Z")
_GROUPS = "group_states"
"""Of which the backup must be newer than of all else: from an older state, versions would be given twice."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `sparrow snapshot`, beside --config."""
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="where to make one, by the time")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("/var/lib/cassandra/data"),
        metavar="DIR",
        help="one of data_file_directories in cassandra.yaml (default: /var/lib/cassandra/data)",
    )
    parser.add_argument(
        "--nodetool", default="nodetool", metavar="COMMAND", help="with its options (default: nodetool)"
    )
    parser.add_argument("--keep", type=int, default=7, metavar="N", help="so many stay (default: 7)")
    parser.add_argument(
        "--others-s",
        type=float,
        default=120.0,
        metavar="S",
        help="how long the other machines' timers may be behind this one (default: 120)",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Snapshot, copy, look whether the copy is whole, note it, and remove all but the newest.

    Raises `ConfigError`, `LocalFileError`, `UnavailableError` if nodetool fails.
    """
    if settings.store.engine != "cassandra":
        raise ConfigError('this is for store.engine = "cassandra"; for SQLite there is `sparrow backup`')
    if options.keep < 1 or not options.others_s >= 0:
        raise ConfigError("--keep must be at least 1, and --others-s not below 0")
    keyspace, folder = settings.store.cassandra_keyspace, Path(options.into)
    for place in (folder, options.data / keyspace):
        if not place.is_dir():
            raise ConfigError(f"there is no folder {place}: make it, or name another with --into or --data")
    made_s = time.time()
    name = time.strftime(_NAME, time.gmtime(made_s))
    with errors_of(folder / name):
        size = _take(shlex.split(options.nodetool), options, keyspace, folder / name)
    note(folder, Good(name, made_s, size))
    print(f"{folder / name}: {size} bytes, each file read again and compared")
    keep_newest(folder, _OURS, options.keep)
    return 0


def _take(tool: list[str], options: argparse.Namespace, keyspace: str, target: Path) -> int:
    """Make the folder; returns its bytes. Cassandra's snapshots are gone afterwards, or its disk would fill."""
    name, groups = target.name, f"{target.name}-groups"
    draft = target.with_name(f".{name}")
    try:
        _nodetool(tool, "snapshot", "-t", name, keyspace)
        time.sleep(options.others_s)
        _nodetool(tool, "snapshot", "-t", groups, "-cf", _GROUPS, keyspace)
        draft.mkdir(mode=0o700)
        sums: dict[str, str] = {}
        for source, table in _snapshots(options.data / keyspace, name, groups):
            (draft / table).mkdir(mode=0o700)
            for file in sorted(path for path in source.iterdir() if path.is_file()):
                with file.open("rb") as content, created(draft / table / file.name) as out:
                    sums[f"{table}/{file.name}"] = copied(content, out)
        if _GROUPS not in {path.partition("/")[0] for path in sums}:
            raise LocalFileError(f"{options.data}: no snapshot of {keyspace}.{_GROUPS} is there: is --data right?")
        _compare(draft, sums)
        tokens = [line for line in _nodetool(tool, "info", "-T").splitlines() if line.startswith("Token")]
        about: dict[str, Any] = {"keyspace": keyspace, "tokens": tokens, "sha256": sums}
        with created(draft / MANIFEST) as out:
            out.write(json.dumps(about, indent=1).encode())
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        for each in (name, groups):
            with contextlib.suppress(SparrowError):
                _nodetool(tool, "clearsnapshot", "-t", each, keyspace)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _snapshots(data: Path, name: str, groups: str) -> Iterator[tuple[Path, str]]:
    """Folders with the files of a snapshot, and their tables."""
    for tag in (name, groups):
        for source in sorted(data.glob(f"*/snapshots/{tag}")):
            table = source.parent.parent.name.rpartition("-")[0]
            if (table == _GROUPS) == (tag == groups):
                yield source, table


def _compare(draft: Path, sums: dict[str, str]) -> None:
    for name, sha256 in sums.items():
        with (draft / name).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
                raise LocalFileError(f"{draft / name} is not what was written: look at that disk")


def _nodetool(tool: list[str], *arguments: str) -> str:
    """What it prints. Raises `ConfigError` if there is none, `UnavailableError` with what it complains of."""
    try:
        done = subprocess.run([*tool, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{tool[0]}: {error.strerror}; name Cassandra's nodetool with --nodetool") from None
    if done.returncode:
        raise UnavailableError(f"nodetool {arguments[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
