"""`sparrow keys publish|use|retire`: one key after another, with nobody cut off (docs/operations.md, "Change keys").

Owns the three steps, and what is said of where each file goes then. Each step leaves files that are good as they are.
The formats are `fabric.curve`'s and `userapi.keys`' business.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import zmq
from zmq.utils import z85

from fabric.curve import SECRET, encode, line, read_allowed, read_public, read_secret
from protocol.errors import ConfigError
from sparrow.config.keyfiles import make

BROKER_KEY, BROKER_PUBLIC, ALLOWED = "broker.key", "broker.pub", "allowed.keys"
TOKEN_KEY, TOKEN_PUBLIC = "token.key.pem", "token.pub.pem"
STEPS = {
    "publish": "make the next key, which is known from then on and used by nobody",
    "use": "have the next key used; the one before is believed still",
    "retire": "believe the old key no more",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of one step."""
    kinds = parser.add_subparsers(dest="whose", required=True, metavar="WHOSE")
    for whose, text in (("token", "the key that signs login tokens"), ("broker", "the brokers' key")):
        kind = kinds.add_parser(whose, help=text)
        kind.add_argument("folder", type=Path, metavar="DIR")
    for whose in ("connector", "userapi"):
        kind = kinds.add_parser(whose, help=f"the key of one {whose}")
        kind.add_argument("name", metavar="NAME", help="as brokers call it in their logs")
        kind.add_argument("folder", type=Path, metavar="DIR")


def run(step: str, options: argparse.Namespace, say: Callable[..., None]) -> None:
    """Take a step. Raises `ConfigError` if it is not its turn, or a file cannot be read or written."""
    try:
        if options.whose == "token":
            _token(step, options.folder, say)
        elif options.whose == "broker":
            _broker(step, options.folder, say)
        else:
            _link(step, options.whose, options.name, options.folder, say)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error


def _token(step: str, folder: Path, say: Callable[..., None]) -> None:
    from userapi import keys

    take = {"publish": keys.publish, "use": keys.use, "retire": keys.retire}[step]
    found = take(folder / TOKEN_KEY, folder / TOKEN_PUBLIC)
    for key in found:
        say(f"token key {key.id}: {key.use}")
    private, public = f"{folder / TOKEN_KEY} (secret)", str(folder / TOKEN_PUBLIC)
    if step == "publish":
        say(
            f"1. {public} to every connector, and reload each (SIGHUP, `systemctl reload`).",
            f"2. {private} to every user API, and reload each (as a systemd credential: restart it).",
            "3. Then: sparrow keys use token DIR",
        )
    elif step == "use":
        say(
            f"1. {private} to every user API, and reload each (as a systemd credential: restart it).",
            "2. When userapi.refresh_token_lifetime_s has passed (60 days): sparrow keys retire token DIR. After less,",
            "   devices that were not there since have to log in again.",
        )
    else:
        say(f"{private} to every user API, {public} to every connector, and reload each.")


def _broker(step: str, folder: Path, say: Callable[..., None]) -> None:
    secret, following, public = folder / BROKER_KEY, folder / "broker.next.key", folder / BROKER_PUBLIC
    known = read_public(str(public))
    if step == "publish":
        if len(known) > 1:
            raise ConfigError(f"{public} has two keys: `sparrow keys use broker` or `retire broker` comes before")
        made = _make(following)
        _replace(public, line("broker", known[0]) + line("next", made))
        say(
            f"1. {public} to every connector and user API, and reload each (SIGHUP, `systemctl reload`).",
            f"2. {following} (secret) to every broker; nobody uses it yet.",
            "3. Then, where each broker has its key: sparrow keys use broker DIR",
        )
    elif step == "use":
        if not following.exists():
            raise ConfigError(f"{following} is not there: `sparrow keys publish broker` comes before")
        made = _public_of(read_secret(str(following)))
        if made not in known:
            raise ConfigError(f"{public} does not have the key of {following}: connectors would not know it")
        _replace(public, line("broker", made) + "".join(line("old", key) for key in known if key != made))
        following.replace(secret)
        say(
            f"1. {secret} (secret) to every broker, and restart these one after another (`sparrow drain`).",
            f"2. When all have it: sparrow keys retire broker DIR, and {public} to every connector and user API.",
        )
    else:
        made = _public_of(read_secret(str(secret)))
        if following.exists() or known == (made,):
            raise ConfigError(f"{public} has no old key: there is nothing to retire")
        _replace(public, line("broker", made))
        say(f"{public} to every connector and user API, and reload each (SIGHUP, `systemctl reload`).")


def _link(step: str, whose: str, name: str, folder: Path, say: Callable[..., None]) -> None:
    secret, following = folder / f"{name}.key", folder / f"{name}.next.key"
    if step == "publish":
        read_secret(str(secret))  # there is one to be followed
        printed = line(name, _make(following))
        say(f"1. Add this to the brokers' {ALLOWED}, and reload each broker (SIGHUP, `systemctl reload`):")
        print(printed, end="", flush=True)
        say(f"2. Then: sparrow keys use {whose} {name} DIR")
    elif step == "use":
        if not following.exists():
            raise ConfigError(f"{following} is not there: `sparrow keys publish {whose}` comes before")
        old = _public_of(read_secret(str(secret)))
        following.replace(secret)
        say(
            f"1. Reload the {whose} (SIGHUP; as a systemd credential: restart it).",
            f"2. Then, where the brokers' {ALLOWED} is: sparrow keys retire {whose} {name} DIR, or take this line out:",
            f"   {name} {encode(old)}",
        )
    else:
        _retire_link(name, secret, folder / ALLOWED, say)


def _retire_link(name: str, secret: Path, allowed: Path, say: Callable[..., None]) -> None:
    """On a machine without that key, its last line stays: lines are added behind."""
    listed = [key for key, whose in read_allowed(str(allowed)).items() if whose == name]
    kept = _public_of(read_secret(str(secret))) if secret.exists() else (listed or [b""])[-1]
    if kept not in listed:
        raise ConfigError(f"{allowed} does not have the key that {name} uses: add its line first")
    old = {encode(key) for key in listed if key != kept}
    if not old:
        raise ConfigError(f"{allowed} has one key of {name}: there is nothing to retire")
    lines = allowed.read_text().splitlines(keepends=True)
    _replace(allowed, "".join(each for each in lines if not set(each.split()[1:2]) & old))
    say(f"{allowed} to every broker, and reload each (SIGHUP, `systemctl reload`).")


def _public_of(secret: bytes) -> bytes:
    return z85.decode(zmq.curve_public(encode(secret).encode()))


def _make(path: Path) -> bytes:
    """A secret key in a new file; its public key."""
    public, secret = zmq.curve_keypair()
    make(path, line(SECRET, z85.decode(secret)), 0o600)
    return z85.decode(public)


def _replace(path: Path, content: str) -> None:
    """At once, and as its owner's and with its mode: root works for the server's user."""
    path = path.resolve()  # a link to it stays one
    before = path.stat()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    make(draft, content, before.st_mode & 0o777)
    with contextlib.suppress(PermissionError):
        os.chown(draft, before.st_uid, before.st_gid)
    draft.replace(path)
