"""A flask test client over a real SQLite store."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fabric.tokens import TokenVerifier
from protocol.errors import UnavailableError
from protocol.sparrow_pb2 import Goodbye, Hint
from store import HistorySettings, StoreSettings, open_store
from tests.userapi.engines import ENGINES, kept
from tests.userapi.running_server import sqlite
from userapi import endings
from userapi.app import create_app
from userapi.bridge import StoreBridge
from userapi.keys import ensure_key_pair
from userapi.notices import Notices
from userapi.service import EXTENSION
from userapi.settings import UserApiSettings


@dataclass
class RecordingFabric:
    """`userapi.asks.Fabric`: what was asked, as tuples that begin with the question's name."""

    asked: list[tuple[object, ...]] = field(default_factory=list)
    there: set[str] = field(default_factory=set)
    """Who is online."""
    away: bool = False
    confirms: bool = True
    closed: list[tuple[str, str | None, int, str]] = field(default_factory=list)
    """All that was asked to be closed: user, device, code, login to spare."""

    def _ask(self, *question: object) -> None:
        if self.away:
            raise UnavailableError("no broker answers")
        self.asked.append(question)

    def changed(self, users: Collection[str]) -> None:
        self._ask("changed", *users)

    def close(
        self,
        user: str,
        device: str | None = None,
        *,
        code: Goodbye.Code = Goodbye.LOGGED_OUT,
        spare: str = "",
    ) -> bool:
        self._ask("close", user, device, code == Goodbye.DEVICE_REMOVED)
        self.closed.append((user, device, code, spare))
        return self.confirms

    def close_devices(self, user: str, spare: Mapping[str, str | None]) -> bool:
        for device, login in spare.items():
            code = Goodbye.DEVICE_REMOVED if login is None else Goodbye.LOGGED_OUT
            self.close(user, device, code=code, spare=login or "")
        return self.confirms

    def hint(self, users: Collection[str], kind: Hint.Kind, about: Collection[str], stamp: int = 0) -> None:
        for user, one in zip(users, about, strict=True):
            self._ask("hint", user, kind, one, *([stamp] if stamp else []))

    def hint_of_group(self, users: Collection[str], hint: Hint) -> None:
        about = (hint.kind, hint.group, hint.version, hint.user_id, hint.stamp)
        self._ask("hint of group", tuple(sorted(users)), *about)

    def online(self, users: Collection[str]) -> Mapping[str, bool]:
        self._ask("online", *users)
        return {user: user in self.there for user in users}


PASSWORD = "correct horse"


@dataclass
class Api:
    """A client, the parts behind it, and what it slept for."""

    settings: UserApiSettings
    bridge: StoreBridge
    fabric: RecordingFabric
    client: FlaskClient
    verifier: TokenVerifier
    endings: endings.Endings
    notices: Notices
    slept: list[float] = field(default_factory=list)
    now: float = 1_800_000_000.0

    def register(self, user: str = "alice") -> None:
        """Make an account."""
        assert self.client.post("/v1/accounts", json={"user": user, "password": PASSWORD}).status_code == 201

    def log_in(self, user: str = "alice", **more: str) -> dict[str, Any]:
        """The tokens of a device; with a new one, unless `device` is given."""
        answer = self.client.post("/v1/login", json={"user": user, "password": PASSWORD, **more})
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json, dict)
        return answer.json

    def ask(self, tokens: Mapping[str, Any] | None, method: str, path: str, **more: Any) -> TestResponse:
        """A request by that device; without tokens, by nobody."""
        headers = dict(more.pop("headers", {}))
        if tokens is not None:
            headers["Authorization"] = f"Bearer {tokens['access_token']}"
        return self.client.open(path, method=method, headers=headers, **more)


def problem(response: TestResponse, status: int, code: str) -> dict[str, object]:
    """The problem, which is that one."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body: dict[str, object] = json.loads(response.data)
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert isinstance(body["detail"], str)
    assert "Traceback" not in body["detail"]
    return body


def settings_in(folder: Path, **changes: object) -> UserApiSettings:
    made = UserApiSettings(
        token_private_key_file=str(folder / "key.pem"),
        token_public_key_file=str(folder / "pub.pem"),
        argon2_time_cost=1,
        argon2_memory_kib=64,
        max_requests_per_second_of_account=0,
        max_logins_per_minute_of_account=0,
        connectors=("chat.example.net:7400",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def api(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Over SQLite, unless a test asks for another engine (`with_each_engine`)."""
    monkeypatch.setattr(endings, "REPEAT_S", 3600.0)  # tests repeat by themselves
    monkeypatch.setattr(Notices, "threaded", False)  # and send what is due
    conversations = any(word in request.module.__name__ for word in ("conversations", "history", "search"))
    with api_in(tmp_path, kept(getattr(request, "param", "sqlite"), tmp_path, conversations)) as made:
        yield made


with_each_engine = pytest.mark.parametrize("api", list(ENGINES), indirect=True)


@contextmanager
def api_in(tmp_path: Path, store: StoreSettings | None = None, **changes: object) -> Iterator[Api]:
    """A user API of its own, with settings that are not the usual ones."""
    settings = settings_in(tmp_path, **changes)
    private, public = Path(settings.token_private_key_file), Path(settings.token_public_key_file)
    ensure_key_pair(private, public)
    history = HistorySettings(keep_days=0, ledger=str(tmp_path / "erased.log"))
    bridge = StoreBridge(open_store(store or sqlite(tmp_path), history=history), 30)
    bridge.open()
    made: Api
    fabric = RecordingFabric()
    app = create_app(settings, bridge, fabric, clock=lambda: made.now, sleep=lambda seconds: made.slept.append(seconds))
    parts = app.extensions[EXTENSION]
    verifier = TokenVerifier(public.read_bytes())
    made = Api(settings, bridge, fabric, app.test_client(), verifier, parts.endings, parts.notices)
    yield made
    parts.endings.stop()
    parts.notices.stop()
    bridge.close()
