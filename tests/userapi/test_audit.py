"""The audit log as a whole: a line for each change, none without one, and no secret in any."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.timelines import Entry, Name, conversation_of
from tests.services.cassandra import ROOT
from tests.userapi.conftest import PASSWORD, Api
from tests.userapi.test_admin import TOKEN
from userapi.app import create_app

NEW = "battery staple"
WRONG = "wrong horse"
SHA256 = "0" * 64

STORY = """\
account_created user=alice by=alice
account_created user=bob by=bob
device_added user=alice by=alice device=PHONE
logged_in user=alice by=alice device=PHONE
device_added user=alice by=alice device=PAD
logged_in user=alice by=alice device=PAD
device_added user=bob by=bob device=BOBS
logged_in user=bob by=bob device=BOBS
login_failed user=alice by=- why=wrong_credentials
login_failed user=alice by=- why=user_taken
login_failed user=alice by=alice why=wrong_password
device_renamed user=alice by=alice device=PAD
friend_asked user=alice by=alice other=bob
friend_accepted user=bob by=bob other=alice
friend_removed user=alice by=alice other=bob
friend_asked user=alice by=alice other=bob
request_declined user=bob by=bob other=alice
friend_asked user=alice by=alice other=bob
request_taken_back user=alice by=alice other=bob
blocked user=bob by=bob other=alice
unblocked user=bob by=bob other=alice
friend_asked user=alice by=alice other=bob
friend_accepted user=bob by=bob other=alice
file_reader_added user=alice by=alice file=FILE reader=bob
message_reported user=bob by=alice report=REPORT
message_reported user=bob by=alice report=REPORT
report_read user=bob by="(administrator)" report=REPORT
message_taken_down user=bob by="(administrator)" other=alice message=bob/b1/815/1
report_dropped user=- by="(administrator)" report=REPORT
report_dropped user=- by="(administrator)" report=REPORT
logged_out user=alice by=alice device=PAD
logged_in user=alice by=alice device=PAD
refresh_repeated user=alice by=- device=PAD nonce=no
refresh_token_reused user=alice by=- device=PAD
logged_in user=alice by=alice device=PAD
password_changed user=alice by=alice device=PHONE
logged_out user=alice by=alice device=PAD
logged_in user=alice by=alice device=PAD
logged_out user=alice by=alice device=PAD
logged_out user=alice by=alice device=PHONE
logged_in user=alice by=alice device=PHONE
device_removed user=alice by=alice device=PAD
account_disabled user=alice by="(administrator)"
login_failed user=alice by=- why=account_disabled
account_enabled user=alice by="(administrator)"
sessions_closed user=alice by="(administrator)"
login_failed user=alice by=alice why=wrong_password
account_deleted user=alice by=alice device=PHONE
"""


class Story:
    """Everybody's requests, and every secret of them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.secrets = {PASSWORD, NEW, WRONG, TOKEN, "argon2"}

    def log_in(self, user: str = "alice", **more: str) -> dict[str, Any]:
        """The tokens of a device."""
        tokens: dict[str, Any] = self.does(None, "POST", "/v1/login", 200, user=user, **{"password": PASSWORD, **more})
        self.secrets |= {tokens["access_token"], tokens["refresh_token"]}
        return tokens

    def does(
        self,
        tokens: dict[str, Any] | None,
        method: str,
        path: str,
        status: int = 204,
        once: bool = False,
        **body: str,
    ) -> Any:
        """A request, and a repeat of it where that may be repeated: that is no change, and gets no line."""
        once = once or method == "POST" or status >= 400
        for _ in range(1 if once else 2):
            answer = self._api.ask(tokens, method, path, **({"json": body} if body else {}))
            assert answer.status_code == status, answer.text
        return answer.json if answer.data else None


def test_a_line_for_each_change_and_no_secret(api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "admin"
    file.write_text(TOKEN)
    file.chmod(0o600)
    settings = dataclasses.replace(api.settings, admin_token_file=str(file))
    api.client = create_app(
        settings, api.bridge, api.fabric, clock=lambda: api.now, sleep=api.slept.append
    ).test_client()
    story = Story(api)
    does, administrator = story.does, {"access_token": TOKEN}
    caplog.set_level(logging.DEBUG)

    for user in ("alice", "bob"):
        does(None, "POST", "/v1/accounts", 201, user=user, password=PASSWORD)
        does(None, "POST", "/v1/accounts", 200, user=user, password=PASSWORD)
    phone, pad, bobs = story.log_in(), story.log_in(label="pad"), story.log_in("bob")
    does(None, "POST", "/v1/login", 401, user="alice", password=WRONG)
    does(None, "POST", "/v1/accounts", 409, user="alice", password=WRONG)
    does(phone, "PUT", "/v1/me/password", 403, old_password=WRONG, new_password=NEW)
    does(phone, "PATCH", f"/v1/me/devices/{pad['device']}", 200, label="old pad")

    does(phone, "PUT", "/v1/requests/bob", 200)
    does(bobs, "PUT", "/v1/friends/alice", 200)
    does(phone, "DELETE", "/v1/friends/bob", 200)
    does(phone, "PUT", "/v1/requests/bob", 200)
    does(bobs, "DELETE", "/v1/requests/alice", 200)
    does(phone, "PUT", "/v1/requests/bob", 200)
    does(phone, "DELETE", "/v1/requests/bob", 200)
    does(bobs, "PUT", "/v1/blocks/alice", 200)
    does(bobs, "DELETE", "/v1/blocks/alice", 200)
    does(phone, "PUT", "/v1/requests/bob", 200)
    does(bobs, "PUT", "/v1/requests/alice", 200)
    begun = api.ask(phone, "POST", "/v1/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "5"})
    does(phone, "PUT", f"{begun.headers['Location']}/readers/bob")

    stamp = int(api.now * 1000) << STAMP_SHIFT
    bad = Entry(conversation_of("alice", "bob"), Name("bob", "b1", 815, 1), stamp, TEXT, b"a secret that is kept")
    api.bridge.call(api.bridge.store.timelines.set_keep_days, 365, 0)
    api.bridge.call(api.bridge.store.timelines.archive, [bad])
    story.secrets |= {"a secret that is kept", "a secret of hers"}
    for _ in range(2):
        does(phone, "POST", "/v1/conversations/bob/messages/b1/815/1/report", text="a secret of hers")
    (report,) = does(administrator, "GET", "/v1/admin/reports", 200, once=True)["reports"]
    does(administrator, "DELETE", "/v1/admin/conversations/alice/bob/messages/bob/b1/815/1")
    does(administrator, "DELETE", f"/v1/admin/reports/{report['report']}")

    does(pad, "DELETE", "/v1/me/login")
    pad = story.log_in(device=pad["device"])
    for _ in range(2):
        does(None, "POST", "/v1/token", 200, refresh_token=pad["refresh_token"])
    api.bridge.call(api.bridge.store.refresh_login, "alice", pad["device"], *_login(api, pad["device"]), 1000, 10**12)
    does(None, "POST", "/v1/token", 401, refresh_token=pad["refresh_token"])
    story.log_in(device=pad["device"])
    does(phone, "PUT", "/v1/me/password", old_password=PASSWORD, new_password=NEW)
    story.log_in(device=pad["device"], password=NEW)
    does(phone, "DELETE", "/v1/me/logins")
    phone = story.log_in(device=phone["device"], password=NEW)
    does(phone, "DELETE", f"/v1/me/devices/{pad['device']}")
    does(phone, "PATCH", "/v1/me", 200, display_name="Alice")  # for friends to see, not for the audit log

    for _ in range(2):
        does(administrator, "POST", "/v1/admin/accounts/alice/disable")
    does(None, "POST", "/v1/login", 403, user="alice", password=NEW)
    does(phone, "GET", "/v1/me", 403)
    for _ in range(2):
        does(administrator, "POST", "/v1/admin/accounts/alice/enable")
    does(administrator, "POST", "/v1/admin/accounts/alice/close-sessions")
    does(phone, "POST", "/v1/me/deletion", 403, password=WRONG)
    for _ in range(2):
        does(phone, "POST", "/v1/me/deletion", password=NEW)

    names = {
        phone["device"]: "PHONE",
        pad["device"]: "PAD",
        bobs["device"]: "BOBS",
        begun.headers["Location"].rpartition("/")[2]: "FILE",
        report["report"]: "REPORT",
    }
    lines = [record.getMessage() for record in caplog.records if record.name == "sparrow.audit"]
    # What nobody that is known has done is bounded in bytes a day.
    strange = {record.getMessage() for record in caplog.records if getattr(record, "by_strangers", False)}
    assert strange == {line for line in lines if " by=- " in line} != set()
    text = "".join(f"{line.removeprefix('event=').replace(' from=127.0.0.1', '')}\n" for line in lines)
    assert re.sub("|".join(names), lambda found: names[found[0]], text) == STORY
    for secret in story.secrets:
        assert secret not in caplog.text


def test_operations_names_every_event() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for line in STORY.splitlines():
        assert f"`{line.split()[0]}`" in page


def _login(api: Api, device: str) -> tuple[str, int]:
    kept = api.bridge.call(api.bridge.store.login, "alice", device)
    assert kept is not None
    return kept.id, kept.generation
