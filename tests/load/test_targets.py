"""Running servers as targets: accounts over HTTP and in the store, their file, their processes; the command line."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from client.connection import Address
from client.tls import Trust
from load import measure
from load.accounts import ApiAccounts
from load.limits import raise_descriptors
from load.report import read
from load.spawn import Spawned, free_port
from load.targets import ByApi
from protocol.errors import ConfigError, UnavailableError, UnreachableError
from sparrow.cli import main
from tests.sparrow.serving import Node

SHORT = ["--quiet", "--seconds", "0.5", "--warm-up-s", "0.1"]


def load(*arguments: object) -> int:
    return main(["load", *map(str, arguments)])


# Accounts over HTTP.


async def test_accounts_are_kept_and_used_again(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    first = await ApiAccounts(node.api, Trust(), file).get(3, 60.0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = ApiAccounts(node.api, Trust(), file)
    assert again.connectors == [f"127.0.0.1:{node.port}"]
    assert await again.get(2, 60.0) == first[:2]
    more = await again.get(5, 60.0)
    assert more[:3] == first
    assert len({account.user for account in more}) == 5


async def test_tokens_that_end_soon_are_renewed_without_the_password(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = ApiAccounts(node.api, Trust(), tmp_path / "accounts.json")
    (old,) = await accounts.get(1, 60.0)

    async def never(*_: Any) -> None:
        raise AssertionError("a password was checked")

    monkeypatch.setattr("client.api.logins.UserApi.login", never)
    kept = json.loads((tmp_path / "accounts.json").read_text())["accounts"][0]
    (new,) = await accounts.get(1, 1e9)
    assert (new.user, new.device) == (old.user, old.device)
    assert json.loads((tmp_path / "accounts.json").read_text())["accounts"][0]["refresh_token"] != kept["refresh_token"]
    claims = jwt.decode(new.token, options={"verify_signature": False})
    assert claims["exp"] > time.time()


async def test_a_device_that_was_removed_is_made_anew(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    (old,) = await ApiAccounts(node.api, Trust(), file).get(1, 60.0)
    async with httpx.AsyncClient(base_url=node.api, trust_env=False) as client:
        signed = {"Authorization": f"Bearer {old.token}"}
        answer = await client.delete(f"/v1/me/devices/{old.device}", headers=signed)
        assert answer.is_success, answer.text
    (new,) = await ApiAccounts(node.api, Trust(), file).get(1, 1e9)
    assert new.user == old.user
    assert new.device != old.device


async def test_what_was_made_is_kept_when_the_limits_are_in_the_way(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.api.logins import UserApi

    register, asked = UserApi.register, 0

    async def limited(self: UserApi, user: str, password: str) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise UnavailableError("too many requests from this address: try again in 60 s")
        await register(self, user, password)

    monkeypatch.setattr(UserApi, "register", limited)
    monkeypatch.setattr("load.accounts.TRIES", 1)
    monkeypatch.setattr("load.accounts.AT_ONCE", 1)
    file = tmp_path / "accounts.json"
    with pytest.raises(ConfigError, match="unlimited_addresses"):
        await ApiAccounts(node.api, Trust(), file).get(4, 60.0)
    monkeypatch.undo()
    kept = json.loads(file.read_text())["accounts"]
    assert sum(bool(each["token"]) for each in kept) == 2
    assert len(await ApiAccounts(node.api, Trust(), file).get(4, 60.0)) == 4


async def test_a_file_of_another_api_or_of_something_else_is_refused(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    await ApiAccounts(node.api, Trust(), file).get(1, 60.0)
    with pytest.raises(ConfigError, match="name another one"):
        ApiAccounts("http://127.0.0.1:1", Trust(), file)
    file.write_text("[]")
    with pytest.raises(ConfigError, match="not a file of accounts"):
        ApiAccounts(node.api, Trust(), file)


async def test_a_user_api_that_is_not_there() -> None:
    with pytest.raises(UnreachableError):
        await ApiAccounts(f"http://127.0.0.1:{free_port()}", Trust(), None).get(1, 60.0)


async def test_connectors_are_those_of_the_login_or_those_that_were_named(node: Node, tmp_path: Path) -> None:
    target = ByApi(node.api, None, tmp_path / "accounts.json", [], [])
    await target.accounts(1)
    assert target.addresses == [Address("127.0.0.1", node.port)]
    named = ByApi(node.api, None, tmp_path / "accounts.json", ["tls://a.example:1"], [])
    await named.accounts(1)
    assert named.addresses == [Address("a.example", 1, True)]


# The command line.


def test_a_running_server_over_http(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, html = tmp_path / "a.json", tmp_path / "a.html"
    assert node.process is not None
    with_them = ["--pids", node.process.pid, "--accounts", tmp_path / "accounts.json", "--json", result, "--html", html]
    assert load("pairs", "--api", node.api, "--pairs", 2, "--in-flight", 2, *SHORT, *with_them) == 0
    (report,) = read(result)
    assert report.promise.kept
    assert report.shape == "running"
    assert report.figures["server_cpu_us_per_message"] > 0
    assert "The promise was kept" in capsys.readouterr().out
    assert "The promise was kept" in html.read_text()
    assert load("compare", result, result, "--html", html) == 0
    assert "1.00" in capsys.readouterr().out
    assert "B: The promise was kept" in html.read_text()


def test_a_running_server_by_its_store(node: Node, tmp_path: Path) -> None:
    config = tmp_path / "sparrow.toml"
    config.write_text(f'data_dir = "{node.folder}"\n[userapi]\nconnectors = ["127.0.0.1:{node.port}"]\n')
    arguments = ("--config", config, "--users", 3, "--messages", 9, "--json", tmp_path / "a.json", "--quiet")
    for _ in range(2):  # the second time the accounts are there
        assert load("offline", *arguments) == 0
    (report,) = read(tmp_path / "a.json")
    assert report.counters["received"] == 9
    # Whose servers are elsewhere, has no figures of them.
    assert report.figures["store_cpu_us_per_message"] is None
    assert "kib_per_session" not in report.figures
    assert report.memory == []


def test_a_broken_promise_is_exit_status_1(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from load.ledger import Verdict

    monkeypatch.setattr("load.conductor.Verdict", lambda **_: Verdict(lost=1))
    arguments = ("pairs", "--api", node.api, "--accounts", tmp_path / "accounts.json", "--pairs", 1, *SHORT)
    assert load(*arguments) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pairs", "--api", "http://127.0.0.1:1", "--spawn", "one"), "choose one of --spawn and --api"),
        (("pairs", "--api", "127.0.0.1"), "give a URL"),
        (("pairs", "--accounts", "a.json"), "--api or --config"),
        (("pairs", "--config", "not-there.toml"), "not-there.toml"),
        (("pairs", "--api", "http://127.0.0.1:1", "--pids", 2**22 + 1), "there is no process"),
        (("pairs", "--api", "http://127.0.0.1:1", "--cgroup", "not/there"), "has no processes"),
        (("pairs", "--api", "http://127.0.0.1:1", "--process-name", "\x01not-there"), "no process here"),
        (("pairs", "--api", "http://127.0.0.1:1", "--at", "nowhere"), "host:port"),
        (("compare", "a.json", "b.json"), "cannot read a.json"),
    ],
)
def test_wrong_use_is_exit_status_2(
    arguments: tuple[object, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(*arguments) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.startswith("sparrow: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("pairs", "--pairs", 0),
        ("rate", "--rate", -1),
        ("pairs", "--rate", 5),
        ("nothing",),
        ("idle", "--seconds", "nan"),
    ],
)
def test_arguments_that_make_no_sense(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(*arguments)
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_more_brokers_without_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="scripts/install-etcd"):
        Spawned("cluster", brokers=2)


def test_too_many_clients_for_the_file_descriptors() -> None:
    with pytest.raises(ConfigError, match="ulimit"):
        raise_descriptors(10**9)


# Processes.


def test_processes_are_found() -> None:
    assert measure.find([os.getpid()], "", "") == [os.getpid()]
    assert os.getppid() in measure.find([], Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")[0], "")
    assert measure.role(os.getpid()) in Path(sys.executable).name or measure.role(os.getpid()) == "python"
    assert measure.role(2**22 + 1) == "gone"
    assert measure.cpu_s([os.getpid()]) > 0
    assert measure.resident_kib([os.getpid()]) > 1000
    assert measure.cpu_s([2**22 + 1]) == measure.resident_kib([2**22 + 1]) == 0
