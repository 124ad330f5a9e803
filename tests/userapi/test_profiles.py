"""`/v1/me` and `/v1/users`."""

import pytest

from tests.userapi.conftest import Api, problem


@pytest.fixture
def alice(api: Api) -> Api:
    api.register()
    return api


def test_ones_own_profile(alice: Api) -> None:
    phone = alice.log_in()
    answer = alice.ask(phone, "GET", "/v1/me")
    assert answer.json is not None
    assert answer.json == {
        "user": "alice",
        "display_name": "",
        "hides_presence": False,
        "friends_may_add_me": False,
        "created_ms": answer.json["created_ms"],
    }
    changed = alice.ask(phone, "PATCH", "/v1/me", json={"display_name": "Alice", "hides_presence": True})
    assert changed.json == {**answer.json, "display_name": "Alice", "hides_presence": True}
    assert alice.ask(phone, "PATCH", "/v1/me", json={}).json == changed.json
    assert alice.ask(phone, "GET", "/v1/me").json == changed.json


def test_wrong_fields(alice: Api) -> None:
    phone = alice.log_in()
    for body, code in (
        ({"display_name": 3}, "wrong_type"),
        ({"display_name": None}, "wrong_type"),
        ({"display_name": "x" * 101}, "too_long"),
        ({"display_name": "a\x00b"}, "invalid_value"),
        ({"display_name": "a\x85b"}, "invalid_value"),
        ({"display_name": "a\u202eb"}, "invalid_value"),
        ({"display_name": "\u2066a"}, "invalid_value"),
        ({"display_name": "a\u2028"}, "invalid_value"),
        ({"hides_presence": 1}, "wrong_type"),
        ({"hides_presence": "true"}, "wrong_type"),
        ({"user": "bob"}, "unknown_field"),
    ):
        problem(alice.ask(phone, "PATCH", "/v1/me", json=body), 400, code)


def test_names_of_before_show_nothing_that_turns_a_line(alice: Api) -> None:
    phone = alice.log_in()
    name = "می\u200cخواهم 👩\u200d👧"
    assert alice.ask(phone, "PATCH", "/v1/me", json={"display_name": name}).json["display_name"] == name
    # As an older release let it in.
    alice.bridge.call(alice.bridge.store.change_profile, "alice", "a\u202eb\x9b\u2028", None)
    for path in ("/v1/me", "/v1/users/alice"):
        assert alice.ask(phone, "GET", path).json["display_name"] == "ab"
    found = alice.ask(phone, "GET", "/v1/users", query_string={"prefix": "al"}).json["items"]
    assert [each["display_name"] for each in found] == ["ab"]


def test_entity_tags(alice: Api) -> None:
    phone = alice.log_in()
    for path in ("/v1/me", "/v1/users/alice"):
        first = alice.ask(phone, "GET", path)
        tag = first.headers["ETag"]
        same = alice.ask(phone, "GET", path, headers={"If-None-Match": tag})
        assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", tag)
        assert "no-store" not in same.headers["Cache-Control"]
        assert alice.ask(phone, "GET", path, headers={"If-None-Match": '"other"'}).status_code == 200
        alice.ask(phone, "PATCH", "/v1/me", json={"display_name": f"Alice at {path}"})
        changed = alice.ask(phone, "GET", path, headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["ETag"] != tag


def test_public_profiles(alice: Api) -> None:
    alice.register("bob")
    bobs = alice.log_in("bob")
    alice.ask(alice.log_in(), "PATCH", "/v1/me", json={"display_name": "Alice", "hides_presence": True})
    answer = alice.ask(bobs, "GET", "/v1/users/alice")
    assert answer.json == {"user": "alice", "display_name": "Alice"}
    for user in ("nobody", "A B", "x" * 300, "%00"):
        problem(alice.ask(bobs, "GET", f"/v1/users/{user}"), 404, "no_such_user")
    problem(alice.ask(None, "GET", "/v1/users/alice"), 401, "no_token")


def test_the_search(alice: Api) -> None:
    names = [f"al{number}" for number in range(5)]
    for name in names:
        alice.register(name)
    phone = alice.log_in()
    found: list[str] = []
    cursor = ""
    while True:
        answer = alice.ask(phone, "GET", f"/v1/users?prefix=al&limit=2{cursor}").json
        assert answer is not None
        assert len(answer["items"]) <= 2
        found += [item["user"] for item in answer["items"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == [*names, "alice"]
    answer = alice.ask(phone, "GET", "/v1/users?prefix=alice").json
    assert answer == {"items": [{"user": "alice", "display_name": ""}], "next": None}
    assert alice.ask(phone, "GET", "/v1/users?prefix=zz").json == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "missing_field", "prefix"),
        ("prefix=a", "invalid_value", "prefix"),
        ("prefix=AL", "invalid_value", "prefix"),
        ("prefix=al%0a", "invalid_value", "prefix"),
        ("prefix=al&limit=0", "invalid_value", "limit"),
        ("prefix=al&limit=101", "invalid_value", "limit"),
        ("prefix=al&limit=many", "wrong_type", "limit"),
        ("prefix=al&limit=" + "9" * 5000, "wrong_type", "limit"),
        ("prefix=al&cursor=%21", "invalid_value", "cursor"),
        ("prefix=al&cursor=_w", "invalid_value", "cursor"),
        ("prefix=al&prefix=be", "invalid_value", "prefix"),
        ("prefix=al&page=2", "unknown_field", "page"),
    ],
)
def test_wrong_queries(alice: Api, query: str, code: str, field: str) -> None:
    answer = alice.ask(alice.log_in(), "GET", f"/v1/users?{query}")
    assert problem(answer, 400, code)["field"] == field
