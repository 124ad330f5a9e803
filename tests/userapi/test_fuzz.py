"""The real server against its own OpenAPI document, by Schemathesis: no 5xx, nothing that the document does not say.

Deterministic: the same requests each time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.timelines import Entry, Name, conversation_of
from tests.services.cassandra import ROOT
from tests.userapi.engines import kept
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import Server, serving
from userapi.endpoints.files import CHUNK

PASSWORD = "not one of the examples"
TOKEN = "0123456789abcdef" * 4
TUS = {"Tus-Resumable": "1.0.0"}
LOGGING_OUT = ("log_out", "log_all_out")
CLOSING = ("close_group", "close_somebodys_group")
ENDING = (*LOGGING_OUT, "log_device_out", "remove_device")
"""After these the rest would be refused."""

# `positive_data_acceptance` is left out: what is too long, too much or forbidden depends on settings, and the document
# names what is refused for it.
CONFIGURATION = """\
hooks = "tests.userapi.octets"

[generation]
database = "none"
deterministic = true
max-examples = {examples}

[auth.openapi.access_token]
bearer = "{token}"

[auth.openapi.admin_token]
bearer = "{admin}"

[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 409, 412, 413, 414, 415, 416, 422]
missing_required_header.expected-statuses = [400, 401, 412]

[parameters]
"""


class Fuzzer:
    """Schemathesis, as it is run against one server, in the name of a device of alice's."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._folder = folder
        self._server = server
        with httpx.Client(base_url=server.url) as client:
            for user in ("alice", "bob"):
                assert client.post("/v1/accounts", json=_login(user)).status_code == 201
            self._token = client.post("/v1/login", json=_login("alice")).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {self._token}"
            further = client.post("/v1/login", json=_login("alice")).json()["device"]
            file = client.post("/v1/files", headers={**TUS, "Upload-Length": "5"}).headers["Location"]
            sent = {**TUS, "Upload-Offset": "0", "Content-Type": CHUNK}
            assert client.patch(file, headers=sent, content=b"hello").status_code == 204
            assert client.put("/v1/requests/bob").status_code == 200
            made = client.post("/v1/groups", json={"name": "Lunch"})
            assert made.status_code == 201
            self.group = made.json()["group"]
            link = client.post(f"/v1/groups/{self.group}/links", json={}).json()["link"]
        self.known = {"path.user": "bob", "path.device": further, "path.file": file.rpartition("/")[2]}
        self.known |= {"path.conversation": "bob", "path.stream": "1", "path.n": "1"}
        self.known |= {"path.group": self.group, "path.link": link}
        self.known |= {"path.one": "alice", "path.other": "bob", "path.author": "bob"}

    def profile(self) -> object:
        """Alice's, which the device still may see."""
        answer = httpx.get(f"{self._server.url}/v1/me", headers={"Authorization": f"Bearer {self._token}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, examples: int, parameters: dict[str, str], *arguments: str) -> str:
        """Try so many requests for each endpoint; `parameters` are not drawn. Returns what it says of it."""
        path = self._folder / "schemathesis.toml"
        text = CONFIGURATION.format(examples=examples, token=self._token, admin=TOKEN)
        path.write_text(text + "".join(f"{json.dumps(name)} = {json.dumps(one)}\n" for name, one in parameters.items()))
        line = [Path(sys.executable).with_name("schemathesis"), "--config-file", path, "run", "--no-color"]
        line += ["--phases", "examples,coverage,fuzzing", *arguments, f"{self._server.url}/v1/openapi.json"]
        ran = subprocess.run(line, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
        return ran.stdout


def chat(device: str) -> list[Entry]:
    """What alice and bob have written each other, on devices of that name."""
    conversation, stamp = conversation_of("alice", "bob"), int(time.time() * 1000 + 1000) << STAMP_SHIFT
    return [
        Entry(
            conversation, Name(("alice", "bob")[number % 2], device, 1, number // 2 + 1), stamp + number, TEXT, b"hello"
        )
        for number in range(200)
    ]


def _login(user: str) -> dict[str, str]:
    return {"user": user, "password": PASSWORD}


def _without(names: tuple[str, ...]) -> list[str]:
    return [argument for name in names for argument in ("--exclude-operation-id", name)]


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("cassandra", marks=pytest.mark.full)])
def test_nothing_that_the_document_does_not_say(tmp_path: Path, engine: str) -> None:
    store = kept(engine, tmp_path)
    token = tmp_path / "admin"
    token.write_text(TOKEN)
    token.chmod(0o600)
    settings = {
        "admin_token_file": str(token),
        "max_failed_logins_per_hour_of_account": 0,
        "further_device_delay_s": 0.0,
    }
    with RunningBroker(store) as broker, serving(tmp_path, broker.endpoint, store, **settings) as server:
        fuzzer = Fuzzer(server, tmp_path)
        broker.keeps(*chat(fuzzer.known["path.device"]))
        before = fuzzer.profile()
        fuzzer.run(25, fuzzer.known, *_without((*ENDING, *CLOSING)))
        assert fuzzer.profile() != before  # it was somebody, and did something
        in_group = fuzzer.known | {"path.conversation": fuzzer.group}
        fuzzer.run(8, in_group, "--include-path-regex", "^/v1/conversations/{conversation}")
        fuzzer.run(8, {}, *_without(LOGGING_OUT))
        said = fuzzer.run(5, {}, "--include-operation-id", "log_out")
        assert "1 selected" in said
        log = server.stop()[1]
    assert "internal_error" not in log
    assert "Traceback" not in log
