"""Groups over HTTP: what becomes of them, and who is told (docs/design/groups.md, "Over HTTP").

What somebody means harm with is in test_groups_harm.py.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import StoreError, UnavailableError
from protocol.sparrow_pb2 import Hint
from tests.userapi.conftest import Api, RecordingFabric, api_in, problem
from tests.userapi.crowd import T_S, Crowd, crowd
from userapi.groups import TRIES
from userapi.http.counts import Counts
from userapi.notices import MAX_WAITING, Notices

__all__ = ["crowd"]
CHANGED = Hint.GROUP_CHANGED


def test_a_group_is_made_and_looked_at(crowd: Crowd) -> None:
    answer = crowd.owner.asks("POST", "/v1/groups", json={"name": "Lunch", "newcomers_see": "history"})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json  # type: ignore[assignment]
    group = made["group"]
    assert made == {
        "group": group,
        "version": 1,
        "name": "Lunch",
        "picture": "",
        "who_may_write": "all",
        "who_may_add": "all",
        "newcomers_see": "history",
        "created_ms": int(crowd.api.now * 1000),
        "role": "owner",
        "members": [{"user": "alice", "role": "owner", "since": 1}],
    }
    assert crowd.owner.gets(f"/v1/groups/{group}") == made
    # Nobody can have asked for it: nobody has to be told, and the answer need not wait.
    assert crowd.api.slept == []
    assert crowd.told() == [("hint of group", ("alice",), CHANGED, group, 1, "alice", 0)]
    tag = crowd.owner.asks("GET", f"/v1/groups/{group}").headers["ETag"]
    assert crowd.owner.asks("GET", f"/v1/groups/{group}", headers={"If-None-Match": tag}).status_code == 304


def test_a_friend_who_allows_it_is_added_and_everybody_is_told_later(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.befriend("alice", "carol", may_add=True)
    crowd.api.slept.clear()
    answer = crowd.owner.asks("PUT", f"/v1/groups/{group}/members/carol", json={})
    assert (answer.status_code, answer.json) == (200, {"member": {"user": "carol", "role": "member", "since": 3}})
    assert crowd.api.slept == [T_S]
    # Brokers at once; people when brokers know.
    assert crowd.api.fabric.asked == [("changed", group)]
    crowd.api.fabric.asked.clear()
    assert crowd.told() == [("hint of group", ("alice", "bob", "carol"), CHANGED, group, 3, "alice", 0)]
    # A repeat may be of what brokers were not told of.
    assert crowd.adds(group, "carol") == 200
    assert crowd.told() == [("changed", group)]
    assert crowd.group(group).version == 3


def test_all_others_are_asked(crowd: Crowd) -> None:
    group = crowd.makes()
    crowd.befriend("alice", "bob")
    crowd.person("carol")
    for user in ("bob", "carol"):
        answer = crowd.owner.asks("PUT", f"/v1/groups/{group}/members/{user}", json={})
        assert (answer.status_code, answer.json) == (202, {"invited": True})
        assert crowd.is_out(group, user)
    invitation = {"group": group, "name": "Lunch", "by": "alice", "members": 1, "ms": int(crowd.api.now * 1000)}
    bob = crowd.person("bob")
    assert bob.gets("/v1/invitations") == {"invitations": [invitation]}
    assert crowd.told() == [("hint of group", (user,), CHANGED, group, 0, "alice", 0) for user in ("bob", "carol")]
    # Once more, it is the same, and bothers nobody.
    crowd.invites(group, "bob")
    assert crowd.told() == []
    answer = bob.asks("POST", f"/v1/invitations/{group}")
    assert answer.status_code == 200
    assert answer.json is not None
    assert [one["user"] for one in answer.json["members"]] == ["alice", "bob"]
    assert crowd.api.slept == [T_S]
    assert crowd.told() == [
        ("changed", group),
        ("hint of group", ("alice", "bob"), CHANGED, group, 2, "bob", 0),
    ]
    assert bob.gets("/v1/invitations") == {"invitations": []}
    # Whoever has not got the answer asks again.
    assert bob.asks("POST", f"/v1/invitations/{group}").status_code == 200
    assert crowd.group(group).version == 2


def test_no_is_no(crowd: Crowd) -> None:
    group = crowd.makes()
    crowd.invites(group, "bob")
    crowd.told()
    bob = crowd.person("bob")
    assert bob.asks("DELETE", f"/v1/invitations/{group}").status_code == 204
    assert crowd.told() == [("hint of group", ("bob",), CHANGED, group, 0, "bob", 0)]  # and nobody else
    assert bob.asks("DELETE", f"/v1/invitations/{group}").status_code == 204
    problem(bob.asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")


def test_what_changes_is_a_change_each(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    body = {"name": "Dinner", "who_may_write": "admins", "newcomers_see": "history"}
    answer = crowd.owner.asks("PATCH", f"/v1/groups/{group}", json=body)
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["version"] == 5
    assert answer.json.items() >= body.items()
    assert crowd.told() == [
        ("changed", group),
        ("hint of group", ("alice", "bob"), CHANGED, group, 5, "alice", 0),
    ]
    found = crowd.owner.asks("GET", f"/v1/groups/{group}/changes?since=2").json
    assert found is not None
    assert found["version"] == 5
    assert [(one["version"], one["kind"], one["value"]) for one in found["changes"]] == [
        (3, "renamed", "Dinner"),
        (4, "settings", "who_may_write=admins"),
        (5, "settings", "newcomers_see=history"),
    ]
    assert {one["actor"] for one in found["changes"]} == {"alice"}
    # As it is already.
    again = crowd.owner.asks("PATCH", f"/v1/groups/{group}", json=body)
    assert again.json == answer.json
    assert crowd.told() == [("changed", group)]
    two = crowd.owner.asks("GET", f"/v1/groups/{group}/changes?limit=2").json
    assert two is not None
    assert [one["kind"] for one in two["changes"]] == ["made", "added"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": ""}, "invalid_value"),
        ({"name": "a\nb"}, "invalid_value"),
        ({"name": "x" * 101}, "too_long"),
        ({"name": None}, "wrong_type"),
        ({"who_may_write": "nobody"}, "invalid_value"),
        ({"newcomers_see": True}, "wrong_type"),
        ({"picture": "x"}, "invalid_value"),
        ({"owner": "bob"}, "unknown_field"),
    ],
)
def test_what_no_group_is(crowd: Crowd, body: dict[str, Any], code: str) -> None:
    group = crowd.makes()
    problem(crowd.owner.asks("PATCH", f"/v1/groups/{group}", json=body), 400, code)
    problem(crowd.owner.asks("POST", "/v1/groups", json={"name": "Lunch"} | body), 400, code)
    assert crowd.group(group).version == 1


def test_roles(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    answer = crowd.owner.asks("PUT", f"/v1/groups/{group}/members/bob", json={"role": "admin"})
    assert answer.json == {"member": {"user": "bob", "role": "admin", "since": 2}}
    assert crowd.removes(group, "carol", by="bob") == 204
    assert crowd.is_out(group, "carol")
    assert crowd.adds(group, "bob", role="owner") == 200
    assert crowd.adds(group, "alice", role="member") == 200  # which only she herself may do
    assert crowd.roles(group) == {"alice": "member", "bob": "owner"}
    problem(
        crowd.person("bob").asks("PUT", f"/v1/groups/{group}/members/bob", json={"role": "member"}),
        403,
        "not_allowed_here",
    )
    problem(
        crowd.person("bob").asks("PUT", f"/v1/groups/{group}/members/dave", json={"role": "admin"}),
        404,
        "no_such_member",
    )


def test_who_leaves_is_told_of_and_gone(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.writes(group, "alice", "hello")
    bob = crowd.person("bob")
    assert crowd.removes(group, "bob", by="bob") == 204
    assert crowd.api.slept == [T_S]
    assert crowd.told() == [("changed", group), ("hint of group", ("alice", "bob"), CHANGED, group, 3, "bob", 0)]
    assert crowd.is_out(group, "bob")
    for path in (f"/v1/groups/{group}/changes", f"/v1/conversations/{group}", f"/v1/conversations/{group}/messages"):
        problem(bob.asks("GET", path), 404, "not_member")
    listed = bob.asks("GET", "/v1/groups").json
    left = {"group": group, "version": 0, "name": "", "picture": "", "role": None, "left_ms": int(crowd.api.now * 1000)}
    assert listed == {"groups": [left], "next": None}
    # A repeat tells the brokers, and bothers nobody else.
    assert crowd.removes(group, "bob", by="bob") == 204
    assert crowd.told() == [("changed", group)]


def test_the_last_owners_leaving_hands_it_on(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    assert crowd.adds(group, "carol", role="admin") == 200
    assert crowd.removes(group, "alice", by="alice") == 204
    assert crowd.roles(group) == {"bob": "member", "carol": "owner"}
    for user in ("carol", "bob"):
        assert crowd.removes(group, user, by=user) == 204
    assert crowd.group(group).closed


def test_a_closed_group_is_nobodys(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.invites(group, "carol")
    crowd.told()
    problem(crowd.person("bob").asks("DELETE", f"/v1/groups/{group}"), 403, "not_allowed_here")
    assert crowd.owner.asks("DELETE", f"/v1/groups/{group}").status_code == 204
    assert crowd.told() == [("changed", group), ("hint of group", ("alice", "bob"), CHANGED, group, 3, "alice", 0)]
    assert crowd.is_out(group, "bob")
    assert crowd.is_out(group, "alice")
    assert crowd.person("carol").gets("/v1/invitations") == {"invitations": []}
    problem(crowd.person("carol").asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")
    assert crowd.owner.asks("DELETE", f"/v1/groups/{group}").status_code == 204  # a repeat
    assert crowd.told() == [("changed", group)]
    problem(crowd.person("carol").asks("DELETE", f"/v1/groups/{group}"), 404, "not_member")


def test_the_list_comes_in_pages(crowd: Crowd) -> None:
    groups = sorted(crowd.makes() for _ in range(5))
    found, after = [], ""
    while True:
        page = crowd.owner.asks("GET", f"/v1/groups?limit=2{after}").json
        assert page is not None
        found += page["groups"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert [one["group"] for one in found] == groups
    assert {(one["name"], one["role"], one["left_ms"], one["version"]) for one in found} == {
        ("Lunch", "owner", None, 1)
    }
    problem(crowd.owner.asks("GET", "/v1/groups?after=bob"), 400, "invalid_value")


# Links.


def link(crowd: Crowd, group: str, **body: int) -> dict[str, Any]:
    answer = crowd.owner.asks("POST", f"/v1/groups/{group}/links", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    return answer.json


def test_a_link_lets_people_in(crowd: Crowd) -> None:
    group = crowd.makes()
    made = link(crowd, group, hours=1, uses=2)
    assert made["ends_ms"] == int(crowd.api.now * 1000) + 3_600_000
    shown = {name: made[name] for name in ("link", "ends_ms", "uses_left")}
    assert crowd.owner.asks("GET", f"/v1/groups/{group}/links").json == {"links": [shown]}
    bob, secret = crowd.person("bob"), {"secret": made["secret"]}
    assert bob.asks("POST", "/v1/links/look", json=secret).json == {"name": "Lunch", "members": 1}
    assert crowd.is_out(group, "bob")
    crowd.told()
    joined = bob.asks("POST", "/v1/links/join", json=secret)
    assert joined.status_code == 200
    assert joined.json is not None
    assert joined.json["role"] == "member"
    assert crowd.api.slept == [T_S]
    assert crowd.told() == [("changed", group), ("hint of group", ("alice", "bob"), CHANGED, group, 2, "bob", 0)]
    # A repeat costs no use.
    for _ in range(3):
        assert bob.asks("POST", "/v1/links/join", json=secret).status_code == 200
    assert crowd.person("carol").asks("POST", "/v1/links/join", json=secret).status_code == 200
    problem(crowd.person("dave").asks("POST", "/v1/links/join", json=secret), 404, "no_such_link")
    problem(crowd.person("dave").asks("POST", "/v1/links/look", json=secret), 404, "no_such_link")
    assert crowd.owner.asks("GET", f"/v1/groups/{group}/links").json == {"links": []}


def test_a_link_ends(crowd: Crowd) -> None:
    group = crowd.makes()
    first, second = link(crowd, group, hours=1), link(crowd, group, hours=2)
    crowd.api.now += 3601
    crowd.owner.tokens = crowd.api.log_in("alice")
    bob = crowd.person("bob")
    problem(bob.asks("POST", "/v1/links/look", json={"secret": first["secret"]}), 404, "no_such_link")
    problem(bob.asks("POST", "/v1/links/join", json={"secret": first["secret"]}), 404, "no_such_link")
    assert crowd.owner.asks("DELETE", f"/v1/groups/{group}/links/{second['link']}").status_code == 204
    assert crowd.owner.asks("DELETE", f"/v1/groups/{group}/links/{second['link']}").status_code == 204
    problem(bob.asks("POST", "/v1/links/join", json={"secret": second["secret"]}), 404, "no_such_link")


# When something is away.


def test_without_a_broker_it_is_kept_and_a_repeat_tells(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.api.fabric.away = True
    problem(crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Dinner"}), 503, "unavailable")
    problem(crowd.person("bob").asks("DELETE", f"/v1/groups/{group}/members/bob"), 503, "unavailable")
    assert crowd.roles(group) == {"alice": "owner"}
    crowd.api.fabric.away = False
    assert crowd.person("bob").asks("DELETE", f"/v1/groups/{group}/members/bob").status_code == 204
    assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Dinner"}).status_code == 200
    told = crowd.told()
    assert told.count(("changed", group)) == 2
    # By then their caches have ended by themselves.
    assert ("hint of group", ("alice", "bob"), CHANGED, group, 3, "alice", 0) in told
    assert ("hint of group", ("alice", "bob"), CHANGED, group, 4, "bob", 0) in told


def test_a_lost_race_is_run_again_and_not_for_ever(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    group = crowd.makes("bob")
    groups, lost = type(crowd.api.bridge.store.groups), []
    kept = groups.change

    async def late(self: Any, *arguments: Any) -> bool:
        if len(lost) < limit:
            lost.append(arguments)
            return False
        return await kept(self, *arguments)

    monkeypatch.setattr(groups, "change", late)
    limit = TRIES - 1
    assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Dinner"}).status_code == 200
    lost.clear()
    limit = TRIES
    problem(crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Tea"}), 409, "changed_meanwhile")
    assert crowd.group(group).name == "Dinner"


def test_a_store_that_is_away(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    group = crowd.makes()

    async def fail(*_: Any) -> bool:
        raise StoreError("away")

    monkeypatch.setattr(type(crowd.api.bridge.store.groups), "change", fail)
    problem(crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Tea"}), 503, "unavailable")


# What waits.


def test_hints_go_out_by_themselves_and_no_sooner() -> None:
    fabric, now, sent = RecordingFabric(), [100.0], threading.Event()
    fabric._ask = lambda *question: (fabric.asked.append(question), sent.set())  # type: ignore[assignment]
    notices = Notices(fabric, 0.05, Counts(), lambda: now[0])
    notices.add(["alice"], Hint(kind=CHANGED, group="~g", version=2))
    notices.send(100.04)
    assert fabric.asked == []
    now[0] = 101.0
    assert sent.wait(20)
    notices.stop()
    assert [question[0] for question in fabric.asked] == ["hint of group"]


def test_hints_that_cannot_be_told_are_forgotten_and_too_many_are_dropped() -> None:
    fabric, counts = RecordingFabric(away=True), Counts()
    notices = Notices(fabric, 0.0, counts)
    notices.threaded = False
    for _ in range(MAX_WAITING + 1):
        notices.add(["alice"], Hint(kind=CHANGED))
    notices.send()
    fabric.away = False
    notices.send()
    assert fabric.asked == []
    found = {sample.labels.get("event"): sample.value for metric in counts.metrics() for sample in metric.samples}
    assert found["hint_dropped"] == 1
    with pytest.raises(UnavailableError):
        RecordingFabric(away=True).hint_of_group(["alice"], Hint())


def test_limits_of_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notices, "threaded", False)
    limits = {
        "max_group_changes_per_minute_of_account": 4,
        "max_group_changes_per_minute_of_group": 3,
        "max_group_invitations_per_hour_of_account": 2,
    }
    with api_in(tmp_path, **limits) as api:
        crowd = Crowd(api)
        group = crowd.makes("bob")  # two
        assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Tea"}).status_code == 200
        assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Dinner"}).status_code == 200
        refused = crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Lunch"})
        problem(refused, 429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) > 0
        # Bob has asked for nothing, but the group has changed three times.
        assert crowd.adds(group, "bob", by="bob") == 200
        for user in ("carol", "dave"):
            crowd.invites(group, user, by="bob")
        problem(crowd.person("carol").asks("POST", f"/v1/invitations/{group}"), 429, "too_many_requests")
        crowd.person("erin")
        assert crowd.adds(group, "erin", by="bob") == 429
        # Whom nobody wants there any more goes, and who wants to go, goes.
        assert crowd.removes(group, "bob") == 204
        assert crowd.removes(group, "alice", by="alice") == 204


def test_an_api_that_knows_groups_counts_them(api: Api) -> None:
    crowd = Crowd(api)
    crowd.makes("bob")
    metrics = api.client.application.extensions["userapi.endpoints.metrics"][0].metrics()
    found = {sample.labels.get("event"): sample.value for metric in metrics for sample in metric.samples}
    assert (found["made"], found["added"], found["closed"]) == (1, 1, 0)
