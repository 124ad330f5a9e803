"""Two servers over one store and one broker: what one has done, the other sees at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.userapi.engines import ENGINES, kept
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import serving
from userapi.endpoints.files import CHUNK

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = bytes(range(256)) * 4000


@dataclasses.dataclass
class Two:
    """A client of each."""

    one: httpx.Client
    other: httpx.Client

    def register(self, user: str) -> None:
        """At the first."""
        assert self.one.post("/v1/accounts", json=_login(user)).status_code == 201


def _login(user: str) -> dict[str, str]:
    return {"user": user, "password": "correct horse"}


def log_in(client: httpx.Client, user: str) -> dict[str, Any]:
    answer = client.post("/v1/login", json=_login(user))
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def by(tokens: dict[str, Any], **more: str) -> dict[str, str]:
    """Headers of its requests."""
    return {"Authorization": f"Bearer {tokens['access_token']}", **more}


def users(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["user"] for one in answer.json()["items"]]


@pytest.fixture(params=list(ENGINES))
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    store = kept(request.param, tmp_path)
    with ExitStack() as stack:
        broker = stack.enter_context(RunningBroker(store))
        clients = []
        # A server closes a connection that is idle for two seconds, maybe just when a client uses it again.
        limits = httpx.Limits(max_keepalive_connections=0)
        for _ in range(2):
            server = stack.enter_context(serving(tmp_path, broker.endpoint, store, workers=1))
            clients.append(stack.enter_context(httpx.Client(base_url=server.url, timeout=60, limits=limits)))
        yield Two(*clients)


def test_two_servers(two: Two) -> None:
    """All in one test: two servers and, for Cassandra, empty tables take longer to make than to use."""
    for user in ("alice", "bob"):
        two.register(user)
    alice, bob = log_in(two.other, "alice"), log_in(two.other, "bob")
    for client in (two.one, two.other):
        assert client.get("/v1/me", headers=by(alice)).status_code == 200

    friends(two, alice, bob)
    profiles(two, alice, bob)
    devices(two, alice)
    uploads(two, alice)
    refreshes(two, bob)
    ends(two, alice)


def friends(two: Two, alice: dict[str, Any], bob: dict[str, Any]) -> None:
    assert two.one.put("/v1/requests/bob", headers=by(alice)).status_code == 200
    assert users(two.other.get("/v1/requests", headers=by(bob))) == ["alice"]
    assert two.other.put("/v1/friends/alice", headers=by(bob)).status_code == 200
    assert users(two.one.get("/v1/friends", headers=by(alice))) == ["bob"]
    assert users(two.one.get("/v1/requests", headers=by(alice))) == []
    # Both ask at once, each at another server: it is a friendship, once.
    assert two.one.delete("/v1/friends/bob", headers=by(alice)).status_code == 200
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(two.one.put, "/v1/requests/bob", headers=by(alice)),
            pool.submit(two.other.put, "/v1/requests/alice", headers=by(bob)),
        ]
        assert [answer.result().status_code for answer in asked] == [200, 200]
    for client in (two.one, two.other):
        assert users(client.get("/v1/friends", headers=by(alice))) == ["bob"]
        assert users(client.get("/v1/requests", headers=by(alice))) == []


def profiles(two: Two, alice: dict[str, Any], bob: dict[str, Any]) -> None:
    before = two.other.get("/v1/users/alice", headers=by(bob)).headers["ETag"]
    assert two.one.patch("/v1/me", headers=by(alice), json={"display_name": "Alice"}).status_code == 200
    seen = two.other.get("/v1/users/alice", headers=by(bob, **{"If-None-Match": before}))
    assert (seen.status_code, seen.json()["display_name"]) == (200, "Alice")


def devices(two: Two, alice: dict[str, Any]) -> None:
    pad = log_in(two.one, "alice")
    assert two.other.get("/v1/me", headers=by(pad)).status_code == 200
    assert two.one.delete(f"/v1/me/devices/{pad['device']}", headers=by(alice)).status_code == 204
    for client in (two.other, two.one):
        refused = client.get("/v1/me", headers=by(pad))
        assert (refused.status_code, refused.json()["code"]) == (401, "logged_out")
        refused = client.post("/v1/token", json={"refresh_token": pad["refresh_token"]})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_refresh_token")


def uploads(two: Two, alice: dict[str, Any]) -> None:
    length = {**TUS, "Upload-Length": str(len(CONTENT))}
    path = two.one.post("/v1/files", headers=by(alice, **length)).headers["Location"]

    def send(client: httpx.Client, first: int, last: int) -> httpx.Response:
        extra = {**TUS, "Upload-Offset": str(first), "Content-Type": CHUNK}
        return client.patch(path, headers=by(alice, **extra), content=CONTENT[first:last])

    half = len(CONTENT) // 2
    assert send(two.one, 0, half).status_code == 204
    assert two.other.head(path, headers=by(alice, **TUS)).headers["Upload-Offset"] == str(half)
    assert send(two.other, half, len(CONTENT)).status_code == 204
    assert two.one.get(f"{path}/content", headers=by(alice)).content == CONTENT
    # The same part sent to both at once: one of them has written it, whole.
    path = two.one.post("/v1/files", headers=by(alice, **length)).headers["Location"]
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(send, client, 0, len(CONTENT)) for client in (two.one, two.other)]
        statuses = sorted(answer.result().status_code for answer in sent)
    assert statuses == [204, 409]
    assert two.other.get(f"{path}/content", headers=by(alice)).content == CONTENT


def refreshes(two: Two, bob: dict[str, Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        body = {"refresh_token": bob["refresh_token"]}
        asked = [pool.submit(client.post, "/v1/token", json=body) for client in (two.one, two.other) * 2]
        answers = [answer.result() for answer in asked]
    # One has replaced it, and the others are repeats of that: all get the one successor.
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    newest = two.other.post("/v1/token", json={"refresh_token": successor}).json()
    assert newest["refresh_token"] != successor
    # What is older than that is a thief's, at either.
    reused = two.one.post("/v1/token", json={"refresh_token": bob["refresh_token"]})
    assert (reused.status_code, reused.json()["code"]) == (401, "refresh_token_reused")
    ended = two.other.post("/v1/token", json={"refresh_token": newest["refresh_token"]})
    assert (ended.status_code, ended.json()["code"]) == (401, "invalid_refresh_token")


def ends(two: Two, alice: dict[str, Any]) -> None:
    deletion = {"password": "correct horse"}
    assert two.one.post("/v1/me/deletion", headers=by(alice), json=deletion).status_code == 204
    assert two.other.get("/v1/me", headers=by(alice)).json()["code"] == "logged_out"
    assert two.other.post("/v1/login", json=_login("alice")).json()["code"] == "wrong_credentials"
    assert two.other.post("/v1/accounts", json=_login("alice")).json()["code"] == "user_taken"
    bob = log_in(two.other, "bob")
    assert users(two.other.get("/v1/friends", headers=by(bob))) == []
