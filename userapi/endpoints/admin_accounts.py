"""Accounts under `/v1/admin`: the list of them, what each takes up, and the end of one.

Owns these endpoints. One account, and what is done to it, is `userapi.endpoints.admin`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from protocol.errors import InvalidIdError, NotFoundError
from protocol.ids import check_user_id
from userapi import audit
from userapi.endpoints import account_deletion
from userapi.endpoints.admin import ADMINISTRATOR
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import Answer, Flag, Number, Strict, Text, items, user_id
from userapi.http.pages import PageAnswer, PageQuery, from_cursor, to_cursor
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("administration of accounts", "Lists of accounts, and their end, for those who run the service")

_PREFIX = "[a-z0-9._-]{2,64}"
MAX_USAGE = 20
"""Accounts on a page of `GET /v1/admin/usage`: up to `broker.inbox_max_rows` are read of each."""


class AccountsQuery(PageQuery):
    """Which accounts."""

    prefix = Text(
        "Only those whose ids begin so; two characters or more.", required=False, pattern=_PREFIX, example="al"
    )


class ListedAccount(Answer):
    """One account."""

    user = user_id()
    display_name = Text("What people call them.")
    created_ms = Number("When it began; Unix time in milliseconds.")
    disabled = Flag("Whether it may not log in.")
    devices = Number("How many it has.")
    logged_in = Number("How many of these are logged in.")
    last_seen_ms = Number("When a session was there last; Unix time in milliseconds.", allow_none=True)


class ListedAccounts(PageAnswer):
    """A part of the list."""

    accounts = items(ListedAccount, "By id with SQLite, or with `prefix`; with Cassandra in an order of its own.")


@endpoint(area, "GET", "/v1/admin/accounts", query=AccountsQuery, answer=ListedAccounts, guard=ADMINISTRATOR)
def list_accounts(query: dict[str, Any]) -> dict[str, object]:
    """List accounts. A page may have fewer than `limit`, or none, before the end."""
    bridge, store = service().bridge, service().bridge.store
    after, limit, prefix = from_cursor(query), query["limit"], query.get("prefix", "")
    if prefix:
        users = [one.user for one in bridge.call(store.search, prefix, after, limit)]
    else:
        users = list(bridge.call(store.users, after, limit))
    profiles = bridge.call(store.profiles, users)  # of those that have not ended
    standing = bridge.call(store.standing, users)
    seen = bridge.call(store.last_seen, users)
    accounts = []
    for user in users:
        if (profile := profiles.get(user)) is None or (stands := standing.get(user)) is None:
            continue
        accounts.append(
            {
                "user": user,
                "display_name": profile.display_name,
                "created_ms": profile.created_ms,
                "disabled": stands.disabled,
                "devices": len(stands.logins),
                "logged_in": sum(bool(login) for login in stands.logins.values()),
                "last_seen_ms": seen.get(user),
            }
        )
    return {"accounts": accounts, "next": to_cursor(users[-1]) if len(users) == limit else None}


class UsageQuery(Strict):
    """Which accounts."""

    cursor = Text("`next` of the page before; without it, the first page.", required=False, max_length=200)
    limit = Number(
        "How many at most.",
        required=False,
        load_default=MAX_USAGE,
        minimum=1,
        maximum=MAX_USAGE,
        dump_default=MAX_USAGE,
    )


class AccountUsage(Answer):
    """What one account takes up."""

    user = user_id()
    devices = Number("How many it has.")
    groups = Number("How many it is in.")
    waiting_rows = Number("Copies that wait for its devices.")
    waiting_bytes = Number("Their bytes.")
    uploaded_bytes = Number("Bytes of its files that are there.")


class Usage(PageAnswer):
    """A part of the list."""

    accounts = items(AccountUsage, "In the order of `GET /v1/admin/accounts` without `prefix`.")


@endpoint(area, "GET", "/v1/admin/usage", query=UsageQuery, answer=Usage, guard=ADMINISTRATOR)
def list_usage(query: dict[str, Any]) -> dict[str, object]:
    """List what accounts take up. It reads all that waits for these accounts: go through it when somebody asks, and
    not on a timer. A page may have fewer than `limit`, or none, before the end.
    """
    bridge, store = service().bridge, service().bridge.store
    limit = query["limit"]
    users = list(bridge.call(store.users, from_cursor(query), limit))
    standing = bridge.call(store.standing, users)
    there = [(user, stands) for user in users if (stands := standing.get(user)) is not None]
    waiting = bridge.call(store.waiting, [user for user, _ in there])
    uploads = bridge.together(*(partial(store.uploads_of, user, 0) for user, _ in there))
    groups = bridge.together(*(partial(store.groups.of_user, user) for user, _ in there))
    accounts = [
        {
            "user": user,
            "devices": len(stands.logins),
            "groups": sum(not each.left_ms for each in of_groups),
            "waiting_rows": sum(rows for rows, _ in waiting.get(user, {}).values()),
            "waiting_bytes": sum(size for _, size in waiting.get(user, {}).values()),
            "uploaded_bytes": uploaded.bytes,
        }
        for (user, stands), uploaded, of_groups in zip(there, uploads, groups, strict=True)
    ]
    return {"accounts": accounts, "next": to_cursor(users[-1]) if len(users) == limit else None}


@endpoint(
    area,
    "DELETE",
    "/v1/admin/accounts/<user>",
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def remove_account(user: str) -> tuple[str, int]:
    """End an account at once and for good, as its user could (`POST /v1/me/deletion`). Once more is no error."""
    parts = service()
    try:
        account = parts.bridge.call(parts.bridge.store.account, check_user_id(user))
        account_deletion.end_account(parts, user, known=account is not None, by=audit.ADMINISTRATOR)
    except (InvalidIdError, NotFoundError):
        raise ProblemError("no_such_user") from None
    return "", 204
