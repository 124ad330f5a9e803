"""Files that are made in a folder of somebody else's: by root, beside a server that runs as a user of its own.

Owns that they are that user's, who could not read them otherwise. Never gives away what was there before.
"""

from __future__ import annotations

import os
from pathlib import Path

_NEW = os.O_CREAT | os.O_EXCL


def open_as_folders(path: Path, flags: int, mode: int) -> int:
    """`os.open`, of a file that may have to be made: as root, it gets the owner and the group of its folder.

    Raises `OSError`.
    """
    if not flags & os.O_CREAT:
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | _NEW | os.O_CLOEXEC, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        # Whoever owns the folder may have put it, or a link, there: it stays whose it is.
        return os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        give_to_owner_of(path.parent, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def give_to_owner_of(folder: Path, descriptor: int) -> None:
    """Give a file of ours to whoever owns the folder, if we are root and they are not. Raises `OSError`."""
    if os.geteuid() == 0 and (owner := folder.stat()).st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def make_folder(path: Path) -> None:
    """The folder, and those above it, where they are missing; each gets the owner of its own. Raises `OSError`."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    if os.geteuid() == 0 and (owner := path.parent.stat()).st_uid:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
