"""The keys that sign login tokens, as two PEM files: private halves, which stay with the user API, and public ones.

Owns their making, reading and rotation. A line in front of each says what it is for (`IN_USE`, `NEXT`, `OLD`); the
first is in use. Whoever knows one key alone, as 0.1 does, takes the first.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabric.files import make_folder, open_as_folders
from fabric.tokens import MAX_KEYS, TokenVerifier, key_id
from protocol.errors import ConfigError

IN_USE, NEXT, OLD = "in use", "next", "old"
"""It signs; it will, and is believed already; it did, and is believed still."""
_BLOCK = re.compile(rb"(?:# ([a-z ]+)\r?\n)?(-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One of the keys in the file."""

    private: Ed25519PrivateKey
    use: str
    """`IN_USE`, `NEXT` or `OLD`."""

    @property
    def id(self) -> str:
        """What tokens call it."""
        return key_id(self.private.public_key())


def ensure_key_pair(private_path: Path, public_path: Path) -> None:
    """Make the key pair where it is missing; several processes may do so at once and end with one pair.

    Existing private keys are kept, and their public halves written out unless these are all there: with them may be
    keys that another machine's user API has already. (At the end of a change, private keys come first.)
    Raises `ConfigError` when a file cannot be read or written, or has no Ed25519 keys.
    """
    try:
        make_folder(private_path.parent)
        make_folder(public_path.parent)
        if not private_path.exists():
            _create(private_path, _private_pem(Ed25519PrivateKey.generate()))
        keys = load_keys(private_path)
        if not public_path.exists() or not _has_all(public_path.read_bytes(), keys):
            _replace(public_path, public_pem(keys), 0o644)
    except OSError as error:
        # Keys that are there are for reading: who only reads them is not to be let write them.
        raise ConfigError(
            f"token key {error.filename}: {error.strerror}; make {private_path.name} and {public_path.name} together, "
            "as root, with `sparrow keys token DIR`, and put both where userapi.token_private_key_file and "
            "token_public_key_file name them"
        ) from error


def belongs_to(public_path: Path, private_path: Path) -> bool:
    """Whether the public file has all public halves. Raises `OSError`, and `ConfigError` for what is no key."""
    return _has_all(public_path.read_bytes(), load_keys(private_path))


def load_keys(path: Path) -> list[TokenKey]:
    """The keys in `path`, the one in use in front. Raises `ConfigError`."""
    try:
        blocks = _BLOCK.findall(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"token key {path}: {error.strerror}; name another in userapi.token_private_key_file"
        ) from error
    found: list[TokenKey] = []
    for use, block in blocks:
        try:
            key = serialization.load_pem_private_key(block, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"token key {path} is not a PEM key without a password: {_CURE}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"token key {path} is not an Ed25519 key: {_CURE}")
        # Whatever is said of it, the first signs: so it is for whoever knows one key alone.
        told = NEXT if use.decode() == NEXT else OLD
        found.append(TokenKey(key, told if found else IN_USE))
    if not found:
        raise ConfigError(f"token key {path} is not a PEM key without a password: {_CURE}")
    if len(found) > MAX_KEYS:
        raise ConfigError(f"token key {path} has {len(found)} keys, and at most {MAX_KEYS} are taken: retire the old")
    return found


_CURE = "remove it, and a new one is made at the next start"


# Rotation: each step leaves files that whoever reads them at any moment can use.


def publish(private_path: Path, public_path: Path) -> list[TokenKey]:
    """Add a key that is believed from now on, and signs nothing yet. Raises `ConfigError`."""
    keys = load_keys(private_path)
    if any(key.use == NEXT for key in keys):
        raise ConfigError(f"{private_path} has a next key already: `sparrow keys use token` comes now")
    if len(keys) > 1:
        raise ConfigError(f"{private_path} has an old key still: `sparrow keys retire token` comes before")
    return _write([*keys, TokenKey(Ed25519PrivateKey.generate(), NEXT)], private_path, public_path)


def use(private_path: Path, public_path: Path) -> list[TokenKey]:
    """Have the next key sign; the one before is believed still. Raises `ConfigError`."""
    keys = load_keys(private_path)
    following = [key for key in keys if key.use == NEXT]
    if not following:
        raise ConfigError(f"{private_path} has no next key: `sparrow keys publish token` comes before")
    others = [TokenKey(key.private, OLD) for key in keys if key not in following]
    return _write([TokenKey(following[0].private, IN_USE), *others], private_path, public_path)


def retire(private_path: Path, public_path: Path) -> list[TokenKey]:
    """Believe the old key no more. Raises `ConfigError`."""
    keys = load_keys(private_path)
    if not any(key.use == OLD for key in keys):
        raise ConfigError(f"{private_path} has no old key: there is nothing to retire")
    return _write([key for key in keys if key.use != OLD], private_path, public_path)


def _write(keys: list[TokenKey], private_path: Path, public_path: Path) -> list[TokenKey]:
    private = b"".join(f"# {key.use}\n".encode() + _private_pem(key.private) for key in keys)
    try:
        _replace(private_path, private, 0o600)
        _replace(public_path, public_pem(keys), 0o644)
    except OSError as error:
        raise ConfigError(f"token key {error.filename}: {error.strerror}") from error
    return keys


def public_pem(keys: list[TokenKey]) -> bytes:
    """Their public halves. One alone as it always was, so that no file changes by an upgrade."""
    if len(keys) == 1:
        return _public_pem(keys[0].private)
    return b"".join(f"# {key.use}\n".encode() + _public_pem(key.private) for key in keys)


def _has_all(public: bytes, keys: list[TokenKey]) -> bool:
    try:
        return {key.id for key in keys} <= set(TokenVerifier(public).key_ids)
    except ConfigError:
        return False


def _create(path: Path, content: bytes) -> None:
    """Make `path` with its whole content, unless somebody else was first."""
    draft = _draft(path, content, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _replace(path: Path, content: bytes, mode: int) -> None:
    path = path.resolve()  # a link to it stays one
    draft = _draft(path, content, mode)
    with contextlib.suppress(OSError):  # root works for the server's user
        before = path.stat()
        os.chown(draft, before.st_uid, before.st_gid)
        draft.chmod(before.st_mode & 0o777)
    draft.replace(path)


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
