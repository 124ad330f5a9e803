"""Archives: a node's data in one file, while it runs, and back into an empty place (`sparrow restore`).

Owns the archive: a tar of the database, keys if they are asked for, and a manifest, which comes last, so that an
archive that has one is whole. What a copy of the database must be is `store.sqlite.backup`'s business.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fabric.files import give_to_owner_of, make_folder
from protocol.errors import ConfigError, LocalFileError, StoreError
from sparrow.ops.history import replay
from sparrow.ops.newfiles import copied, created, errors_of
from store import HistorySettings, Ownership, StoreSettings, open_store
from store.interface import Counts
from store.sqlite import backup as database
from store.sqlite.search_index import drop_index

if TYPE_CHECKING:
    from sparrow.config.settings import Settings

FORMAT = 1
MANIFEST, DATABASE, KEYS = "manifest.json", "sparrow.db", "keys/"
KEY_SETTINGS = (
    ("userapi", "token_private_key_file"),
    ("userapi", "token_public_key_file"),
    ("connector", "token_public_key_file"),
    ("broker", "curve_key_file"),
    ("broker", "allowed_keys_file"),
    ("connector", "curve_key_file"),
    ("connector", "broker_public_key_file"),
    ("userapi", "curve_key_file"),
    ("userapi", "broker_public_key_file"),
)
"""What processes know one another by, and clients' tokens."""
_PUBLIC = ("public_key_file", "allowed_keys_file")
_MAX_SMALL = 1 << 20
"""Bytes of a manifest or a key."""


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow restore`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `sparrow backup` has made")


def make(settings: Settings, file: Path, *, with_keys: bool) -> None:
    """Make an archive, and say what is in it and what is not. Raises `ConfigError`, `LocalFileError`, `StoreError`."""
    source, there = database.existing(_database(settings)), _keys(settings)
    with errors_of(file):
        manifest = _pack(source, file, there if with_keys else {})
    print(f"{file}: {file.stat().st_size} bytes; {_told(manifest['database'])}")
    for key, path in there.items():
        print(f"{'in it' if key in manifest['keys'] else 'not in it'}: {key}, {path}")
    for key, path in _others(settings).items():
        print(f"not in it: {key}, {path}")
    print("not in it: the settings themselves")


def try_out(settings: Settings, file: Path) -> str:
    """Restore an archive into a scratch place beside it, open that as a server would, and say what it holds.

    Raises `LocalFileError` if it is damaged, `ConfigError`, `StoreError`.
    """
    with (
        errors_of(file),
        _opened(file) as tar,
        tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as drafts,
    ):
        manifest, draft = _manifest(file, tar), Path(drafts, DATABASE)
        _extract(file, tar, draft, manifest["database"]["sha256"])
        for key, sha256 in manifest["keys"].items():
            if hashlib.sha256(_small(file, tar, KEYS + key)).hexdigest() != sha256:
                raise _not_whole(file)
        database.look_at(draft)
        database.begin_anew(draft)
        store = dataclasses.replace(settings.store, path=str(draft), purge_interval_s=0.0)
        found = _counted(asyncio.run(_counts(store, settings.history)))
    if any(manifest["database"].get(name) not in (None, count) for name, count in found.items()):
        raise _not_whole(file)
    return _told(found)


async def _counts(settings: StoreSettings, history: HistorySettings) -> Counts:
    async with open_store(settings, Ownership.ALONE, history) as store:
        return await store.counts()


def run_restore(settings: Settings, options: argparse.Namespace) -> int:
    """Put an archive's content where the settings say, where nothing is yet.

    Raises `ConfigError`, `LocalFileError`, `StoreError`.
    """
    target, file = _database(settings), Path(options.file)
    with errors_of(target):
        for path in (target, *database.companions(target)):
            _refuse(path, "stop the server, and move its database away: a restore needs an empty place")
        with database.locked(target):
            manifest, keys, erased = _unpack(settings, file, target)
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(manifest["made_ms"] / 1000))
    print(f"{target}: as it was at {made}; {_told(manifest['database'])}")
    print(erased)
    for path in keys:
        print(f"restored: {path}")
    for key, name in _keys(settings, there=False).items():
        print(f"not there, and not in the backup: {key}, {name}")
    print("what was sent since may be lost: docs/operations.md, Data, says what this means for users and devices")
    return 0


def _pack(source: Path, file: Path, keys: dict[str, Path]) -> dict[str, Any]:
    """Make the archive; returns its manifest."""
    _refuse(file)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as drafts:
        draft, archive = Path(drafts, DATABASE), Path(drafts, "archive")
        # Before the copy: who goes through a log from then on finds all that is not in it.
        made_ms = int(time.time() * 1000)
        database.copy(source, draft)
        schema, counts = database.look_at(draft)
        about = {"schema": schema, **_counted(counts)}
        with created(archive) as out, tarfile.open(fileobj=out, mode="w") as tar:
            about["sha256"] = _add(tar, DATABASE, draft)
            kept = _add_keys(tar, keys)
            manifest = {"format": FORMAT, "made_ms": made_ms, "database": about, "keys": kept}
            _add_bytes(tar, MANIFEST, json.dumps(manifest, indent=1).encode())
        _put(archive, file)
    return manifest


def _unpack(settings: Settings, file: Path, target: Path) -> tuple[dict[str, Any], list[Path], str]:
    """Put the archive's content in its place; returns its manifest, the keys that were made, and what was erased."""
    make_folder(target.parent)
    with _opened(file) as tar, tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as drafts:
        manifest = _manifest(file, tar)
        draft = Path(drafts, DATABASE)
        _extract(file, tar, draft, manifest["database"]["sha256"])
        try:
            database.look_at(draft)
        except (ConfigError, StoreError) as error:
            raise type(error)(f"{file}: {error}") from error
        erased = _erase_again(settings, draft)
        database.begin_anew(draft)
        keys = _restored_keys(settings, file, tar, manifest["keys"])
        for path, (content, mode) in keys.items():
            make_folder(path.parent)
            with created(path, mode) as out:
                give_to_owner_of(path.parent, out.fileno())
                out.write(content)
        drop_index(str(target))  # of words that another database had
        with draft.open("rb") as whole:
            give_to_owner_of(target.parent, whole.fileno())
        # Last: until it is there, all may be begun again.
        _put(draft, target)
    return manifest, list(keys), erased


def _erase_again(settings: Settings, draft: Path) -> str:
    """What was erased since stays erased, if the ledger is there to say so; returns what is to be told."""
    ledger = Path(settings.history.ledger)
    if not settings.history.ledger or not ledger.is_file():
        return f"nothing is erased again: there is no ledger {ledger} (history.ledger)"
    store = dataclasses.replace(settings.store, path=str(draft), purge_interval_s=0.0)
    return f"erased again, from {ledger}: {asyncio.run(replay(store, settings.history, ledger))} messages"


def _database(settings: Settings) -> Path:
    if settings.store.engine != "sqlite":
        raise ConfigError(
            f'this is for store.engine = "sqlite", and it is "{settings.store.engine}": '
            "docs/operations.md, Data, says how Cassandra is backed up"
        )
    return Path(settings.store.path)


def _counted(counts: Counts) -> dict[str, Any]:
    return {"accounts": counts.accounts, "devices": counts.devices, "inbox_rows": counts.inbox_rows}


def _told(about: dict[str, Any]) -> str:
    names = {"accounts": "accounts", "devices": "devices", "inbox_rows": "waiting copies", "schema": "schema"}
    return ", ".join(f"{text} {about[name]}" for name, text in names.items() if about.get(name) is not None)


# Keys, and whatever else the settings name.


def _keys(settings: Settings, there: bool = True) -> dict[str, Path]:
    """Setting → file, of the keys that are (or are not) there."""
    named = {f"{section}.{key}": getattr(getattr(settings, section), key) for section, key in KEY_SETTINGS}
    return {name: Path(path) for name, path in named.items() if path and Path(path).is_file() == there}


def _others(settings: Settings) -> dict[str, Path]:
    from sparrow.config.settings import PATHS

    rest = [pair for pair in PATHS if pair not in KEY_SETTINGS and pair[0] not in ("store", "monitor")]
    named = {f"{section}.{key}": getattr(getattr(settings, section), key) for section, key in rest}
    return {name: Path(path) for name, path in named.items() if path}


def _add_keys(tar: tarfile.TarFile, keys: dict[str, Path]) -> dict[str, str]:
    """Setting → SHA-256."""
    kept = {}
    for key, path in keys.items():
        content = path.read_bytes()
        _add_bytes(tar, KEYS + key, content)
        kept[key] = hashlib.sha256(content).hexdigest()
    return kept


def _restored_keys(
    settings: Settings, file: Path, tar: tarfile.TarFile, kept: dict[str, str]
) -> dict[Path, tuple[bytes, int]]:
    """Path → content and mode, of what is to be written. Raises `ConfigError` for another key in its place."""
    found: dict[Path, tuple[bytes, int]] = {}
    for section, key in KEY_SETTINGS:
        name, path = f"{section}.{key}", getattr(getattr(settings, section), key)
        if name not in kept or not path:
            continue
        content = _small(file, tar, KEYS + name)
        if hashlib.sha256(content).hexdigest() != kept[name]:
            raise _not_whole(file)
        if not Path(path).exists():
            found[Path(path)] = (content, 0o644 if key.endswith(_PUBLIC) else 0o600)
        elif Path(path).read_bytes() != content:
            raise ConfigError(f"{path} is another key than the backup's: move it away, or name another in {name}")
    return found


# The archive.


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    """Returns its SHA-256."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        content.seek(0)
        tar.addfile(_member(name, path.stat().st_size), content)
    return digest


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise _not_whole(file) from error
    except FileNotFoundError as error:
        if error.filename != str(file):
            raise
        raise LocalFileError(f"there is no file {file}") from error


def _not_whole(file: Path) -> LocalFileError:
    return LocalFileError(f"{file} is no backup of Sparrow, or is damaged: take another")


def _stream(file: Path, tar: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        found = tar.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise _not_whole(file)
    return found


def _small(file: Path, tar: tarfile.TarFile, name: str) -> bytes:
    return _stream(file, tar, name).read(_MAX_SMALL)


def _manifest(file: Path, tar: tarfile.TarFile) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(_small(file, tar, MANIFEST))
        made = manifest["format"]
        if made == FORMAT:
            str(manifest["database"]["sha256"]), dict(manifest["keys"]), int(manifest["made_ms"])
            return manifest
    except (ValueError, KeyError, TypeError) as error:
        raise _not_whole(file) from error
    raise ConfigError(f"{file} is a backup of format {made}, this Sparrow knows {FORMAT}: use the one that made it")


def _extract(file: Path, tar: tarfile.TarFile, draft: Path, sha256: str) -> None:
    with _stream(file, tar, DATABASE) as content, created(draft) as out:
        found = copied(content, out)
    if found != sha256:
        raise _not_whole(file)


# Files.


def _refuse(path: Path, cure: str = "it is not written over: choose another name") -> None:
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already: {cure}")


def _put(draft: Path, path: Path) -> None:
    """Give a whole file its name, which nobody has. Raises `FileExistsError`."""
    with draft.open("rb") as content:
        os.fsync(content.fileno())
    with created(path):
        pass
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
