"""`sparrow keys`: makes the keys that servers know one another by, and certificates that browsers know them by.

Owns which files there are, and what is said of them. Their format is `fabric.curve`'s, `userapi.keys`' and
`sparrow.config.certificates`' business.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from fabric.curve import SECRET, line
from protocol.errors import ConfigError
from sparrow.config import rotation
from sparrow.config.keyfiles import make, refuse
from sparrow.config.rotation import ALLOWED, BROKER_KEY, BROKER_PUBLIC, TOKEN_KEY, TOKEN_PUBLIC

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
    kind = kinds.add_parser("certificate", help="an authority of your own, and a certificate for browsers; or renew it")
    kind.add_argument(
        "names", nargs="*", metavar="NAME", help="a host's name or address, as browsers open it (none: those it has)"
    )
    kind.add_argument("folder", metavar="DIR")  # a text, as it was written
    for step, text in rotation.STEPS.items():
        rotation.add_arguments(kinds.add_parser(step, help=f"change a key: {text}"))


def run(options: argparse.Namespace) -> int:
    """Make keys. Raises `ConfigError` if one is there already, or the folder cannot be written."""
    folder = Path(options.folder)
    if options.kind in rotation.STEPS:
        rotation.run(options.kind, options, _say)
    elif options.kind == "broker":
        make_broker_keys(folder)
        _say(
            f"{folder / BROKER_KEY} is secret: for all brokers, with {ALLOWED}, and for nobody else.",
            f"{folder / BROKER_PUBLIC} goes to every connector, and to the user API.",
        )
    elif options.kind in ("connector", "userapi"):
        printed = make_link_key(options.name, folder)
        _say(f"{folder / options.name}.key is secret, and stays with this {options.kind}. For the brokers' {ALLOWED}:")
        print(printed, end="", flush=True)
    elif options.kind == "certificate":
        _certificate(options.names, options.folder)
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
    refuse(folder / BROKER_KEY, folder / BROKER_PUBLIC)
    make(folder / BROKER_KEY, line(SECRET, secret), 0o600)
    make(folder / BROKER_PUBLIC, line("broker", public), 0o644)
    if not (folder / ALLOWED).exists():
        make(folder / ALLOWED, _ALLOWED_TEXT, 0o644)


def make_link_key(name: str, folder: Path) -> str:
    """`NAME.key`; returns the line for the brokers' list. Raises `ConfigError`."""
    public, secret = _pair()
    printed = line(name, public)
    if name in (SECRET, "broker") or "/" in name or name.startswith("."):
        raise ConfigError(f"{name!r} is no name for a key: choose one such as connector-1")
    make(folder / f"{name}.key", line(SECRET, secret), 0o600)
    return printed


def make_token_keys(folder: Path) -> None:
    """`token.key.pem` and `token.pub.pem`. Raises `ConfigError`."""
    from userapi.keys import ensure_key_pair

    refuse(folder / TOKEN_KEY, folder / TOKEN_PUBLIC)
    ensure_key_pair(folder / TOKEN_KEY, folder / TOKEN_PUBLIC)


_SETTINGS = """\
[connector]
listen_host = "0.0.0.0"
websocket_listen_port = 7402
websocket_origins = [{origins}]
tls_certificate_file = {certificate}
tls_private_key_file = {key}

[userapi]
listen_host = "0.0.0.0"
connectors = ["tls://{host}:7400", "wss://{host}:7402"]
tls_certificate_file = {certificate}
tls_private_key_file = {key}
"""


def _certificate(names: list[str], place: str) -> None:
    from sparrow.config.certificates import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY, make_certificate

    folder = Path(place)
    if not folder.exists() and re.fullmatch(r"[^/]*[.:][^/]*", place):
        raise ConfigError(f'"{place}" would be the folder, and is not there: name it last, or write ./{place}')
    made = make_certificate(names, folder)
    _say(f"{folder / CERTIFICATE} is for {', '.join(made.names)}, until {made.until:%Y-%m-%d}.")
    if os.geteuid() == 0 == folder.stat().st_uid and folder.stat().st_gid:
        files = f"{folder / CERTIFICATE} {folder / KEY}"
        _say(f"So that the servers can read them: chgrp --reference={folder} {files}; chmod 640 {files}.")
    if not made.is_first:
        _say("Connector and user API take it by themselves, within a minute; at once with SIGHUP (`systemctl reload`).")
        return
    _say(
        f"{folder / KEY} is secret: the connector and the user API read it, and nobody else.",
        f"{folder / AUTHORITY_KEY} is secret, and only for renewals: keep it elsewhere, or remove it.",
        f"{folder / AUTHORITY} is the authority: have browsers and phones trust it, and sparrow chat by --ca",
        '(docs/operations.md, "From another machine"). For the settings of a node:',
    )
    hosts = [f"[{name}]" if ":" in name else name for name in made.names]
    values = {
        # A browser's policy has no IPv6 addresses.
        "host": next((host for host in hosts if not host.startswith("[")), hosts[0]),
        "origins": ", ".join(f'"https://{host}:7480"' for host in hosts),
        "certificate": json.dumps(str((folder / CERTIFICATE).absolute())),
        "key": json.dumps(str((folder / KEY).absolute())),
    }
    print(_SETTINGS.format(**values), end="", flush=True)


def _pair() -> tuple[bytes, bytes]:
    import zmq
    from zmq.utils import z85

    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
