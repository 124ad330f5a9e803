"""Settings: the file, the environment, and what is refused."""

import dataclasses
import os
import re
import tomllib
from pathlib import Path

import pytest

import sparrow
from protocol.errors import ConfigError
from sparrow.config import renamed
from sparrow.config.defaults import render
from sparrow.config.settings import PATHS, Settings, check, load, sections
from userapi.keys import ensure_key_pair


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    assert load(None, {}) == Settings()
    assert [finding for finding in check(Settings()) if finding.serious] == []


def test_the_file_and_then_the_environment(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [connector]
        listen_port = 7401
        store_after_s = 0
        brokers = ["tcp://a:1", "tcp://b:2"]
        [log]
        level = "warning"
        """,
    )
    settings = load(path, {"SPARROW_CONNECTOR__LISTEN_PORT": "7402", "SPARROW_BROKER__LEASE_S": "7", "HOME": "/"})
    assert settings.connector.listen_port == 7402
    assert settings.connector.store_after_s == 0.0
    assert isinstance(settings.connector.store_after_s, float)
    assert settings.connector.brokers == ("tcp://a:1", "tcp://b:2")
    assert settings.broker.lease_s == 7.0
    assert settings.log.level == "warning"
    assert load(path, {"SPARROW_CONNECTOR__BROKERS": "tcp://c:3, tcp://d:4"}).connector.brokers == (
        "tcp://c:3",
        "tcp://d:4",
    )


def test_relative_paths_are_in_data_dir(tmp_path: Path) -> None:
    path = written(tmp_path, 'data_dir = "/srv/sparrow"\n[store]\npath = "/elsewhere/my.db"\n')
    settings = load(path, {})
    assert settings.store.path == "/elsewhere/my.db"
    assert settings.connector.token_public_key_file == "/srv/sparrow/var/token.pub.pem"
    assert load(path, {"SPARROW_DATA_DIR": "here"}).userapi.token_private_key_file == "here/var/token.key.pem"
    for section, key in PATHS:
        assert isinstance(getattr(getattr(settings, section), key), str)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[conector]", r'unknown section or key "conector"; did you mean "connector"\?'),
        (
            "[connector]\nlisten_prot = 1",
            r'unknown key "connector\.listen_prot"; did you mean "connector\.listen_port"\?',
        ),
        ("connector = 3", r"connector = 3: expected a section"),
        ("[connector]\nlisten_port = 70000", r"connector\.listen_port = 70000: expected a port number, 0 to 65535"),
        ("[connector]\nlisten_port = '7400'", r"connector\.listen_port = '7400': expected a port number"),
        ("[connector]\nlisten_port = 7400.0", r"expected a port number"),
        ("[connector]\nlisten_port = true", r"expected a port number"),
        ("[userapi]\nlisten_port = 0", r"expected a port number, 1 to 65535"),
        ("[connector]\nmax_sessions = 0", r"connector\.max_sessions = 0: expected a whole number from 1 to 10,000,000"),
        ("[connector]\nmax_sessions = -3", r"from 1 to 10,000,000"),
        ("[connector]\nmax_sessions = 9223372036854775807", r"from 1 to 10,000,000"),
        ("[connector]\nmax_messages_per_second = -1", r"from 1 to 1,000,000 a second, or 0"),
        ("[connector]\nheartbeat_s = 0", r"a number from 0\.1 to 3,600 seconds"),
        ("[connector]\nheartbeat_s = nan", r"a number from 0\.1 to 3,600 seconds"),
        ("[connector]\nheartbeat_s = inf", r"a number from 0\.1 to 3,600 seconds"),
        ("[connector]\nheartbeat_s = 'x'", r"a number from 0\.1 to 3,600 seconds"),
        ("[connector]\nbrokers = []", r"a list of texts"),
        ("[connector]\nbrokers = [1]", r"a list of texts"),
        ("[connector]\nbrokers = 'tcp://a:1'", r"a list of texts"),
        ("[connector]\nname = ''", r"a text that is not empty"),
        ("[connector]\nname = 3", r"a text that is not empty"),
        ("[log]\nlevel = 'loud'", r'log\.level = .loud.: expected one of "info", "warning"'),
        ("[store]\nengine = 'oracle'", r'expected one of "sqlite"'),
        ("data_dir = 3", r"data_dir = 3: expected a text"),
        ("[connector", r"not TOML"),
    ],
)
def test_what_a_file_may_not_hold(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"my\.toml: .*{says}"):
        load(written(tmp_path, text), {})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SPARROW_CONNECTOR__LISTEN_PROT", "1", "did you mean .SPARROW_CONNECTOR__LISTEN_PORT"),
        ("SPARROW_CONNECTOR_LISTEN_PORT", "1", "did you mean .SPARROW_CONNECTOR__LISTEN_PORT"),
        ("SPARROW_CONECTOR__LISTEN_PORT", "1", "did you mean .SPARROW_CONNECTOR__LISTEN_PORT"),
        ("SPARROW_CONNECTOR__LISTEN_PORT", "many", "connector.listen_port = 'many': expected a port number"),
        ("SPARROW_CONNECTOR__LISTEN_PORT", "1.5", "expected a port number"),
        ("SPARROW_CONNECTOR__HEARTBEAT_S", "nan", "expected a number from 0.1 to 3,600 seconds"),
        ("SPARROW_CONNECTOR__BROKERS", " , ", "expected a list of texts"),
        ("SPARROW_DATA_DIR", "", "expected a text"),
    ],
)
def test_what_the_environment_may_not_hold(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"environment: .*{says}"):
        load(None, {variable: value})


def known_names() -> set[str]:
    return {f"{section}.{field.name}" for section, kind in sections().items() for field in dataclasses.fields(kind)}


def test_old_names_are_none_of_today_and_new_ones_are() -> None:
    old = {*renamed.RENAMED, *renamed.GONE}
    assert not old & known_names()
    assert not set(renamed.RENAMED) & set(renamed.GONE)
    assert {*renamed.RENAMED.values(), *(name for name, _ in renamed.FORMER_VALUES)} <= known_names()


RENAMES = {"connector.max_people": "connector.max_sessions", "former.port": "monitor.listen_port"}


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that were called otherwise once, one of them in a section that is gone."""
    for old, new in RENAMES.items():
        monkeypatch.setitem(renamed.RENAMED, old, new)


def said(settings: Settings) -> list[tuple[str, bool]]:
    return [(finding.key, finding.serious) for finding in check(settings)]


@pytest.mark.usefixtures("renames")
def test_an_old_name_still_works_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "[connector]\nmax_people = 70000\n[former]\nport = 7491\n")
    settings = load(path, {"SPARROW_DATA_DIR": str(tmp_path)})
    assert (settings.connector.max_sessions, settings.monitor.listen_port) == (70000, 7491)
    assert said(settings) == [("connector.max_sessions", False), ("monitor.listen_port", False)]
    assert "connector.max_people" in check(settings)[0].text
    settings = load(None, {"SPARROW_CONNECTOR__MAX_PEOPLE": "70001", "SPARROW_DATA_DIR": str(tmp_path)})
    assert settings.connector.max_sessions == 70001
    assert said(settings) == [("connector.max_sessions", False)]


@pytest.mark.usefixtures("renames")
def test_the_new_name_wins_in_one_source_and_the_environment_over_the_file(tmp_path: Path) -> None:
    both = written(tmp_path, "[connector]\nmax_people = 70000\nmax_sessions = 60000\n")
    settings = load(both, {"SPARROW_DATA_DIR": str(tmp_path)})
    assert settings.connector.max_sessions == 60000
    assert said(settings) == [("connector.max_sessions", False)]
    assert load(both, {"SPARROW_CONNECTOR__MAX_PEOPLE": "50000"}).connector.max_sessions == 50000


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[connector]\nmax_people = 0",
            "connector.max_people is called connector.max_sessions now: .* from 1 to 10",
        ),
        ("[former]\nprot = 1", 'unknown key "former.prot"'),
        ("[log]\nlevel = ['debug']", "expected one of"),
    ],
)
def test_an_old_name_is_checked_like_the_new(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(written(tmp_path, text), {})


def test_what_is_gone_does_nothing_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "[broker]\nretry_after_ms = 'whatever'\n[log]\nlevel = 'debug'\n")
    settings = load(path, {"SPARROW_DATA_DIR": str(tmp_path)})
    assert settings.log.level == "info"
    assert said(settings) == [("broker.retry_after_ms", False), ("log.level", False)]
    environ = {"SPARROW_BROKER__RETRY_AFTER_MS": "1", "SPARROW_LOG__LEVEL": "debug"}
    assert said(load(None, environ | {"SPARROW_DATA_DIR": str(tmp_path)})) == said(settings)


def test_other_variables_are_left_alone() -> None:
    assert load(None, {"SPARROW_CONFIG": "x", "SPARROWS": "y", "sparrow_log__level": "z"}) == Settings()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match=r"bytes\.toml: .*not TOML"):
        load(tmp_path / "bytes.toml", {})


def default_file() -> str:
    return (Path(sparrow.__file__).parent / "config" / "sparrow.toml").read_text()


def test_the_default_file_changes_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, default_file()), {}) == Settings()


def test_the_default_file_has_every_field_with_its_default(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(\w+ = )", r"\1", default_file())
    content = tomllib.loads(text)
    expected = dataclasses.asdict(Settings())
    for section in sections():
        for key, value in expected[section].items():
            found = content[section].get(key)
            value = list(value) if isinstance(value, tuple) else value
            again = "python -m sparrow.config.defaults >sparrow/config/sparrow.toml"
            assert found == value, f"{section}.{key}: run {again}"
        assert set(content[section]) == set(expected[section])
    assert content["data_dir"] == "."
    assert load(written(tmp_path, text), {}) == Settings()


def test_the_default_file_describes_settings() -> None:
    about = "# An unacked copy goes to the inbox after this time; 0 stores first."
    assert f"{about}\n# (0.001 to 60 seconds, or 0)\n#store_after_s = 0.5\n" in render()


ETCD = {"BROKER__PRESENCE": "etcd"}


def test_what_may_be_empty_may_be_set_to_be_empty_and_is_joined_to_nothing() -> None:
    settings = load(None, {"SPARROW_ETCD__USER": "", "SPARROW_ETCD__CA_FILE": "", "SPARROW_DATA_DIR": "/there"})
    assert (settings.etcd.user, settings.etcd.ca_file) == ("", "")
    assert load(None, {"SPARROW_ETCD__CA_FILE": "ca.pem", "SPARROW_DATA_DIR": "/there"}).etcd.ca_file == "/there/ca.pem"
    with pytest.raises(ConfigError, match='"memory", "etcd"'):
        load(None, {"SPARROW_BROKER__PRESENCE": ""})


def test_a_cluster_is_nothing_to_complain_about(tmp_path: Path) -> None:
    environ = {"BROKER__PRESENCE": "etcd", "BROKER__LISTEN": "tcp://0.0.0.0:7410", "DATA_DIR": str(tmp_path)}
    environ |= {"BROKER__ADVERTISE": "tcp://10.0.0.1:7410", "BROKER__PLAIN_LINKS": "true"}
    environ |= {"ETCD__ENDPOINTS": "https://a:2379,https://b:2379"}
    environ |= {"ETCD__USER": "sparrow", "ETCD__PASSWORD_FILE": __file__}
    assert check(load(None, {f"SPARROW_{name}": value for name, value in environ.items()})) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"CONNECTOR__LINK_TIMEOUT_S": "0.4"}, "connector.link_timeout_s"),
        ({"USERAPI__CORS_ORIGINS": "https://chat.example.net/page"}, "userapi.cors_origins"),
        ({"BROKER__LEASE_S": "0.5"}, "broker.lease_s"),
        ({"USERAPI__FURTHER_DEVICE_DELAY_S": "1"}, "userapi.further_device_delay_s"),
        ({"BROKER__CACHE_S": "3"}, "userapi.further_device_delay_s"),
        ({"CONNECTOR__MAX_UNSETTLED_PER_CONNECTION": "10"}, "connector.max_unsettled_per_connection"),
        ({"CONNECTOR__ATTEMPT_TIMEOUT_S": "1"}, "connector.attempt_timeout_s"),
        ({"STORE__INBOX_TTL_DAYS": "0.001"}, "store.inbox_ttl_days"),
        ({"HISTORY__KEEP_DAYS": "7"}, "history.keep_days"),
        ({"HISTORY__MAX_BYTES_OF_AUTHOR": "1000"}, "history.max_bytes_of_author"),
        ({"BROKER__GROUP_LOOK_S": "6"}, "broker.group_look_s"),
        ({"BROKER__GROUP_BYTES_PER_SECOND": "1000"}, "broker.group_bytes_per_second"),
        ({"BROKER__GROUP_AUTHOR_BYTES_PER_SECOND": "0"}, "broker.group_bytes_per_second"),
        ({"BROKER__SIGNAL_GROUP_BYTES_PER_SECOND": "1000"}, "broker.signal_group_bytes_per_second"),
        ({"BROKER__SIGNAL_AUTHOR_BYTES_PER_SECOND": "0"}, "broker.signal_group_bytes_per_second"),
        (
            {"USERAPI__MAX_GROUP_CHANGES_PER_MINUTE_OF_GROUP": "59"},
            "userapi.max_group_changes_per_minute_of_group",
        ),
        ({"STORE__MAX_WAITING_ROWS": "7000"}, "store.max_waiting_rows"),
        ({"USERAPI__STOP_TIMEOUT_S": "1"}, "userapi.stop_timeout_s"),
        ({"USERAPI__REGISTRATION": "invitation"}, "userapi.registration"),
        ({"USERAPI__PAGE_URL": "chat.example.net"}, "userapi.page_url"),
        ({"CONNECTOR__BROKERS": "localhost"}, "connector.brokers"),
        ({"CONNECTOR__PROXIES": "10.0.0.5, proxy.example.net"}, "connector.proxies"),
        ({"BROKER__LISTEN": "tcp://127.0.0.1:7400"}, "broker.listen"),
        ({"USERAPI__CONNECTORS": "ws://127.0.0.1:7402,example.net"}, "userapi.connectors"),
        ({"USERAPI__LISTEN_PORT": "7400"}, "userapi.listen_port"),
        ({"CONNECTOR__TOKEN_PUBLIC_KEY_FILE": "other.pem"}, "connector.token_public_key_file"),
        ({"BROKER__ADVERTISE": "here:7410"}, "broker.advertise"),
        (ETCD | {"BROKER__LISTEN": "tcp://0.0.0.0:7410", "BROKER__PLAIN_LINKS": "true"}, "broker.advertise"),
        (ETCD | {"BROKER__LISTEN": "tcp://*:7410", "BROKER__PLAIN_LINKS": "true"}, "broker.advertise"),
        (ETCD | {"ETCD__ENDPOINTS": "127.0.0.1:2379"}, "etcd.endpoints"),
        (ETCD | {"ETCD__ENDPOINTS": "http://localhost:2379,https://[::1]:2379"}, "etcd.endpoints"),
        (ETCD | {"ETCD__CERT_FILE": __file__, "ETCD__KEY_FILE": __file__}, "etcd.endpoints"),
        (ETCD | {"ETCD__ENDPOINTS": "https://[::1]", "ETCD__KEY_FILE": __file__}, "etcd.cert_file"),
        (ETCD | {"ETCD__USER": "sparrow", "ETCD__ENDPOINTS": "https://[::1]"}, "etcd.user"),
        (ETCD | {"ETCD__USER": "sparrow", "ETCD__PASSWORD_FILE": __file__}, "etcd.user"),
        (ETCD | {"ETCD__CA_FILE": "nowhere.pem", "ETCD__ENDPOINTS": "https://localhost"}, "etcd.ca_file"),
        (ETCD | {"ETCD__PREFIX": "sparrow"}, "etcd.prefix"),
        (ETCD | {"ETCD__TRY_TIMEOUT_S": "4", "BROKER__LEASE_S": "20"}, "etcd.call_timeout_s"),
        (ETCD | {"ETCD__CALL_TIMEOUT_S": "5"}, "etcd.call_timeout_s"),
        (ETCD | {"BROKER__LEASE_S": "2"}, "broker.lease_s"),
    ],
)
def test_findings_between_settings(tmp_path: Path, changes: dict[str, str], key: str) -> None:
    environ = {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(tmp_path)}
    findings = check(load(None, environ))
    assert [finding.key for finding in findings] == [key]
    assert findings[0].text


def test_without_limits_there_is_nothing_to_say_of_groups(tmp_path: Path) -> None:
    none = ("BROKER__GROUP_BYTES_PER_SECOND", "USERAPI__MAX_GROUP_CHANGES_PER_MINUTE_OF_GROUP")
    environ = {f"SPARROW_{name}": "0" for name in none} | {"SPARROW_DATA_DIR": str(tmp_path)}
    assert check(load(None, environ)) == []


def test_findings_about_files(tmp_path: Path) -> None:
    settings = load(None, {"SPARROW_DATA_DIR": str(tmp_path)})
    private, public = Path(settings.userapi.token_private_key_file), Path(settings.connector.token_public_key_file)
    ensure_key_pair(private, public)
    assert check(settings) == []
    private.chmod(0o644)
    assert [finding.key for finding in check(settings)] == ["userapi.token_private_key_file"]
    private.chmod(0o600)
    public.write_text("nonsense")
    assert [finding.key for finding in check(settings)] == ["connector.token_public_key_file"]
    public.unlink()
    Path(settings.store.path).mkdir()
    assert [finding.key for finding in check(settings)] == ["store.path"]
    (tmp_path / "file").write_text("")
    findings = check(load(None, {"SPARROW_DATA_DIR": str(tmp_path / "file")}))
    assert {finding.key for finding in findings} == {
        "store.path",
        "userapi.token_private_key_file",
        "userapi.token_public_key_file",
        "history.ledger",
    }


def test_keys_that_are_there_are_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd gives them to a service in a folder where it cannot write."""
    settings = load(None, {"SPARROW_DATA_DIR": str(tmp_path)})
    ensure_key_pair(Path(settings.userapi.token_private_key_file), Path(settings.userapi.token_public_key_file))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert [finding.key for finding in check(settings)] == ["store.path", "history.ledger"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "userapi.token_private_key_file" in [finding.key for finding in check(settings)]


def test_where_0_is_said_to_be_no_limit_it_may_be_set() -> None:
    words = re.findall(r"(?:^# .*\n)*^# .*\b0: no limit.*\n(?:# .*\n)*#(\w+) = ", render(), re.MULTILINE)
    assert {"group_author_bytes_per_second", "group_scan_s", "max_requests_per_second_of_address"} <= set(words)
    for section, kind in sections().items():
        for name in set(words) & {field.name for field in dataclasses.fields(kind)}:
            loaded = load(None, {f"SPARROW_{section}__{name}".upper(): "0"})
            assert getattr(getattr(loaded, section), name) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_findings_about_folders_that_are_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "store.path" in [finding.key for finding in check(load(None, {"SPARROW_DATA_DIR": str(tmp_path)}))]
