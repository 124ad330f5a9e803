"""Friends, requests and blocks: `/v1/friends`, `/v1/requests`, `/v1/blocks`.

Owns what each change means for brokers, and who is told. What may become of two users is `store.contacts`' business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from protocol.errors import InvalidIdError, MisuseError, NotFoundError, OutdatedError, ServiceError
from protocol.ids import check_user_id
from protocol.sparrow_pb2 import Hint
from store.contacts import Change, Relation
from userapi import audit
from userapi.callers import DEVICE, caller
from userapi.endpoints.group_forms import note, told
from userapi.endpoints.hints import tell, tell_both
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import Answer, Flag, Number, items, user_id
from userapi.http.pages import MAX_LIMIT, PageAnswer, PageQuery, from_cursor, to_cursor
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("contacts", "Friends, requests to be friends, and blocks")

_EVENTS = {
    Change.ASK: "friend_asked",
    Change.ACCEPT: "friend_accepted",
    Change.CANCEL: "request_taken_back",
    Change.DECLINE: "request_declined",
    Change.REMOVE: "friend_removed",
    Change.BLOCK: "blocked",
    Change.BLOCK_SILENTLY: "blocked",
    Change.UNBLOCK: "unblocked",
}
"""What the audit log calls each change."""


class Contact(Answer):
    """How one user stands to another."""

    user = user_id("The other's id.")
    friend = Flag("You are friends.")
    asked = Flag("You have asked them to be your friend.")
    asks = Flag("They have asked you.")
    blocked = Flag("You have blocked them.")
    since_ms = Number("Of a friend, and of somebody who asks you: since when; Unix time in milliseconds. Otherwise 0.")


class Contacts(PageAnswer):
    """A page of them."""

    items = items(Contact, "By user id.")


class Friend(Contact):
    """A friend, and whether they are there."""

    online = Flag("They are connected now. Absent if they hide it.", required=False)
    last_seen_ms = Number(
        "When they were online last; Unix time in milliseconds. Absent if unknown or hidden.", required=False
    )


class Friends(PageAnswer):
    """A page of friends."""

    items = items(Friend, "By user id.")


def _contact(other: str, relation: Relation) -> dict[str, Any]:
    return {
        "user": other,
        "friend": relation.friend,
        "asked": relation.asked,
        "asks": relation.asks,
        "blocked": relation.blocks,
        # Of anything else it would tell when the other has blocked, or unblocked.
        "since_ms": relation.since_ms if relation.friend or relation.asks else 0,
    }


# Lists.


def _some(query: dict[str, Any], wanted: Callable[[Relation], bool]) -> tuple[list[tuple[str, Relation]], str | None]:
    """A page of those that are wanted, and where the next begins."""
    parts, user = service(), caller().user
    found: list[tuple[str, Relation]] = []
    after = from_cursor(query)
    while True:
        some = parts.bridge.call(parts.bridge.store.contacts, user, after, MAX_LIMIT)
        for other, relation in some:
            if wanted(relation):
                found.append((other, relation))
                if len(found) == query["limit"]:
                    return found, to_cursor(other)
        if len(some) < MAX_LIMIT:
            return found, None
        after = some[-1][0]


def _contacts(query: dict[str, Any], wanted: Callable[[Relation], bool]) -> dict[str, Any]:
    found, after = _some(query, wanted)
    return {"items": [_contact(*one) for one in found], "next": after}


@endpoint(area, "GET", "/v1/friends", query=PageQuery, answer=Friends, guard=DEVICE)
def list_friends(query: dict[str, Any]) -> dict[str, Any]:
    """List your friends, and who of them is online."""
    parts = service()
    found, after = _some(query, lambda relation: relation.friend)
    others, store = [other for other, _ in found], parts.bridge.store
    profiles, last_seen = parts.bridge.together(partial(store.profiles, others), partial(store.last_seen, others))
    blockers = {other for other, relation in found if relation.blocked}  # to whom it only seems so
    shown = [user for user, profile in profiles.items() if not profile.hides_presence and user not in blockers]
    seen = {user: last_seen[user] for user in shown if user in last_seen}
    online: Mapping[str, bool] = {}
    with contextlib.suppress(ServiceError):  # who cannot say who is online does not say it
        online = parts.fabric.online(shown)
    return {"items": [_contact(*one) | _presence(one[0], online, seen) for one in found], "next": after}


def _presence(user: str, online: Mapping[str, bool], seen: Mapping[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if user in online:
        found["online"] = online[user]
    if user in seen:
        found["last_seen_ms"] = seen[user]
    return found


@endpoint(area, "GET", "/v1/requests", query=PageQuery, answer=Contacts, guard=DEVICE)
def list_requests(query: dict[str, Any]) -> dict[str, Any]:
    """List whom you have asked to be your friend, and who has asked you."""
    return _contacts(query, lambda relation: relation.asked or relation.asks)


@endpoint(area, "GET", "/v1/blocks", query=PageQuery, answer=Contacts, guard=DEVICE)
def list_blocks(query: dict[str, Any]) -> dict[str, Any]:
    """List whom you have blocked."""
    return _contacts(query, lambda relation: relation.blocks)


# Changes.


def _change(other: str, what: Change) -> tuple[Relation, Relation]:
    parts, user = service(), caller().user
    if user == other:
        raise ProblemError("not_yourself")
    try:
        check_user_id(other)
    except InvalidIdError as error:
        raise ProblemError("no_such_user", str(error)) from None
    if (
        what in (Change.ASK, Change.BLOCK, Change.BLOCK_SILENTLY)
        and parts.bridge.call(parts.bridge.store.account, other) is None
    ):
        raise ProblemError("no_such_user", f'there is no user "{other}"')
    before, after = parts.bridge.call(parts.bridge.store.change_contact, user, other, what)
    if after != before:
        audit.note(_EVENTS[Change.ACCEPT if after.friend else what], user, other=other)
    # Also when nothing has changed: this may repeat a change that brokers were not told of.
    if what not in (Change.ASK, Change.CANCEL, Change.DECLINE) or after.friend:
        parts.fabric.changed([user, other])
    # Now that nobody takes any more. Also when nothing has changed: what was on its way then waits by now.
    if what in (Change.BLOCK, Change.BLOCK_SILENTLY):
        parts.bridge.call(parts.bridge.store.drop_waiting, user, other)
    return before, after


def _tell(other: str, kind: Hint.Kind, *, quietly: bool) -> None:
    """Both, each about the other; `quietly`: one's own devices only."""
    if quietly:
        tell(caller().user, kind, other)
    else:
        tell_both(caller().user, other, kind)


def _seems_friend(other: str) -> bool:
    """Whether the other, whom the caller has blocked, still sees a friend."""
    parts, user = service(), caller().user
    if user == other:
        return False
    return parts.bridge.call(parts.bridge.store.contact, other, user).friend


ONE = {"parts": (USER_IN_PATH,), "answer": Contact, "guard": DEVICE}


@endpoint(area, "PUT", "/v1/requests/<user>", problems=("not_yourself", "no_such_user", "you_block_them"), **ONE)  # type: ignore[arg-type]
def ask(user: str) -> dict[str, Any]:
    """Ask to be friends. Who asks somebody that has asked them is their friend at once."""
    try:
        before, after = _change(user, Change.ASK)
    except MisuseError as error:
        raise ProblemError("you_block_them", str(error)) from None
    if after.friend and not before.friend:
        tell_both(caller().user, user, Hint.FRIEND_ACCEPTED)
    elif after.asked and not before.asked and not after.blocked:
        tell_both(caller().user, user, Hint.FRIEND_ASKED)
    return _contact(user, after)


@endpoint(area, "DELETE", "/v1/requests/<user>", problems=("not_yourself", "no_such_user"), **ONE)  # type: ignore[arg-type]
def take_back(user: str) -> dict[str, Any]:
    """Take back what you asked, or decline what they asked."""
    before, after = _change(user, Change.CANCEL)
    if before.asks:
        _, after = _change(user, Change.DECLINE)
    if (before.asked or before.asks) and not before.blocked:
        tell_both(caller().user, user, Hint.FRIEND_REFUSED)
    return _contact(user, after)


@endpoint(area, "PUT", "/v1/friends/<user>", problems=("not_yourself", "no_such_user", "no_such_request"), **ONE)  # type: ignore[arg-type]
def accept(user: str) -> dict[str, Any]:
    """Accept their request to be friends."""
    try:
        before, after = _change(user, Change.ACCEPT)
    except NotFoundError as error:
        raise ProblemError("no_such_request", str(error)) from None
    if not before.friend:
        tell_both(caller().user, user, Hint.FRIEND_ACCEPTED)
    return _contact(user, after)


@endpoint(area, "DELETE", "/v1/friends/<user>", problems=("not_yourself", "no_such_user"), **ONE)  # type: ignore[arg-type]
def remove(user: str) -> dict[str, Any]:
    """Be friends no more."""
    before, after = _change(user, Change.REMOVE)
    if before.friend:
        _tell(user, Hint.FRIEND_REMOVED, quietly=before.blocked)
    return _contact(user, after)


@endpoint(area, "PUT", "/v1/blocks/<user>", problems=("not_yourself", "no_such_user", "changed_meanwhile"), **ONE)  # type: ignore[arg-type]
def block(user: str) -> dict[str, Any]:
    """Block them: no message goes either way, a friendship or a request ends, and what waits from them is dropped.

    What was on its way at that moment may still come; blocking once more drops it. They are told of the friendship's
    end, or with `userapi.blocks_are_silent` of nothing: they go on seeing you among their friends.

    You leave groups that both of you are in if they have fewer than four members, or are the other's. Then the answer
    takes about two seconds.
    """
    silent = service().settings.blocks_are_silent
    before, after = _change(user, Change.BLOCK_SILENTLY if silent else Change.BLOCK)
    if before.friend:
        _tell(user, Hint.FRIEND_REMOVED, quietly=silent or before.blocked)
    _leave_groups(user)
    return _contact(user, after)


def _leave_groups(other: str) -> None:
    try:
        left = service().groups.leave_for_block(caller().user, other)
    except OutdatedError:
        raise ProblemError("changed_meanwhile") from None
    for one in left:
        note("group_left", one.group.group, why="block")
    if left:
        told(*left)


@endpoint(area, "DELETE", "/v1/blocks/<user>", problems=("not_yourself", "no_such_user"), **ONE)  # type: ignore[arg-type]
def unblock(user: str) -> dict[str, Any]:
    """Block them no more. A friendship that the block has ended is not there again."""
    seemed = _seems_friend(user)
    _, after = _change(user, Change.UNBLOCK)
    if seemed and not after.blocks:
        tell_both(caller().user, user, Hint.FRIEND_REMOVED)
    return _contact(user, after)
