"""A real slapd for tests: one directory of a few people, with plain, StartTLS and TLS doors."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.ports import free_port

BASE = "dc=example,dc=net"
SEARCHER = f"cn=searcher,{BASE}"
SEARCHER_PASSWORD = "the searcher's"
START_S = 60.0
ROOT = Path(__file__).parents[2]

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")
_SCHEMAS = ("/etc/ldap/schema", "/etc/openldap/schema", "/usr/local/etc/openldap/schema")
_MODULES = ("/usr/lib/ldap", "/usr/lib64/openldap", "/usr/lib/openldap")

_CONFIG = """\
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
{module}
pidfile {folder}/slapd.pid
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{searcher}" read by * none
database mdb
maxsize 10485760
suffix "{base}"
rootdn "cn=root,{base}"
directory {folder}/data
"""
_ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: {searcher}
objectClass: person
cn: searcher
sn: searcher
userPassword: {searcher_password}

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=guests,ou=people,{base}
objectClass: organizationalUnit
ou: guests
"""
_PERSON = """
dn: uid={user},{where}
objectClass: inetOrgPerson
uid: {user}
cn: {user}
sn: {user}
userPassword: {password}
"""


def program() -> str:
    """slapd's path. Fails the test under CI where there is none, else installs it, or fails with what to do."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    if shutil.which("slapd", path=path) is None:
        if os.environ.get("CI"):
            pytest.fail("there is no slapd; run scripts/install-package slapd before the tests")
        installer = [ROOT / "scripts" / "install-package", "slapd"]
        done = subprocess.run(installer, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(done.stderr)
    found = shutil.which("slapd", path=path)
    assert found is not None
    return found


class Slapd:
    """Alice and two persons called carol, one of them a guest. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._program = program()
        self._folder = folder / "slapd"
        (self._folder / "data").mkdir(parents=True)
        authority = Authority(self._folder / "keys")
        self.ca = authority.file
        self.stranger = Authority(self._folder / "other", "other").file
        certificate, key = authority.issue()
        self._config = self._folder / "slapd.conf"
        module = next((place for place in _MODULES if list(Path(place).glob("back_mdb*.so*"))), None)
        self._config.write_text(
            _CONFIG.format(
                schemas=next(place for place in _SCHEMAS if Path(place).is_dir()),
                module=f"modulepath {module}\nmoduleload back_mdb" if module else "",
                folder=self._folder,
                ca=self.ca,
                certificate=certificate,
                key=key,
                base=BASE,
                searcher=SEARCHER,
            )
        )
        people = f"ou=people,{BASE}"
        text = _ENTRIES.format(base=BASE, searcher=SEARCHER, searcher_password=SEARCHER_PASSWORD)
        text += _PERSON.format(user="alice", where=people, password="correct horse")
        text += _PERSON.format(user="carol", where=people, password="correct horse")
        text += _PERSON.format(user="carol", where=f"ou=guests,{people}", password="correct horse")
        ldif = self._folder / "entries.ldif"
        ldif.write_text(text)
        subprocess.run(
            [self._program, "-T", "add", "-f", str(self._config), "-l", str(ldif)], check=True, capture_output=True
        )
        self.port, self.tls_port = free_port(), free_port()
        self.url, self.tls_url = f"ldap://127.0.0.1:{self.port}", f"ldaps://127.0.0.1:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Slapd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Until it answers."""
        line = [self._program, "-d", "0", "-f", str(self._config), "-h", f"{self.url} {self.tls_url}"]
        self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        for port in (self.port, self.tls_port):
            while True:
                assert self._process.poll() is None, "slapd has ended"
                assert time.monotonic() < deadline, "slapd does not answer"
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)

    def stop(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self, paused: bool) -> None:
        """It stands still, or goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)
