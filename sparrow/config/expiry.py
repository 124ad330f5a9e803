"""Which certificates a process uses, and what `sparrow check` says of their ends.

Owns the list of the settings that name one. A server starts whatever is found here: one that clients refuse is no worse
than none, and the clock may be what is wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509

from fabric.certificates import WARN_DAYS, NamedFile, day
from sparrow.config.checks import Finding
from sparrow.config.roles import ROLES
from sparrow.config.settings import Settings
from store.certificates import certificates as of_store
from userapi.certificates import certificates as of_userapi


def certificates(settings: Settings, roles: Sequence[str]) -> list[NamedFile]:
    """Those that are named, and used by processes with these roles."""
    found: list[NamedFile] = []
    for_whom = set(roles)
    if for_whom & {"node", "connector"}:
        found.append(NamedFile("connector.tls_certificate_file", settings.connector.tls_certificate_file))
    if "broker" in for_whom and settings.broker.presence == "etcd":
        found.append(NamedFile("etcd.ca_file", settings.etcd.ca_file, is_ca=True))
        found.append(NamedFile("etcd.cert_file", settings.etcd.cert_file))
    if for_whom & {"node", "userapi"}:
        found += of_userapi(settings.userapi)
    if for_whom & {"node", "broker", "userapi"}:
        found += of_store(settings.store)
    if "operator" in for_whom:
        found.append(NamedFile("operator.tls_certificate_file", settings.operator.tls_certificate_file))
    return [file for file in found if file.path]


def findings(settings: Settings, roles: Sequence[str] = ROLES, *, absent: bool = False) -> Iterator[Finding]:
    """What is wrong with them, for these roles; and that one is not there, if `absent`."""
    for file in certificates(settings, roles):
        if absent or Path(file.path).exists():
            yield from _findings(file)


def _findings(file: NamedFile) -> Iterator[Finding]:
    try:
        found = x509.load_pem_x509_certificates(Path(file.path).read_bytes())
    except (OSError, ValueError) as error:
        yield Finding(file.setting, f"{file.path} holds no certificates (PEM): {error}")
        return
    now = datetime.datetime.now(datetime.UTC)
    for certificate in found:
        name = certificate.subject.rfc4514_string()
        left = certificate.not_valid_after_utc - now
        # Among several whom we trust, one that has ended is of the past.
        is_past = file.is_ca and any(other.not_valid_after_utc > certificate.not_valid_after_utc for other in found)
        if certificate.not_valid_before_utc > now:
            text = f"{file.path}: {name} is not valid yet: is this machine's clock right?"
            yield Finding(file.setting, text, serious=not is_past)
        elif left.total_seconds() <= 0:
            text = f"{file.path}: {name} has expired on {day(certificate.not_valid_after_utc.timestamp())}: renew it"
            yield Finding(file.setting, text, serious=not is_past)
        elif left.days < WARN_DAYS[0]:
            yield Finding(file.setting, f"{file.path}: {name} expires in {left.days} days: renew it", serious=False)
