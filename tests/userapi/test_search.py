"""Search over HTTP: what is found, by whom, and what is said where there is none."""

from __future__ import annotations

import pytest

from protocol.errors import MisuseError
from store.sqlite.timelines import SqliteTimelines
from tests.userapi.conftest import ENGINES, problem
from tests.userapi.talk import Person, Talk, talk

__all__ = ["talk"]


def follow(talk: Talk) -> None:
    """The index has seen all that was written."""
    assert isinstance(talk.timelines, SqliteTimelines)
    while talk.call(talk.timelines._search.step):
        pass


def found(person: Person, query: str) -> list[tuple[str, str]]:
    """Conversation and text of each, newest first."""
    return [(one["conversation"], one["text"]) for one in person.gets(f"/v1/search?{query}")["messages"]]


def test_both_find_it_and_nobody_else(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "Lunch at noon?")
    talk.writes(talk.bob, "alice", "lunch is fine")
    talk.writes(talk.bob, "bob", "lunch: buy bread")
    follow(talk)
    assert found(talk.alice, "q=lunch") == [("bob", "lunch is fine"), ("bob", "Lunch at noon?")]
    assert found(talk.bob, "q=LUNCH") == [
        ("bob", "lunch: buy bread"),
        ("alice", "lunch is fine"),
        ("alice", "Lunch at noon?"),
    ]
    assert found(talk.bob, "q=lunch&conversation=bob") == [("bob", "lunch: buy bread")]
    assert found(talk.alice, "q=lunch+at&conversation=bob") == [("bob", "Lunch at noon?")]
    assert found(talk.alice, "q=lunch&conversation=nobody") == []
    assert found(talk.alice, "q=bread") == []


def test_pages(talk: Talk) -> None:
    texts = [f"word {number}" for number in range(5)]
    for text in texts:
        talk.writes(talk.alice, "bob", text)
    follow(talk)
    page = talk.bob.gets("/v1/search?q=word&limit=2")
    seen = [one["text"] for one in page["messages"]]
    while page["next"]:
        page = talk.bob.gets(f"/v1/search?q=word&limit=2&before={page['next']}")
        seen += [one["text"] for one in page["messages"]]
    assert seen == texts[::-1]


def test_what_was_edited_or_swallowed(talk: Talk) -> None:
    first = talk.writes(talk.alice, "bob", "the old word")
    talk.swallowed(talk.alice, "bob", "a swallowed word")
    talk.edits(talk.alice, "bob", first, "the new word")
    follow(talk)
    assert found(talk.bob, "q=word") == [("alice", "the new word")]
    assert found(talk.bob, "q=old") == []
    assert [text for _, text in found(talk.alice, "q=word")] == ["a swallowed word", "the new word"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("q=", "q"), ("q=%21%21", "q"), ("q=a&conversation=A+B", "conversation"), ("q=a&before=eHh4", "before")],
)
def test_what_cannot_be_looked_for(talk: Talk, query: str, field: str) -> None:
    answer = talk.alice.asks("GET", f"/v1/search?{query}")
    assert problem(answer, 400, "invalid_value")["field"] == field


def test_one_that_takes_too_long(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_long(*_: object) -> None:
        raise MisuseError("the search took too long: name more of the words")

    monkeypatch.setattr(SqliteTimelines, "search", too_long)
    problem(talk.alice.asks("GET", "/v1/search?q=a"), 422, "search_too_broad")


@pytest.mark.parametrize("api", [name for name in ENGINES if name == "cassandra"], indirect=True)
def test_where_there_is_none(talk: Talk) -> None:
    problem(talk.alice.asks("GET", "/v1/search?q=a"), 403, "search_not_offered")


def test_without_a_token(talk: Talk) -> None:
    assert talk.alice._api.client.get("/v1/search?q=a").status_code == 401
