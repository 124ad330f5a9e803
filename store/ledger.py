"""The ledger: names of what was erased, outside the store, so that an older backup brings nothing back.

Owns the file and its form: a JSON object a line, only ever added to. Knows no engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fabric.files import make_folder, open_as_folders
from protocol.errors import ConfigError
from store.timelines import Archived, Erasure, Name, Result

_log = logging.getLogger("sparrow.store")


class Ledger:
    """A file that several processes may add to. `path` empty: none is kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._failing = False

    async def add(self, erasures: Sequence[Erasure]) -> None:
        """Note these, durably, before anybody is told that they are erased: until then they are asked for again. What
        cannot be noted is erased all the same, and logged."""
        if not self._path or not erasures:
            return
        try:
            await asyncio.to_thread(_append, Path(self._path), erasures)
        except OSError as error:
            if not self._failing:
                _log.error(
                    "history.ledger %s: %s: until it can be written, a restore may bring back what is erased now",
                    self._path,
                    error.strerror,
                )
            self._failing = True
        else:
            self._failing = False


def kept_erasures(batch: Sequence[object], answers: Sequence[Archived]) -> list[Erasure]:
    """Of a batch, what was erased."""
    return [
        one
        for one, answer in zip(batch, answers, strict=True)
        if isinstance(one, Erasure) and answer.result is Result.KEPT
    ]


def _append(path: Path, erasures: Iterable[Erasure]) -> None:
    lines = "".join(json.dumps(_line(erasure), separators=(",", ":")) + "\n" for erasure in erasures)
    make_folder(path.parent)
    file = open_as_folders(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # Begun on a line of its own, whatever a crash has left.
        os.write(file, b"\n" + lines.encode())
        os.fsync(file)
    finally:
        os.close(file)


def _line(erasure: Erasure) -> dict[str, object]:
    name = erasure.target._asdict()
    return {"conversation": erasure.conversation, **name, "stamp": erasure.stamp, "by": erasure.by}


def read_ledger(path: Path) -> Iterator[Erasure]:
    """All that was erased, oldest first; lines that a crash has cut are passed over. Raises `ConfigError`."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                erasure = _erasure(line)
                if erasure is not None:
                    yield erasure
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: name the ledger of what was erased (history.ledger)") from error


def _erasure(line: bytes) -> Erasure | None:
    try:
        said = json.loads(line)
        target = Name(str(said["author"]), str(said["device"]), int(said["stream"]), int(said["id"]))
        return Erasure(str(said["conversation"]), target, int(said["stamp"]), str(said["by"]))
    except (ValueError, KeyError, TypeError):
        return None
