"""Files of keys and certificates that `sparrow keys` makes.

Owns that none is written over, and that secrets are for their owner's eyes only.
"""

from __future__ import annotations

import os
from pathlib import Path

from fabric.files import make_folder, open_as_folders
from protocol.errors import ConfigError


def refuse(*paths: Path) -> None:
    """Raises `ConfigError` if one of them is there."""
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} is there already, and is not written over: remove it, or choose another folder")


def make(path: Path, content: str, mode: int) -> None:
    """A new file. Raises `ConfigError`, above all if it is there."""
    try:
        make_folder(path.parent)
        with os.fdopen(open_as_folders(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(content)
    except FileExistsError:
        refuse(path)
        raise ConfigError(f"{path.parent} is not a folder: choose another") from None
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error
