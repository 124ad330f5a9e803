"""The lock beside a database: which broker works on it.

Owns the file `PATH-lock`, which stays when nobody holds it: the system gives the lock back with its process, however
that ends. Knows nothing of SQLite, whose own locks are held for a transaction at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from fabric.files import make_folder, open_as_folders
from protocol.errors import ConfigError
from store.ownership import Holder, Ownership, taken

_MAX_BYTES = 4096


class DataLock:
    """Held from `take` on until `release`, or until the process ends."""

    def __init__(self, path: str) -> None:
        # Whatever name a database is reached by, it has one lock.
        real = Path(path).resolve()
        self._what = f"store {path}"
        self._file = real.with_name(real.name + "-lock")
        self._descriptor: int | None = None

    def take(self, ownership: Ownership) -> None:
        """Raises `ConfigError` if others hold it, and `OSError`."""
        if ownership is Ownership.NONE:
            return
        make_folder(self._file.parent)
        descriptor = open_as_folders(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        kind = fcntl.LOCK_EX if ownership is Ownership.ALONE else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
            raise ConfigError(taken(self._what, holder, "name another file in store.path")) from None
        except BaseException:
            os.close(descriptor)
            raise
        me = Holder.me()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps([me.pid, me.host, me.since_ms]).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Nothing happens if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _read(descriptor: int) -> Holder | None:
    """Who holds it; None if that cannot be read (it is written a moment after it is taken)."""
    try:
        pid, host, since_ms = json.loads(os.pread(descriptor, _MAX_BYTES, 0))
        return Holder(int(pid), str(host), int(since_ms))
    except (OSError, ValueError, TypeError):
        return None
