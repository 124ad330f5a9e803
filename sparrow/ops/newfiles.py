"""Files that a command makes: new ones, for their owner's eyes, on the disk when it says so.

Owns that nothing is written over, and what errors of the disk look like.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from protocol.errors import ConfigError, LocalFileError

_CHUNK = 1 << 20


@contextmanager
def created(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A new file, on the disk when this ends, gone again after an error. Raises `OSError`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def copied(content: IO[bytes], out: IO[bytes]) -> str:
    """Copy all of it, piece by piece; returns the SHA-256 of what was read. Raises `OSError`."""
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What goes wrong while `path` is made: as `LocalFileError`, or `ConfigError` for a name that is taken."""
    try:
        yield
    except FileExistsError as error:
        raise ConfigError(f"{error.filename} is there already, and is not written over: choose another name") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LocalFileError(f"{path}: its disk is full: free some space there; nothing was made") from error
        raise LocalFileError(f"{error.filename or path}: {error.strerror or error}") from error
