"""Files and folders that the settings name: whether they are there, and whose.

Owns the look at them, as the user who asks. Changes nothing.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.tokens import TokenVerifier
from protocol.errors import ConfigError
from userapi.keys import belongs_to

if TYPE_CHECKING:
    from sparrow.config.exposure import Found
    from sparrow.config.tree import Settings

_BESIDE = ("", "-wal", "-shm", "-lock", "-search", "-search-wal", "-search-shm")
"""How the names of a SQLite store's files end."""


def places(settings: Settings) -> Iterator[Found]:
    """What cannot be read or made where it should be."""
    if settings.store.engine == "sqlite":
        yield from _database(settings.store.path)
    yield from _token_keys(settings)
    ledger = settings.history.ledger
    if ledger and (why := _why_not_writable(ledger)):
        yield "history.ledger", f"{why}: what is erased would come back from older backups", False
    yield from _of_root(settings)


def _seen(name: str | Path) -> os.stat_result | None:
    """None for what is not there, or behind a folder that we may not look into."""
    try:
        return Path(name).stat()
    except OSError:
        return None


def _is_folder(name: str | Path) -> bool:
    seen = _seen(name)
    return seen is not None and stat.S_ISDIR(seen.st_mode)


def _database(name: str) -> Iterator[Found]:
    if why := _why_not_writable(name):
        yield "store.path", f"{why}: let the server's user write there, or set data_dir", True
    elif _is_folder(name):
        yield "store.path", f"{name} is a folder: name a file", True
    elif _seen(name) and not os.access(name, os.R_OK | os.W_OK):
        yield "store.path", f"{name} cannot be read and written: {_as_whom()}", True


def _why_not_writable(name: str) -> str:
    """Why a file of that name cannot be made by us; empty if it can."""
    folder = Path(name).absolute().parent
    existing = next(place for place in (folder, *folder.parents) if _seen(place))
    if not _is_folder(existing):
        return f"{existing} is not a folder"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"{existing} cannot be written to by {_me()}"


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _as_whom() -> str:
    return f"this is {_me()}; look as root, or as the server's user"


def _token_keys(settings: Settings) -> Iterator[Found]:
    """A user API makes them where they are missing, and only reads what is there: nobody else should write it."""
    userapi = settings.userapi
    for key, name in (
        ("userapi.token_private_key_file", userapi.token_private_key_file),
        ("userapi.token_public_key_file", userapi.token_public_key_file),
    ):
        if _is_folder(name):
            yield key, f"{name} is a folder: name a file", True
        elif _seen(name):
            if not os.access(name, os.R_OK):
                yield key, f"{name} cannot be read: {_as_whom()}", True
        elif _is_folder(folder := Path(name).parent) and not os.access(folder, os.X_OK):
            yield key, f"{name} cannot be seen: {_as_whom()}", True
        elif why := _why_not_writable(name):
            text = f"{name} is not there, and {why}: make both keys, as root, with `sparrow keys token {folder}`"
            yield key, text, True
    private, public = Path(userapi.token_private_key_file), Path(settings.connector.token_public_key_file)
    if str(public) != userapi.token_public_key_file:
        text = "is not userapi.token_public_key_file: on one machine they should be one file"
        yield "connector.token_public_key_file", text, False, ("userapi",)
    seen = _seen(private)
    if seen and stat.S_ISREG(seen.st_mode) and seen.st_mode & 0o077:
        text = f"{private} can be read by others, who could log in as anybody: chmod 600 {private}"
        yield "userapi.token_private_key_file", text, True
    yield from _pair(private, Path(userapi.token_public_key_file))
    try:
        if _seen(public) and not _is_folder(public):
            TokenVerifier(public.read_bytes())
    except ConfigError as error:
        yield "connector.token_public_key_file", f"{public}: {error}", True
    except OSError as error:
        text = f"{error.filename}: {error.strerror}; {_as_whom()}"
        yield "connector.token_public_key_file", text, True


def _pair(private: Path, public: Path) -> Iterator[Found]:
    """A user API writes the public half anew, where it may; connectors elsewhere have the old one."""
    try:
        TokenVerifier(public.read_bytes())
        if not belongs_to(public, private):
            text = f"{public} is not the public half of {private}: connectors that have it would refuse all logins"
            yield "userapi.token_public_key_file", text, False
    except (OSError, ConfigError):
        return  # what cannot be read is told already, or is made at the start


def _of_root(settings: Settings) -> Iterator[Found]:
    """Files that root has made in a folder of somebody's, who cannot read them; seen by root alone."""
    named = {
        "userapi.token_private_key_file": [settings.userapi.token_private_key_file],
        "history.ledger": [settings.history.ledger] if settings.history.ledger else [],
    }
    if settings.store.engine == "sqlite":
        named["store.path"] = [settings.store.path + end for end in _BESIDE]
    for key, names in named.items():
        for name in names:
            where = Path(name).parent
            file, folder = _seen(name), _seen(where)
            if file and folder and file.st_uid == 0 != folder.st_uid and not file.st_mode & 0o077:
                text = f"{name} is root's, in a folder of somebody else's: chown --reference={where} {name}"
                yield key, text, False
