"""Files of this machine: what is uploaded, what is being downloaded, and names that are safe.

Owns every access to the disk that a transfer makes. Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from protocol.errors import ChecksumError, LocalFileError, MisuseError

PIECE_BYTES = 256 * 1024
"""No more of a file is in memory at a time."""
MAX_NAME_BYTES = 200
"""Of a safe name: with what is added to it, it stays below the 255 of most file systems."""
_MAX_SUFFIX = 20
_NOT_SHOWN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Unicode categories of what has no form of its own: control characters, turned lines, halves of pairs."""

_JOINERS = "\u200c\u200d"
"""Of emoji and of letters: without them it is another word, or another picture."""


def safe_name(name: str) -> str:
    """`name`, from a stranger, as the name of a file in a folder: it leads nowhere else and hides nothing."""
    # What joins is shown by what stands before it, in other scripts than ours; elsewhere it would only hide.
    joined = re.sub(r"(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?=\.|$)", "_", name)
    shown = re.sub(r"^[.\s]+", "", "".join(map(_safe, joined))).rstrip()
    stem, dot, suffix = shown.rpartition(".")
    if not stem or len(suffix) > _MAX_SUFFIX:
        stem, dot, suffix = shown, "", ""
    end = f"{dot}{suffix}"
    room = MAX_NAME_BYTES - len(end.encode())
    return (stem.encode()[:room].decode(errors="ignore") + end).rstrip() or "file"


def _safe(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    if char in _JOINERS:
        return char
    return "_" if category in _NOT_SHOWN or char in "/\\" else char


def _numbered(path: Path) -> Iterator[Path]:
    """`path`, and what to call it when that is taken: name (2).ext, name (3).ext …"""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a name that the system cannot have
        raise LocalFileError(f"{str(path)!r}: {error}") from error


class Source:
    """A file to upload: its size and SHA-256 when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.sha256 = ""
        self._file: int | None = None

    def open(self) -> None:
        """Open and look through it. Raises `LocalFileError`."""
        with _errors(self.path):
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise LocalFileError(f"{self.path} is no file")
            digest = hashlib.sha256()
            for piece in _pieces(self._file):
                digest.update(piece)
                self.size += len(piece)
            self.sha256 = digest.hexdigest()

    def read(self, offset: int) -> bytes:
        """Some of it. Raises `LocalFileError`, also when the file has become shorter."""
        assert self._file is not None
        with _errors(self.path):
            piece = os.pread(self._file, min(PIECE_BYTES, self.size - offset), offset)
        if not piece:
            raise LocalFileError(f"{self.path} has been changed while it was being uploaded")
        return piece

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)


class Part:
    """A download that is not whole yet, in a `.part` file beside its `target`; what an earlier try has left goes on."""

    def __init__(self, target: Path, file: str, size: int) -> None:
        self.target = target
        self.size = size
        self.length = 0
        """Bytes that are there."""
        self._path = target.with_name(f"{target.name}.{file}.part")
        self._digest = hashlib.sha256()
        self._file: int | None = None

    def open(self) -> None:
        """Open and look through it. Raises `LocalFileError`, and `MisuseError` while somebody else writes it."""
        with _errors(self._path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._file = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MisuseError(f"{self.target} is being downloaded already") from None
            if os.fstat(self._file).st_size > self.size:
                os.ftruncate(self._file, 0)
            for piece in _pieces(self._file):
                self._digest.update(piece)
                self.length += len(piece)

    def add(self, data: bytes) -> None:
        """Write what comes next. Raises `ChecksumError` if it is more than there should be, and `LocalFileError`."""
        if self.length + len(data) > self.size:
            raise ChecksumError(f"the file is longer than the {self.size} bytes that were announced: it is not kept")
        assert self._file is not None
        with _errors(self._path):
            rest = memoryview(data)
            while rest:
                written = os.pwrite(self._file, rest, self.length)
                self._digest.update(rest[:written])
                self.length += written
                rest = rest[written:]

    def restart(self) -> None:
        """Begin anew. Raises `LocalFileError`."""
        assert self._file is not None
        with _errors(self._path):
            os.ftruncate(self._file, 0)
        self.length = 0
        self._digest = hashlib.sha256()

    def finish(self, sha256: str) -> Path:
        """Make a file of it that takes nobody's place; returns where. Raises `ChecksumError`, `LocalFileError`."""
        if self.length < self.size:
            raise ChecksumError(f"the file is shorter than the {self.size} bytes that were announced: it is not kept")
        if self._digest.hexdigest() != sha256:
            raise ChecksumError("the file is not the one that its sender has described (SHA-256): it is not kept")
        assert self._file is not None
        with _errors(self.target):
            os.fsync(self._file)
            for path in _numbered(self.target):
                try:
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                except FileExistsError:
                    continue
                self._path.replace(path)
                return path
        raise AssertionError("names do not end")

    def discard(self) -> None:
        """It is of no use."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Let go of it; what is there stays for the next try."""
        if self._file is not None:
            os.close(self._file)


def _pieces(file: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(file, PIECE_BYTES, offset):
        yield piece
        offset += len(piece)


def target_of(to: Path, name: str) -> Path:
    """Where a file called `name` by a stranger goes: into the folder `to`, or, if there is none, to `to` itself.

    Raises `LocalFileError`.
    """
    with _errors(to):
        return to / safe_name(name) if to.is_dir() else to
