"""The operator's page without a browser: who gets in, what hostile requests get, what is told, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from protocol.errors import ConfigError, NotFoundError, UnreachableError
from sparrow.config.settings import Settings
from sparrow.config.tree import OperatorSettings
from sparrow.operator_page import sessions as tries
from sparrow.operator_page.administering import AT_ONCE, Administering
from sparrow.operator_page.app import create_app
from sparrow.operator_page.sessions import Sessions
from sparrow.operator_page.shown import HIDDEN, shown
from sparrow.operator_page.sizes import MOST, Sizes
from sparrow.operator_page.watch import MAX_PROCESSES, SERIES, Watch
from sparrow.ops.administration import Administration
from sparrow.ops.seen import Seen
from userapi.http.problems import ProblemError
from userapi.settings import UserApiSettings

TOKEN = "0123456789abcdef" * 4
HERE = "http://127.0.0.1:7485"
BODY = "what somebody has written"


class There(Administration):
    """A user API that answers what a test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        self.asked.append((method, path, more))
        answer = self.answers.get(f"{method} {path}", {})
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer(more) if callable(answer) else answer
        return found


class Page:
    """The application, and a browser that shows the session's secret once it has logged in."""

    def __init__(self, **changes: Any) -> None:
        self.now = 1000.0
        self.there = There()
        settings = Settings(operator=dataclasses.replace(OperatorSettings(), **changes))
        self.watch = Watch((), own, 5.0)
        administering = Administering(self.there, "https://chat.example.net/")
        self.sizes = Sizes(administering, sleep=lambda seconds: None)
        sessions = Sessions(TOKEN, 100.0, lambda: self.now)
        self.client: FlaskClient = create_app(settings, self.watch, sessions, administering, self.sizes).test_client()
        self.secret = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> TestResponse:
        given = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        more: dict[str, Any] = {"json": body} if body is not None else {}
        base = headers.pop("base", HERE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(path, method=method, base_url=base, headers=given | named, **more)

    def log_in(self, token: str = TOKEN, **headers: str) -> TestResponse:
        answer = self.ask("POST", "/api/login", {"token": token}, **headers)
        if answer.status_code == 200:
            self.secret = json.loads(answer.data)["session"]
        return answer


def own() -> Seen:
    return Seen("", 1.0, name="operator", role="operator", version="0.2")


@pytest.fixture
def page() -> Page:
    made = Page()
    assert made.log_in().status_code == 200
    return made


PATHS = [
    ("GET", "/api/state"),
    ("GET", "/api/settings"),
    ("GET", "/api/sizes"),
    ("POST", "/api/sizes"),
    ("GET", "/api/accounts"),
    ("POST", "/api/accounts"),
    ("GET", "/api/accounts/alice"),
    ("DELETE", "/api/accounts/alice"),
    ("POST", "/api/accounts/alice/disable"),
    ("POST", "/api/accounts/alice/password-code"),
    ("GET", "/api/invitations"),
    ("POST", "/api/invitations"),
    ("DELETE", "/api/invitations/0123456789abcdef"),
    ("GET", "/api/groups"),
    ("GET", "/api/groups/~aaaaaaaaaaaaaaaaaaaaaaaa"),
    ("DELETE", "/api/groups/~aaaaaaaaaaaaaaaaaaaaaaaa"),
    ("GET", "/api/reports"),
    ("DELETE", "/api/reports/00"),
    ("POST", "/api/take-down"),
    ("POST", "/api/logout"),
]


# Who gets in.


def test_all_of_it_takes_a_session() -> None:
    page = Page()
    routes = page.client.application.url_map
    served = {rule.endpoint for rule in routes.iter_rules() if rule.rule.startswith("/api/")}
    assert {routes.bind("").match(path, method)[0] for method, path in PATHS} == served - {"log_in"}
    for secret in ("", TOKEN, "x" * 43):
        page.secret = secret
        for method, path in PATHS:
            answer = page.ask(method, path)
            assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")  # type: ignore[index]
    assert page.there.asked == []


def test_a_session_ends(page: Page) -> None:
    assert page.ask("GET", "/api/settings").status_code == 200
    page.now += 99.0
    assert page.ask("GET", "/api/settings").status_code == 200
    page.now += 2.0
    assert page.ask("GET", "/api/settings").status_code == 401
    page.log_in()
    assert page.ask("POST", "/api/logout").status_code == 200
    assert page.ask("GET", "/api/settings").status_code == 401


def test_wrong_tokens_are_audited_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    with caplog.at_level("INFO", "sparrow.audit"):
        for _ in range(tries.TRIES_AT_ONCE):
            assert page.log_in("wrong").status_code == 401
        answer = page.log_in()
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
        page.now += tries.TRY_EVERY_S
        assert page.log_in().status_code == 200
    assert caplog.text.count("event=operator_refused from=127.0.0.1 why=wrong_admin_token") == tries.TRIES_AT_ONCE
    assert "why=too_many_tries" in caplog.text
    assert "event=operator_logged_in from=127.0.0.1" in caplog.text
    assert TOKEN not in caplog.text
    assert page.secret not in caplog.text


def test_the_oldest_of_many_sessions_goes() -> None:
    now = [0.0]
    sessions = Sessions(TOKEN, 1e9, lambda: now[0])
    secrets = []
    for _ in range(tries.MAX_SESSIONS + 1):
        now[0] += tries.TRY_EVERY_S
        secrets.append(sessions.begin(TOKEN, "127.0.0.1"))
    assert [sessions.is_open(each) for each in secrets] == [False] + [True] * tries.MAX_SESSIONS


def test_nobody_fills_the_memory_with_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "MAX_ADDRESSES", 3)
    sessions = Sessions(TOKEN, 100.0, lambda: 0.0)
    for number in range(3):
        assert sessions.begin("wrong", f"10.0.0.{number}") == ""
    with pytest.raises(tries.TooManyTriesError):
        sessions.begin(TOKEN, "10.0.0.9")


# Other sites' pages.


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7485", "localhost.evil:7485", "", "[::1", "a b"]
)
def test_under_a_name_of_others_nothing_is_answered(page: Page, host: str) -> None:
    """A name that leads to 127.0.0.1 (DNS rebinding)."""
    for path in ("/", "/api/settings"):
        answer = page.ask("GET", path, Host=host)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")  # type: ignore[index]


@pytest.mark.parametrize("host", ["127.0.0.1:7485", "localhost:1234", "[::1]:7485", "10.0.0.5", "ops.example.net"])
def test_under_ours_it_is(host: str) -> None:
    page = Page(names=("OPS.example.net",))
    assert page.ask("GET", "/", Host=host).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
    ],
)
def test_other_pages_get_nothing_even_with_the_secret(page: Page, headers: dict[str, str]) -> None:
    for method, path in PATHS:
        assert page.ask(method, path, **headers).status_code == 400
    assert page.log_in(**headers).status_code == 400
    assert page.there.asked == []
    assert page.ask("GET", "/api/settings", Origin=HERE, Sec_Fetch_Site="same-origin").status_code == 200


def test_no_cookie_opens_anything(page: Page) -> None:
    assert "Set-Cookie" not in page.log_in().headers
    secret, page.secret = page.secret, ""
    page.client.set_cookie("session", secret)
    assert page.ask("GET", "/api/settings").status_code == 401


def test_what_every_answer_carries(page: Page) -> None:
    for path in ("/", "/api/settings", "/api/nothing", "/nothing"):
        headers = page.ask("GET", path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
    policy = page.ask("GET", "/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert page.ask("GET", "/api/settings").headers["Cache-Control"] == "no-store"
    files = page.ask("GET", "/").get_data(as_text=True)
    assert page.ask("GET", files.partition('src="')[2].partition('"')[0]).status_code == 200
    secure = Page(tls_certificate_file="x")
    assert "Strict-Transport-Security" in secure.ask("GET", "/", base="https://127.0.0.1").headers


# What is done.


@pytest.mark.parametrize("user", ["..", ".", "Alice", "a%2fb", "%2e%2e", "x" * 65, "%F0%9F%90%A6"])
def test_a_path_stays_where_it_is(page: Page, user: str) -> None:
    for method, path in (("DELETE", f"/api/accounts/{user}"), ("POST", f"/api/accounts/{user}/disable")):
        assert page.ask(method, path).status_code in (400, 404, 405)
    assert page.there.asked == []


def test_only_what_is_known_is_done(page: Page) -> None:
    assert page.ask("POST", "/api/accounts/alice/devices").status_code == 404
    assert page.ask("DELETE", "/api/groups/bob").status_code == 404
    assert page.there.asked == []
    assert page.ask("POST", "/api/accounts/alice/disable").status_code == 200
    more = {"headers": {"X-Forwarded-For": "127.0.0.1"}}
    assert page.there.asked == [("POST", "/v1/admin/accounts/alice/disable", more)]


def test_bodies_that_are_none(page: Page) -> None:
    for body in ([], {}, {"user": 1}, {"user": "x" * 2000}, {"hours": True}, "x"):
        assert page.ask("POST", "/api/accounts", body).status_code == 400
        assert page.ask("POST", "/api/invitations", body).status_code == 400
        assert page.ask("POST", "/api/take-down", body).status_code in (400, 404)
        assert page.ask("POST", "/api/login", body).status_code == 400
    answer = page.client.post("/api/login", data=f'{{"token":"{TOKEN}"}}', content_type="text/plain", base_url=HERE)
    assert answer.status_code == 415
    assert page.there.asked == []


def test_an_account_is_added_with_a_code(page: Page) -> None:
    page.there.answers["POST /v1/admin/accounts/bob/password-reset"] = {"user": "bob", "code": "abc", "ends_ms": 5}
    answer = page.ask("POST", "/api/accounts", {"user": "bob"})
    assert answer.json == {
        "user": "bob",
        "code": "abc",
        "ends_ms": 5,
        "link": "https://chat.example.net/#reset=bob:abc",
    }
    (_, path, more), _ = page.there.asked
    assert (path, more["json"]["user"], len(more["json"]["password"])) == ("/v1/admin/accounts", "bob", 32)


def test_what_a_reported_message_says_goes_no_further(page: Page) -> None:
    message = {"author": "bob", "device": "d", "stream": "1", "id": "2", "stamp": "3", "kind": 1}
    told = {"text": BODY, "body": BODY, "edit": {"x": BODY}, "of_a_later_release": BODY}
    report = {"report": "00", "reporter": "alice", "reported_ms": 1, "members": ["alice", "bob"], "text": "They <b>"}
    answer = {"reports": [{**report, "message": {**message, **told}, "of_a_later_release": BODY}], "next": None}
    page.there.answers["GET /v1/admin/reports"] = answer
    found = page.ask("GET", "/api/reports")
    assert found.json == {"reports": [{**report, "message": message}], "next": None}
    assert BODY not in found.text
    assert page.there.asked[0][2]["params"]["bodies"] == "false"


def test_a_message_is_taken_down(page: Page) -> None:
    name = {"author": "bob", "device": "d1", "stream": "7", "id": "9"}
    group = "~" + "a" * 24
    assert page.ask("POST", "/api/take-down", {**name, "members": ["alice", "bob"], "group": ""}).status_code == 200
    assert page.ask("POST", "/api/take-down", {**name, "members": ["bob"], "group": group}).status_code == 200
    assert page.ask("POST", "/api/take-down", {**name, "members": ["../..", "bob"]}).status_code == 200
    assert page.ask("POST", "/api/take-down", {**name, "stream": "..", "members": ["a", "b"]}).status_code == 404
    assert [path for _, path, _ in page.there.asked] == [
        "/v1/admin/conversations/alice/bob/messages/bob/d1/7/9",
        f"/v1/admin/groups/{group}/messages/bob/d1/7/9",
        "/v1/admin/conversations/..%2F../bob/messages/bob/d1/7/9",
    ]


def test_refusals_of_the_user_api(page: Page) -> None:
    for error, status in ((NotFoundError("gone"), 404), (UnreachableError("nobody"), 503), (ConfigError("x"), 400)):
        page.there.answers["GET /v1/admin/accounts/alice"] = error
        answer = page.ask("GET", "/api/accounts/alice")
        assert (answer.status_code, answer.json["detail"]) == (status, str(error))  # type: ignore[index]


def test_a_user_api_that_hangs_does_not_take_the_page() -> None:
    there = There()
    administering = Administering(there, "")
    seen: list[str] = []

    def nested(_: object) -> dict[str, Any]:
        if len(there.asked) > AT_ONCE:
            return {}
        try:
            administering.account("alice", "")
        except ProblemError as problem:
            seen.append(problem.code)
        return {}

    there.answers["GET /v1/admin/accounts/alice"] = nested
    administering.account("alice", "")
    assert (len(there.asked), seen) == (AT_ONCE, ["unavailable"])


# Who is big.


def test_who_is_big(page: Page) -> None:
    users = [{"user": f"u{n}", "waiting_rows": n, "waiting_bytes": 1, "uploaded_bytes": 0} for n in range(60)]
    groups = [{"group": f"~{n}", "name": "<b>", "members": n % 7} for n in range(30)]

    def paged(name: str, all_of_them: Sequence[dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
        start = int(more["params"].get("cursor", "0"))
        end = start + 20
        return {name: all_of_them[start:end], "next": str(end) if end < len(all_of_them) else None}

    page.there.answers["GET /v1/admin/usage"] = lambda more: paged("accounts", users, more)
    page.there.answers["GET /v1/admin/groups"] = lambda more: paged("groups", groups, more)
    assert page.ask("GET", "/api/sizes").json["begun_ms"] is None  # type: ignore[index]
    assert page.there.asked == []  # nobody has asked for it
    page.ask("POST", "/api/sizes")
    told = _walked(page)
    assert [one["user"] for one in told["top"]["inboxes"]] == [f"u{n}" for n in range(59, 59 - MOST, -1)]
    assert told["top"]["uploads"] == []
    assert {one["members"] for one in told["top"]["groups"]} == {3, 4, 5, 6}
    assert (told["looked_at"], told["trouble"], len(told["top"]["groups"])) == (90, "", MOST)


def test_a_walk_that_fails_keeps_what_it_has(page: Page) -> None:
    user = {"user": "u", "waiting_rows": 1, "waiting_bytes": 1, "uploaded_bytes": 0}
    page.there.answers["GET /v1/admin/usage"] = {"accounts": [user], "next": None}
    page.there.answers["GET /v1/admin/groups"] = UnreachableError("nobody is there")
    page.ask("POST", "/api/sizes")
    told = _walked(page)
    assert (told["trouble"], len(told["top"]["inboxes"])) == ("nobody is there", 1)
    page.there.answers["GET /v1/admin/usage"] = {"strange": 1}
    page.ask("POST", "/api/sizes")
    assert _walked(page)["trouble"] == "the answer was none of a user API (KeyError)"


def _walked(page: Page) -> dict[str, Any]:
    while True:
        told: Any = page.ask("GET", "/api/sizes").json
        if not told["running"]:
            return dict(told)


# What is seen.


async def test_looks_are_kept_for_whoever_comes_later() -> None:
    now, asked = [0.0], 0

    async def ask(addresses: Sequence[str]) -> list[Seen]:
        nonlocal asked
        asked += 1
        values = {"sparrow_connector_messages_total": 10 * now[0], "sparrow_clock_jumps_total": now[0] // 50}
        told = Seen("c:1", now[0], name="c-1", role="connector", version="0.2", values=values)
        return [told, Seen("b:1", now[0], "no answer", "b-1")]

    watch = Watch(("c:1", "b:1"), lambda: dataclasses.replace(own(), at=now[0]), 5.0, ask, lambda: 1e9 + now[0])
    for _ in range(11):
        now[0] += 5.0
        await watch.look()
    page = Page()
    page.watch.newest, page.watch.samples = watch.newest, watch.samples
    page.log_in()
    for _ in range(3):
        told: Any = page.ask("GET", "/api/state").json
    assert asked == 11
    assert (told["number"], told["unix_ms"], told["series"]) == (11, 1_000_000_055_000, list(SERIES))
    assert [one["name"] for one in told["findings"]] == ["SparrowProcessDown", "SparrowClockJumped"]
    assert [one["name"] for one in told["processes"]] == ["c-1", "b-1", "operator"]
    assert told["processes"][1]["trouble"] == "no answer"
    assert len(told["samples"]) == 10  # the first look shows no pace
    assert told["samples"][0][2 + SERIES.index("messages")] == 10.0
    later: Any = page.ask("GET", "/api/state?after=9").json
    assert [one[0] for one in later["samples"]] == [10, 11]
    for strange in ("-1", "x", "9" * 40, "²"):
        assert page.ask("GET", f"/api/state?after={strange}").status_code == 200


async def test_as_much_is_kept_as_a_page_shows() -> None:
    now = [0.0]

    async def ask(addresses: Sequence[str]) -> list[Seen]:
        assert len(addresses) == MAX_PROCESSES
        return []

    many = [f"c:{number}" for number in range(MAX_PROCESSES + 7)]
    watch = Watch(many, lambda: dataclasses.replace(own(), at=now[0]), 60.0, ask, lambda: 0.0)
    for _ in range(40):
        now[0] += 60.0
        await watch.look()
    assert len(watch.samples) == 15
    (found,) = watch.newest.findings
    assert (found.name, found.text) == ("TooManyProcesses", "7 processes beyond the first 200 are not asked")


async def test_that_nobody_is_known_is_said() -> None:
    page = Page()
    await page.watch.look()
    assert [each.name for each in page.watch.newest.findings] == ["NobodyWatched"]


def test_settings_without_what_opens_doors() -> None:
    userapi = UserApiSettings(
        hook_url="https://name:hunter2@hook.example/path?key=hunter2#hunter2",
        ldap_url="ldaps://hunter2@ldap.example",
        admin_token_file="/etc/sparrow/admin.token",
    )
    settings = dataclasses.replace(Settings(userapi=userapi), written=frozenset({"userapi.hook_url"}))
    etcd = dataclasses.replace(settings.etcd, endpoints=("https://root:hunter2@etcd:2379", "root:hunter2@etcd-2"))
    told = {row["name"]: row for row in shown(dataclasses.replace(settings, etcd=etcd))}
    assert "hunter2" not in json.dumps(list(told.values()), ensure_ascii=False)
    assert told["userapi.hook_url"] == {
        "name": "userapi.hook_url",
        "value": f'"https://{HIDDEN}@hook.example/path?{HIDDEN}"',
        "written": True,
    }
    assert told["userapi.admin_token_file"]["value"] == '"/etc/sparrow/admin.token"'
    assert told["etcd.endpoints"]["value"] == f'["https://{HIDDEN}@etcd:2379", "{HIDDEN}@etcd-2"]'
    assert told["operator.listen_port"] == {"name": "operator.listen_port", "value": "7485", "written": False}
    assert not told["data_dir"]["written"]


def test_a_page_that_is_not_there(tmp_path: Path) -> None:
    administering = Administering(There(), "")
    with pytest.raises(ConfigError, match=r"sparrow operator: cannot read .*install Sparrow anew"):
        create_app(
            Settings(),
            Watch((), own, 5.0),
            Sessions(TOKEN, 1.0, lambda: 0.0),
            administering,
            Sizes(administering),
            tmp_path,
        )
