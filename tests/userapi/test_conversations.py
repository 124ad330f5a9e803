"""Conversations over HTTP: what their members read there, how far, and what becomes of one's own words.

What somebody means harm with is in test_history_harm.py.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import FILE, TEXT, About, Hint
from store.contacts import Change
from store.settings import HistorySettings
from store.timelines import Entry, Name, conversation_of
from tests.metrics import nonzero
from tests.userapi.conftest import Api, problem, settings_in, with_each_engine
from tests.userapi.talk import Person, Talk, path_of, talk
from tests.userapi.test_metrics import AS_ADMIN, TOKEN
from userapi.app import create_app
from userapi.bridge import StoreBridge

__all__ = ["talk"]


def text_of(talk: Talk, author: Person, name: Name, text: str, number: int) -> dict[str, Any]:
    """A TEXT that nobody has changed, as JSON."""
    return {
        "author": author.user,
        "device": name.device,
        "stream": "4711",
        "id": str(name.id),
        "stamp": str(talk.stamp(number * 1000 - 3_600_000)),
        "kind": TEXT,
        "text": text,
        "revision": 0,
    }


@with_each_engine
def test_a_message_as_json(talk: Talk) -> None:
    first = talk.writes(talk.alice, "bob", "häl1o")
    about = About(from_device="d2", stream=2**64 - 1, ids=[1, 2**53 - 1]).SerializeToString()
    second = talk.writes(talk.bob, "alice", "", kind=2**31 - 1, body=b"\xff\x00", about=about)
    third = talk.edits(talk.alice, "bob", first, "hallo", 3)
    found = talk.bob.gets("/v1/conversations/alice/messages")
    assert found == {
        "messages": [
            {
                "author": "bob",
                "device": second.device,
                "stream": "4711",
                "id": "2",
                "stamp": str(talk.stamp(2000 - 3_600_000)),
                "kind": 2**31 - 1,
                "body": "/wA=",
                "about": {"device": "d2", "stream": str(2**64 - 1), "ids": ["1", str(2**53 - 1)]},
                "revision": 0,
            },
            text_of(talk, talk.alice, first, "hallo", 1)
            | {
                "revision": 3,
                "edited_stamp": str(talk.stamp(3000 - 3_600_000)),
                "edit": {"device": third.device, "stream": "4711", "id": "3"},
            },
        ],
        "next": None,
    }
    assert talk.alice.gets("/v1/conversations/bob/messages") == found


def test_what_older_releases_kept_is_readable(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "", body=b"\xff!", about=b"\xff")
    (message,) = talk.bob.gets("/v1/conversations/alice/messages")["messages"]
    assert message["text"] == "\ufffd!"
    assert "about" not in message


@with_each_engine
def test_from_the_newest_back_to_the_first(talk: Talk) -> None:
    written = [str(number) for number in range(23)]
    for text in written[:20]:
        talk.writes(talk.bob if int(text) % 2 else talk.alice, "alice" if int(text) % 2 else "bob", text)
    read: list[str] = []
    more = "?limit=5"
    for _ in range(20):
        page = talk.alice.gets(f"/v1/conversations/bob/messages{more}")
        read += [one["text"] for one in page["messages"]]
        if page["next"] is None:
            break
        more = f"?limit=5&before={page['next']}"
        if len(read) == 5:  # newer ones do not disturb who is reading back
            for text in written[20:]:
                talk.writes(talk.alice, "bob", text)
    assert read == written[19::-1]
    assert talk.alice.texts("bob", "?limit=500") == written[::-1]
    assert talk.alice.texts("bob", "?limit=500&own=true") == [*written[:19:-1], *written[18::-2]]


@with_each_engine
def test_the_list(talk: Talk, api: Api) -> None:
    carol = Person(api, "carol")
    assert talk.alice.gets("/v1/conversations") == {"conversations": [], "next": None}
    hers = talk.writes(talk.alice, "bob", "to bob")
    talk.writes(talk.alice, "alice", "a note")
    talk.writes(carol, "alice", "to alice")
    found = talk.alice.gets("/v1/conversations")
    assert [one["id"] for one in found["conversations"]] == ["alice", "bob", "carol"]
    assert found["conversations"][1] == {
        "id": "bob",
        "newest": text_of(talk, talk.alice, hers, "to bob", 1),
        "mark": "0",
        "read_by_other": "0",
    }
    assert found["next"] is None
    page = talk.alice.gets("/v1/conversations?limit=2")
    assert [one["id"] for one in page["conversations"]] == ["alice", "bob"]
    page = talk.alice.gets(f"/v1/conversations?limit=2&after={page['next']}")
    assert [one["id"] for one in page["conversations"]] == ["carol"]
    assert [one["id"] for one in talk.bob.gets("/v1/conversations")["conversations"]] == ["alice"]


def test_one(talk: Talk) -> None:
    assert talk.writes(talk.alice, "bob", "one")
    newest = talk.writes(talk.bob, "alice", "two")
    assert talk.alice.gets("/v1/conversations/bob") == {
        "id": "bob",
        "newest": text_of(talk, talk.bob, newest, "two", 2),
        "mark": "0",
        "read_by_other": "0",
        "unread": 1,
    }


@with_each_engine
def test_hidden_until_something_newer_comes(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "one")
    for _ in range(2):
        assert talk.alice.asks("DELETE", "/v1/conversations/bob").status_code == 204
        assert talk.alice.gets("/v1/conversations")["conversations"] == []
    assert talk.alice.gets("/v1/conversations/bob")["newest"]["text"] == "one"
    assert talk.alice.texts("bob") == ["one"]
    assert len(talk.bob.gets("/v1/conversations")["conversations"]) == 1
    talk.writes(talk.bob, "alice", "two")
    assert talk.alice.gets("/v1/conversations")["conversations"][0]["newest"]["text"] == "two"


@with_each_engine
def test_unread(talk: Talk, api: Api) -> None:
    carol = Person(api, "carol")
    for number in range(3):
        talk.writes(talk.bob, "alice", str(number))
    talk.writes(talk.alice, "bob", "mine")
    gone = talk.writes(talk.bob, "alice", "gone")
    assert talk.bob.asks("DELETE", path_of(gone, "alice")).status_code == 204
    talk.keeps(
        *(
            Entry(conversation_of("alice", "carol"), Name("carol", carol.device, 1, n), talk.stamp(n), TEXT, b"")
            for n in range(1, 120)
        )
    )
    ids = "bob,carol,alice,nobody-there,bob"
    assert talk.alice.gets(f"/v1/conversations/unread?ids={ids}") == {
        "unread": {"bob": 3, "carol": 100, "alice": 0, "nobody-there": 0}
    }
    stamp = talk.alice.gets("/v1/conversations/bob/messages?limit=5")["messages"][3]["stamp"]  # of "1"
    assert talk.alice.asks("PUT", "/v1/conversations/bob/mark", json={"stamp": stamp}).status_code == 200
    assert talk.alice.gets(f"/v1/conversations/unread?ids={ids}")["unread"]["bob"] == 1
    many = ",".join(f"user{number}" for number in range(101))
    for wrong in ("", "bob,", "B", many):
        assert problem(talk.alice.asks("GET", f"/v1/conversations/unread?ids={wrong}"), 400, "invalid_value")
    assert len(talk.alice.gets(f"/v1/conversations/unread?ids={many.rpartition(',')[0]}")["unread"]) == 100


def test_a_user_whose_name_is_a_word_of_ours(talk: Talk, api: Api) -> None:
    unread = Person(api, "unread")
    talk.writes(unread, "alice", "hello")
    assert talk.alice.gets("/v1/conversations/unread")["newest"]["text"] == "hello"
    assert talk.alice.gets("/v1/conversations/unread?ids=unread") == {"unread": {"unread": 1}}
    assert talk.alice.texts("unread") == ["hello"]
    assert talk.alice.asks("DELETE", "/v1/conversations/unread").status_code == 204
    assert talk.alice.gets("/v1/conversations")["conversations"] == []
    problem(talk.bob.asks("GET", "/v1/conversations/unread"), 404, "no_such_conversation")


def raised(person: Person, other: str, stamp: int) -> int:
    answer = person.asks("PUT", f"/v1/conversations/{other}/mark", json={"stamp": str(stamp)})
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return int(answer.json["mark"])


@with_each_engine
def test_a_mark_only_rises(talk: Talk) -> None:
    talk.writes(talk.bob, "alice", "one")
    stamp = talk.stamp(-3_599_000)
    talk.told()
    assert raised(talk.alice, "bob", stamp) == stamp
    assert talk.told() == [("alice", Hint.MARK_RAISED, "bob", stamp)]
    for lower in (stamp, stamp - 1, 0):
        assert raised(talk.alice, "bob", lower) == stamp
    assert talk.told() == []
    assert talk.alice.gets("/v1/conversations/bob")["mark"] == str(stamp)
    # It is her own devices' business.
    assert talk.bob.gets("/v1/conversations/alice")["read_by_other"] == "0"
    assert talk.bob.gets("/v1/conversations/alice")["mark"] == "0"


def test_a_mark_is_at_most_two_minutes_ahead(talk: Talk) -> None:
    talk.writes(talk.bob, "alice", "one")
    most = talk.stamp(120_000)
    for far in (2**64 - 1, most + 1, most):
        assert raised(talk.alice, "bob", far) == most
    later = talk.writes(talk.bob, "alice", "two", stamp=talk.stamp(121_000))
    assert talk.alice.gets("/v1/conversations/unread?ids=bob") == {"unread": {"bob": 1}}
    assert later


@pytest.mark.parametrize("stamp", ["", "-1", "1.0", "0x1", "1" * 21, str(2**64), "٣", 1, None])
def test_marks_that_are_none(talk: Talk, stamp: object) -> None:
    talk.writes(talk.bob, "alice", "one")
    answer = talk.alice.asks("PUT", "/v1/conversations/bob/mark", json={"stamp": stamp})
    assert answer.status_code == 400, answer.text
    assert talk.told() == []
    assert talk.alice.gets("/v1/conversations/bob")["mark"] == "0"


def test_what_one_has_written_is_erased_for_both(talk: Talk) -> None:
    first = talk.writes(talk.alice, "bob", "secret")
    stamp = talk.stamp(-3_599_000)
    talk.edits(talk.alice, "bob", first, "secret, too")
    talk.told()
    assert talk.alice.asks("DELETE", path_of(first, "bob")).status_code == 204
    told = [("bob", Hint.HISTORY_CHANGED, "alice", stamp), ("alice", Hint.HISTORY_CHANGED, "bob", stamp)]
    assert talk.told() == told
    assert talk.alice.asks("DELETE", path_of(first, "bob")).status_code == 204  # its answer was lost
    assert talk.told() == []
    for person, other in ((talk.alice, "bob"), (talk.bob, "alice")):
        (message,) = person.gets(f"/v1/conversations/{other}/messages")["messages"]
        assert (message["text"], message["erased_by"]) == ("", "alice")
        assert (message["stamp"], message["id"]) == (str(stamp), "1")
        assert "secret" not in person.asks("GET", "/v1/conversations").text


def test_notes_to_oneself(talk: Talk) -> None:
    note = talk.writes(talk.alice, "alice", "a note")
    talk.told()
    assert talk.alice.texts("alice") == ["a note"]
    assert talk.alice.gets("/v1/conversations/alice")["unread"] == 0
    assert talk.alice.asks("DELETE", path_of(note, "alice")).status_code == 204
    assert talk.told() == [("alice", Hint.HISTORY_CHANGED, "alice", talk.stamp(-3_599_000))]
    assert talk.alice.texts("alice") == [""]


def test_the_same_again_is_not_sent_again(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "one")
    for path in ("/v1/conversations", "/v1/conversations/bob", "/v1/conversations/bob/messages"):
        first = talk.alice.asks("GET", path)
        tag = first.headers["ETag"]
        again = talk.alice.asks("GET", path, headers={"If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["Cache-Control"]) == (304, b"", "no-store")
        talk.writes(talk.alice, "bob", "two")
        assert talk.alice.asks("GET", path, headers={"If-None-Match": tag}).status_code == 200


def test_where_nothing_is_kept_all_of_it_says_so(talk: Talk, api: Api, tmp_path: Path) -> None:
    (tmp_path / "admin").write_text(TOKEN)
    (tmp_path / "admin").chmod(0o600)
    name = talk.writes(talk.alice, "bob", "one")
    api.bridge.call(talk.timelines.set_keep_days, 0, 0)
    settings = settings_in(tmp_path, admin_token_file=str(tmp_path / "admin"))
    api.client = create_app(settings, api.bridge, api.fabric, clock=lambda: api.now).test_client()
    document = api.client.get("/v1/openapi.json").json
    assert document is not None
    values = {"conversation": "bob", "one": "alice", "other": "bob", "author": "alice", "report": "00"}
    values |= {"device": name.device, "stream": "4711", "n": "1"}
    asked = 0
    for path, methods in document["paths"].items():
        if not path.startswith(("/v1/conversations", "/v1/admin/conversations", "/v1/admin/reports")):
            continue
        if path.endswith("/mute"):  # is about messages as they come
            continue
        for method in set(methods) - {"parameters"}:
            body = {"put": {"stamp": "1"}, "post": {"text": "bad"}}.get(method)
            person = None if "/admin/" in path else talk.alice.tokens
            headers = AS_ADMIN if "/admin/" in path else {}
            answer = api.ask(person, method.upper(), path.format(**values), json=body, headers=headers)
            problem(answer, 403, "history_not_kept")
            asked += 1
    assert asked == 12


def test_the_truth_of_the_store_is_asked_for_now_and_then(talk: Talk, api: Api, tmp_path: Path) -> None:
    steady = [0.0]
    app = create_app(settings_in(tmp_path), api.bridge, api.fabric, clock=lambda: api.now, steady=lambda: steady[0])
    api.client = app.test_client()
    assert talk.alice.texts("bob") == []
    api.bridge.call(talk.timelines.set_keep_days, 0, 0)
    assert talk.alice.texts("bob") == []
    steady[0] = 3.1
    problem(talk.alice.asks("GET", "/v1/conversations"), 403, "history_not_kept")


def test_pages_are_counted(talk: Talk, api: Api, tmp_path: Path) -> None:
    (tmp_path / "admin").write_text(TOKEN)
    (tmp_path / "admin").chmod(0o600)
    settings = settings_in(tmp_path, admin_token_file=str(tmp_path / "admin"))
    api.client = create_app(settings, api.bridge, api.fabric, clock=lambda: api.now).test_client()
    for number in range(3):
        talk.writes(talk.alice, "bob", str(number))
    assert len(talk.alice.texts("bob", "?limit=2")) == 2
    assert len(talk.bob.texts("alice")) == 3
    answer = api.client.get("/v1/admin/metrics", headers=AS_ADMIN)
    found = nonzero(text_string_to_metric_families(answer.text), "sparrow_userapi_")
    assert (found["history_pages_total"], found["history_messages_total"]) == (2, 5)


@pytest.mark.parametrize("path", ["/v1/conversations?limit=100", "/v1/conversations/user3/messages?limit=500"])
def test_a_page_costs_two_rounds_of_reads(talk: Talk, api: Api, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    for number in range(20):
        talk.writes(talk.alice, f"user{number}", str(number))
    talk.alice.gets(path)  # what is remembered for a while is known now
    rounds: list[object] = []
    run = StoreBridge._run

    def counted(self: StoreBridge, method: Any, *arguments: Any) -> Any:
        rounds.append(method)
        return run(self, method, *arguments)

    monkeypatch.setattr(StoreBridge, "_run", counted)
    talk.alice.gets(path)
    assert len(rounds) <= 3  # with whether the login stands


def test_a_device_that_catches_up_stays_within_the_default_rates(talk: Talk, api: Api, tmp_path: Path) -> None:
    steady = [1000.0]
    settings = settings_in(tmp_path, max_requests_per_second_of_account=50)
    app = create_app(settings, api.bridge, api.fabric, clock=lambda: api.now, steady=lambda: steady[0])
    api.client = app.test_client()
    conversation = conversation_of("alice", "bob")
    talk.keeps(
        *(Entry(conversation, Name("bob", "d", 1, n), talk.stamp(n - 10_000), TEXT, b"") for n in range(1, 1001))
    )

    def pages(count: int) -> int:
        """How many of so many are answered."""
        answers = [talk.alice.asks("GET", "/v1/conversations/bob/messages?limit=500") for _ in range(count)]
        assert {"1"} >= {one.headers["Retry-After"] for one in answers if one.status_code == 429}
        return sum(one.status_code == 200 for one in answers)

    assert pages(200) == 200  # 100,000 messages as fast as they come
    for _ in range(5):
        steady[0] += 1  # then as `Retry-After` says
        assert 19 <= pages(30) <= 21
    steady[0] += 100
    small = [talk.alice.asks("GET", "/v1/conversations/bob/messages?limit=1").status_code for _ in range(520)]
    assert 490 <= small.count(200) <= 510
    assert talk.alice.asks("GET", "/v1/me").status_code == 200  # all else goes on
    assert talk.bob.texts("alice", "?limit=1") == [""]  # another account


# Files.


def uploaded(person: Person, content: bytes) -> str:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))}
    path: str = person.asks("POST", "/v1/files", headers=headers).headers["Location"]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert person.asks("PATCH", path, headers=headers, data=content).status_code == 204
    return path


def file_of(path: str) -> str:
    return path.rpartition("/")[2]


def test_who_may_see_the_message_may_fetch_the_file(talk: Talk, api: Api) -> None:
    carol = Person(api, "carol")
    path = uploaded(talk.alice, b"content")
    problem(talk.bob.asks("GET", path), 404, "no_such_file")
    name = talk.writes(talk.alice, "bob", "{}", kind=FILE, file=file_of(path))
    assert talk.bob.asks("GET", f"{path}/content").data == b"content"
    assert talk.bob.asks("HEAD", path).status_code == 200
    for method in ("DELETE", "PATCH"):  # that is all that it gives
        headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        problem(talk.bob.asks(method, path, headers=headers), 404, "no_such_file")
    problem(carol.asks("GET", path), 404, "no_such_file")
    assert talk.alice.asks("DELETE", path_of(name, "bob")).status_code == 204
    problem(talk.bob.asks("GET", f"{path}/content"), 404, "no_such_file")


def test_without_history_only_readers_are_asked_for(talk: Talk, api: Api) -> None:
    path = uploaded(talk.alice, b"content")
    talk.writes(talk.alice, "bob", "{}", kind=FILE, file=file_of(path))
    api.bridge.call(talk.timelines.set_keep_days, 0, 0)
    problem(talk.bob.asks("GET", path), 404, "no_such_file")


# The end of an account.


@with_each_engine
@pytest.mark.parametrize("words", ["keep", "erase"])
def test_the_words_of_who_has_left(talk: Talk, api: Api, tmp_path: Path, words: str) -> None:
    history = HistorySettings(words_of_deleted_accounts=words)
    app = create_app(settings_in(tmp_path), api.bridge, api.fabric, clock=lambda: api.now, history=history)
    api.client = app.test_client()
    talk.writes(talk.alice, "bob", "hers")
    talk.writes(talk.bob, "alice", "his")
    raised(talk.alice, "bob", talk.stamp(0))
    for _ in range(2):  # a repeat goes on
        answer = talk.alice.asks("POST", "/v1/me/deletion", json={"password": "correct horse"})
        assert answer.status_code == 204
    assert talk.bob.texts("alice") == (["his", "hers"] if words == "keep" else ["his", ""])
    found = talk.bob.gets("/v1/conversations/alice")
    assert (found["newest"]["text"], found["read_by_other"]) == ("his", "0")


def test_what_is_kept_is_forgotten_though_no_broker_answers(talk: Talk, api: Api, tmp_path: Path) -> None:
    history = HistorySettings(words_of_deleted_accounts="erase")
    app = create_app(settings_in(tmp_path), api.bridge, api.fabric, clock=lambda: api.now, history=history)
    api.client = app.test_client()
    talk.writes(talk.alice, "bob", "hers")
    api.fabric.away = True
    problem(talk.alice.asks("POST", "/v1/me/deletion", json={"password": "correct horse"}), 503, "unavailable")
    assert talk.bob.texts("alice") == [""]


def test_the_body_of_anything_is_base64(talk: Talk) -> None:
    talk.writes(talk.alice, "bob", "", kind=1000, body=bytes(range(256)))
    (message,) = talk.bob.gets("/v1/conversations/alice/messages")["messages"]
    assert base64.b64decode(message["body"]) == bytes(range(256))
    assert int(message["stamp"]) >> STAMP_SHIFT == int(talk.stamp(-3_599_000)) >> STAMP_SHIFT


@with_each_engine
def test_one_s_own_words_stay_one_s_own(talk: Talk, api: Api) -> None:
    """P7: listed and erased after an unfriending, a block by either, and the other's end."""
    store = api.bridge.store
    talk.call(store.change_contact, "alice", "bob", Change.ASK)
    talk.call(store.change_contact, "bob", "alice", Change.ACCEPT)
    names = [talk.writes(talk.alice, "bob", str(number)) for number in range(4)]
    talk.writes(talk.bob, "alice", "his")
    for number, what in enumerate((Change.REMOVE, Change.BLOCK, Change.BLOCK_SILENTLY)):
        talk.call(store.change_contact, "bob", "alice", what)
        if what == Change.BLOCK:
            talk.call(store.change_contact, "alice", "bob", what)
        assert set(talk.alice.texts("bob", "?own=true")) == {"", *map(str, range(number, 4))} - (
            {""} if not number else set()
        )
        assert talk.alice.asks("DELETE", path_of(names[number], "bob")).status_code == 204
    answer = talk.bob.asks("POST", "/v1/me/deletion", json={"password": "correct horse"})
    assert answer.status_code == 204
    assert talk.alice.texts("bob", "?own=true")[0] == "3"
    assert talk.alice.asks("DELETE", path_of(names[3], "bob")).status_code == 204
    assert set(talk.alice.texts("bob", "?own=true")) == {""}
