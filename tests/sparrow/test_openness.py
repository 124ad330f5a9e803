"""`sparrow check` speaks of settings that trust everybody, or make guessing cheap."""

from pathlib import Path

import pytest

from sparrow.config.settings import check, load

WIDE = ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "127.0.0.1,::/0"]


def found(folder: Path, **changes: str) -> list[tuple[str, bool]]:
    environ = {f"SPARROW_{name}": value for name, value in changes.items()} | {"SPARROW_DATA_DIR": str(folder)}
    return [(finding.key, finding.serious) for finding in check(load(None, environ))]


@pytest.mark.parametrize("networks", WIDE)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CONNECTOR__PROXIES", "connector.proxies"),
        ("USERAPI__TRUSTED_PROXIES", "userapi.trusted_proxies"),
        ("USERAPI__UNLIMITED_ADDRESSES", "userapi.unlimited_addresses"),
    ],
)
def test_networks_that_are_everybody(tmp_path: Path, name: str, key: str, networks: str) -> None:
    assert set(found(tmp_path, **{name: networks})) == {(key, False)}


@pytest.mark.parametrize("networks", ["10.0.0.0/8,192.168.0.0/16,127.0.0.0/8", "fc00::/7,::1", "192.0.2.7"])
def test_networks_of_ones_own(tmp_path: Path, networks: str) -> None:
    assert found(tmp_path, CONNECTOR__PROXIES=networks, USERAPI__TRUSTED_PROXIES=networks) == []


def test_origins_that_are_every_page(tmp_path: Path) -> None:
    assert found(tmp_path, USERAPI__CORS_ORIGINS="*") == [("userapi.cors_origins", False)]
    assert found(tmp_path, USERAPI__CORS_ORIGINS="https://chat.example.net") == []


@pytest.mark.parametrize(
    ("passes", "mib", "is_hard"),
    [(1, 46, True), (1, 45, False), (2, 19, True), (2, 18, False), (3, 12, True), (4, 9, True), (5, 7, True),
     (9, 7, True), (9, 6, False)],
)  # fmt: skip
def test_argon2(tmp_path: Path, passes: int, mib: int, is_hard: bool) -> None:
    values = {"USERAPI__ARGON2_TIME_COST": str(passes), "USERAPI__ARGON2_MEMORY_KIB": str(mib * 1024)}
    assert found(tmp_path, **values) == ([] if is_hard else [("userapi.argon2_memory_kib", False)])


def test_blocks_that_only_one_side_keeps_silent_about(tmp_path: Path) -> None:
    assert found(tmp_path, BROKER__BLOCKS_ARE_SILENT="true") == [("userapi.blocks_are_silent", False)]
    assert found(tmp_path, BROKER__BLOCKS_ARE_SILENT="true", USERAPI__BLOCKS_ARE_SILENT="true") == []


def test_an_admin_listener(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("0123456789abcdef" * 2)
    (tmp_path / "admin").chmod(0o600)
    token = {"USERAPI__ADMIN_TOKEN_FILE": "admin"}
    assert found(tmp_path, USERAPI__ADMIN_LISTEN_PORT="7481", **token) == []
    assert found(tmp_path, USERAPI__ADMIN_LISTEN_PORT="7481") == [("userapi.admin_listen_port", False)]
    assert found(tmp_path, USERAPI__ADMIN_LISTEN_PORT="7480", **token) == [("userapi.admin_listen_port", True)]
    wide = {"USERAPI__ADMIN_LISTEN_PORT": "7481", "USERAPI__ADMIN_LISTEN_HOST": "0.0.0.0"}
    assert found(tmp_path, **wide, **token) == [("userapi.admin_listen_host", True)]
