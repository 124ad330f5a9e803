"""`sparrow operator` as a process, over TLS, beside a real node: its listener, and what it finds and does."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sparrow.cli import ERROR, main
from tests.certificates import Authority
from tests.ports import free_port
from tests.sparrow.serving import ADMIN_TOKEN, Node, Operator


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    made = Node(folder, **Operator.settings_in(folder)).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def operator(node: Node, authority: Authority) -> Iterator[Operator]:
    certificate, key = authority.issue("127.0.0.1", host="127.0.0.1", last_day=3)
    away = f"away=127.0.0.1:{free_port()}"
    made = Operator(
        node,
        operator__tls_certificate_file=certificate,
        operator__tls_private_key_file=key,
        operator__look_interval_s=1,
        monitor__processes=f"127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']},{away}",
    ).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log
    assert ADMIN_TOKEN not in made.log


@pytest.fixture
def web(operator: Operator, authority: Authority) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(authority.file))
    with httpx.Client(base_url=operator.url, verify=context, trust_env=False) as client:
        answer = client.post("/api/login", json={"token": ADMIN_TOKEN})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['session']}"
        yield client


def test_what_is_wrong_and_how_it_is(web: httpx.Client) -> None:
    told = _state(web, lambda told: bool(told["samples"]))
    node, away, own = told["processes"]
    assert (node["role"], node["trouble"], node["brokers"]) == ("node", "", [1, 1])
    assert node["free_bytes"] > 0
    assert away["trouble"] == "nobody listens there"
    assert (own["name"], own["version"]) == ("operator", node["version"])
    assert [one["setting"] for one in own["certificates"]] == ["operator.tls_certificate_file"]
    found = {(one["severity"], one["name"], one["where"]) for one in told["findings"]}
    assert {
        ("critical", "SparrowProcessDown", "away"),
        ("critical", "SparrowCertificateExpires", "operator"),
    } <= found
    assert own["values"]["mib"] > 0


def _state(web: httpx.Client, wanted: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        told: dict[str, Any] = web.get("/api/state").json()
        if wanted(told):
            return told
        time.sleep(0.1)
    raise TimeoutError(told)


def test_accounts(web: httpx.Client, node: Node) -> None:
    made = web.post("/api/accounts", json={"user": "alice"}).json()
    assert re.fullmatch("[a-z2-7-]{32}", made["code"])
    assert web.post("/api/accounts", json={"user": "alice"}).status_code == 400
    assert [one["user"] for one in web.get("/api/accounts?prefix=al").json()["accounts"]] == ["alice"]
    assert web.post("/api/accounts/alice/disable").json() == {}
    assert web.get("/api/accounts/alice").json()["disabled"]
    refused = web.post("/api/accounts/alice/password-code")
    assert (refused.status_code, refused.json()["code"]) == (403, "account_disabled")
    assert web.post("/api/accounts/alice/enable").status_code == 200
    assert web.post("/api/accounts/alice/end-logins").status_code == 200
    invited = web.post("/api/invitations", json={"hours": 1, "uses": 2, "note": "<b>Bob</b>"}).json()
    (known,) = web.get("/api/invitations").json()["invitations"]
    assert (known["note"], known["invitation"]) == ("<b>Bob</b>", invited["invitation"])
    assert web.delete(f"/api/invitations/{invited['invitation']}").status_code == 200
    assert web.delete("/api/accounts/alice").status_code == 200
    gone = web.get("/api/accounts/alice")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert 'event=account_deleted user=alice by="(administrator)"' in node.log
    assert web.get("/api/groups").json() == {"groups": [], "next": None}
    assert web.get("/api/reports").json() == {"reports": [], "next": None}


def test_the_listener(operator: Operator, web: httpx.Client) -> None:
    assert web.post("/api/login", content=b"x" * 20_000).status_code == 413
    operator.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    assert web.get("/api/settings").status_code == 200


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"userapi__admin_token_file": ""}, "userapi.admin_token_file is not set"),
        ({"operator__listen_host": "0.0.0.0"}, "set operator.tls_certificate_file"),
        ({"operator__userapi_url": "http://10.0.0.5:7480"}, "use https://"),
        ({}, "set operator.listen_host and listen_port, or stop what listens there"),
    ],
)
def test_what_it_does_not_start_with(
    node: Node,
    settings: dict[str, str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last one: another program on its port."""
    monkeypatch.chdir(node.folder)
    for name, value in (
        node.environment | {f"SPARROW_{key}".upper(): value for key, value in settings.items()}
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sparrow.ops.logs.set_up", lambda settings: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SPARROW_OPERATOR__LISTEN_PORT", str(taken.getsockname()[1]))
        assert main(["operator"]) == ERROR
    assert text in capsys.readouterr().err
