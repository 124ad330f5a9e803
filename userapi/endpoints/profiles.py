"""Users: one's own profile, others', and the search.

Owns `/v1/me` and `/v1/users`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from flask import Response

from protocol.errors import NotFoundError, ServiceError
from protocol.sparrow_pb2 import Hint
from store.interface import Profile
from userapi.callers import DEVICE, caller, callers_profile
from userapi.endpoints.hints import tell, tell_friends
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import LABEL, Answer, Flag, Number, Strict, Text, in_a_line, items, user_id
from userapi.http.pages import IF_NONE_MATCH, NOT_MODIFIED, PageAnswer, PageQuery, from_cursor, tagged, to_cursor
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("users", "Profiles, one's own and others'")


class OwnProfile(Answer):
    """What a user sees of themselves."""

    user = user_id()
    display_name = Text("What people call the user; may be empty.")
    hides_presence = Flag("Whether friends see neither that the user is online nor when they were.")
    friends_may_add_me = Flag("Whether friends may make the user a member of a group without asking.")
    created_ms = Number("When the account was made; Unix time in milliseconds.")


class ProfileChange(Strict):
    """What `PATCH /v1/me` takes; what is absent stays."""

    display_name = Text("What people call the user; may be empty.", required=False, example="Alice", **LABEL)
    hides_presence = Flag("Whether friends see neither that the user is online nor when they were.", required=False)
    friends_may_add_me = Flag("Whether friends may make the user a member of a group without asking.", required=False)


class PublicProfile(Answer):
    """What everybody who is logged in sees of a user."""

    user = user_id()
    display_name = Text("What people call the user; may be empty.")


class UserQuery(PageQuery):
    """What `GET /v1/users` takes."""

    prefix = Text(
        "What the ids begin with; two characters or more.", pattern="[a-z0-9._-]{2,64}", max_length=64, example="al"
    )


class Users(PageAnswer):
    """What `GET /v1/users` answers."""

    items = items(PublicProfile, "By id.")


def _own(profile: Profile) -> dict[str, object]:
    return {
        "user": profile.user,
        "display_name": in_a_line(profile.display_name),
        "hides_presence": profile.hides_presence,
        "friends_may_add_me": profile.friends_may_add_me,
        "created_ms": profile.created_ms,
    }


def _public(profile: Profile) -> dict[str, object]:
    return {"user": profile.user, "display_name": in_a_line(profile.display_name)}


def _profile(parts: Service, user: str) -> Profile:
    found = parts.bridge.call(parts.bridge.store.profiles, [user])
    if user not in found:
        raise ProblemError("no_such_user", "there is no such user")
    return found[user]


@endpoint(
    area,
    "GET",
    "/v1/me",
    answer=OwnProfile,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    guard=DEVICE,
)
def own_profile() -> Response | tuple[dict[str, object], int, dict[str, str]]:
    """One's own profile."""
    return tagged(_own(callers_profile()))


@endpoint(area, "PATCH", "/v1/me", body=ProfileChange, answer=OwnProfile, guard=DEVICE, problems=("no_such_user",))
def change_profile(body: dict[str, Any]) -> dict[str, object]:
    """Change one's own profile; what is absent stays. Friends and one's other devices get a hint."""
    parts, user = service(), caller().user
    before = callers_profile()
    wanted = [body.get(field) for field in ("display_name", "hides_presence", "friends_may_add_me")]
    try:
        after = parts.bridge.call(parts.bridge.store.change_profile, user, *wanted)
    except NotFoundError:
        raise ProblemError("no_such_user", "there is no such user") from None
    if after.hides_presence != before.hides_presence:
        # What somebody has read is told to others, or not. A broker that does not hear of it asks by itself, soon.
        with contextlib.suppress(ServiceError):
            parts.fabric.changed([user])
    if (after.display_name, after.hides_presence) != (before.display_name, before.hides_presence):
        tell_friends(user, Hint.PROFILE_CHANGED)
    elif after != before:
        tell(user, Hint.PROFILE_CHANGED)  # what is nobody else's
    return _own(after)


@endpoint(
    area,
    "GET",
    "/v1/users/<user>",
    answer=PublicProfile,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    parts=(USER_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_user",),
)
def public_profile(user: str) -> Response | tuple[dict[str, object], int, dict[str, str]]:
    """Anybody's profile."""
    return tagged(_public(_profile(service(), user)))


@endpoint(area, "GET", "/v1/users", query=UserQuery, answer=Users, guard=DEVICE)
def search(query: dict[str, Any]) -> dict[str, object]:
    """Search for users by the beginning of their ids."""
    parts = service()
    limit = query["limit"]
    found = parts.bridge.call(parts.bridge.store.search, query["prefix"], from_cursor(query), limit)
    following = to_cursor(found[-1].user) if len(found) == limit else None
    return {"items": [_public(profile) for profile in found], "next": following}
