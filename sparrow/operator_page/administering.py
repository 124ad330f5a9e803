"""What an operator does on the page, as requests to `/v1/admin` of a user API: so it is in the audit log there.

Owns which requests these are, what of their answers the page gets, and how many are on their way at once. Of messages
the page gets no body, whatever the user API says.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from protocol.errors import (
    AccountDisabledError,
    InvalidIdError,
    NotFoundError,
    ServiceError,
    SparrowError,
    UnreachableError,
)
from protocol.ids import check_user_id, is_group_id
from sparrow.ops.administration import Administration
from userapi.http.problems import ProblemError

Json = dict[str, Any]
AT_ONCE = 6
"""Requests to the user API; those beyond them are told to try again, so that one that hangs does not take the page."""
_ACTIONS = ("disable", "enable", "end-logins", "close-sessions")
_OF_A_REPORT = ("report", "reporter", "reported_ms", "group", "members", "text")
_OF_ITS_MESSAGE = ("author", "device", "stream", "id", "stamp", "kind", "revision", "erased_by")
"""All but what it says."""
PAGE = "50"
"""Entries of a list at a time."""


class Administering:
    """Does it at one user API. Threads may share it."""

    def __init__(self, there: Administration, page_url: str) -> None:
        """`page_url`: where people find the chat's page, for links with codes; empty: nowhere."""
        self._there = there
        self._page_url = page_url.rstrip("/")
        self._room = threading.BoundedSemaphore(AT_ONCE)

    # Accounts.

    def accounts(self, prefix: str, cursor: str, origin: str) -> Json:
        """A page of the list."""
        asked = {"limit": PAGE} | ({"prefix": prefix} if prefix else {}) | ({"cursor": cursor} if cursor else {})
        return self._ask("GET", "/v1/admin/accounts", origin, params=asked)

    def account(self, user: str, origin: str) -> Json:
        """One of them."""
        return self._ask("GET", _account(user), origin)

    def add(self, user: str, origin: str) -> Json:
        """Make an account that nobody knows a password of, and a code by which its user sets one."""
        body = {"user": user, "password": secrets.token_urlsafe(24)}
        self._ask("POST", "/v1/admin/accounts", origin, json=body)
        return self.password_code(user, origin)

    def password_code(self, user: str, origin: str) -> Json:
        """A code for a new password, and the link that has it, where there is a page."""
        made = self._ask("POST", f"{_account(user)}/password-reset", origin)
        return self._with_link(made, f"reset={quote(user)}:")

    def act(self, user: str, action: str, origin: str) -> Json:
        """Disable, enable, end logins, close sessions."""
        if action not in _ACTIONS:
            raise ProblemError("not_found")
        return self._ask("POST", f"{_account(user)}/{action}", origin)

    def remove(self, user: str, origin: str) -> Json:
        """End the account."""
        return self._ask("DELETE", _account(user), origin)

    # Invitations.

    def invitations(self, cursor: str, origin: str) -> Json:
        """A page of those that have not ended."""
        asked = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
        return self._ask("GET", "/v1/admin/invitations", origin, params=asked)

    def invite(self, hours: int, uses: int, note: str, origin: str) -> Json:
        """A new one, with its code."""
        body = {"hours": hours, "uses": uses, "note": note}
        return self._with_link(self._ask("POST", "/v1/admin/invitations", origin, json=body), "invite=")

    def withdraw(self, invitation: str, origin: str) -> Json:
        """Nobody registers with it any more."""
        return self._ask("DELETE", f"/v1/admin/invitations/{_segment(invitation)}", origin)

    # Groups.

    def groups(self, cursor: str, origin: str) -> Json:
        """A page of the list."""
        asked = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
        return self._ask("GET", "/v1/admin/groups", origin, params=asked)

    def group(self, group: str, origin: str) -> Json:
        """Who is in it. It is in the audit log."""
        return self._ask("GET", _group(group), origin)

    def close(self, group: str, origin: str) -> Json:
        """It ends, for all of its members."""
        return self._ask("DELETE", _group(group), origin)

    # Reports.

    def reports(self, after: str, origin: str) -> Json:
        """A page of them, without what messages say."""
        asked = {"limit": PAGE, "bodies": "false"} | ({"after": after} if after else {})
        told = self._ask("GET", "/v1/admin/reports", origin, params=asked)
        return {"reports": [_bare(report) for report in told["reports"]], "next": told["next"]}

    def drop_report(self, report: str, origin: str) -> Json:
        """Forget it."""
        return self._ask("DELETE", f"/v1/admin/reports/{_segment(report)}", origin)

    def take_down(self, where: Mapping[str, Any], origin: str) -> Json:
        """Erase a message that was reported, for everybody: `group` or `members`, and the message's name."""
        name = "/".join(_segment(where.get(part)) for part in ("author", "device", "stream", "id"))
        if where.get("group"):
            return self._ask("DELETE", f"{_group(where['group'])}/messages/{name}", origin)
        members = where.get("members")
        if not isinstance(members, list) or len(members) != 2:
            raise ProblemError("invalid_value", '"members" names the two of a conversation', field="members")
        one, other = map(_segment, members)
        return self._ask("DELETE", f"/v1/admin/conversations/{one}/{other}/messages/{name}", origin)

    # Who is big.

    def usage(self, cursor: str) -> Json:
        """A page of what accounts take up."""
        return self._ask("GET", "/v1/admin/usage", "", params={"cursor": cursor} if cursor else {})

    def _with_link(self, made: Json, fragment: str) -> Json:
        # Behind the #, where no server and no log sees it.
        link = f"{self._page_url}/#{fragment}{made['code']}" if self._page_url else ""
        return {**made, "link": link}

    def _ask(self, method: str, path: str, origin: str, **more: Any) -> Json:
        """`origin`: whose browser it is for, for the audit log. Raises `ProblemError`."""
        if not self._room.acquire(blocking=False):
            raise ProblemError("unavailable", "too much at once: try again", headers={"Retry-After": "2"})
        if origin:
            more["headers"] = {"X-Forwarded-For": origin}
        try:
            return self._there.ask(method, path, **more)
        except NotFoundError as error:
            raise ProblemError("not_found", str(error)) from None
        except AccountDisabledError:
            raise ProblemError("account_disabled", "the account is disabled: enable it first") from None
        except (UnreachableError, ServiceError) as error:
            raise ProblemError("unavailable", str(error)) from None
        except SparrowError as error:
            raise ProblemError("bad_request", str(error)) from None
        finally:
            self._room.release()


def _account(user: str) -> str:
    try:
        return f"/v1/admin/accounts/{_segment(check_user_id(user))}"
    except InvalidIdError as error:
        raise ProblemError("invalid_user_id", str(error)) from None


def _group(group: object) -> str:
    if not isinstance(group, str) or not is_group_id(group):
        raise ProblemError("no_such_group")
    return f"/v1/admin/groups/{quote(group, safe='~')}"


def _segment(text: object) -> str:
    """One part of a path, whatever is in it. Raises `ProblemError` for what would be another path."""
    if not isinstance(text, str) or text in ("", ".", "..") or len(text) > 200:
        raise ProblemError("not_found")
    return quote(text, safe="~")


def _bare(report: Json) -> Json:
    found = {name: report[name] for name in _OF_A_REPORT if name in report}
    message = {name: report["message"][name] for name in _OF_ITS_MESSAGE if name in report["message"]}
    return {**found, "message": message}
