"""`sparrow keys`: makes the keys that servers know one another by.

Owns the making of key files: never over one that is there, and secrets for their owner's eyes only. Their format is
`fabric.curve`'s and `userapi.keys`' business.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fabric.curve import SECRET, line
from protocol.errors import ConfigError

BROKER_KEY, BROKER_PUBLIC, ALLOWED = "broker.key", "broker.pub", "allowed.keys"
TOKEN_KEY, TOKEN_PUBLIC = "token.key.pem", "token.pub.pem"

_ALLOWED_TEXT = """\
# Who may link to the brokers: a name and a public key a line, as `sparrow keys` prints them.
# Send the brokers SIGHUP after a change.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow keys`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = kinds.add_parser("broker", help=f"the brokers' key pair, one for all of them, and an empty {ALLOWED}")
    kind.add_argument("folder", type=Path, metavar="DIR")
    for who, whose in (("connector", "a connector's"), ("userapi", "the user API's")):
        kind = kinds.add_parser(who, help=f"{whose} key; prints its line for the brokers' {ALLOWED}")
        kind.add_argument("name", metavar="NAME", help="what brokers call it in their logs")
        kind.add_argument("folder", type=Path, metavar="DIR")
    kind = kinds.add_parser("token", help="the key pair that signs login tokens")
    kind.add_argument("folder", type=Path, metavar="DIR")


def run(options: argparse.Namespace) -> int:
    """Make keys. Raises `ConfigError` if one is there already, or the folder cannot be written."""
    folder: Path = options.folder
    if options.kind == "broker":
        make_broker_keys(folder)
        _say(
            f"{folder / BROKER_KEY} is secret: for all brokers, with {ALLOWED}, and for nobody else.",
            f"{folder / BROKER_PUBLIC} goes to every connector, and to the user API.",
        )
    elif options.kind in ("connector", "userapi"):
        printed = make_link_key(options.name, folder)
        _say(f"{folder / options.name}.key is secret, and stays with this {options.kind}. For the brokers' {ALLOWED}:")
        print(printed, end="", flush=True)
    else:
        make_token_keys(folder)
        _say(
            f"{folder / TOKEN_KEY} is secret, and stays with the user API.",
            f"{folder / TOKEN_PUBLIC} goes to every connector.",
        )
    return 0


def make_broker_keys(folder: Path) -> None:
    """`broker.key`, `broker.pub`, and `allowed.keys` if there is none. Raises `ConfigError`."""
    public, secret = _pair()
    _refuse(folder / BROKER_KEY, folder / BROKER_PUBLIC)
    _make(folder / BROKER_KEY, line(SECRET, secret), 0o600)
    _make(folder / BROKER_PUBLIC, line("broker", public), 0o644)
    if not (folder / ALLOWED).exists():
        _make(folder / ALLOWED, _ALLOWED_TEXT, 0o644)


def make_link_key(name: str, folder: Path) -> str:
    """`NAME.key`; returns the line for the brokers' list. Raises `ConfigError`."""
    public, secret = _pair()
    printed = line(name, public)
    if name in (SECRET, "broker") or "/" in name or name.startswith("."):
        raise ConfigError(f"{name!r} is no name for a key: choose one such as connector-1")
    _make(folder / f"{name}.key", line(SECRET, secret), 0o600)
    return printed


def make_token_keys(folder: Path) -> None:
    """`token.key.pem` and `token.pub.pem`. Raises `ConfigError`."""
    from userapi.keys import ensure_key_pair

    _refuse(folder / TOKEN_KEY, folder / TOKEN_PUBLIC)
    ensure_key_pair(folder / TOKEN_KEY, folder / TOKEN_PUBLIC)


def _pair() -> tuple[bytes, bytes]:
    import zmq
    from zmq.utils import z85

    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def _refuse(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} is there already, and is not written over: remove it, or choose another folder")


def _make(path: Path, content: str, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(content)
    except FileExistsError:
        _refuse(path)
        raise ConfigError(f"{path.parent} is not a folder: choose another") from None
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
