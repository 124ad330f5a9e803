"""`sparrow check` says when certificates end, with `--try` and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparrow.config.expiry import findings
from sparrow.config.roles import ROLES
from sparrow.config.settings import load
from tests.certificates import Authority
from tests.sparrow.test_cli import run

DAYS = {"good": (-1, 90), "old": (-9, -2), "soon": (-1, 20), "early": (3, 90)}
TEXTS = {
    "old": (True, "has expired on"),
    "soon": (False, "expires in 19 days: renew it"),
    "early": (True, "is not valid yet"),
}
EVERYWHERE = """
[connector]
tls_certificate_file = "{0}"
[userapi]
tls_certificate_file = "{0}"
identity = "ldap"
ldap_ca_file = "{0}"
[broker]
presence = "etcd"
[etcd]
cert_file = "{0}"
ca_file = "{0}"
[store]
engine = "cassandra"
cassandra_tls_ca_file = "{0}"
cassandra_tls_cert_file = "{0}"
"""


def found_in(folder: Path, text: str, *roles: str) -> dict[str, tuple[bool, str]]:
    (folder / "sparrow.toml").write_text(text)
    settings = load(folder / "sparrow.toml", {})
    return {
        finding.key: (finding.serious, finding.text)
        for finding in findings(settings, roles or ROLES, absent=bool(roles))
    }


@pytest.mark.parametrize("name", DAYS)
def test_each_setting_that_names_one(tmp_path: Path, name: str) -> None:
    first, last = DAYS[name]
    path, _ = Authority(tmp_path).issue(name, first_day=first, last_day=last)
    found = found_in(tmp_path, EVERYWHERE.format(path))
    if name == "good":
        assert found == {}
        return
    assert set(found) == {
        *("connector.tls_certificate_file", "userapi.tls_certificate_file", "userapi.ldap_ca_file"),
        *("etcd.cert_file", "etcd.ca_file", "store.cassandra_tls_ca_file", "store.cassandra_tls_cert_file"),
    }
    serious, text = TEXTS[name]
    assert all(is_serious == serious and text in said for is_serious, said in found.values()), found
    assert set(found_in(tmp_path, EVERYWHERE.format(path), "connector")) == {"connector.tls_certificate_file"}


def test_what_is_not_there_is_for_the_machine_that_has_it(tmp_path: Path) -> None:
    text = EVERYWHERE.format(tmp_path / "absent.pem")
    assert found_in(tmp_path, text) == {}
    assert "holds no certificates" in found_in(tmp_path, text, "broker")["etcd.ca_file"][1]
    (tmp_path / "none.pem").write_text("hello")
    found = found_in(tmp_path, EVERYWHERE.format(tmp_path / "none.pem"))
    assert all("holds no certificates" in said for _, said in found.values())


def test_an_authority_of_the_past_beside_its_successor(tmp_path: Path) -> None:
    """The old one is worth a word, and no error."""
    old = Authority(tmp_path, "old").issue("of-old", first_day=-9, last_day=-2)[0]
    both = tmp_path / "both.pem"
    both.write_bytes(old.read_bytes() + Authority(tmp_path, "new").file.read_bytes())
    found = found_in(tmp_path, f'[broker]\npresence = "etcd"\n[etcd]\nca_file = "{both}"\n')
    assert [serious for serious, _ in found.values()] == [False]


def test_on_the_command_line(tmp_path: Path) -> None:
    path, key = Authority(tmp_path).issue("old", first_day=-9, last_day=-2)
    text = f'[connector]\ntls_certificate_file = "{path}"\ntls_private_key_file = "{key}"\n'
    (tmp_path / "sparrow.toml").write_text(text)
    answer = run("check", folder=tmp_path)
    assert answer.returncode == 1
    assert f"error: connector.tls_certificate_file: {path}: " in answer.stdout
    assert "has expired on" in answer.stdout
