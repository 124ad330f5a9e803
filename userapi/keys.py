"""The key pair that signs login tokens, as two PEM files.

Owns their making and reading. The private half stays with the user API.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabric.files import make_folder, open_as_folders
from protocol.errors import ConfigError


def ensure_key_pair(private_path: Path, public_path: Path) -> None:
    """Make the key pair where it is missing; several processes may do so at once and end with one pair.

    An existing private key is kept and its public half written out if that is missing or another's.
    Raises `ConfigError` when a file cannot be read or written, or is not an Ed25519 key.
    """
    try:
        make_folder(private_path.parent)
        make_folder(public_path.parent)
        if not private_path.exists():
            _create(private_path, _private_pem(Ed25519PrivateKey.generate()))
        public_pem = _public_pem(load_private_key(private_path))
        if not public_path.exists() or public_path.read_bytes() != public_pem:
            _replace(public_path, public_pem)
    except OSError as error:
        # Keys that are there are for reading: who only reads them is not to be let write them.
        raise ConfigError(
            f"token key {error.filename}: {error.strerror}; make {private_path.name} and {public_path.name} together, "
            "as root, with `sparrow keys token DIR`, and put both where userapi.token_private_key_file and "
            "token_public_key_file name them"
        ) from error


def belongs_to(public_path: Path, private_path: Path) -> bool:
    """Whether they are one pair. Raises `ConfigError` where the private half is no key, and `OSError`."""
    return public_path.read_bytes() == _public_pem(load_private_key(private_path))


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The key in `path`. Raises `ConfigError`."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"token key {path}: {error.strerror}; name another in userapi.token_private_key_file"
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"token key {path} is not a PEM key without a password: remove it, and a new one is made at the next start"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"token key {path} is not an Ed25519 key: remove it, and a new one is made at the next start")
    return key


def _create(path: Path, content: bytes) -> None:
    """Make `path` with its whole content, unless somebody else was first."""
    draft = _draft(path, content, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _replace(path: Path, content: bytes) -> None:
    _draft(path, content, 0o644).replace(path)


def _draft(path: Path, content: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(open_as_folders(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
