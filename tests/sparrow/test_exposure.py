"""What leaves this machine unprotected is refused, unless the settings say that it may."""

import subprocess
import sys
from pathlib import Path

import pytest

from sparrow.config.keys import make_broker_keys, make_link_key
from sparrow.config.page import as_node, page_url
from sparrow.config.settings import check, load
from tests.certificates import Authority
from tests.ports import free_port
from userapi.keys import ensure_key_pair

KEYS = {"BROKER__CURVE_KEY_FILE": "broker.key", "BROKER__ALLOWED_KEYS_FILE": "allowed.keys"}
KEYS |= {"CONNECTOR__CURVE_KEY_FILE": "one.key", "CONNECTOR__BROKER_PUBLIC_KEY_FILE": "broker.pub"}
TLS = {"CONNECTOR__TLS_CERTIFICATE_FILE": "server.crt.pem", "CONNECTOR__TLS_PRIVATE_KEY_FILE": "server.key.pem"}
HTTPS = {"USERAPI__TLS_CERTIFICATE_FILE": "server.crt.pem", "USERAPI__TLS_PRIVATE_KEY_FILE": "server.key.pem"}
TOLD = {"USERAPI__CONNECTORS": "tls://chat.example.net:7400,wss://chat.example.net/sparrow"}
ELSEWHERE = {"USERAPI__CONNECTORS": "chat.example.net:7400,ws://chat.example.net:7402"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all keys and certificates."""
    made = tmp_path_factory.mktemp("keys")
    make_broker_keys(made)
    make_link_key("one", made)
    Authority(made).issue()
    return made


def found(folder: Path, changes: dict[str, str]) -> list[tuple[str, bool]]:
    environ = {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(folder)}
    return [(finding.key, finding.serious) for finding in check(load(None, environ))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"BROKER__LISTEN": "tcp://[::1]:7410", "CONNECTOR__BROKERS": "tcp://localhost:7410, ipc:///tmp/x"},
        {"BROKER__LISTEN": "tcp://*:7410", "BROKER__PLAIN_LINKS": "true"},
        {"CONNECTOR__BROKERS": "tcp://b:7410", "CONNECTOR__PLAIN_LINKS": "true"},
        {**ELSEWHERE, "CONNECTOR__LISTEN_HOST": "0.0.0.0", "CONNECTOR__PLAIN_TCP": "true"},
        {**ELSEWHERE, "USERAPI__LISTEN_HOST": "0.0.0.0", "USERAPI__PLAIN_HTTP": "true"},
        {**KEYS, "BROKER__LISTEN": "tcp://*:7410", "CONNECTOR__BROKERS": "tcp://b:7410"},
        {**TLS, **TOLD, "CONNECTOR__LISTEN_HOST": "0.0.0.0", "CONNECTOR__PLAIN_LISTEN_PORT": "7401"},
        {**HTTPS, **TOLD, "USERAPI__LISTEN_HOST": "0.0.0.0", "CONNECTOR__LISTEN_PORT": "7401"},
    ],
)
def test_what_is_fine(folder: Path, changes: dict[str, str]) -> None:
    assert found(folder, changes) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"BROKER__LISTEN": "tcp://*:7410"}, "broker.listen"),
        ({"BROKER__LISTEN": "tcp://192.0.2.1:7410"}, "broker.listen"),
        ({"BROKER__LISTEN": "tcp://[2001:db8::1]:7410"}, "broker.listen"),
        ({"CONNECTOR__BROKERS": "tcp://127.0.0.1:7410, tcp://b:7410"}, "connector.brokers"),
        ({**ELSEWHERE, "CONNECTOR__LISTEN_HOST": "0.0.0.0"}, "connector.listen_host"),
        ({**ELSEWHERE, "CONNECTOR__LISTEN_HOST": "::"}, "connector.listen_host"),
        ({**ELSEWHERE, "USERAPI__LISTEN_HOST": "0.0.0.0"}, "userapi.listen_host"),
        ({"BROKER__CURVE_KEY_FILE": "broker.key"}, "broker.allowed_keys_file"),
        ({"BROKER__ALLOWED_KEYS_FILE": "allowed.keys"}, "broker.curve_key_file"),
        ({"CONNECTOR__CURVE_KEY_FILE": "one.key"}, "connector.broker_public_key_file"),
        ({"CONNECTOR__BROKER_PUBLIC_KEY_FILE": "broker.pub"}, "connector.curve_key_file"),
        ({**KEYS, "BROKER__CURVE_KEY_FILE": "none"}, "broker.curve_key_file"),
        ({**KEYS, "BROKER__ALLOWED_KEYS_FILE": "broker.key"}, "broker.allowed_keys_file"),
        ({**KEYS, "CONNECTOR__CURVE_KEY_FILE": "broker.pub"}, "connector.curve_key_file"),
        ({**KEYS, "CONNECTOR__BROKER_PUBLIC_KEY_FILE": "none"}, "connector.broker_public_key_file"),
        ({"CONNECTOR__TLS_CERTIFICATE_FILE": "server.crt.pem", **TOLD}, "connector.tls_private_key_file"),
        ({"USERAPI__TLS_PRIVATE_KEY_FILE": "server.key.pem"}, "userapi.tls_certificate_file"),
        ({**TLS, **TOLD, "CONNECTOR__TLS_CERTIFICATE_FILE": "none"}, "connector.tls_certificate_file"),
        ({"CONNECTOR__PLAIN_LISTEN_PORT": "7401"}, "connector.plain_listen_port"),
        ({**TLS, **TOLD, "CONNECTOR__PLAIN_LISTEN_PORT": "7400"}, "connector.plain_listen_port"),
    ],
)
def test_what_is_not(folder: Path, changes: dict[str, str], key: str) -> None:
    assert found(folder, changes) == [(key, True)]


@pytest.mark.parametrize("changes", [TLS, TOLD])
def test_what_clients_are_told(folder: Path, changes: dict[str, str]) -> None:
    assert found(folder, changes) == [("userapi.connectors", False)]


ETCD = {"BROKER__PRESENCE": "etcd", "BROKER__ADVERTISE": "tcp://10.0.0.1:7410"}
CASSANDRA = {"STORE__ENGINE": "cassandra", "STORE__CASSANDRA_CONTACT_POINTS": "127.0.0.1, 10.0.0.7:9042"}
MONITOR = {"MONITOR__LISTEN_PORT": "7490", "MONITOR__LISTEN_HOST": "0.0.0.0"}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        (ETCD, []),
        ({"ETCD__ENDPOINTS": "http://10.0.0.5:2379"}, []),
        ({**ETCD, "ETCD__ENDPOINTS": "http://[::1]:2379"}, []),
        (
            {**ETCD, "ETCD__ENDPOINTS": "http://127.0.0.1:2379,http://10.0.0.5:2379"},
            ["etcd.endpoints", "etcd.user"],
        ),
        ({**ETCD, "ETCD__ENDPOINTS": "https://etcd-1:2379"}, ["etcd.user"]),
        (
            {
                **ETCD,
                "ETCD__ENDPOINTS": "https://etcd-1:2379",
                "ETCD__CERT_FILE": "server.crt.pem",
                "ETCD__KEY_FILE": "server.key.pem",
            },
            [],
        ),
        ({**CASSANDRA, "STORE__CASSANDRA_CONTACT_POINTS": "127.0.0.1,localhost"}, []),
        (CASSANDRA, ["store.cassandra_tls_ca_file", "store.cassandra_credentials_file"]),
        ({**CASSANDRA, "STORE__CASSANDRA_TLS_CA_FILE": "ca.pem"}, ["store.cassandra_credentials_file"]),
        ({**MONITOR, "MONITOR__LISTEN_HOST": "::1"}, []),
        ({**MONITOR, "MONITOR__LISTEN_PORT": "0"}, []),
        (MONITOR, ["monitor.listen_host"]),
        ({**MONITOR, "MONITOR__LISTEN_HOST": "10.0.0.9"}, ["monitor.listen_host"]),
    ],
)
def test_etcd_cassandra_and_monitors_that_others_can_reach(
    folder: Path, changes: dict[str, str], keys: list[str]
) -> None:
    assert found(folder, changes) == [(key, False) for key in keys]


def test_what_a_monitor_shows_of_people_is_said(folder: Path) -> None:
    environ = {f"SPARROW_{name}": value for name, value in {**MONITOR, "MONITOR__ALLOW_TRACE": "true"}.items()}
    (finding,) = check(load(None, environ | {"SPARROW_DATA_DIR": str(folder)}))
    assert "who writes to whom" in finding.text


def test_secrets_that_others_can_read(folder: Path, tmp_path: Path) -> None:
    for name in ("one.key", "server.key.pem"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
        (tmp_path / name).chmod(0o644)
    assert found(folder, {**KEYS, "CONNECTOR__CURVE_KEY_FILE": str(tmp_path / "one.key")}) == [
        ("connector.curve_key_file", True)
    ]
    assert found(folder, {**TLS, **TOLD, "CONNECTOR__TLS_PRIVATE_KEY_FILE": str(tmp_path / "server.key.pem")}) == [
        ("connector.tls_private_key_file", True)
    ]


@pytest.mark.parametrize(
    ("command", "changes", "says"),
    [
        ("broker", {"BROKER__LISTEN": "tcp://*:7410"}, "say broker.plain_links = true"),
        ("connector", {"CONNECTOR__BROKERS": "tcp://b:1"}, "say connector.plain_links = true"),
        ("connector", {"CONNECTOR__LISTEN_HOST": "0.0.0.0"}, "say connector.plain_tcp = true"),
        ("serve", {"USERAPI__LISTEN_HOST": "0.0.0.0"}, "say userapi.plain_http = true"),
        ("connector", {**TLS, "CONNECTOR__TLS_CERTIFICATE_FILE": "broker.pub"}, "not a PEM certificate"),
        ("userapi", {**HTTPS, "USERAPI__TLS_CERTIFICATE_FILE": "broker.pub"}, "not a PEM certificate"),
    ],
)
def test_a_server_does_not_start(
    folder: Path, tmp_path: Path, command: str, changes: dict[str, str], says: str
) -> None:
    environment = {f"SPARROW_{name}": value for name, value in changes.items()} | {
        "SPARROW_DATA_DIR": str(folder),
        "SPARROW_USERAPI__LISTEN_PORT": str(free_port()),  # somebody's node may have the usual one
        "SPARROW_STORE__PATH": str(tmp_path / "x.db"),
        "SPARROW_CONNECTOR__TOKEN_PUBLIC_KEY_FILE": str(tmp_path / "token.pub.pem"),
        "SPARROW_USERAPI__TOKEN_PUBLIC_KEY_FILE": str(tmp_path / "token.pub.pem"),
        "SPARROW_USERAPI__TOKEN_PRIVATE_KEY_FILE": str(tmp_path / "token.key.pem"),
    }
    ensure_key_pair(tmp_path / "token.key.pem", tmp_path / "token.pub.pem")
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparrow.cli", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 2, answer
    assert says in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("sparrow: ")
    assert "Traceback" not in answer.stderr


# The page, and how it reaches a connector.


def node(tmp_path: Path, **changes: str) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Where a node listens for WebSocket, whom it tells clients of, and which pages may connect."""
    environ = {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(tmp_path)}
    settings = as_node(load(None, environ))
    connector = settings.connector
    return connector.websocket_listen_port, settings.userapi.connectors, connector.websocket_origins


@pytest.mark.parametrize(
    ("changes", "port", "connectors"),
    [
        ({}, 7402, "127.0.0.1:7400 ws://127.0.0.1:7402"),
        ({"CONNECTOR__LISTEN_PORT": "7500"}, 7402, "127.0.0.1:7500 ws://127.0.0.1:7402"),
        ({"CONNECTOR__LISTEN_HOST": "::1"}, 7402, "[::1]:7400 ws://[::1]:7402"),
        ({"CONNECTOR__WEBSOCKET_LISTEN_PORT": "7500"}, 7500, "127.0.0.1:7400 ws://127.0.0.1:7500"),
        # Who says that there is none, or that there is no page, opens no port.
        ({"CONNECTOR__WEBSOCKET_LISTEN_PORT": "0"}, 0, "127.0.0.1:7400"),
        ({"USERAPI__PAGE": "false"}, 0, "127.0.0.1:7400"),
        ({"MONITOR__LISTEN_PORT": "7402"}, 0, "127.0.0.1:7400"),
        ({"USERAPI__LISTEN_PORT": "7402"}, 0, "127.0.0.1:7400"),
        # Who names addresses says all of it; as before there was a page.
        ({"USERAPI__CONNECTORS": "127.0.0.1:7400"}, 0, "127.0.0.1:7400"),
        ({"USERAPI__CONNECTORS": "127.0.0.1:7500", "CONNECTOR__LISTEN_PORT": "7500"}, 0, "127.0.0.1:7500"),
        # Nothing is opened to others, or beside TLS, that nobody has asked for.
        ({"CONNECTOR__LISTEN_HOST": "0.0.0.0", "CONNECTOR__PLAIN_TCP": "true"}, 0, "127.0.0.1:7400"),
        ({"CONNECTOR__TLS_CERTIFICATE_FILE": "server.crt.pem"}, 0, "127.0.0.1:7400"),
    ],
)
def test_what_a_node_opens_for_its_page(tmp_path: Path, changes: dict[str, str], port: int, connectors: str) -> None:
    found, told, origins = node(tmp_path, **changes)
    assert (found, told) == (port, tuple(connectors.split()))
    at = changes.get("USERAPI__LISTEN_PORT", "7480")
    names = ("localhost", "127.0.0.1", "[::1]") if port else ()
    assert origins == tuple(f"http://{name}:{at}" for name in names)


def test_a_connector_of_a_cluster_opens_what_it_is_told_to(tmp_path: Path) -> None:
    settings = load(None, {"SPARROW_DATA_DIR": str(tmp_path)})
    assert settings.connector.websocket_listen_port == 0
    file = tmp_path / "sparrow.toml"
    file.write_text("[connector]\nwebsocket_listen_port = 0\n")
    assert as_node(load(file, {})).connector.websocket_listen_port == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"USERAPI__CONNECTORS": "127.0.0.1:7400,ws://127.0.0.1:7402"}, ""),
        ({"USERAPI__CONNECTORS": "127.0.0.1:7400", "USERAPI__PAGE": "false"}, ""),
        ({"USERAPI__CONNECTORS": "127.0.0.1:7400"}, "the page at / cannot reach a connector"),
        ({"USERAPI__CONNECTORS": "127.0.0.1:7400,ws://[::1]:7402"}, "can only have names"),
        ({**HTTPS, "USERAPI__CONNECTORS": "ws://chat.example.net:7402"}, "from https:// to wss:// only"),
        ({**HTTPS, "USERAPI__CONNECTORS": "ws://127.0.0.1:7402,wss://chat.example.net/sparrow"}, ""),
    ],
)
def test_what_keeps_the_page_from_a_connector(folder: Path, changes: dict[str, str], text: str) -> None:
    environ = {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(folder)}
    findings = check(load(None, environ))
    assert [(finding.key, finding.serious) for finding in findings] == [("userapi.connectors", False)] * bool(text)
    assert all(text in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://127.0.0.1:7480/"),
        ({"USERAPI__LISTEN_HOST": "0.0.0.0", **HTTPS}, "https://localhost:7480/"),
        ({"USERAPI__LISTEN_HOST": "::1", "USERAPI__LISTEN_PORT": "80"}, "http://[::1]:80/"),
        ({"USERAPI__LISTEN_HOST": "chat.example.net"}, "http://chat.example.net:7480/"),
        ({"CONNECTOR__WEBSOCKET_ORIGINS": "https://chat.example.net,https://b.net"}, "https://chat.example.net/"),
    ],
)
def test_what_to_open_in_a_browser(changes: dict[str, str], url: str) -> None:
    assert page_url(load(None, {f"SPARROW_{name}": value for name, value in changes.items()})) == url
