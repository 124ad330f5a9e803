"""What else of the user API knows groups: conversations, search, files, accounts and operators."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import FILE, Hint
from store.sqlite.timelines import SqliteTimelines
from store.timelines import Entry, Name
from tests.userapi.conftest import PASSWORD, Api, problem
from tests.userapi.crowd import T_S, Crowd, crowd
from tests.userapi.talk import path_of
from tests.userapi.test_metrics import AS_ADMIN, TOKEN
from userapi.endpoints.files import CHUNK

__all__ = ["crowd"]
TUS = {"Tus-Resumable": "1.0.0"}


def upload(crowd: Crowd, user: str, content: bytes = b"picture") -> str:
    person = crowd.person(user)
    made = person.asks("POST", "/v1/files", headers={**TUS, "Upload-Length": str(len(content))})
    path: str = made.headers["Location"]
    sent = {**TUS, "Upload-Offset": "0", "Content-Type": CHUNK}
    assert person.asks("PATCH", path, headers=sent, data=content).status_code == 204
    return path.rpartition("/")[2]


def may_read(crowd: Crowd, user: str, file: str) -> bool:
    """Whether they may; whoever may not is told that there is none."""
    answer = crowd.person(user).asks("GET", f"/v1/files/{file}/content")
    if answer.status_code != 200:
        problem(answer, 404, "no_such_file")
    return answer.status_code == 200


# Files.


def test_a_picture_is_its_members(crowd: Crowd) -> None:
    group, file = crowd.makes("bob"), upload(crowd, "alice")
    assert not may_read(crowd, "bob", file)
    assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"picture": file}).json["picture"] == file  # type: ignore[index]
    crowd.invites(group, "carol")
    assert [may_read(crowd, user, file) for user in ("alice", "bob", "carol")] == [True, True, False]
    assert crowd.removes(group, "bob", by="bob") == 204
    assert not may_read(crowd, "bob", file)
    assert crowd.person("carol").asks("POST", f"/v1/invitations/{group}").status_code == 200
    assert may_read(crowd, "carol", file)
    # Another one, or none, and the first is the owner's again.
    assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"picture": ""}).json["picture"] == ""  # type: ignore[index]
    assert not may_read(crowd, "carol", file)
    assert crowd.owner.asks("POST", "/v1/groups", json={"name": "x", "picture": file}).status_code == 201


def test_a_picture_is_ones_own(crowd: Crowd) -> None:
    group, bobs = crowd.makes("bob"), upload(crowd, "bob")
    half = crowd.owner.asks("POST", "/v1/files", headers={**TUS, "Upload-Length": "5"}).headers["Location"]
    for file, status, code in (
        (bobs, 404, "no_such_file"),
        ("0" * 32, 404, "no_such_file"),
        (half.rpartition("/")[2], 409, "incomplete_file"),
    ):
        problem(crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"picture": file}), status, code)
        problem(crowd.owner.asks("POST", "/v1/groups", json={"name": "x", "picture": file}), status, code)
    problem(crowd.person("bob").asks("PATCH", f"/v1/groups/{group}", json={"picture": bobs}), 403, "not_allowed_here")
    # What did not come to be a picture is nobody else's.
    assert not may_read(crowd, "alice", bobs)


def test_a_file_in_a_message_is_theirs_who_see_the_message(crowd: Crowd) -> None:
    group, file = crowd.makes("bob"), upload(crowd, "alice", b"minutes")
    stamp = int(crowd.api.now * 1000) << STAMP_SHIFT
    name = Name("alice", crowd.owner.device, 4711, 1)
    entry = Entry(group, name, stamp, FILE, file.encode(), file=file, version=crowd.group(group).version)
    crowd.call(crowd.api.bridge.store.timelines.archive, [entry])
    crowd.befriend("alice", "carol", may_add=True)
    assert crowd.adds(group, "carol") == 200  # who came later
    assert [may_read(crowd, user, file) for user in ("bob", "carol", "dave")] == [True, False, False]
    assert crowd.removes(group, "bob") == 204
    assert not may_read(crowd, "bob", file)
    assert crowd.owner.asks("DELETE", path_of(name, group)).status_code == 204
    assert not may_read(crowd, "alice", file)


# Conversations and search.


def test_groups_stand_among_the_conversations(crowd: Crowd) -> None:
    crowd.call(crowd.api.bridge.store.timelines.set_keep_days, 30, 0)
    group = crowd.makes("bob")
    name = crowd.writes(group, "alice", "hello")
    bob = crowd.person("bob")
    (listed,) = bob.gets("/v1/conversations")["conversations"]
    assert (listed["id"], listed["newest"]["text"], listed["read_by_other"]) == (group, "hello", "0")
    assert bob.gets(f"/v1/conversations/{group}")["unread"] == 1
    assert bob.texts(group) == ["hello"]
    assert bob.asks("PUT", f"/v1/conversations/{group}/mark", json={"stamp": listed["newest"]["stamp"]}).json == {
        "mark": listed["newest"]["stamp"]
    }
    assert bob.asks("GET", f"/v1/conversations/unread?ids={group},alice").json == {"unread": {group: 0, "alice": 0}}
    assert bob.asks("DELETE", f"/v1/conversations/{group}").status_code == 204
    assert bob.gets("/v1/conversations")["conversations"] == []
    crowd.writes(group, "alice", "again")
    assert bob.gets("/v1/conversations?after=bob")["conversations"][0]["id"] == group
    assert bob.gets(f"/v1/conversations?after={group}")["conversations"] == []
    problem(bob.asks("GET", f"/v1/conversations/{group[:-1]}"), 404, "no_such_conversation")
    problem(bob.asks("GET", "/v1/conversations/unread?ids=~x"), 400, "invalid_value")
    crowd.told()
    assert crowd.owner.asks("DELETE", path_of(name, group)).status_code == 204
    (hint,) = crowd.told()
    assert hint[:4] == ("hint of group", ("alice", "bob"), Hint.HISTORY_CHANGED, group)


def test_where_conversations_are_not_kept_groups_still_wait(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.writes(group, "alice", "hello")
    bob = crowd.person("bob")
    problem(bob.asks("GET", "/v1/conversations/alice"), 403, "history_not_kept")
    problem(bob.asks("GET", f"/v1/conversations/unread?ids={group},alice"), 403, "history_not_kept")
    problem(bob.asks("GET", "/v1/conversations/unread"), 403, "history_not_kept")
    assert bob.asks("GET", f"/v1/conversations/unread?ids={group}").json == {"unread": {group: 1}}
    assert bob.texts(group) == ["hello"]


def test_search_in_a_group_is_its_members(crowd: Crowd) -> None:
    crowd.call(crowd.api.bridge.store.timelines.set_keep_days, 30, 0)
    group = crowd.makes("bob")
    crowd.writes(group, "alice", "the secret word")
    bob = crowd.person("bob")
    timelines = crowd.api.bridge.store.timelines
    assert isinstance(timelines, SqliteTimelines)
    while crowd.call(timelines._search.step):
        pass
    assert _found(bob) == [(group, "the secret word")]
    assert _found(bob, f"&conversation={group}") == [(group, "the secret word")]
    problem(crowd.person("mallory").asks("GET", f"/v1/search?q=secret&conversation={group}"), 404, "not_member")
    problem(bob.asks("GET", "/v1/search?q=secret&conversation=~x"), 400, "invalid_value")
    assert crowd.removes(group, "bob") == 204
    assert _found(bob) == []
    problem(bob.asks("GET", f"/v1/search?q=secret&conversation={group}"), 404, "not_member")


def _found(person: Any, more: str = "") -> list[tuple[str, str]]:
    return [(one["conversation"], one["text"]) for one in person.gets(f"/v1/search?q=secret{more}")["messages"]]


# Accounts.


def test_an_account_that_ends_leaves_its_groups_first(crowd: Crowd) -> None:
    first, second = crowd.makes("bob", "carol"), crowd.makes("alice", owner="bob")
    crowd.invites(crowd.makes(owner="dave"), "alice", by="dave")
    crowd.told()
    assert crowd.owner.asks("POST", "/v1/me/deletion", json={"password": PASSWORD}).status_code == 204
    assert crowd.roles(first) == {"bob": "owner", "carol": "member"}
    assert crowd.roles(second) == {"bob": "owner"}
    told = crowd.told()
    assert {one for one in told if one[0] == "changed"} >= {("changed", *sorted((first, second)))}
    assert {(one[1], one[3]) for one in told if one[0] == "hint of group"} == {
        (("alice", "bob", "carol"), first),
        (("alice", "bob"), second),
    }
    changes = crowd.person("bob").asks("GET", f"/v1/groups/{first}/changes?since=3").json
    assert changes is not None
    assert [(one["kind"], one["user"], one["actor"]) for one in changes["changes"]] == [("left", "alice", "alice")]
    assert list(crowd.call(crowd.api.bridge.store.groups.of_user, "alice")) == []
    assert list(crowd.call(crowd.api.bridge.store.groups.invitations, "alice")) == []
    problem(crowd.person("bob").asks("PUT", f"/v1/groups/{first}/members/alice", json={}), 404, "no_such_user")


def test_without_a_broker_an_account_ends_all_the_same(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.api.fabric.away = True
    problem(crowd.owner.asks("POST", "/v1/me/deletion", json={"password": PASSWORD}), 503, "unavailable")
    assert crowd.roles(group) == {"bob": "owner"}
    crowd.api.fabric.away = False
    assert crowd.owner.asks("POST", "/v1/me/deletion", json={"password": PASSWORD}).status_code == 204


# Operators.


@pytest.fixture
def operated(api: Api) -> Crowd:
    """With an administrator."""
    object.__setattr__(api.client.application.extensions["sparrow"], "admin_token", TOKEN)
    return Crowd(api)


def test_operators_look_who_is_in_and_close(operated: Crowd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    crowd, client = operated, operated.api.client
    group = crowd.makes("bob")
    path = f"/v1/admin/groups/{group}"
    problem(client.get(path), 401, "wrong_admin_token")
    problem(crowd.owner.asks("GET", path), 401, "wrong_admin_token")
    found = client.get(path, headers=AS_ADMIN)
    assert found.json == {
        "group": group,
        "version": 2,
        "name": "Lunch",
        "created_ms": int(crowd.api.now * 1000),
        "closed": False,
        "members": [
            {"user": "alice", "role": "owner", "since": 1},
            {"user": "bob", "role": "member", "since": 2},
        ],
    }
    assert "group_looked_at" in caplog.text
    crowd.told()
    assert client.delete(path, headers=AS_ADMIN).status_code == 204
    assert crowd.api.slept == [T_S]
    assert crowd.told() == [
        ("changed", group),
        ("hint of group", ("alice", "bob"), Hint.GROUP_CHANGED, group, 3, "", 0),
    ]
    assert crowd.is_out(group, "alice")
    assert client.delete(path, headers=AS_ADMIN).status_code == 204
    assert client.get(path, headers=AS_ADMIN).json["closed"]  # type: ignore[index]
    for unknown in ("~" + "a" * 24, "bob"):
        problem(client.get(f"/v1/admin/groups/{unknown}", headers=AS_ADMIN), 404, "no_such_group")
        problem(client.delete(f"/v1/admin/groups/{unknown}", headers=AS_ADMIN), 404, "no_such_group")


def test_operators_list_groups(operated: Crowd, caplog: pytest.LogCaptureFixture) -> None:
    crowd, client = operated, operated.api.client
    made = {crowd.makes(): 1, crowd.makes("bob"): 2, crowd.makes("bob"): 2}
    closed = crowd.makes()
    assert client.delete(f"/v1/admin/groups/{closed}", headers=AS_ADMIN).status_code == 204
    caplog.clear()
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/admin/groups?limit=3{cursor}", headers=AS_ADMIN).json
        assert page is not None
        found += page["groups"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert {one["group"]: one["members"] for one in found} == {**made, closed: 0}
    assert [one["group"] for one in found if one["closed"]] == [closed]
    assert {one["name"] for one in found} == {"Lunch"}
    assert "group_looked_at" not in caplog.text  # nobody has looked who is in


def test_operators_take_down_what_was_reported(operated: Crowd) -> None:
    crowd, client = operated, operated.api.client
    crowd.call(crowd.api.bridge.store.timelines.set_keep_days, 30, 0)
    group = crowd.makes("bob")
    name = crowd.writes(group, "bob", "threat")
    text = {"text": "They threaten me."}
    assert crowd.owner.asks("POST", path_of(name, group) + "/report?author=bob", json=text).status_code == 204
    reports = client.get("/v1/admin/reports", headers=AS_ADMIN).json
    assert reports is not None
    assert (reports["reports"][0]["group"], reports["reports"][0]["members"]) == (group, ["bob", "alice"])
    path = f"/v1/admin/groups/{group}/messages/bob/{name.device}/{name.stream}"
    assert client.delete(f"{path}/{name.id}", headers=AS_ADMIN).status_code == 204
    assert client.delete(f"{path}/{name.id}", headers=AS_ADMIN).status_code == 204
    problem(client.delete(f"{path}/9", headers=AS_ADMIN), 404, "no_such_message")
    (message,) = crowd.owner.gets(f"/v1/conversations/{group}/messages")["messages"]
    assert message["erased_by"] == "operator"
