"""Groups over HTTP, by people who mean harm (P2 to P5, P7): who is drawn in or pushed out, who finds out what is none
of theirs, who comes back, who reaches whom."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from werkzeug.test import TestResponse

from protocol.sparrow_pb2 import Hint
from store.groups import MAX_GROUPS_OF_USER, MAX_INVITATIONS, Group, GroupChange
from tests.userapi.conftest import problem
from tests.userapi.crowd import T_S, Crowd, crowd
from tests.userapi.talk import path_of
from userapi.endpoints.group_links import MAX_LINKS
from userapi.groups import GroupWork

__all__ = ["crowd"]
NOBODYS = "~" + "a" * 24


def without(answer: TestResponse, *names: str) -> tuple[int, str, dict[str, str]]:
    """What somebody can tell two answers apart by."""
    text = answer.text
    for name in names:
        text = text.replace(name, "…")
    return answer.status_code, text, {name: one for name, one in answer.headers.items() if name != "Content-Length"}


def secret_of(crowd: Crowd, group: str, by: str = "alice") -> dict[str, str]:
    answer = crowd.person(by).asks("POST", f"/v1/groups/{group}/links", json={})
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    return {"secret": answer.json["secret"]}


# Who may do what to whom.


def test_who_is_above_whom(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol", "dave")
    assert crowd.adds(group, "bob", role="admin") == 200
    assert crowd.adds(group, "carol", role="admin") == 200
    before = crowd.group(group)
    assert crowd.removes(group, "alice", by="bob") == 403  # an admin an owner
    assert crowd.removes(group, "carol", by="bob") == 403  # an admin an admin
    assert crowd.removes(group, "bob", by="dave") == 403
    assert crowd.removes(group, "nobody", by="dave") == 403  # says nothing of who is there
    for role in ("owner", "admin"):
        assert crowd.adds(group, "dave", by="dave", role=role) == 403  # oneself
        assert crowd.adds(group, "dave", by="bob", role=role) == 403  # roles are owners'
    assert crowd.adds(group, "alice", by="bob", role="member") == 403
    assert crowd.adds(group, "bob", by="bob", role="owner") == 403
    for body in ({"name": "Mine"}, {"who_may_add": "admins"}, {}):
        problem(crowd.person("dave").asks("PATCH", f"/v1/groups/{group}", json=body), 403, "not_allowed_here")
    for method, path in (("POST", "/links"), ("GET", "/links"), ("DELETE", f"/links/{'0' * 16}"), ("DELETE", "")):
        more: dict[str, Any] = {"json": {}} if method == "POST" else {}
        problem(crowd.person("dave").asks(method, f"/v1/groups/{group}{path}", **more), 403, "not_allowed_here")
    assert crowd.group(group) == before


def test_two_owners_race_to_demote_each_other(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    assert crowd.adds(group, "bob", role="owner") == 200
    assert crowd.adds(group, "alice", by="bob", role="member") == 403
    assert crowd.adds(group, "bob", by="alice", role="member") == 403
    assert crowd.removes(group, "alice", by="bob") == 403
    # Each lays their own down, at once: one of them stays.
    done: list[int] = []
    tokens = {user: crowd.person(user).tokens for user in ("alice", "bob")}
    ready = threading.Barrier(2)

    def lay_down(user: str) -> None:
        client = crowd.api.client.application.test_client()
        ready.wait()
        answer = client.put(
            f"/v1/groups/{group}/members/{user}",
            json={"role": "member"},
            headers={"Authorization": f"Bearer {tokens[user]['access_token']}"},
        )
        done.append(answer.status_code)

    threads = [threading.Thread(target=lay_down, args=(user,)) for user in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [200, 403]
    assert sorted(crowd.roles(group).values()) == ["member", "owner"]


def test_a_role_that_was_taken_meanwhile_does_not_count(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's role is part of the condition: it is looked at in the version that is changed."""
    group = crowd.makes("bob", "carol")
    assert crowd.adds(group, "bob", role="admin") == 200
    kept, demoted = GroupWork.find, []

    def find(self: GroupWork, id_: str) -> Group | None:
        found = kept(self, id_)
        if len(demoted) < 2:
            demoted.append(found)
            if len(demoted) == 2:  # after the endpoint has looked, and after the change has been made of that
                monkeypatch.setattr(GroupWork, "find", kept)
                assert crowd.adds(group, "bob", by="alice", role="member") == 200
        return found

    monkeypatch.setattr(GroupWork, "find", find)
    assert crowd.removes(group, "carol", by="bob") == 403
    assert "carol" in crowd.roles(group)


def test_only_admins_add_where_it_is_set_so(crowd: Crowd) -> None:
    group = crowd.makes("bob", who_may_add="admins")
    crowd.befriend("bob", "carol", may_add=True)
    assert crowd.adds(group, "carol", by="bob") == 403
    assert crowd.adds(group, "nobody", by="bob") == 403
    assert crowd.person("carol").gets("/v1/invitations") == {"invitations": []}


# Consent.


def test_nobody_is_drawn_in(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.befriend("alice", "carol")
    crowd.person("dave")
    crowd.call(crowd.api.bridge.store.change_profile, "dave", None, None, True)  # of friends alone
    for user in ("carol", "dave"):
        crowd.invites(group, user)
        crowd.invites(group, user, by="bob")
        assert crowd.is_out(group, user)
    # Nobody says yes for others, and to nothing there is no yes.
    problem(crowd.person("erin").asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")
    assert crowd.person("dave").asks("PATCH", "/v1/me", json={"friends_may_add_me": False}).status_code == 200


def test_who_has_left_or_was_removed_comes_back_by_a_new_yes_alone(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    secret = secret_of(crowd, group)
    crowd.invites(group, "dave")
    assert crowd.person("dave").asks("POST", "/v1/links/join", json=secret).status_code == 200  # and not by the yes
    for user, by in (("bob", "alice"), ("carol", "carol"), ("dave", "alice")):
        assert crowd.removes(group, user, by=by) == 204
        problem(crowd.person(user).asks("POST", "/v1/links/join", json=secret), 403, "not_allowed_here")
        # Not by what they were sent before, and not by a friend of whom they said once that friends may.
        problem(crowd.person(user).asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")
        crowd.invites(group, user)
        assert crowd.is_out(group, user)
        assert crowd.person(user).asks("POST", f"/v1/invitations/{group}").status_code == 200
        assert user in crowd.roles(group)
    assert crowd.owner.asks("GET", f"/v1/groups/{group}/links").json["links"][0]["uses_left"] == 99  # type: ignore[index]


def test_who_is_removed_while_joining_stays_out(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests by a link at once, and between them the removal."""
    group = crowd.makes()
    secret = secret_of(crowd, group)
    bob = crowd.person("bob")
    groups = type(crowd.api.bridge.store.groups)
    kept, first = groups.change, []

    async def change(self: Any, made: Group, step: GroupChange) -> bool:
        if not first:
            first.append(step)
            # What another request of theirs, and alice, do meanwhile.
            at = await self.groups([group])
            (now,) = at.values()
            assert await kept(self, made, step._replace(ms=step.ms + 1))
            out = GroupChange(now.version + 2, step.ms, "alice", "removed", "bob")
            assert await kept(self, _without(made, "bob", out.version), out)
            return await kept(self, made, step)
        return await kept(self, made, step)

    monkeypatch.setattr(groups, "change", change)
    problem(bob.asks("POST", "/v1/links/join", json=secret), 403, "not_allowed_here")
    assert crowd.is_out(group, "bob")


def _without(group: Group, user: str, version: int) -> Group:
    members = {name: member for name, member in group.members.items() if name != user}
    return Group(group.group, version, group.name, group.created_ms, members)


def test_an_invitation_of_somebody_who_was_removed_is_void(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.invites(group, "mallory", by="bob")
    assert crowd.removes(group, "bob") == 204
    mallory = crowd.person("mallory")
    assert mallory.gets("/v1/invitations") == {"invitations": []}
    problem(mallory.asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")
    # It keeps nobody else's out.
    crowd.invites(group, "mallory")
    assert mallory.asks("POST", f"/v1/invitations/{group}").status_code == 200


def test_links_of_somebody_who_was_removed_or_demoted_end(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    for user in ("bob", "carol"):
        assert crowd.adds(group, user, role="admin") == 200
    bobs, carols, alices = (secret_of(crowd, group, by=user) for user in ("bob", "carol", "alice"))
    assert crowd.removes(group, "bob") == 204
    assert crowd.adds(group, "carol", role="member") == 200
    for secret in (bobs, carols):
        problem(crowd.person("dave").asks("POST", "/v1/links/join", json=secret), 404, "no_such_link")
    assert crowd.person("dave").asks("POST", "/v1/links/join", json=alices).status_code == 200


def test_a_link_is_not_worn_out_by_who_may_not_come_in(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    secret = secret_of(crowd, group)
    crowd.removes(group, "bob")
    crowd.block("alice", "mallory")
    for _ in range(5):
        problem(crowd.person("bob").asks("POST", "/v1/links/join", json=secret), 403, "not_allowed_here")
        problem(crowd.person("mallory").asks("POST", "/v1/links/join", json=secret), 404, "no_such_link")
    assert crowd.owner.asks("GET", f"/v1/groups/{group}/links").json["links"][0]["uses_left"] == 100  # type: ignore[index]


def test_a_secret_is_in_no_path_and_no_log(crowd: Crowd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    group = crowd.makes()
    secret = secret_of(crowd, group)
    assert len(secret["secret"]) == 22  # of 64 characters: 128 bits
    assert secret_of(crowd, group) != secret
    assert crowd.person("bob").asks("POST", "/v1/links/join", json=secret).status_code == 200
    kept = crowd.call(crowd.api.bridge.store.groups.links, group)
    assert all(secret["secret"] not in str(link) for link in kept)
    assert secret["secret"] not in caplog.text
    assert "group_link_made" in caplog.text
    for wrong in ("", "x" * 100, "\0", secret["secret"].swapcase()):
        problem(crowd.person("carol").asks("POST", "/v1/links/join", json={"secret": wrong}), 404, "no_such_link")


def test_links_are_few(crowd: Crowd) -> None:
    group = crowd.makes()
    for _ in range(MAX_LINKS):
        secret_of(crowd, group)
    problem(crowd.owner.asks("POST", f"/v1/groups/{group}/links", json={}), 409, "too_many_links")


def test_invitations_by_the_hundred(crowd: Crowd) -> None:
    """As many as are shown; and who is asked too much does not tell that by other answers than others."""
    answers = []
    victim = crowd.person("victim")
    crowd.api.client.application.extensions["sparrow"].limits._group_changes._step_s = 0.0
    for _ in range(MAX_INVITATIONS + 5):
        group = crowd.makes()
        answer = crowd.owner.asks("PUT", f"/v1/groups/{group}/members/victim", json={})
        answers.append(without(answer))
    assert {answer[0] for answer in answers} == {202}
    assert len(set(map(str, answers))) == 1
    assert len(victim.gets("/v1/invitations")["invitations"]) == MAX_INVITATIONS
    # It keeps nobody from being in groups of their own choice.
    assert victim.asks("POST", "/v1/groups", json={"name": "Mine"}).status_code == 201


def test_groups_of_one_user_are_bounded(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_GROUPS_OF_USER == 500
    group = crowd.makes()
    monkeypatch.setattr("userapi.groups.MAX_GROUPS_OF_USER", 3)
    bob = crowd.person("bob")
    mine = [crowd.makes(owner="bob") for _ in range(3)]
    problem(bob.asks("POST", "/v1/groups", json={"name": "x"}), 409, "too_many_groups")
    problem(bob.asks("POST", "/v1/links/join", json=secret_of(crowd, group)), 409, "too_many_groups")
    crowd.befriend("alice", "bob", may_add=True)
    crowd.invites(group, "bob")  # and not added
    problem(bob.asks("POST", f"/v1/invitations/{group}"), 409, "too_many_groups")
    assert crowd.removes(mine[0], "bob", by="bob") == 204
    assert bob.asks("POST", f"/v1/invitations/{group}").status_code == 200
    # Coming and going makes no list without an end.
    for _ in range(3):
        one = next(iter(crowd.api.client.application.extensions["sparrow"].groups.present("bob")))
        assert crowd.removes(one, "bob", by="bob") == 204
        if bob.asks("POST", "/v1/groups", json={"name": "x"}).status_code == 409:
            break
    else:
        pytest.fail("there is no end")


# Who finds out what.


def test_whether_there_is_a_group_is_nobodys_business(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    mallory = crowd.person("mallory")
    asked: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/changes", None),
        ("PUT", "/members/carol", {}),
        ("PUT", "/members/bob", {"role": "admin"}),
        ("DELETE", "/members/bob", None),
        ("DELETE", "/members/mallory", None),
        ("POST", "/links", {}),
        ("GET", "/links", None),
        ("DELETE", f"/links/{'0' * 16}", None),
        ("GET", f"/marks/{mallory.device}/1/1", None),
    ]
    crowd.told()
    for method, path, body in asked:
        more = {} if body is None else {"json": body}
        theirs, nobodys = (mallory.asks(method, f"/v1/groups/{one}{path}", **more) for one in (group, NOBODYS))
        problem(theirs, 404, "not_member")
        assert without(theirs) == without(nobodys), path
    for path in ("", "/messages", "/messages?own=true", f"/messages/{mallory.device}/1/1?author=bob"):
        for method in ("GET", "DELETE"):
            theirs, nobodys = (mallory.asks(method, f"/v1/conversations/{one}{path}") for one in (group, NOBODYS))
            assert without(theirs, group) == without(nobodys, NOBODYS), path
    theirs, nobodys = (
        mallory.asks("PUT", f"/v1/conversations/{one}/mark", json={"stamp": "1"}) for one in (group, NOBODYS)
    )
    assert without(theirs) == without(nobodys)
    theirs, nobodys = (mallory.asks("POST", f"/v1/invitations/{one}") for one in (group, NOBODYS))
    assert without(theirs) == without(nobodys)
    counted = mallory.asks("GET", f"/v1/conversations/unread?ids={group},{NOBODYS}").json
    assert counted == {"unread": {group: 0, NOBODYS: 0}}
    # None of that was anybody else's work.
    assert crowd.told() == []


@pytest.mark.parametrize("silently", [False, True])
def test_a_block_is_not_told_by_what_adding_answers(crowd: Crowd, *, silently: bool) -> None:
    group = crowd.makes()
    crowd.befriend("alice", "bob", may_add=True)
    crowd.befriend("alice", "carol")
    crowd.block("bob", "alice", silently=silently)
    crowd.told()
    answers, waits = [], []
    for user in ("bob", "carol", "dave"):
        crowd.person("dave")
        crowd.api.slept.clear()
        answers.append(without(crowd.owner.asks("PUT", f"/v1/groups/{group}/members/{user}", json={})))
        waits.append(list(crowd.api.slept))
    assert answers[0] == answers[1] == answers[2]
    assert waits == [[T_S]] * 3
    assert answers[0][0] == 202
    assert crowd.person("bob").gets("/v1/invitations") == {"invitations": []}
    assert all("bob" not in told[1] for told in crowd.told())
    # One's own block is one's own doing.
    crowd.block("alice", "erin")
    problem(crowd.owner.asks("PUT", f"/v1/groups/{group}/members/erin", json={}), 409, "you_block_them")


def test_where_only_friends_may_write_only_they_are_asked(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    group = crowd.makes()
    crowd.befriend("alice", "bob")
    crowd.befriend("alice", "carol")
    crowd.block("bob", "alice", silently=True)
    crowd.block("dave", "alice")
    crowd.person("erin")
    object.__setattr__(crowd.api.settings, "who_may_write", "friends")
    assert {user: crowd.adds(group, user) for user in ("bob", "carol")} == {"bob": 202, "carol": 202}
    for user in ("dave", "erin"):
        problem(crowd.owner.asks("PUT", f"/v1/groups/{group}/members/{user}", json={}), 403, "not_friend")


def test_a_newcomer_gets_the_present_list_only(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    crowd.writes(group, "alice", "secret")
    assert crowd.removes(group, "bob") == 204
    assert crowd.owner.asks("PATCH", f"/v1/groups/{group}", json={"name": "Dinner"}).status_code == 200
    crowd.befriend("alice", "dave", may_add=True)
    assert crowd.adds(group, "dave") == 200
    dave = crowd.person("dave")
    for since in ("0", "1", "5"):
        found = dave.asks("GET", f"/v1/groups/{group}/changes?since={since}").json
        assert found is not None
        assert [(one["version"], one["kind"], one["user"]) for one in found["changes"]] == [(6, "added", "dave")]
    assert "bob" not in dave.asks("GET", f"/v1/groups/{group}").text
    assert dave.texts(group) == []
    # Who comes back does not see what was while they were away.
    assert crowd.person("bob").asks("GET", f"/v1/groups/{group}/changes").status_code == 404
    crowd.invites(group, "bob")
    assert crowd.person("bob").asks("POST", f"/v1/invitations/{group}").status_code == 200
    found = crowd.person("bob").asks("GET", f"/v1/groups/{group}/changes").json
    assert found is not None
    assert [one["version"] for one in found["changes"]] == [7]


def test_an_invitation_shows_a_name_and_no_more(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    crowd.writes(group, "alice", "secret")
    crowd.invites(group, "mallory")
    mallory = crowd.person("mallory")
    assert set(mallory.gets("/v1/invitations")["invitations"][0]) == {"group", "name", "by", "members", "ms"}
    for path in (f"/v1/groups/{group}", f"/v1/groups/{group}/changes", f"/v1/conversations/{group}/messages"):
        problem(mallory.asks("GET", path), 404, "not_member")
    assert mallory.gets("/v1/groups") == {"groups": [], "next": None}
    problem(mallory.asks("POST", f"/v1/groups/{group}/members/mallory", json={}), 405, "method_not_allowed")


# Blocks.


def test_a_block_leaves_small_groups_and_those_of_the_blocked(crowd: Crowd) -> None:
    small = crowd.makes("bob", "carol")
    large = crowd.makes("bob", "carol", "dave")
    bobs = crowd.makes("alice", "carol", "dave", "erin", owner="bob")
    without_bob = crowd.makes("carol")
    crowd.told()
    assert crowd.owner.asks("PUT", "/v1/blocks/bob").status_code == 200
    assert crowd.api.slept == [T_S]
    assert crowd.is_out(small, "alice")
    assert crowd.is_out(bobs, "alice")
    assert {"alice", "bob"} <= set(crowd.roles(large))
    assert "alice" in crowd.roles(without_bob)
    assert crowd.roles(small) == {"bob": "owner", "carol": "member"}
    told = crowd.told()
    assert ("changed", *sorted((small, bobs))) in [(one[0], *sorted(one[1:])) for one in told if one[0] == "changed"]
    hints = {one[3]: one[1] for one in told if one[0] == "hint of group"}
    assert hints == {small: ("alice", "bob", "carol"), bobs: ("alice", "bob", "carol", "dave", "erin")}
    # Once more, there is nothing left to leave.
    assert crowd.owner.asks("PUT", "/v1/blocks/bob").status_code == 200
    assert not [one for one in crowd.told() if one[0] == "hint of group"]
    # To be friends no more does nothing of the kind.
    assert crowd.owner.asks("DELETE", "/v1/friends/carol").status_code == 200
    assert "carol" in crowd.roles(without_bob)


def test_in_larger_groups_the_blocked_are_unread_to_nobody_who_blocks(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol", "dave")
    assert crowd.owner.asks("PUT", "/v1/blocks/bob").status_code == 200
    crowd.writes(group, "bob", "psst")
    crowd.writes(group, "carol", "hello")
    path = f"/v1/conversations/unread?ids={group}"
    assert crowd.owner.asks("GET", path).json == {"unread": {group: 1}}
    assert crowd.person("dave").asks("GET", path).json == {"unread": {group: 2}}


def test_who_was_blocked_does_not_come_after(crowd: Crowd) -> None:
    """By a link or a third person's invitation, into the blocker's own group or a small one that they are in."""
    crowd.block("alice", "mallory")
    owned = crowd.makes("bob", "carol", "dave")
    small = crowd.makes("alice", owner="bob")
    crowd.befriend("bob", "mallory", may_add=True)
    mallory = crowd.person("mallory")
    for group in (owned, small):
        crowd.invites(group, "mallory", by="bob")
        problem(mallory.asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")
        by = "alice" if group == owned else "bob"
        problem(mallory.asks("POST", "/v1/links/join", json=secret_of(crowd, group, by)), 404, "no_such_link")
    # A large one of others is everybody's.
    large = crowd.makes("alice", "carol", "dave", owner="bob")
    crowd.invites(large, "mallory", by="carol")
    assert mallory.asks("POST", f"/v1/invitations/{large}").status_code == 200


def test_a_block_ends_what_the_blocked_asked(crowd: Crowd) -> None:
    group = crowd.makes(owner="mallory")
    crowd.invites(group, "alice", by="mallory")
    assert crowd.owner.asks("PUT", "/v1/blocks/mallory").status_code == 200
    assert crowd.owner.gets("/v1/invitations") == {"invitations": []}
    problem(crowd.owner.asks("POST", f"/v1/invitations/{group}"), 404, "no_such_invitation")


# Marks.


def test_who_hides_is_in_no_mark_and_no_count(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol", "dave", "erin")
    name = crowd.writes(group, "alice", "hello")
    path = f"/v1/groups/{group}/marks/{name.device}/{name.stream}/{name.id}"
    assert crowd.owner.asks("GET", path).json == {"read_by": [], "of": 4}
    assert crowd.person("carol").asks("PATCH", "/v1/me", json={"hides_presence": True}).status_code == 200
    stamp = {"stamp": str(int(crowd.api.now * 1000) << 20)}
    crowd.told()
    for user in ("bob", "carol", "dave"):
        assert crowd.person(user).asks("PUT", f"/v1/conversations/{group}/mark", json=stamp).status_code == 200
    mark = ("hint of group", ("bob",), Hint.MARK_RAISED, group, 0, "", int(stamp["stamp"]))
    assert mark in crowd.told()
    assert crowd.owner.asks("GET", path).json == {"read_by": ["bob", "dave"], "of": 3}
    # What was read while they hid it stays theirs.
    assert crowd.person("carol").asks("PATCH", "/v1/me", json={"hides_presence": False}).status_code == 200
    assert crowd.owner.asks("GET", path).json == {"read_by": ["bob", "dave"], "of": 4}
    assert crowd.person("bob").asks("PATCH", "/v1/me", json={"hides_presence": True}).status_code == 200
    assert crowd.owner.asks("GET", path).json == {"read_by": ["dave"], "of": 3}
    # Whom one has blocked is not one's reader.
    crowd.block("alice", "dave")
    assert crowd.owner.asks("GET", path).json == {"read_by": [], "of": 2}


def test_a_mark_says_nothing_of_what_one_cannot_see(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    name = crowd.writes(group, "alice", "before")
    path = f"/v1/groups/{group}/marks/{name.device}/{name.stream}/{name.id}"
    crowd.befriend("alice", "carol", may_add=True)
    assert crowd.adds(group, "carol") == 200
    crowd.writes(group, "alice", "after")
    stamp = {"stamp": str(int(crowd.api.now * 1000) << 20)}
    assert crowd.person("carol").asks("PUT", f"/v1/conversations/{group}/mark", json=stamp).status_code == 200
    assert crowd.owner.asks("GET", path).json == {"read_by": [], "of": 1}
    # Others' messages are not one's own to ask about.
    problem(crowd.person("bob").asks("GET", path), 404, "no_such_message")
    assert crowd.removes(group, "alice", by="alice") == 204
    problem(crowd.owner.asks("GET", path), 404, "not_member")


def test_large_groups_show_no_readers(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    group = crowd.makes("bob", "carol")
    name = crowd.writes(group, "alice", "hello")
    monkeypatch.setattr("userapi.endpoints.group_links.MAX_SHOWN", 2)
    path = f"/v1/groups/{group}/marks/{name.device}/{name.stream}/{name.id}"
    problem(crowd.owner.asks("GET", path), 403, "not_allowed_here")


# Words.


def test_ones_own_words_stay_ones_own(crowd: Crowd) -> None:
    group = crowd.makes("bob", "carol")
    theirs, mine = crowd.writes(group, "alice", "alice's"), crowd.writes(group, "bob", "bob's")
    bob = crowd.person("bob")
    problem(bob.asks("DELETE", path_of(theirs, group)), 404, "no_such_message")
    problem(bob.asks("DELETE", path_of(theirs, group) + "?author=alice"), 403, "not_allowed_here")
    assert crowd.removes(group, "bob") == 204
    assert bob.texts(group, "?own=true") == ["bob's"]
    problem(bob.asks("GET", f"/v1/conversations/{group}/messages"), 404, "not_member")
    problem(bob.asks("DELETE", path_of(theirs, group) + "?author=alice"), 404, "not_member")
    crowd.told()
    assert bob.asks("DELETE", path_of(mine, group)).status_code == 204
    (hint,) = crowd.told()
    assert hint[:4] == ("hint of group", ("alice", "carol"), Hint.HISTORY_CHANGED, group)
    assert crowd.owner.texts(group) == ["", "alice's"]
    assert bob.asks("DELETE", path_of(mine, group)).status_code == 204
    assert crowd.told() == []


def test_an_owner_takes_down_and_all_see_who_did(crowd: Crowd) -> None:
    crowd.call(crowd.api.bridge.store.timelines.set_keep_days, 30, 0)
    group = crowd.makes("bob", "carol")
    assert crowd.adds(group, "carol", role="admin") == 200
    name = crowd.writes(group, "bob", "slander")
    problem(crowd.person("carol").asks("DELETE", path_of(name, group) + "?author=bob"), 403, "not_allowed_here")
    assert crowd.owner.asks("DELETE", path_of(name, group) + "?author=bob").status_code == 204
    for user in ("bob", "carol"):
        (message,) = crowd.person(user).gets(f"/v1/conversations/{group}/messages")["messages"]
        assert (message["text"], message["erased_by"]) == ("", "alice")
    # Between two, nobody takes down what the other wrote.
    problem(crowd.owner.asks("DELETE", path_of(name, "bob") + "?author=bob"), 404, "no_such_message")


def test_reports_of_what_is_in_a_group(crowd: Crowd) -> None:
    group = crowd.makes("bob")
    name = crowd.writes(group, "bob", "threat")
    path, text = path_of(name, group) + "/report", {"text": "They threaten me."}
    problem(crowd.owner.asks("POST", path, json=text), 404, "no_such_message")
    problem(crowd.person("bob").asks("POST", f"{path}?author=bob", json=text), 404, "no_such_message")
    problem(crowd.person("mallory").asks("POST", f"{path}?author=bob", json=text), 404, "not_member")
    assert crowd.owner.asks("POST", f"{path}?author=bob", json=text).status_code == 204
    (report,) = crowd.call(crowd.api.bridge.store.timelines.reports, "", 10)
    assert (report.conversation, report.reporter, report.message.body) == (group, "alice", b"threat")
