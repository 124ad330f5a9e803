"""Conversations, asked for by somebody who means harm (docs/design/history.md: H4, H5, and what people must not do)."""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from protocol.sparrow_pb2 import FILE, TEXT, Hint
from store.contacts import Change
from store.timelines import Entry, Mark, Name, conversation_of
from tests.userapi.conftest import Api, problem, settings_in, with_each_engine
from tests.userapi.talk import Person, Talk, path_of, talk
from tests.userapi.test_conversations import file_of, uploaded
from tests.userapi.test_metrics import AS_ADMIN, TOKEN
from userapi.app import create_app
from userapi.http.pages import to_cursor

__all__ = ["talk"]


def every_request(name: Name) -> list[tuple[str, str, dict[str, Any]]]:
    """All that may be asked of one conversation; of a message in it, `name`."""
    message = f"/v1/conversations/{{}}/messages/{name.device}/{name.stream}/{name.id}"
    return [
        ("GET", "/v1/conversations/{}", {}),
        ("GET", "/v1/conversations/{}/messages", {}),
        ("GET", "/v1/conversations/{}/messages?own=true", {}),
        ("GET", "/v1/conversations/unread?ids={}", {}),
        ("PUT", "/v1/conversations/{}/mark", {"json": {"stamp": "9"}}),
        ("DELETE", "/v1/conversations/{}", {}),
        ("DELETE", message, {}),
        ("POST", message + "/report", {"json": {"text": "bad"}}),
    ]


def shape(answer: TestResponse, other: str) -> tuple[int, str, dict[str, str]]:
    """What an answer tells, but for whom it is about."""
    told = {name: answer.headers[name] for name, _ in answer.headers if name not in ("ETag", "Content-Length")}
    return answer.status_code, answer.text.replace(f'"{other}"', '"…"'), told


@with_each_engine
def test_nothing_tells_who_there_is_or_has_blocked(talk: Talk, api: Api) -> None:
    store = api.bridge.store
    others = ["nobody", "carol", "dave", "erin"]
    for user in others[1:]:
        Person(api, user)
    talk.call(store.change_contact, "dave", "alice", Change.BLOCK)
    talk.call(store.change_contact, "erin", "alice", Change.BLOCK_SILENTLY)
    theirs = Name("carol", "d", 4711, 1)
    # It is in a conversation, too, which is not hers.
    talk.keeps(Entry(conversation_of("carol", "dave"), theirs, talk.stamp(0), TEXT, b"secret"))
    talk.told()
    for method, path, more in every_request(theirs):
        found = [shape(talk.alice.asks(method, path.format(other), **more), other) for other in others]
        assert found.count(found[0]) == len(others), (method, path, found)
    assert talk.told() == []
    assert talk.alice.gets("/v1/conversations") == {"conversations": [], "next": None}
    assert talk.call(talk.timelines.listed, "alice", conversation_of("alice", "carol")) is None


@with_each_engine
def test_nobody_reads_a_conversation_that_they_are_not_in(talk: Talk, api: Api) -> None:
    mallory = Person(api, "mallory")
    names = [talk.writes(talk.alice, "bob", "secret") for _ in range(3)]
    cursor = talk.alice.gets("/v1/conversations/bob/messages?limit=1")["next"]
    for other in ("alice", "bob"):
        assert mallory.gets(f"/v1/conversations/{other}/messages?before={cursor}")["messages"] == []
        assert mallory.gets(f"/v1/conversations/unread?ids={other}") == {"unread": {other: 0}}
    for other in ("alice+bob", "alice%2Bbob", "bob+alice", "mallory+alice", "alice%00", "Alice", "a" * 65):
        for method, path, more in every_request(names[0]):
            answer = mallory.asks(method, path.format(other), **more)
            assert answer.status_code in (400, 404), answer.text
            assert "secret" not in answer.text
    for answer in (
        mallory.asks("DELETE", path_of(names[0], "bob")),
        mallory.asks("POST", path_of(names[0], "alice") + "/report", json={"text": "bad"}),
        talk.bob.asks("DELETE", path_of(names[0], "alice")),  # he may read it, but not erase it
    ):
        problem(answer, 404, "no_such_message")
    assert talk.alice.texts("bob") == ["secret"] * 3


@pytest.mark.parametrize(
    "cursor",
    ["=", "a", "ä", "AA=", "A A", "a/b+", "-" * 129, *(to_cursor(bytes(n)) for n in (1, 7, 8, 9, 16, 17, 64, 90))],
)
def test_cursors_that_we_have_not_given(talk: Talk, cursor: str) -> None:
    talk.writes(talk.alice, "bob", "one")
    answer = talk.alice.asks("GET", f"/v1/conversations/bob/messages?before={quote(cursor)}")
    assert answer.status_code in (200, 400), answer.text  # a position may be made up, and gives no right
    if answer.status_code == 400:
        assert problem(answer, 400, answer.json["code"])["field"] == "before"  # type: ignore[index]


@with_each_engine
def test_cursors_that_are_drawn(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "one")
    given = talk.alice.gets("/v1/conversations/bob/messages?limit=1")["next"] or ""
    for size in itertools.chain(range(1, 65), (64,) * 50):
        cursor = to_cursor(secrets.token_bytes(size))
        for tried in (cursor, given[: len(given) // 2] + cursor[:40]):
            answer = talk.bob.asks("GET", f"/v1/conversations/alice/messages?before={tried}")
            assert answer.status_code in (200, 400), (tried, answer.text)
    problem(talk.alice.asks("GET", "/v1/conversations?after=B"), 400, "invalid_value")


@pytest.mark.parametrize(
    ("stream", "number"),
    [("0", "1"), ("1", "0"), (str(2**64), "1"), (str(2**63), "1"), ("4711", str(2**53)), ("9" * 99, "1"), ("-1", "1")],
)
def test_names_that_no_message_has(talk: Talk, stream: str, number: str) -> None:
    path = f"/v1/conversations/bob/messages/{talk.alice.device}/{stream}/{number}"
    problem(talk.alice.asks("DELETE", path), 404, "no_such_message")
    problem(talk.alice.asks("POST", f"{path}/report", json={"text": ""}), 404, "no_such_message")


@with_each_engine
def test_streams_of_all_64_bits(talk: Talk) -> None:
    for after, stream in enumerate((2**63, 2**64 - 1)):
        name = Name("alice", talk.alice.device, stream, 2**53 - 1)
        talk.keeps(Entry(conversation_of("alice", "bob"), name, talk.stamp(after), TEXT, b"one"))
        assert talk.bob.gets("/v1/conversations/alice/messages?limit=1")["messages"][0]["stream"] == str(stream)
        assert talk.alice.asks("DELETE", path_of(name, "bob")).status_code == 204
        assert talk.bob.texts("alice", "?limit=1") == [""]


@with_each_engine
def test_what_is_not_there_leaves_nothing_behind(talk: Talk) -> None:
    """P1: nobody fills the store with markers and marks of what there never was."""
    name = Name("alice", talk.alice.device, 1, 1)
    problem(talk.alice.asks("DELETE", path_of(name, "bob")), 404, "no_such_message")
    talk.keeps(Entry(conversation_of("alice", "bob"), name, talk.stamp(0), TEXT, b"later"))
    assert talk.bob.texts("alice") == ["later"]
    body = {"stamp": str(talk.stamp(0))}
    problem(talk.alice.asks("PUT", "/v1/conversations/carol/mark", json=body), 404, "no_such_conversation")
    problem(talk.alice.asks("DELETE", "/v1/conversations/carol"), 404, "no_such_conversation")
    conversation = conversation_of("alice", "carol")
    talk.keeps(Entry(conversation, Name("carol", "d", 1, 1), talk.stamp(-1), TEXT, b"hello"))
    found = talk.alice.gets("/v1/conversations/carol")
    assert (found["mark"], found["unread"]) == ("0", 1)
    assert "carol" in [one["id"] for one in talk.alice.gets("/v1/conversations")["conversations"]]


def test_erasing_once_more_writes_nothing(talk: Talk, tmp_path: Path) -> None:
    """P1: neither the store nor the ledger grows by it."""
    name = talk.writes(talk.alice, "bob", "one")
    for _ in range(5):
        assert talk.alice.asks("DELETE", path_of(name, "bob")).status_code == 204
    assert len((tmp_path / "erased.log").read_text().split()) == 1


# Whom somebody has blocked.


@with_each_engine
def test_what_was_swallowed_shows_to_its_author_alone(talk: Talk) -> None:
    path = uploaded(talk.alice, b"content")
    seen = talk.writes(talk.alice, "bob", "before")
    name = talk.swallowed(talk.alice, "bob", "swallowed")
    file = talk.writes(talk.alice, "bob", "{}", kind=FILE, file=file_of(path), audience=0)
    assert talk.alice.texts("bob") == ["", "swallowed", "before"]
    assert talk.bob.texts("alice") == ["before"]
    found = talk.bob.gets("/v1/conversations/alice")
    assert (found["newest"]["id"], found["unread"]) == (str(seen.id), 1)
    assert talk.bob.gets("/v1/conversations")["conversations"][0]["newest"]["id"] == str(seen.id)
    problem(talk.bob.asks("POST", path_of(name, "alice") + "/report", json={"text": ""}), 404, "no_such_message")
    problem(talk.bob.asks("GET", path), 404, "no_such_file")
    talk.told()
    for one in (name, file):
        assert talk.alice.asks("DELETE", path_of(one, "bob")).status_code == 204
    assert [told[0] for told in talk.told()] == ["alice", "alice"]  # an ERASE crosses a block if it was visible
    assert talk.alice.asks("DELETE", path_of(seen, "bob")).status_code == 204
    assert [told[0] for told in talk.told()] == ["bob", "alice"]


def test_who_only_wrote_what_was_swallowed_has_written_nothing(talk: Talk) -> None:
    name = talk.swallowed(talk.alice, "bob", "swallowed")
    assert talk.bob.gets("/v1/conversations")["conversations"] == []
    problem(talk.bob.asks("GET", "/v1/conversations/alice"), 404, "no_such_conversation")
    problem(talk.bob.asks("PUT", "/v1/conversations/alice/mark", json={"stamp": "9"}), 404, "no_such_conversation")
    assert talk.bob.texts("alice") == []
    assert talk.alice.gets("/v1/conversations/bob")["newest"]["id"] == str(name.id)


@pytest.mark.parametrize("what", [Change.BLOCK, Change.BLOCK_SILENTLY])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_block_freezes_what_is_shown(talk: Talk, api: Api, what: Change, who: str) -> None:
    """P5: whoever looks at the other's mark does not learn of a block from it."""
    talk.writes(talk.alice, "bob", "one")
    conversation = conversation_of("alice", "bob")
    talk.call(talk.timelines.raise_marks, [Mark("bob", conversation, talk.stamp(0), public=True)])
    paths = ("/v1/conversations", "/v1/conversations/bob", "/v1/conversations/bob/messages")
    before = [talk.alice.gets(path) for path in paths]
    assert before[0]["conversations"][0]["read_by_other"] == str(talk.stamp(0))
    talk.call(api.bridge.store.change_contact, who, "bob" if who == "alice" else "alice", what)
    assert [talk.alice.gets(path) for path in paths] == before
    # He goes on reading, for himself.
    talk.call(talk.timelines.raise_marks, [Mark("bob", conversation, talk.stamp(5), public=False)])
    assert [talk.alice.gets(path) for path in paths] == before


def test_who_hides_presence_shows_no_mark(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "one")
    conversation = conversation_of("alice", "bob")
    talk.call(talk.timelines.raise_marks, [Mark("bob", conversation, talk.stamp(0), public=True)])
    assert talk.bob.asks("PATCH", "/v1/me", json={"hides_presence": True}).status_code == 200
    assert talk.alice.gets("/v1/conversations/bob")["read_by_other"] == "0"
    assert talk.alice.gets("/v1/conversations")["conversations"][0]["read_by_other"] == "0"
    assert talk.bob.gets("/v1/conversations/alice")["mark"] == str(talk.stamp(0))  # he sees his own
    assert talk.bob.asks("PATCH", "/v1/me", json={"hides_presence": False}).status_code == 200
    assert talk.alice.gets("/v1/conversations/bob")["read_by_other"] == str(talk.stamp(0))


# Files.


@with_each_engine
def test_nobody_reads_a_file_by_naming_it(talk: Talk, api: Api) -> None:
    """P7: only its owner's messages give a right to it, and let it live longer."""
    mallory = Person(api, "mallory")
    path = uploaded(talk.alice, b"content")
    until = talk.call(api.bridge.store.file, file_of(path)).expires_ms
    talk.writes(mallory, "mallory", "{}", kind=FILE, file=file_of(path))
    talk.writes(mallory, "bob", "{}", kind=FILE, file=file_of(path))
    for person in (mallory, talk.bob):
        problem(person.asks("GET", path), 404, "no_such_file")
        problem(person.asks("GET", f"{path}/content"), 404, "no_such_file")
    assert talk.call(api.bridge.store.file, file_of(path)).expires_ms == until


@with_each_engine
def test_a_file_lives_as_long_as_its_message_and_is_erased_with_it(talk: Talk, api: Api) -> None:
    path = uploaded(talk.alice, b"content")
    store = api.bridge.store
    until = talk.call(store.file, file_of(path)).expires_ms
    assert talk.alice.asks("PUT", f"{path}/readers/bob").status_code == 204
    first = talk.writes(talk.alice, "bob", "{}", kind=FILE, file=file_of(path))
    assert talk.call(store.file, file_of(path)).expires_ms >= until + 300 * 86_400_000
    assert talk.bob.asks("GET", path).status_code == 200
    assert talk.alice.asks("DELETE", path_of(first, "bob")).status_code == 204
    problem(talk.bob.asks("GET", path), 404, "no_such_file")


# Reports, and what operators do.


@pytest.fixture
def audited(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "sparrow.audit")
    return caplog


def administered(api: Api, tmp_path: Path) -> None:
    """From now on there is administration."""
    (tmp_path / "admin").write_text(TOKEN)
    (tmp_path / "admin").chmod(0o600)
    settings = settings_in(tmp_path, admin_token_file=str(tmp_path / "admin"))
    api.client = create_app(settings, api.bridge, api.fabric, clock=lambda: api.now).test_client()


def reports(api: Api, more: str = "") -> dict[str, Any]:
    answer = api.ask(None, "GET", f"/v1/admin/reports{more}", headers=AS_ADMIN)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json, dict)
    return answer.json


@with_each_engine
def test_a_report_outlives_what_it_is_about(
    talk: Talk, api: Api, tmp_path: Path, audited: pytest.LogCaptureFixture
) -> None:
    administered(api, tmp_path)
    name = talk.writes(talk.bob, "alice", "a threat")
    for text in ("look", "look at this"):
        assert talk.alice.asks("POST", path_of(name, "bob") + "/report", json={"text": text}).status_code == 204
    talk.edits(talk.bob, "alice", name, "harmless")
    assert talk.bob.asks("DELETE", path_of(name, "alice")).status_code == 204
    problem(talk.alice.asks("POST", path_of(name, "bob") + "/report", json={"text": ""}), 404, "no_such_message")
    audited.clear()
    (found,) = reports(api)["reports"]
    assert (found["reporter"], found["members"], found["reported_ms"]) == ("alice", ["alice", "bob"], api.now * 1000)
    assert (found["message"]["author"], found["message"]["text"]) == ("bob", "a threat")
    assert "erased_by" not in found["message"]
    (line,) = audited.messages
    assert "report_read" in line
    assert "bob" in line
    assert "threat" not in line
    (bare,) = reports(api, "?bodies=false")["reports"]
    del found["message"]["text"]
    assert bare == found
    assert "bodies=false" in audited.messages[-1]
    for _ in range(2):
        answer = api.ask(None, "DELETE", f"/v1/admin/reports/{found['report']}", headers=AS_ADMIN)
        assert answer.status_code == 204
    assert reports(api) == {"reports": [], "next": None}


def test_reports_in_pages(talk: Talk, api: Api, tmp_path: Path) -> None:
    administered(api, tmp_path)
    for number in range(5):
        name = talk.writes(talk.bob, "alice", str(number))
        assert talk.alice.asks("POST", path_of(name, "bob") + "/report", json={"text": ""}).status_code == 204
    read, more = [], "?limit=2"
    while more:
        page = reports(api, more)
        read += [one["message"]["text"] for one in page["reports"]]
        more = f"?limit=2&after={page['next']}" if page["next"] else ""
    assert read == list("01234")
    problem(api.ask(None, "GET", "/v1/admin/reports?after=ä", headers=AS_ADMIN), 400, "invalid_value")


def test_only_what_others_wrote_is_reported_and_not_without_end(talk: Talk) -> None:
    mine = talk.writes(talk.alice, "bob", "mine")
    note = talk.writes(talk.alice, "alice", "note")
    for path in (path_of(mine, "bob"), path_of(note, "alice")):
        problem(talk.alice.asks("POST", f"{path}/report", json={"text": ""}), 404, "no_such_message")
    his = talk.writes(talk.bob, "alice", "his")
    answers = [talk.alice.asks("POST", path_of(his, "bob") + "/report", json={"text": ""}) for _ in range(31)]
    assert {answer.status_code for answer in answers[:-1]} == {204}
    problem(answers[-1], 429, "too_many_requests")
    assert len(talk.call(talk.timelines.reports, "", 100)) == 1
    too_long = talk.alice.asks("POST", path_of(his, "bob") + "/report", json={"text": "x" * 2001})
    problem(too_long, 400, "too_long")


@with_each_engine
def test_taken_down(talk: Talk, api: Api, tmp_path: Path, audited: pytest.LogCaptureFixture) -> None:
    administered(api, tmp_path)
    name = talk.writes(talk.bob, "alice", "bad")
    swallowed = talk.swallowed(talk.bob, "alice", "bad, too")
    message = f"{name.device}/{name.stream}/{name.id}"
    talk.told()

    def asked(path: str, **more: Any) -> TestResponse:
        return api.ask(None, "DELETE", f"/v1/admin/conversations/{path}", **{"headers": AS_ADMIN, **more})

    for nobody in (f"alice/carol/messages/bob/{message}", f"alice/bob/messages/carol/{message}"):
        problem(asked(nobody), 404, "no_such_message")
    problem(asked(f"alice+bob/x/messages/x/{message}"), 404, "no_such_message")
    problem(asked(f"alice/bob/messages/alice/{message}"), 404, "no_such_message")
    problem(asked(f"alice/bob/messages/bob/{message}", headers={}), 401, "wrong_admin_token")
    assert talk.told() == []
    audited.clear()
    for _ in range(2):
        assert asked(f"bob/alice/messages/bob/{message}").status_code == 204
    stamp = talk.stamp(-3_599_000)
    assert talk.told() == [
        ("alice", Hint.HISTORY_CHANGED, "bob", stamp),
        ("bob", Hint.HISTORY_CHANGED, "alice", stamp),
    ]
    assert len([line for line in audited.messages if "message_taken_down" in line]) == 1
    assert asked(f"alice/bob/messages/bob/{swallowed.device}/4711/{swallowed.id}").status_code == 204
    assert [told[0] for told in talk.told()] == ["bob"]
    for person, other in ((talk.alice, "bob"), (talk.bob, "alice")):
        shown = person.gets(f"/v1/conversations/{other}/messages")["messages"][-1]
        assert (shown["erased_by"], shown["text"]) == ("operator", "")
    # Its author does not make it theirs.
    assert talk.bob.asks("DELETE", path_of(name, "alice")).status_code == 204
    assert talk.alice.gets("/v1/conversations/bob/messages")["messages"][-1]["erased_by"] == "operator"
    assert talk.told() == []


def test_taken_down_after_its_author_has_left(talk: Talk, api: Api, tmp_path: Path) -> None:
    administered(api, tmp_path)
    name = talk.writes(talk.bob, "alice", "bad")
    assert talk.bob.asks("POST", "/v1/me/deletion", json={"password": "correct horse"}).status_code == 204
    path = f"/v1/admin/conversations/alice/bob/messages/bob/{name.device}/{name.stream}/{name.id}"
    assert api.ask(None, "DELETE", path, headers=AS_ADMIN).status_code == 204
    assert talk.alice.texts("bob") == [""]
