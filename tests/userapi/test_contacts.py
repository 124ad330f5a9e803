"""Friends, requests and blocks over HTTP: what comes of each, who is told, and what brokers hear."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from werkzeug.test import TestResponse

from protocol.sparrow_pb2 import Hint
from tests.userapi.conftest import Api
from tests.userapi.test_accounts import problem
from userapi.app import create_app


class Person:
    """A user who is logged in."""

    def __init__(self, api: Api, user: str) -> None:
        self._api = api
        self.user = user
        body = {"user": user, "password": "correct horse"}
        assert api.client.post("/v1/accounts", json=body).status_code == 201
        answer = api.client.post("/v1/login", json=body).json
        assert answer is not None
        self.device: str = answer["device"]
        self.headers = {"Authorization": f"Bearer {answer['access_token']}"}

    def asks(self, method: str, path: str, **arguments: object) -> TestResponse:
        """A request of theirs."""
        return self._api.client.open(path, method=method, headers=self.headers, **arguments)  # type: ignore[arg-type]

    def does(self, method: str, path: str) -> dict[str, object]:
        """One that succeeds."""
        answer = self.asks(method, path)
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        return dict(answer.json)

    def sees(self, path: str) -> list[str]:
        """Users in a list."""
        found = self.does("GET", path)
        return [one["user"] for one in found["items"]]  # type: ignore[attr-defined]


@pytest.fixture
def alice(api: Api) -> Person:
    return Person(api, "alice")


@pytest.fixture
def bob(api: Api, alice: Person) -> Person:
    person = Person(api, "bob")
    api.fabric.asked.clear()
    return person


def told(api: Api) -> list[tuple[object, ...]]:
    """Hints to somebody but the one who did it."""
    asked, api.fabric.asked[:] = list(api.fabric.asked), []
    return [question[1:] for question in asked if question[0] == "hint"]


def test_ask_accept_remove(api: Api, alice: Person, bob: Person) -> None:
    contact = alice.does("PUT", "/v1/requests/bob")
    assert (contact["user"], contact["asked"], contact["friend"]) == ("bob", True, False)
    assert told(api) == [("bob", Hint.FRIEND_ASKED, "alice"), ("alice", Hint.FRIEND_ASKED, "bob")]
    assert alice.does("PUT", "/v1/requests/bob") == contact  # once more
    assert told(api) == []
    assert alice.sees("/v1/requests") == ["bob"]
    assert bob.sees("/v1/requests") == ["alice"]
    assert bob.does("PUT", "/v1/friends/alice")["friend"]
    assert ("changed", "bob", "alice") in api.fabric.asked
    assert ("alice", Hint.FRIEND_ACCEPTED, "bob") in told(api)
    assert bob.does("PUT", "/v1/friends/alice")["friend"]
    assert ("changed", "bob", "alice") in api.fabric.asked  # brokers may not have heard the first time
    assert told(api) == []
    assert alice.sees("/v1/friends") == ["bob"]
    assert alice.sees("/v1/requests") == []
    assert not alice.does("DELETE", "/v1/friends/bob")["friend"]
    assert told(api)[0] == ("bob", Hint.FRIEND_REMOVED, "alice")
    assert not alice.does("DELETE", "/v1/friends/bob")["friend"]
    assert told(api) == []
    assert bob.sees("/v1/friends") == []


def test_two_who_ask_each_other_are_friends(api: Api, alice: Person, bob: Person) -> None:
    alice.does("PUT", "/v1/requests/bob")
    told(api)
    assert bob.does("PUT", "/v1/requests/alice")["friend"]
    assert ("changed", "bob", "alice") in api.fabric.asked
    assert told(api)[0] == ("alice", Hint.FRIEND_ACCEPTED, "bob")


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_request_is_taken_back_or_declined(api: Api, alice: Person, bob: Person, who: str) -> None:
    alice.does("PUT", "/v1/requests/bob")
    told(api)
    person, other = (alice, "bob") if who == "alice" else (bob, "alice")
    contact = person.does("DELETE", f"/v1/requests/{other}")
    assert not contact["asked"]
    assert not contact["asks"]
    assert told(api)[0] == (other, Hint.FRIEND_REFUSED, who)
    person.does("DELETE", f"/v1/requests/{other}")
    assert told(api) == []
    problem(bob.asks("PUT", "/v1/friends/alice"), 404, "no_such_request")


def test_blocks(api: Api, alice: Person, bob: Person) -> None:
    alice.does("PUT", "/v1/requests/bob")
    bob.does("PUT", "/v1/friends/alice")
    told(api)
    assert bob.does("PUT", "/v1/blocks/alice")["blocked"]
    assert ("changed", "bob", "alice") in api.fabric.asked
    assert told(api)[0] == ("alice", Hint.FRIEND_REMOVED, "bob")
    assert bob.sees("/v1/blocks") == ["alice"]
    assert alice.sees("/v1/blocks") == []
    alice.does("PUT", "/v1/requests/bob")  # she is not told
    assert told(api) == []
    assert bob.sees("/v1/requests") == []
    problem(bob.asks("PUT", "/v1/requests/alice"), 409, "you_block_them")
    problem(bob.asks("PUT", "/v1/friends/alice"), 404, "no_such_request")
    for _ in range(2):
        assert not bob.does("DELETE", "/v1/blocks/alice")["blocked"]
        assert ("changed", "bob", "alice") in api.fabric.asked
    assert bob.sees("/v1/requests") == ["alice"]


def silently(api: Api) -> None:
    """From now on blocks are silent."""
    settings = dataclasses.replace(api.settings, blocks_are_silent=True)
    app = create_app(settings, api.bridge, api.fabric, clock=lambda: api.now, sleep=api.slept.append)
    api.client = app.test_client()


def test_silent_blocks_are_told_by_nothing(api: Api, alice: Person, bob: Person) -> None:
    silently(api)
    alice.does("PUT", "/v1/requests/bob")
    bob.does("PUT", "/v1/friends/alice")
    told(api)

    def friends() -> object:
        found = alice.does("GET", "/v1/friends")["items"]
        return [{name: one[name] for name in one if name not in ("online", "last_seen_ms")} for one in found]  # type: ignore[attr-defined]

    before = friends()
    assert bob.does("PUT", "/v1/blocks/alice")["blocked"]
    assert [one for one in told(api) if one[0] == "alice"] == []
    assert friends() == before
    # What a blocked one does as to a friend looks as ever, and Bob hears nothing of it.
    assert alice.does("PUT", "/v1/requests/bob")["friend"]
    alice.asks("PATCH", "/v1/me", json={"display_name": "Alice"})
    assert [one for one in told(api) if one[0] == "bob"] == []
    assert bob.sees("/v1/friends") == bob.sees("/v1/requests") == []
    # Nor whether he is there: as if he hid it.
    api.fabric.there.add("bob")
    (seen,) = alice.does("GET", "/v1/friends")["items"]  # type: ignore[misc]
    assert not {"online", "last_seen_ms"} & set(seen)
    # It ends as a friendship does.
    assert not bob.does("DELETE", "/v1/blocks/alice")["blocked"]
    assert ("alice", Hint.FRIEND_REMOVED, "bob") in told(api)
    assert alice.sees("/v1/friends") == []


def test_who_is_blocked_silently_may_remove_the_friend_or_the_request(api: Api, alice: Person, bob: Person) -> None:
    silently(api)
    alice.does("PUT", "/v1/requests/bob")
    told(api)
    bob.does("PUT", "/v1/blocks/alice")
    assert alice.sees("/v1/requests") == ["bob"]
    assert told(api) == []
    assert not alice.does("DELETE", "/v1/requests/bob")["asked"]
    bob.does("DELETE", "/v1/blocks/alice")
    assert told(api) == []
    alice.does("PUT", "/v1/requests/bob")
    bob.does("PUT", "/v1/friends/alice")
    bob.does("PUT", "/v1/blocks/alice")
    told(api)
    assert not alice.does("DELETE", "/v1/friends/bob")["friend"]
    assert told(api) == [("alice", Hint.FRIEND_REMOVED, "bob")]
    assert bob.sees("/v1/blocks") == ["alice"]


def test_a_change_that_brokers_do_not_hear_of_is_told_to_be_repeated(
    api: Api, alice: Person, bob: Person, caplog: pytest.LogCaptureFixture
) -> None:
    api.fabric.away = True
    with caplog.at_level("INFO", "sparrow.audit"):
        problem(bob.asks("PUT", "/v1/blocks/alice"), 503, "unavailable")
    assert "event=blocked user=bob" in caplog.text
    api.fabric.away = False
    assert bob.does("PUT", "/v1/blocks/alice")["blocked"]
    assert ("changed", "bob", "alice") in api.fabric.asked
    api.fabric.away = True
    bob.does("DELETE", "/v1/requests/alice")  # needs no broker


def test_friends_and_who_of_them_is_there(api: Api, alice: Person, bob: Person) -> None:
    alice.does("PUT", "/v1/requests/bob")
    bob.does("PUT", "/v1/friends/alice")
    api.fabric.there.add("bob")
    api.bridge.call(api.bridge.store.saw, {"bob": 1_800_000_000_000})
    (friend,) = alice.does("GET", "/v1/friends")["items"]  # type: ignore[misc]
    assert (friend["online"], friend["last_seen_ms"]) == (True, 1_800_000_000_000)  # type: ignore[index]
    (friend,) = bob.does("GET", "/v1/friends")["items"]  # type: ignore[misc]
    assert friend["online"] is False  # type: ignore[index]
    assert "last_seen_ms" not in friend  # type: ignore[operator]
    bob.asks("PATCH", "/v1/me", json={"hides_presence": True})
    (friend,) = alice.does("GET", "/v1/friends")["items"]  # type: ignore[misc]
    assert not {"online", "last_seen_ms"} & set(friend)
    bob.asks("PATCH", "/v1/me", json={"hides_presence": False})
    api.fabric.away = True
    (friend,) = alice.does("GET", "/v1/friends")["items"]  # type: ignore[misc]
    assert "online" not in friend  # type: ignore[operator]


def test_nobody_learns_that_they_are_blocked(api: Api, alice: Person, bob: Person) -> None:
    def seen() -> tuple[object, ...]:
        """All that alice can see of bob, or do about him without his doing anything."""
        paths = ("/v1/users/bob", "/v1/friends", "/v1/requests", "/v1/blocks")
        return (
            *(alice.does("GET", path) for path in paths),
            *(alice.does("DELETE", f"/v1/{what}/bob") for what in ("friends", "requests", "blocks")),
            *(alice.does(method, "/v1/requests/bob") for method in ("PUT", "DELETE")),
            *(alice.does(method, "/v1/blocks/bob") for method in ("PUT", "DELETE")),
            alice.does("GET", "/v1/requests"),
        )

    before = seen()
    bob.does("PUT", "/v1/blocks/alice")
    assert seen() == before
    bob.does("DELETE", "/v1/blocks/alice")
    assert seen() == before
    # What she has asked, and whom she has blocked, looks the same whatever he does about her.
    alice.does("PUT", "/v1/blocks/bob")
    blocked = alice.does("GET", "/v1/blocks")
    bob.does("PUT", "/v1/blocks/alice")
    assert alice.does("GET", "/v1/blocks") == blocked
    alice.does("DELETE", "/v1/blocks/bob")
    alice.does("PUT", "/v1/requests/bob")
    asked = alice.does("GET", "/v1/requests")
    bob.does("DELETE", "/v1/blocks/alice")
    assert alice.does("GET", "/v1/requests") == asked
    (one,) = bob.does("GET", "/v1/requests")["items"]  # type: ignore[misc]
    assert one["since_ms"] > 0  # type: ignore[index]


def test_pages(api: Api, alice: Person) -> None:
    names = [f"user{number}" for number in range(7)]
    for name in names:
        api.client.post("/v1/accounts", json={"user": name, "password": "correct horse"})
        alice.does("PUT", f"/v1/requests/{name}")
    alice.does("PUT", "/v1/blocks/user3")
    found: list[str] = []
    cursor = ""
    while True:
        page = alice.does("GET", f"/v1/requests?limit=2&cursor={cursor}")
        found += [one["user"] for one in page["items"]]  # type: ignore[attr-defined]
        if page["next"] is None:
            break
        cursor = str(page["next"])
    assert found == [name for name in names if name != "user3"]
    for query in ("limit=0", "limit=101", "limit=x", "cursor=x", "cursor=" + "x" * 201, "other=1", "limit=2&limit=3"):
        assert alice.asks("GET", f"/v1/requests?{query}").status_code == 400


def test_refusals(api: Api, alice: Person) -> None:
    for path in ("/v1/requests/", "/v1/friends/", "/v1/blocks/"):
        problem(alice.asks("PUT", path + "alice"), 409, "not_yourself")
        problem(alice.asks("DELETE", path + "alice"), 409, "not_yourself")
    problem(alice.asks("PUT", "/v1/requests/nobody"), 404, "no_such_user")
    problem(alice.asks("PUT", "/v1/blocks/nobody"), 404, "no_such_user")
    problem(alice.asks("PUT", "/v1/friends/nobody"), 404, "no_such_request")
    assert alice.asks("DELETE", "/v1/friends/nobody").status_code == 200
    for user in ("A", "%00", "%ff", "%F0%9F%90%A6", "a%20b", "%0d%0a", "x" * 65, "x" * 2000, "%2e%2e%2e%2f"):
        for method, what in itertools.product(("PUT", "DELETE"), ("requests", "friends", "blocks")):
            answer = alice.asks(method, f"/v1/{what}/{user}")
            problem(answer, 404, "not_found" if user.endswith("%2f") else "no_such_user")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/friends"),
        ("GET", "/v1/requests"),
        ("GET", "/v1/blocks"),
        ("PUT", "/v1/requests/bob"),
        ("DELETE", "/v1/requests/bob"),
        ("PUT", "/v1/friends/bob"),
        ("DELETE", "/v1/friends/bob"),
        ("PUT", "/v1/blocks/bob"),
        ("DELETE", "/v1/blocks/bob"),
    ],
)
def test_only_who_is_signed_in(api: Api, alice: Person, bob: Person, method: str, path: str) -> None:
    problem(api.client.open(path, method=method), 401, "no_token")
    for header in ("Basic x", "Bearer", "Bearer x", f"Bearer {'x' * 5000}", "bearer a.b.c"):
        answer = api.client.open(path, method=method, headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    api.bridge.call(api.bridge.store.remove_device, "alice", alice.device)
    problem(alice.asks(method, path), 401, "logged_out")
    api.now += 400 * 86400
    problem(bob.asks(method, path), 401, "invalid_token")
