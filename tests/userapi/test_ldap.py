"""Passwords in a directory: a real slapd."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocol.errors import ConfigError, UnavailableError
from tests.services.slapd import BASE, SEARCHER, SEARCHER_PASSWORD, Slapd
from tests.userapi.conftest import settings_in
from userapi.identity import Identity, open_identity

TEMPLATE = {"ldap_user_dn": f"uid={{user}},ou=people,{BASE}"}


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("directory")) as running:
        yield running


def identity(slapd: Slapd, folder: Path, **changes: object) -> Identity:
    values = {"identity": "ldap", "ldap_url": slapd.tls_url, "ldap_ca_file": str(slapd.ca), **changes}
    made = open_identity(settings_in(folder, **values))
    assert made is not None
    return made


def searching(folder: Path, password: str = SEARCHER_PASSWORD) -> dict[str, object]:
    file = folder / "searcher"
    file.write_text(password + "\n")
    file.chmod(0o600)
    return {
        "ldap_search_base": f"ou=people,{BASE}",
        "ldap_bind_dn": SEARCHER,
        "ldap_bind_password_file": str(file),
    }


def look(asked: Identity) -> None:
    assert asked.check("alice", "correct horse")
    assert not asked.check("alice", "wrong")
    assert not asked.check("bob", "correct horse")
    # To a directory, a bind without a password is an anonymous one, and well.
    assert not asked.check("alice", "")


def test_a_template(slapd: Slapd, tmp_path: Path) -> None:
    look(identity(slapd, tmp_path, **TEMPLATE))
    look(identity(slapd, tmp_path, ldap_url=slapd.url, **TEMPLATE))  # StartTLS
    look(identity(slapd, tmp_path, ldap_url=slapd.url, ldap_start_tls=False, **TEMPLATE))


def test_a_search(slapd: Slapd, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = identity(slapd, tmp_path, **searching(tmp_path))
    look(asked)
    for strange in ("*", "a*", "alice)(uid=*", "\\"):
        assert not asked.check(strange, "correct horse")
    assert not asked.check("carol", "correct horse")
    assert "more than one entry" in caplog.text
    narrow = identity(slapd, tmp_path, **searching(tmp_path), ldap_search_filter="(&(uid={user})(sn=alice))")
    look(narrow)


def test_at_once(slapd: Slapd, tmp_path: Path) -> None:
    asked = identity(slapd, tmp_path, **TEMPLATE)
    with ThreadPoolExecutor(8) as pool:
        passwords = ["correct horse", "wrong"] * 20
        assert list(pool.map(lambda password: asked.check("alice", password), passwords)) == [True, False] * 20


def test_a_directory_that_does_not_trust_us_is_away(slapd: Slapd, tmp_path: Path) -> None:
    asked = identity(slapd, tmp_path, **searching(tmp_path, "not the searcher's"))
    with pytest.raises(UnavailableError, match="ldap_bind_dn"):
        asked.check("alice", "correct horse")
    asked = identity(slapd, tmp_path, **{**searching(tmp_path), "ldap_search_base": "ou=nothing,dc=example,dc=org"})
    with pytest.raises(UnavailableError, match="searching"):
        asked.check("alice", "correct horse")


@pytest.mark.parametrize("door", ["url", "tls_url"])
def test_a_directory_that_we_do_not_trust_gets_no_password(slapd: Slapd, tmp_path: Path, door: str) -> None:
    url = getattr(slapd, door)
    for changes in ({"ldap_ca_file": str(slapd.stranger)}, {"ldap_url": url.replace("127.0.0.1", "localhost")}):
        asked = identity(slapd, tmp_path, **{"ldap_url": url, **changes}, **TEMPLATE)
        with pytest.raises(UnavailableError, match=r"(?i)certificate"):
            asked.check("alice", "correct horse")


def test_away_slow_and_back(tmp_path: Path) -> None:
    with Slapd(tmp_path) as slapd:
        asked = identity(slapd, tmp_path, **TEMPLATE, identity_timeout_s=1.0)
        look(asked)
        slapd.pause(True)
        with pytest.raises(UnavailableError, match="the directory ldaps://"):
            asked.check("alice", "correct horse")
        slapd.pause(False)
        slapd.stop()
        with pytest.raises(UnavailableError):
            asked.check("alice", "correct horse")
        slapd.start()
        # The machine may be slow.
        look(identity(slapd, tmp_path, **TEMPLATE))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ldap_url": ""}, "ldap_url"),
        ({"ldap_url": "https://directory"}, "ldap_url"),
        ({"ldap_url": "ldaps://directory:99999"}, "ldap_url"),
        ({"ldap_user_dn": ""}, "set one"),
        ({"ldap_search_base": BASE}, "not both"),
        ({"ldap_user_dn": BASE}, "must hold {user}"),
        ({"ldap_bind_dn": SEARCHER}, "ldap_bind_password_file"),
        ({"ldap_ca_file": "nothing.pem"}, "ldap_ca_file"),
        ({"ldap_bind_dn": SEARCHER, "ldap_bind_password_file": "nothing"}, "ldap_bind_password_file"),
    ],
)
def test_settings(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    values = {"identity": "ldap", "ldap_url": "ldaps://directory", **TEMPLATE, **changes}
    with pytest.raises(ConfigError, match=text):
        open_identity(settings_in(tmp_path, **values))
