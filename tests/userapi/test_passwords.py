"""What a password has to be like, and what is never logged."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import random
from pathlib import Path

import pytest

from protocol.errors import ConfigError, UnavailableError
from tests.userapi.conftest import Api
from tests.userapi.test_accounts import problem
from userapi import audit
from userapi.app import create_app
from userapi.identity import common
from userapi.identity.breaches import check_list, is_breached

GOOD = {"user": "alice", "password": "correct horse"}


def digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


def write(path: Path, passwords: list[str], end: str = "\r\n", count: bool = True) -> str:
    chance = random.Random(7)
    lines = [
        one + (f":{chance.randrange(10 ** chance.randrange(1, 9))}" if count else "") for one in map(digest, passwords)
    ]
    path.write_bytes((end.join(sorted(lines)) + (end if len(lines) % 2 else "")).encode())
    return str(path)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize(("end", "count"), [("\r\n", True), ("\n", False)])
def test_a_list_of_breached_passwords(tmp_path: Path, size: int, end: str, count: bool) -> None:
    stolen = [f"password {number}" for number in range(size)]
    name = write(tmp_path / "list", stolen, end, count)
    check_list(name)
    assert all(is_breached(name, password) for password in stolen)
    assert not any(is_breached(name, f"another {number}") for number in range(size))


def test_lower_case_and_normal_forms(tmp_path: Path) -> None:
    name = str(tmp_path / "list")
    Path(name).write_text(digest("fr\u00fchst\u00fcck").lower() + "\n")
    assert is_breached(name, "fr\u00fchst\u00fcck")
    assert is_breached(name, "fru\u0308hstu\u0308ck")
    Path(name).write_text("")
    assert not is_breached(name, "correct horse")


def test_the_list_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write(tmp_path / "list", [f"password {number}" for number in range(50_000)])
    read = 0
    pread = os.pread

    def counted(number: int, length: int, at: int) -> bytes:
        nonlocal read
        read += length
        return pread(number, length, at)

    monkeypatch.setattr(os, "pread", counted)
    assert is_breached(name, "password 12345")
    assert 0 < read < 10_000


def test_a_file_that_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for content in (b"", b"password\n", b"\0" * 1000, digest("a").encode()[:39]):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="no list of SHA-1 hashes"):
            check_list(str(path))
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        check_list(str(path))
    with pytest.raises(UnavailableError, match="No such file"):
        is_breached(str(path), "correct horse")


def test_registering_with_each(api: Api, tmp_path: Path) -> None:
    name = write(tmp_path / "list", ["correct horse", "x" * 300])
    settings = dataclasses.replace(api.settings, password_breached_file=name, password_max_length=20)
    asked = create_app(settings, api.bridge, api.fabric).test_client()
    for password, code in (
        ("correct horse", "password_breached"),
        ("x" * 21, "password_too_long"),
        ("x" * 7, "password_too_short"),
        ("\uff58" * 7, "password_too_short"),
    ):
        answer = problem(asked.post("/v1/accounts", json={**GOOD, "password": password}), 400, code)
        assert answer["field"] == "password"
    assert asked.post("/v1/accounts", json={**GOOD, "password": "battery staple"}).status_code == 201


def test_the_audit_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        api.client.post("/v1/accounts", json=GOOD)
        headers = {"X-Forwarded-For": "198.51.100.1"}
        token = api.client.post("/v1/login", json=GOOD, headers=headers).json["access_token"]  # type: ignore[index]
        api.client.post("/v1/login", json={**GOOD, "password": "not the password"}, headers=headers)
        api.client.post("/v1/login", json={"user": "a\nevent=forged", "password": "not the password"})
    lines = [record.getMessage() for record in caplog.records if record.name == "sparrow.audit"]
    assert lines[0] == "event=account_created user=alice by=alice from=127.0.0.1"
    assert lines[1].startswith("event=device_added user=alice by=alice from=198.51.100.1 device=")
    assert lines[2].startswith("event=logged_in user=alice by=alice from=198.51.100.1 device=")
    assert lines[3] == "event=login_failed user=alice by=- from=198.51.100.1 why=wrong_credentials"
    assert lines[4] == 'event=login_failed user="a\\nevent=forged" by=- from=127.0.0.1 why=wrong_credentials'
    for secret in ("correct horse", "not the password", token, "argon2"):
        assert secret not in caplog.text


def test_no_secret_gets_into_the_audit_log() -> None:
    with pytest.raises(ValueError, match="secret"):
        audit.note("logged_in", "alice", access_token="x")


def test_audit_without_a_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sparrow.audit"):
        audit.note("account_deleted", "alice", by="cleanup", rows=3, text="x" * 500)
    assert caplog.messages == ["event=account_deleted user=alice by=cleanup from=- rows=3 text=" + "x" * 128]


@pytest.mark.parametrize(
    "password",
    ["password", "PassWord", "12345678", "iloveyou", "Qwertyuiop", "ｐａｓｓｗｏｒｄ", "alice.of.x", "ALICE.of.X"],
)
def test_common_passwords(api: Api, password: str) -> None:
    user = "alice.of.x"
    answer = api.client.post("/v1/accounts", json={"user": user, "password": password})
    assert problem(answer, 400, "password_common")["field"] == "password"
    api.client.post("/v1/accounts", json={"user": user, "password": "correct horse"})
    tokens = api.log_in(user)
    change = {"old_password": "correct horse", "new_password": password}
    answer = api.ask(tokens, "PUT", "/v1/me/password", json=change)
    assert problem(answer, 400, "password_common")["field"] == "new_password"
    # Who has had it for long still logs in.
    kept = api.client.application.extensions["sparrow"].passwords.hash(password)
    api.bridge.call(api.bridge.store.create_account, "old", kept)
    assert api.client.post("/v1/login", json={"user": "old", "password": password}).status_code == 200


def test_the_list_of_common_passwords() -> None:
    listed = common._listed()
    assert len(listed) > 10_000
    assert all(len(line) >= 8 and line == line.casefold() for line in listed)


def test_a_hash_of_weaker_settings_is_made_anew_at_the_next_login(api: Api) -> None:
    api.register()
    store = api.bridge.store

    def kept() -> str:
        account = api.bridge.call(store.account, "alice")
        assert account is not None
        return account.password_hash

    before = kept()
    assert "m=64,t=1" in before
    settings = dataclasses.replace(api.settings, argon2_time_cost=2, argon2_memory_kib=128)
    stronger = create_app(settings, api.bridge, api.fabric, sleep=lambda _: None).test_client()
    good = {"user": "alice", "password": "correct horse"}
    problem(stronger.post("/v1/login", json={**good, "password": "wrong horse"}), 401, "wrong_credentials")
    assert kept() == before
    assert stronger.post("/v1/login", json=good).status_code == 200
    after = kept()
    assert "m=128,t=2" in after
    assert stronger.post("/v1/login", json=good).status_code == 200
    assert kept() == after
    # Nobody was logged out by it.
    assert len([one for one in api.bridge.call(store.list_devices, "alice") if one.logged_in]) == 2
