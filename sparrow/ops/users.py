"""`sparrow user`: accounts, by the operator, over the administration of a user API that runs.

Owns its arguments, and what is said. What happens is `/v1/admin`'s business, so it is the same with either engine, and
in the audit log.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from protocol.errors import AccountDisabledError, ConfigError
from protocol.ids import check_user_id
from sparrow.chat.password_file import password_in
from sparrow.chat.text import bare
from sparrow.ops.administration import Administration

if TYPE_CHECKING:
    from sparrow.config.settings import Settings

Json = dict[str, Any]
_AT_ONCE = 100
_PREFIX = re.compile("[a-z0-9._-]{2,64}")
_MAX_NOTE = 100
"""Characters."""
_REFUSED = 1
"""Exit status where nothing was done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow user`."""
    parser.add_argument("--api", metavar="URL", help="the user API (default: that of the settings, on this machine)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="with --api: trust certificates of this CA")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, *, user: bool = True, prints: bool = False) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=text + ".")
        if user:
            made.add_argument("user", metavar="USER")
        if prints:
            made.add_argument("--json", action="store_true", help="a JSON object a line, for programs")
        # Also behind the action. Without a default, or it would undo what stands before it.
        made.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return made

    listing = action("list", "list accounts", user=False, prints=True)
    listing.add_argument("--prefix", default="", metavar="TEXT", help="only ids that begin so; two characters or more")
    action("show", "show an account and its devices", prints=True)
    adding = action("add", "make an account, and a code by which its user sets the password")
    adding.add_argument("--password-file", type=Path, metavar="FILE", help="set the password in its first line instead")
    action("disable", "let nobody in to an account, until it is enabled; it keeps everything")
    action("enable", "let its user in again")
    action("password", "make a code by which a user sets a new password, once")
    action("logout", "end all logins of an account; its devices stay, and may log in again")
    for name, text in (
        ("link", "let somebody at the OpenID provider log in to an account"),
        ("unlink", "let them in to it no more; what is logged in stays so, until logout"),
    ):
        linking = action(name, text)
        linking.add_argument("subject", metavar="SUBJECT", help="what the provider calls them for good: its claim sub")
        linking.add_argument("--issuer", default="", metavar="URL", help="the provider (default: userapi.oidc_issuer)")
    removing = action("remove", "end an account, as its user could")
    removing.add_argument("--yes", action="store_true", help="do it; without this, only tell what would go")
    inviting = action("invite", "make an invitation to register, or list or withdraw them", user=False, prints=True)
    inviting.add_argument("--hours", type=int, default=168, metavar="N", help="it ends after so many (%(default)s)")
    inviting.add_argument("--uses", type=int, default=1, metavar="N", help="so many may register (%(default)s)")
    inviting.add_argument("--note", default="", metavar="TEXT", help="for you: whom it is for")
    inviting.add_argument("--list", action="store_true", help="list those that have not ended")
    inviting.add_argument("--withdraw", metavar="INVITATION", help="let nobody register with it any more")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it. Raises `ConfigError`, `NotFoundError`, and what `Administration` raises."""
    if options.action not in ("list", "invite"):
        check_user_id(options.user)
    there = Administration(settings.userapi, options.api, options.ca)
    return _ACTIONS[options.action](there, settings, options)


def _list(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    if options.prefix and not _PREFIX.fullmatch(options.prefix):
        raise ConfigError("--prefix: give two or more of a-z, 0-9, dot, underscore and hyphen")
    asked = {"prefix": options.prefix} if options.prefix else {}
    table = _Table("user", "state", "logged in/devices", "last seen", "name")
    for accounts in _pages(there, "/v1/admin/accounts", "accounts", **asked):
        if options.json:
            _print_json(accounts)
            continue
        rows = [
            (
                one["user"],
                "disabled" if one["disabled"] else "-",
                f"{one['logged_in']}/{one['devices']}",
                _time(one["last_seen_ms"]),
                bare(one["display_name"]),
            )
            for one in accounts
        ]
        table.print(rows)
    return 0


def _show(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    found = there.ask("GET", _path(options.user))
    if options.json:
        _print_json([found])
    else:
        print(*_lines(found), sep="\n")
    return 0


def _lines(found: Json) -> Iterator[str]:
    by = f", by the invitation {found['invitation']}" if found["invitation"] else ""
    online = {True: "now", False: "not now", None: "no broker answers"}[found["online"]]
    ends_ms = found["reset_code_ends_ms"]
    yield f"user:      {found['user']}"
    yield f"name:      {bare(found['display_name']) or '-'}"
    yield f"made:      {_time(found['created_ms'])}{by}"
    yield f"state:     {'disabled' if found['disabled'] else 'enabled'}"
    yield f"password:  {'kept here' if found['own_password'] else 'not kept here'}"
    for one in found.get("subjects", ()):  # a user API of 0.1 tells none
        yield f"subject:   {bare(one['subject'])} of {bare(one['issuer'])}"
    yield f"code:      {f'open for a new password, until {_time(ends_ms)}' if ends_ms else '-'}"
    yield f"online:    {online}, last {_time(found['last_seen_ms'])}"
    yield f"waiting:   {found['waiting_rows']} copies, {_size(found['waiting_bytes'])}"
    yield f"uploaded:  {_size(found['uploaded_bytes'])}"
    yield f"devices:   {len(found['devices'])}"
    for one in found["devices"]:
        state = "logged in" if one["logged_in"] else "logged out"
        yield f"  {one['device']}  {state:10}  since {_time(one['created_ms'])}  {bare(one['label'])}".rstrip()


def _add(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    file: Path | None = options.password_file
    password = password_in(file) if file else secrets.token_urlsafe(24)
    there.ask("POST", "/v1/admin/accounts", json={"user": options.user, "password": password})
    print(f'made: the account "{options.user}"')
    return 0 if file else _password(there, settings, options)


def _disable(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    there.ask("POST", _path(options.user, "disable"))
    print(f'disabled: "{options.user}"; nobody is let in, its sessions are closed, and it keeps everything')
    return 0


def _enable(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    there.ask("POST", _path(options.user, "enable"))
    print(f'enabled: "{options.user}"')
    return 0


def _logout(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    there.ask("POST", _path(options.user, "end-logins"))
    print(f'ended: all logins of "{options.user}"; its devices may log in again')
    return 0


def _link(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    there.ask("POST", _path(options.user, options.action), json=_subject(options))
    print(f'linked: "{options.user}" is the account of {options.subject}')
    return 0


def _unlink(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    there.ask("POST", _path(options.user, options.action), json=_subject(options))
    print(f'unlinked: {options.subject} is let in to "{options.user}" no more; to end what is logged in:')
    print(f"  sparrow user logout {options.user}")
    return 0


def _subject(options: argparse.Namespace) -> Json:
    return {"subject": options.subject} | ({"issuer": options.issuer} if options.issuer else {})


def _password(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    try:
        made = there.ask("POST", _path(options.user, "password-reset"))
    except AccountDisabledError:
        raise ConfigError(f'"{options.user}" is disabled: sparrow user enable {options.user}') from None
    print(f'"{options.user}" sets a new password with this code, once, until {_time(made["ends_ms"])}:')
    _print_code(settings, made["code"], f"reset={quote(options.user)}:")
    return 0


def _remove(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    if not options.yes:
        print(*_lines(there.ask("GET", _path(options.user))), sep="\n")
        print("nothing was removed: with --yes all of this goes, but for the files, and nobody gets the name again")
        return _REFUSED
    there.ask("DELETE", _path(options.user))
    print(f'removed: the account "{options.user}"; its sessions are closed')
    return 0


def _invite(there: Administration, settings: Settings, options: argparse.Namespace) -> int:
    if options.withdraw:
        there.ask("DELETE", f"/v1/admin/invitations/{quote(options.withdraw, safe='')}")
        print(f"withdrawn: the invitation {options.withdraw}")
        return 0
    if options.list:
        table = _Table("invitation", "used", "ends", "for", "used by")
        for some in _pages(there, "/v1/admin/invitations", "invitations"):
            if options.json:
                _print_json(some)
                continue
            rows = [
                (
                    one["invitation"],
                    f"{len(one['used_by'])}/{one['uses']}",
                    _time(one["ends_ms"]),
                    bare(one["note"]) or "-",
                    " ".join(one["used_by"]),
                )
                for one in some
            ]
            table.print(rows)
        return 0
    if not options.note.isprintable() or len(options.note) > _MAX_NOTE:
        raise ConfigError(f"--note: give one line of up to {_MAX_NOTE} characters")
    asked = {"hours": options.hours, "uses": options.uses, "note": options.note}
    made = there.ask("POST", "/v1/admin/invitations", json=asked)
    if options.json:
        _print_json([made])
        return 0
    people = "one person" if made["uses"] == 1 else f"{made['uses']} people"
    print(f"invitation {made['invitation']}: {people} may register with this code, until {_time(made['ends_ms'])}:")
    _print_code(settings, made["code"], "invite=")
    if settings.userapi.registration != "invitation":
        print(
            f'sparrow: userapi.registration is "{settings.userapi.registration}" here: only '
            'with "invitation" is a code asked for',
            file=sys.stderr,
        )
    return 0


_ACTIONS: dict[str, Callable[[Administration, Settings, argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "add": _add,
    "disable": _disable,
    "enable": _enable,
    "password": _password,
    "link": _link,
    "unlink": _unlink,
    "logout": _logout,
    "remove": _remove,
    "invite": _invite,
}


# What is asked and printed.


def _path(user: str, action: str = "") -> str:
    path = f"/v1/admin/accounts/{quote(user, safe='')}"
    return f"{path}/{action}" if action else path


def _pages(there: Administration, path: str, name: str, **asked: str) -> Iterator[list[Json]]:
    params: dict[str, object] = {"limit": _AT_ONCE, **asked}
    while True:
        answer = there.ask("GET", path, params=params)
        if answer[name]:
            yield answer[name]
        if answer["next"] is None:
            return
        params["cursor"] = answer["next"]


def _print_code(settings: Settings, code: str, fragment: str) -> None:
    print(f"  {code}")
    if settings.userapi.page_url:
        # Behind the #, where no server and no log sees it.
        print(f"  {settings.userapi.page_url.rstrip('/')}/#{fragment}{code}")
    print("it is shown this once: hand it to nobody else")


def _print_json(some: Sequence[Json]) -> None:
    for one in some:
        print(json.dumps(one, ensure_ascii=False))


class _Table:
    """Rows below one head, as they come: columns grow, and never run together."""

    def __init__(self, *head: str) -> None:
        self._head: Sequence[str] | None = head
        self._widths = [len(text) for text in head]

    def print(self, rows: Sequence[Sequence[str]]) -> None:
        self._widths = [max(map(len, column), default=0) for column in zip(*rows, self._padding(), strict=True)]
        head, self._head = self._head, None
        for row in (head, *rows) if head else rows:
            cells = [text.ljust(width) for text, width in zip(row, self._widths, strict=True)]
            print("  ".join(cells).rstrip())

    def _padding(self) -> list[str]:
        return [" " * width for width in self._widths]


def _time(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "never"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _size(count: int) -> str:
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / 2**20:.1f} MiB"
    )
