"""How much one user may store: uploads on their way, bytes a day, a full disk; and what a block drops."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import NoSpaceError, StoreError
from store.interface import COMMON, NewRow, PageQuery
from tests.userapi.conftest import Api, api_in, problem
from tests.userapi.test_contacts import Person
from tests.userapi.test_files import TUS, Owner, uploaded

LIMITS: dict[str, Any] = {
    "max_uploads_of_account": 3,
    "max_upload_bytes_of_account": 1000,
    "max_file_bytes_per_day_of_account": 2000,
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Api]:
    """A user API with small limits."""
    with api_in(tmp_path, **LIMITS) as made:
        yield made


def begins(owner: Owner, size: int) -> Any:
    return owner.asks("POST", "/v1/files", extra={**TUS, "Upload-Length": str(size)})


def test_uploads_on_their_way(small: Api) -> None:
    alice, bob = Owner(small, "alice"), Owner(small, "bob")
    paths = [alice.begins(5) for _ in range(3)]
    problem(begins(alice, 5), 409, "too_many_uploads")
    problem(begins(alice, 0), 409, "too_many_uploads")
    assert begins(bob, 5).status_code == 201
    # One that has ended, or was given up, makes room.
    assert alice.sends(paths[0], 0, b"12345").status_code == 204
    assert begins(alice, 5).status_code == 201
    problem(begins(alice, 5), 409, "too_many_uploads")
    assert alice.asks("DELETE", paths[1]).status_code == 204
    assert begins(alice, 5).status_code == 201


def test_bytes_on_their_way(small: Api) -> None:
    alice = Owner(small, "alice")
    alice.begins(600)
    problem(begins(alice, 401), 409, "too_many_uploads")
    assert begins(alice, 400).status_code == 201


def test_bytes_a_day(small: Api) -> None:
    alice = Owner(small, "alice")
    paths = [uploaded(alice, bytes(1000)) for _ in range(2)]
    answer = begins(alice, 1)
    problem(answer, 507, "too_many_file_bytes")
    assert answer.headers["Retry-After"] == "3600"
    assert alice.asks("DELETE", paths[0]).status_code == 204
    uploaded(alice, bytes(1000))
    problem(begins(alice, 1), 507, "too_many_file_bytes")
    small.now += 86_401
    tokens = small.log_in("alice")
    headers = {**TUS, "Upload-Length": "1"}
    assert small.ask(tokens, "POST", "/v1/files", headers=headers).status_code == 201


def test_many_at_once_do_not_pass_beyond_the_limit(small: Api) -> None:
    alice = Owner(small, "alice")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: begins(alice, 5).status_code, range(16)))
    assert statuses.count(201) <= 3
    assert set(statuses) <= {201, 409}
    begun = small.bridge.call(small.bridge.store.uploads_of, "alice", 0).begun
    assert begun == statuses.count(201)


# The disk.


def test_a_disk_that_is_nearly_full(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = Owner(api, "alice")
    path = alice.begins(10)
    there = uploaded(alice, b"all of it")
    monkeypatch.setattr(type(api.bridge.store), "no_space", lambda self: True)
    for answer in (
        api.client.post("/v1/accounts", json={"user": "new", "password": "correct horse"}),
        begins(alice, 5),
        alice.sends(path, 0, b"12345"),
    ):
        problem(answer, 507, "no_space")
        assert answer.headers["Retry-After"] == "60"
    # What adds next to nothing, and what takes away, goes on.
    tokens = api.log_in("alice")
    assert api.ask(tokens, "GET", f"{there}/content").data == b"all of it"
    assert api.ask(tokens, "DELETE", path).status_code == 204
    monkeypatch.undo()
    api.register("new")


def test_an_error_of_the_disk_is_one_of_the_store() -> None:
    assert issubclass(NoSpaceError, StoreError)


# Blocks.


def waiting(api: Api, user: str) -> list[bytes]:
    (page,) = api.bridge.call(api.bridge.store.page, [PageQuery(user, COMMON, b"", True, 100)])
    return [row.body for row in page.rows]


def test_a_block_drops_what_waits_from_the_blocked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = Person(api, "alice")
    api.register("mallory")
    api.register("bob")
    authors = ("bob", "mallory", "alice")
    rows = [NewRow(user, COMMON, 1, author.encode(), author) for user in authors for author in authors]
    api.bridge.call(api.bridge.store.append, rows)
    knew: list[bool] = []
    real = type(api.bridge.store).drop_waiting

    async def drop(self: Any, user: str, author: str) -> int:
        knew.append(("changed", "alice", "mallory") in api.fabric.asked)
        return await real(self, user, author)

    monkeypatch.setattr(type(api.bridge.store), "drop_waiting", drop)
    alice.does("PUT", "/v1/blocks/mallory")
    assert waiting(api, "alice") == [b"bob", b"alice"]
    assert waiting(api, "mallory") == [b"bob", b"mallory", b"alice"]
    # Brokers knew first, so that they have let nothing through since.
    assert knew == [True]
    # What was on its way at that moment is dropped by blocking once more.
    api.bridge.call(api.bridge.store.append, [NewRow("alice", COMMON, 1, b"late", "mallory")])
    alice.does("PUT", "/v1/blocks/mallory")
    assert waiting(api, "alice") == [b"bob", b"alice"]
    # Nothing else drops anything.
    for method, path in (("DELETE", "/v1/blocks/mallory"), ("PUT", "/v1/requests/bob"), ("DELETE", "/v1/friends/bob")):
        alice.does(method, path)
    assert waiting(api, "alice") == [b"bob", b"alice"]
    assert len(knew) == 2
