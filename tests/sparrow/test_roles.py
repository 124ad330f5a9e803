"""`sparrow check` speaks to a process of what that process has, and of what clients elsewhere would be told."""

from __future__ import annotations

import argparse
import os
import string
from pathlib import Path

import pytest

from sparrow.config.found import find
from sparrow.config.roles import ROLES, inferred, roles_of
from sparrow.config.settings import Settings, check, load, sections
from sparrow.ops import checking
from userapi.keys import ensure_key_pair

ROOT = Path(__file__).parents[2]
PLAIN = {"CONNECTOR__PLAIN_TCP": "true", "USERAPI__PLAIN_HTTP": "true", "USERAPI__PAGE": "false"}


def loaded(folder: Path, **changes: str) -> Settings:
    return load(None, {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(folder)})


def found(folder: Path, *roles: str, **changes: str) -> list[tuple[str, bool]]:
    return [(finding.key, finding.serious) for finding in check(loaded(folder, **changes), roles)]


# For whom a file is.


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("", "node"),
        ("[connector]\nlisten_port = 7401", "node"),
        ("[store]\npath = 'x'\n[userapi]\nworkers = 2", "node"),
        ("[broker]\npresence = 'memory'\nlease_s = 6", "node"),
        ("[connector]\nbrokers = ['tcp://a:1']", "connector"),
        ("[broker]\nlisten = 'tcp://127.0.0.1:7410'\n[store]\npath = 'x'", "broker"),
        ("[broker]\npresence = 'etcd'", "broker"),
        ("[etcd]\nprefix = 'ours/'", "broker"),
        ("[userapi]\nbrokers = ['tcp://a:1']\n[store]\nengine = 'cassandra'", "userapi"),
        ("[userapi]\nbrokers = ['tcp://a:1']\n[connector]\nlisten_port = 7401", "connector userapi"),
        ("[broker]\npresence = 'etcd'\n[connector]\nname = 'c'\n[userapi]\nworkers = 2", "connector broker userapi"),
    ],
)
def test_roles_are_told_from_a_file(tmp_path: Path, text: str, roles: str) -> None:
    (tmp_path / "my.toml").write_text(text)
    assert inferred(load(tmp_path / "my.toml", {})) == tuple(roles.split())


SAMPLE = dict.fromkeys(("name", "page", "dir", "host"), "a") | dict.fromkeys(("port", "monitor", "websocket"), "7555")
SAMPLE |= dict.fromkeys(("etcd", "cassandra", "brokers", "monitors", "connectors"), '"tcp://a:1"') | {"replicas": "3"}


@pytest.mark.parametrize("path", [*ROOT.glob("scripts/*.d/*.toml")], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_samples_are_for_whom_they_say(path: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.toml").write_text(string.Template(path.read_text()).substitute(SAMPLE))
    assert inferred(load(tmp_path / "sample.toml", {})) == (path.stem.replace("sparrow", "node"),)


def test_the_operators_page_stands_beside_them(tmp_path: Path) -> None:
    for text, roles in (("", ("node",)), ("[connector]\nbrokers = ['tcp://a:1']\n", ("connector",))):
        (tmp_path / "my.toml").write_text(f"{text}[operator]\nlisten_port = 7486")
        assert inferred(load(tmp_path / "my.toml", {})) == (*roles, "operator")
    key = "operator.listen_host"
    assert (key, True) in found(tmp_path, "operator", OPERATOR__LISTEN_HOST="0.0.0.0")
    assert (key, True) not in found(tmp_path, "node", OPERATOR__LISTEN_HOST="0.0.0.0")  # it serves none


def test_who_reads_a_setting() -> None:
    assert roles_of("data_dir") == roles_of("log.level") == ROLES
    assert roles_of("etcd.user") == ("broker",)
    assert roles_of("connector.brokers") == ("connector",)
    assert roles_of("store.path") == ("node", "broker", "userapi")
    assert all(roles_of(f"{section}.x") for section in sections())


# What is said to whom.


def test_a_role_hears_nothing_of_sections_that_it_has_not(tmp_path: Path) -> None:
    """The store and the user API's keys are none of a connector's business."""
    (tmp_path / "file").touch()
    changes = {"CONNECTOR__BROKERS": "tcp://127.0.0.1:7410", "CONNECTOR__TOKEN_PUBLIC_KEY_FILE": "other.pub.pem"}
    settings = loaded(tmp_path / "file", **changes)
    assert check(settings, ("connector",)) == []
    assert {"store.path", "connector.token_public_key_file"} <= {finding.key for finding in check(settings)}


def test_what_is_of_two_sections_needs_both(tmp_path: Path) -> None:
    silent = {"USERAPI__BLOCKS_ARE_SILENT": "true"}
    assert found(tmp_path, "userapi", **silent) == []
    assert found(tmp_path, "node", **silent) == [("userapi.blocks_are_silent", False)]
    assert found(tmp_path, "userapi", **silent, BROKER__BLOCKS_ARE_SILENT="true") == []
    # Beyond what the broker has by itself, it is told all the same.
    assert found(tmp_path, "userapi", USERAPI__FURTHER_DEVICE_DELAY_S="1") == [("userapi.further_device_delay_s", True)]


def test_a_node_is_told_what_it_does_not_read(tmp_path: Path) -> None:
    changes = {"BROKER__LISTEN": "tcp://0.0.0.0:7410", "USERAPI__BROKERS": "tcp://b:1"}
    assert found(tmp_path, "node", **changes) == [("broker.listen", False), ("userapi.brokers", False)]
    assert found(tmp_path, "broker", **changes) == [("broker.listen", True)]
    etcd = {"ETCD__ENDPOINTS": "http://127.0.0.1:2379", "ETCD__PREFIX": "ours/"}
    assert found(tmp_path, "node", **etcd) == [("etcd.endpoints", False), ("etcd.prefix", False)]
    assert found(tmp_path, "broker", **etcd) == [("etcd.endpoints", False)]
    assert found(tmp_path, "broker", **etcd, BROKER__PRESENCE="etcd") == []


# What others are told.


@pytest.mark.parametrize(
    ("roles", "changes", "keys"),
    [
        ("node", {"CONNECTOR__LISTEN_HOST": "0.0.0.0"}, "userapi.connectors"),
        ("node", {"CONNECTOR__LISTEN_HOST": "10.0.0.5", "USERAPI__CONNECTORS": "localhost:7400"}, "userapi.connectors"),
        ("node", {"USERAPI__LISTEN_HOST": "::"}, "userapi.connectors"),
        ("userapi", {"USERAPI__LISTEN_HOST": "0.0.0.0"}, "userapi.connectors"),
        ("userapi", {"USERAPI__CONNECTORS": "0.0.0.0:7400,ws://a/"}, "userapi.connectors"),
        ("connector", {"CONNECTOR__LISTEN_HOST": "0.0.0.0"}, ""),
        ("node", {"CONNECTOR__LISTEN_HOST": "0.0.0.0", "USERAPI__CONNECTORS": "10.0.0.5:7400,ws://a:1"}, ""),
        ("node", {}, ""),
    ],
)
def test_addresses_that_clients_are_told(tmp_path: Path, roles: str, changes: dict[str, str], keys: str) -> None:
    assert found(tmp_path, *roles.split(), **PLAIN, **changes) == [(key, False) for key in keys.split()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BROKER__LISTEN": "tcp://0.0.0.0:7410", "BROKER__ADVERTISE": "tcp://localhost:7410"}, True),
        ({"ETCD__ENDPOINTS": "https://10.0.0.2:2379"}, True),
        ({"ETCD__ENDPOINTS": "https://10.0.0.2:2379", "BROKER__ADVERTISE": "tcp://10.0.0.1:7410"}, False),
        ({}, False),
    ],
)
def test_addresses_that_brokers_tell_one_another(tmp_path: Path, changes: dict[str, str], said: bool) -> None:
    changes |= {"BROKER__PRESENCE": "etcd", "BROKER__PLAIN_LINKS": "true"}
    assert (("broker.advertise", False) in found(tmp_path, "broker", **changes)) == said


def test_a_connector_that_cannot_know_its_page(tmp_path: Path) -> None:
    changes = {"CONNECTOR__LISTEN_HOST": "0.0.0.0", "CONNECTOR__WEBSOCKET_LISTEN_PORT": "7402"}
    changes |= {"CONNECTOR__PLAIN_TCP": "true"}
    assert found(tmp_path, "connector", **changes) == [("connector.websocket_origins", False)]
    assert found(tmp_path, "connector", **changes, CONNECTOR__WEBSOCKET_ORIGINS="https://chat.example.net") == []


# Cassandra.

THREE = {"STORE__ENGINE": "cassandra", "STORE__CASSANDRA_CONTACT_POINTS": "127.0.0.1,127.0.0.2,127.0.0.3"}
REPLICAS = ("store.cassandra_replication", False)


@pytest.mark.parametrize(
    ("roles", "changes", "findings"),
    [
        ("broker", {}, [REPLICAS]),
        ("broker", {"STORE__CASSANDRA_REPLICATION": "SimpleStrategy:2"}, [REPLICAS]),
        ("broker", {"STORE__CASSANDRA_REPLICATION": "NetworkTopologyStrategy:a=3,b=1"}, [REPLICAS]),
        ("broker", {"STORE__CASSANDRA_REPLICATION": "NetworkTopologyStrategy:a=3,b=3"}, []),
        ("broker", {"STORE__CASSANDRA_CONTACT_POINTS": "127.0.0.1"}, []),
        ("broker", {"STORE__CASSANDRA_REPLICATION": "3"}, [("store.cassandra_replication", True)]),
        # Who does not make the keyspace says nothing of it, unless it does.
        ("userapi", {}, []),
        ("userapi", {"STORE__CASSANDRA_REPLICATION": "SimpleStrategy:1"}, [REPLICAS]),
        (
            "broker",
            {"STORE__CASSANDRA_REPLICATION": "NetworkTopologyStrategy:a=3", "STORE__CASSANDRA_LOCAL_DC": "b"},
            [("store.cassandra_local_dc", True)],
        ),
    ],
)
def test_replicas(tmp_path: Path, roles: str, changes: dict[str, str], findings: list[tuple[str, bool]]) -> None:
    assert found(tmp_path, *roles.split(), **THREE | changes) == findings


# Files.


def test_keys_are_made_by_root_and_not_by_those_who_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    findings = {finding.key: finding.text for finding in check(loaded(tmp_path), ("userapi",))}
    text = findings["userapi.token_private_key_file"]
    assert f"`sparrow keys token {tmp_path}/var`" in text
    assert "let the server's user write" not in text
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (tmp_path / "var").mkdir()
    findings = {finding.key: finding.text for finding in check(loaded(tmp_path), ("userapi",))}
    assert "cannot be seen: this is " in findings["userapi.token_public_key_file"]


def test_keys_that_are_no_pair(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ensure_key_pair(tmp_path / name / "token.key.pem", tmp_path / name / "token.pub.pem")
    changes = {
        "USERAPI__TOKEN_PRIVATE_KEY_FILE": "a/token.key.pem",
        "USERAPI__TOKEN_PUBLIC_KEY_FILE": "b/token.pub.pem",
    }
    changes |= {"CONNECTOR__TOKEN_PUBLIC_KEY_FILE": "b/token.pub.pem"}
    assert found(tmp_path, "node", **changes) == [("userapi.token_public_key_file", False)]
    assert found(tmp_path, "connector", **changes) == []


def test_files_of_root_in_the_servers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def owned(path: Path, **options: bool) -> os.stat_result:
        values = list(stat(path, **options))
        values[4] = 0 if path.suffix == ".db-lock" else 1000
        return os.stat_result(values)

    (tmp_path / "var").mkdir()
    for name in ("sparrow.db", "sparrow.db-lock"):
        (tmp_path / "var" / name).touch(0o600)
    monkeypatch.setattr(Path, "stat", owned)
    (finding,) = check(loaded(tmp_path))
    assert (finding.key, finding.serious) == ("store.path", False)
    assert finding.text.endswith(f"chown --reference={tmp_path}/var {tmp_path}/var/sparrow.db-lock")


def test_argon2_needs_memory_for_each_lane(tmp_path: Path) -> None:
    changes = {"USERAPI__ARGON2_MEMORY_KIB": "31", "USERAPI__ARGON2_PARALLELISM": "4"}
    assert ("userapi.argon2_memory_kib", True) in found(tmp_path, "node", **changes)


# The command.


def run(config: Path, capsys: pytest.CaptureFixture[str], *roles: str) -> tuple[int, str]:
    options = argparse.Namespace(roles=list(roles), tried=None)
    status = checking.run(find(config, {"SPARROW_DATA_DIR": str(config.parent)}), options)
    return status, capsys.readouterr().out


def test_the_command_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "my.toml"
    config.write_text("[connector]\nbrokers = ['tcp://127.0.0.1:7410']\n[userapi]\nblocks_are_silent = true\n")
    assert run(config, capsys, "connector") == (0, "nothing to complain about, as of a connector\n")
    assert run(config, capsys) == (0, "nothing to complain about, as of a connector, a user API\n")
    status, said = run(config, capsys, "node")
    assert status == 0
    assert [line.split()[1] for line in said.splitlines()] == ["connector.brokers:", "userapi.blocks_are_silent:"]
