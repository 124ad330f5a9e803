"""The fabric's CURVE keys, as files hold them: who may link to whom.

Owns the format, reading, and the look at a secret's file mode. Makes no keys and opens no socket.

A line is a name, a key in Z85 (ZeroMQ RFC 32), and perhaps a comment behind a `#`; a line that begins with `#` is a
comment. A secret key's file has one line, whose name is `secret`. The brokers' public key is one line, and two while
it changes; the list of those who may link to a broker has any number of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from zmq.utils import z85

from protocol.errors import ConfigError

SECRET = "secret"
"""The name in a secret key's file."""
KEY_BYTES = 32

MAX_BROKER_KEYS = 4
"""In one file: each is tried in turn."""

_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """What one who dials needs: its own secret key, and the public keys that brokers may have; 32 bytes each."""

    secret: bytes
    brokers: tuple[bytes, ...]
    """Several while the brokers' key changes."""

    def broker(self, tries: int) -> bytes:
        """The key to expect of a broker after so many tries that have failed."""
        return self.brokers[tries % len(self.brokers)]


def encode(key: bytes) -> str:
    """A key in Z85."""
    return z85.encode(key).decode()


def decode(text: str) -> bytes:
    """The 32 bytes of a key in Z85. Raises `ValueError`."""
    if len(text) != KEY_BYTES * 5 // 4:
        raise ValueError("a key has 40 characters of Z85")
    try:
        return z85.decode(text)
    except (KeyError, ValueError, struct.error):  # a character that has no value; not ASCII; beyond 32 bits
        raise ValueError("this is not Z85") from None


def line(name: str, key: bytes) -> str:
    """One line of a file. Raises `ConfigError` for a name that would not be read back."""
    if not 0 < len(name) <= _NAME_LENGTH or not name.isprintable() or " " in name or name.startswith("#"):
        raise ConfigError(f"{name!r} is no name for a key: 1 to {_NAME_LENGTH} characters, no spaces, no # in front")
    return f"{name} {encode(key)}\n"


def read_secret(path: str) -> bytes:
    """The secret key in `path`. Raises `ConfigError`, also when others could read it."""
    entries = _read(path)
    if len(entries) != 1 or entries[0][0] != SECRET:
        raise ConfigError(f'{path}: no secret key: expected one line, "{SECRET}" and the key; `sparrow keys` makes it')
    try:
        shared = Path(path).stat().st_mode & 0o077
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if shared:
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
    return entries[0][1]


def read_public(path: str) -> tuple[bytes, ...]:
    """The brokers' public keys in `path`, as they are to be tried. Raises `ConfigError`."""
    entries = _public(path)
    if not 1 <= len(entries) <= MAX_BROKER_KEYS:
        raise ConfigError(
            f"{path}: {len(entries)} keys: expected a name and the brokers' public key in one line, "
            f"and while that changes up to {MAX_BROKER_KEYS}"
        )
    return tuple(dict.fromkeys(key for _, key in entries))


def read_allowed(path: str) -> dict[bytes, str]:
    """Key → name of all who may link. Raises `ConfigError`; an empty list is fine and lets nobody in."""
    allowed: dict[bytes, str] = {}
    for name, key in _public(path):
        if key in allowed:
            raise ConfigError(f"{path}: {allowed[key]} and {name} have the same key: each needs its own")
        allowed[key] = name
    return allowed


def read_link_keys(secret_file: str, broker_file: str) -> LinkKeys | None:
    """The keys of one who dials; None if no file is named. Raises `ConfigError`, also if only one of them is."""
    if not secret_file and not broker_file:
        return None
    if not secret_file or not broker_file:
        raise ConfigError("CURVE needs both a secret key and the brokers' public key: name both files, or none")
    return LinkKeys(read_secret(secret_file), read_public(broker_file))


def _public(path: str) -> list[tuple[str, bytes]]:
    entries = _read(path)
    if any(name == SECRET for name, _ in entries):
        raise ConfigError(f"{path}: a secret key does not belong here: put the line that `sparrow keys` has printed")
    return entries


def _read(path: str) -> list[tuple[str, bytes]]:
    try:
        text = Path(path).read_text()
    except PermissionError as error:
        # Nobody is to make it anew, or let everybody read it: systemd hands a service its own.
        text = f"cannot read {path} ({error.strerror}): it is root's, or another user's; look as root, or as that user"
        raise ConfigError(text) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); `sparrow keys` makes key files") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: this is not text; `sparrow keys` makes key files") from error
    entries = []
    for number, content in enumerate(text.splitlines(), 1):
        fields = content.split()
        if not fields or fields[0].startswith("#"):
            continue
        # A key may have # in it, even in front, so comments are looked for behind it only.
        if len(fields) < 2 or (len(fields) > 2 and not fields[2].startswith("#")):
            raise ConfigError(f"{path}, line {number}: expected a name, a key, and perhaps a # comment")
        try:
            entries.append((fields[0], decode(fields[1])))
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: the key of {fields[0]}: {error}") from None
    return entries
