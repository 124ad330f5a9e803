"""Mutes over HTTP: a user's own devices know of them, and nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.sparrow_pb2 import Hint
from store.timelines import FOR_EVER_MS
from tests.userapi.conftest import PASSWORD, Api, api_in, problem, with_each_engine
from tests.userapi.crowd import Crowd, crowd
from tests.userapi.talk import Person, Talk, talk

__all__ = ["crowd", "talk"]
OF_BOB = "/v1/conversations/bob/mute"


def muted(person: Person) -> dict[str, int]:
    """What the list of mutes says."""
    return {one["id"]: one["muted_until_ms"] for one in person.gets("/v1/mutes")["mutes"]}


def mutes(person: Person, other: str, for_s: object = None) -> int:
    answer = person.asks("PUT", f"/v1/conversations/{other}/mute", json={"for_s": for_s})
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    until: int = answer.json["muted_until_ms"]
    return until


@with_each_engine
def test_all_ones_own_devices_see_it_and_nobody_else(talk: Talk, api: Api) -> None:
    talk.writes(talk.bob, "alice", "hello")
    now_ms = int(api.now * 1000)
    assert mutes(talk.alice, "bob", 3600) == now_ms + 3_600_000
    assert talk.told() == [("alice", Hint.HISTORY_CHANGED, "bob")]
    second = api.log_in("alice")
    (listed,) = api.ask(second, "GET", "/v1/conversations").json["conversations"]  # type: ignore[index]
    one = api.ask(second, "GET", "/v1/conversations/bob").json
    assert listed["muted_until_ms"] == one["muted_until_ms"] == now_ms + 3_600_000  # type: ignore[index]
    assert muted(talk.alice) == {"bob": now_ms + 3_600_000}
    for answer in (talk.bob.gets("/v1/conversations"), talk.bob.gets("/v1/conversations/alice")):
        assert "muted_until_ms" not in json.dumps(answer)
    assert muted(talk.bob) == {}
    # What comes is unread, and in the list, as ever.
    assert one["unread"] == 1  # type: ignore[index]
    assert mutes(talk.alice, "bob") == FOR_EVER_MS
    assert talk.alice.gets("/v1/conversations/bob")["muted_until_ms"] == FOR_EVER_MS
    for _ in range(2):
        assert talk.alice.asks("DELETE", OF_BOB).status_code == 204
    assert muted(talk.alice) == {}
    assert "muted_until_ms" not in talk.alice.gets("/v1/conversations/bob")


def test_before_anything_was_written(talk: Talk, api: Api) -> None:
    mutes(talk.alice, "bob", 60)
    mutes(talk.alice, "alice")
    assert talk.alice.gets("/v1/conversations") == {"conversations": [], "next": None}
    problem(talk.alice.asks("GET", "/v1/conversations/bob"), 404, "no_such_conversation")
    talk.writes(talk.bob, "alice", "hello")
    assert talk.alice.gets("/v1/conversations/bob")["muted_until_ms"] == muted(talk.alice)["bob"]


def test_it_ends_by_itself_in_the_services_time(talk: Talk, api: Api) -> None:
    talk.writes(talk.bob, "alice", "hello")
    mutes(talk.alice, "bob", 60)
    api.bridge.store._clock = lambda: api.now + 61  # type: ignore[attr-defined]
    assert muted(talk.alice) == {}
    assert "muted_until_ms" not in talk.alice.gets("/v1/conversations/bob")


@pytest.mark.parametrize("for_s", [0, -1, 1.5, "x", True, 2**63, 10 * 366 * 86_400 + 1, [1]])
def test_times_that_are_none(talk: Talk, for_s: object) -> None:
    assert talk.alice.asks("PUT", OF_BOB, json={"for_s": for_s}).status_code == 400
    assert muted(talk.alice) == {}


def test_what_else_is_refused(talk: Talk, api: Api) -> None:
    problem(talk.alice.asks("PUT", OF_BOB, json={}), 400, "missing_field")
    problem(talk.alice.asks("PUT", OF_BOB, json={"for_s": 9, "until_ms": 9}), 400, "unknown_field")
    for wrong in ("BOB", "b" * 65, "~short"):
        assert talk.alice.asks("PUT", f"/v1/conversations/{wrong}/mute", json={"for_s": 9}).status_code == 404
    problem(api.client.put(OF_BOB, json={"for_s": None}), 401, "no_token")
    assert talk.told() == []


def test_only_so_many(tmp_path: Path) -> None:
    with api_in(tmp_path, max_mutes=2) as api:
        only_two(Person(api, "alice"))


def only_two(alice: Person) -> None:
    for other in ("b", "c", "b"):
        mutes(alice, other)
    problem(alice.asks("PUT", "/v1/conversations/d/mute", json={"for_s": 9}), 409, "too_many_mutes")
    assert alice.asks("DELETE", "/v1/conversations/b/mute").status_code == 204
    mutes(alice, "d")
    assert muted(alice) == {"c": FOR_EVER_MS, "d": FOR_EVER_MS}


def test_where_conversations_are_not_kept(api: Api) -> None:
    alice = Person(api, "alice")
    api.bridge.call(api.bridge.store.timelines.set_keep_days, 0, 0)
    mutes(alice, "bob")
    assert muted(alice) == {"bob": FOR_EVER_MS}


def test_a_group(crowd: Crowd) -> None:
    group, bob = crowd.makes("bob"), crowd.person("bob")
    crowd.api.fabric.asked.clear()
    until = mutes(bob, group, 60)
    (hint,) = [one[1:] for one in crowd.api.fabric.asked if one[0] == "hint of group"]
    assert hint[:3] == (("bob",), Hint.HISTORY_CHANGED, group)
    assert bob.gets(f"/v1/conversations/{group}")["muted_until_ms"] == until
    assert "muted_until_ms" not in crowd.owner.gets(f"/v1/conversations/{group}")
    problem(crowd.person("carol").asks("PUT", f"/v1/conversations/{group}/mute", json={"for_s": 9}), 404, "not_member")
    # Who has left may still take it back.
    assert crowd.removes(group, "bob", by="bob") == 204
    assert bob.asks("DELETE", f"/v1/conversations/{group}/mute").status_code == 204
    assert muted(bob) == {}


def test_the_end_of_an_account_ends_its_mutes(talk: Talk, api: Api) -> None:
    mutes(talk.alice, "bob")
    ended = talk.alice.asks("POST", "/v1/me/deletion", json={"password": PASSWORD})
    assert ended.status_code == 204, ended.text
    assert talk.call(talk.timelines.mutes, "alice") == {}
