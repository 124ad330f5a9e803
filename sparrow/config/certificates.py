"""`sparrow keys certificate`: an authority of one's own, and a certificate of it for the servers of this machine.

Owns what is in both, how long they are good, and when a file is written anew: the certificate alone, by the authority
that made it. Nothing of it is for more than the names that the authority was made for.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import ConfigError
from sparrow.config.keyfiles import make

AUTHORITY, AUTHORITY_KEY = "ca.pem", "ca.key.pem"
CERTIFICATE, KEY = "server.pem", "server.key.pem"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
"""Browsers refuse what is good for longer."""
_CLOCKS_APART = datetime.timedelta(hours=1)
"""It is good from before it was made: a phone's clock may be behind."""
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_MAX_COMMON_NAME = 64
_NO_NAMES = x509.DNSName("invalid")
"""Nobody has a name in it (RFC 6761)."""
_NO_ADDRESSES = [x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it."""

    names: tuple[str, ...]
    """As the certificate has them; addresses without brackets."""
    until: datetime.datetime
    is_first: bool
    """The authority was made, too."""


def make_certificate(names: Sequence[str], folder: Path) -> Made:
    """Certificate and key for `names` (of hosts, and addresses; none: those it had), and an authority where there is
    none. Raises `ConfigError`.
    """
    wanted = [_name(name) for name in names]
    authority, authority_key = folder / AUTHORITY, folder / AUTHORITY_KEY
    is_first = not authority.exists() and not authority_key.exists()
    if is_first:
        if not wanted:
            raise ConfigError(f"there is no {authority} to go on with: name what the page is opened as")
        if (folder / CERTIFICATE).exists():
            raise ConfigError(f"{folder / CERTIFICATE} is there, of another authority: choose another folder")
        _make_authority(wanted, folder)
    issuer, secret = _read_certificate(authority), _read_key(authority_key)
    if issuer.public_key() != secret.public_key():
        raise ConfigError(f"{authority_key} is not the key of {authority}: choose another folder")
    wanted = wanted or _names_before(folder / CERTIFICATE, issuer)
    _refuse_others(wanted, issuer, authority)
    key = _own_key(folder / KEY)
    made = _signed(wanted, key.public_key(), issuer, secret)
    _replace(folder / CERTIFICATE, made, issuer)
    return Made(tuple(_text(name) for name in wanted), made.not_valid_after_utc, is_first)


# Names.


def _name(text: str) -> x509.GeneralName:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        host = text.lower().removesuffix(".")
        # Only digits after the last dot: an address with a mistake in it.
        if not _HOST.fullmatch(host) or host.rpartition(".")[2].isdigit():
            raise ConfigError(
                f"{text!r} is neither a host's name nor an address: write one such as chat.example.net or 192.168.1.5, "
                "and others than English letters as xn--…"
            ) from None
        return x509.DNSName(host)
    if address.is_unspecified or address.is_multicast or (address.version == 6 and address.scope_id):
        raise ConfigError(f"{text} is no address by which browsers reach this machine: name one that is")
    return x509.IPAddress(address)


def _text(name: x509.GeneralName) -> str:
    return str(name.value)


def _names_before(path: Path, issuer: x509.Certificate) -> list[x509.GeneralName]:
    if not path.exists():
        raise ConfigError(f"there is no {path} to renew: name what the page is opened as")
    return list(_of_authority(path, issuer).extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _refuse_others(wanted: Sequence[x509.GeneralName], issuer: x509.Certificate, path: Path) -> None:
    """Whoever trusts the authority would refuse these."""
    known = issuer.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    for name in wanted:
        if not any(_is_in(name, tree) for tree in known):
            have = ", ".join(_text(tree).partition("/")[0] for tree in known if tree != _NO_NAMES)
            raise ConfigError(
                f"the authority in {path} is for {have} alone, and not for {_text(name)}: make one for all names in "
                "another folder, and have it trusted in place of this one"
            )


def _is_in(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress) and isinstance(tree, x509.IPAddress):
        return name.value in tree.value  # type: ignore[operator]
    if isinstance(name, x509.DNSName) and isinstance(tree, x509.DNSName):
        return f".{name.value}".endswith(f".{tree.value}")
    return False


# Certificates.


def _make_authority(names: Sequence[x509.GeneralName], folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    machine = socket.gethostname()[:40]
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    subject = _common_name(f"Sparrow on {machine}, {now:%Y-%m-%d}")
    made = (
        _begun(subject, subject, key.public_key(), now + datetime.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(_constraints(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    make(folder / AUTHORITY_KEY, _key_text(key), 0o600)
    make(folder / AUTHORITY, _certificate_text(made), 0o644)


def _constraints(names: Sequence[x509.GeneralName]) -> x509.NameConstraints:
    """These, and what is below them; of a kind that none of them is of, nothing."""
    permitted: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_network(name.value)) if isinstance(name, x509.IPAddress) else name for name in names
    ]
    has_names = any(isinstance(name, x509.DNSName) for name in names)
    has_addresses = any(isinstance(name, x509.IPAddress) for name in names)
    return x509.NameConstraints(
        permitted if has_names else [*permitted, _NO_NAMES],
        None if has_addresses else _NO_ADDRESSES,
    )


def _signed(
    names: Sequence[x509.GeneralName],
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    secret: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    # Not for a second more, however the ends are counted.
    until = now - _CLOCKS_APART + datetime.timedelta(days=CERTIFICATE_DAYS, seconds=-1)
    if issuer.not_valid_after_utc <= now:
        raise ConfigError("the authority has expired: make another one in a new folder")
    # No name of a host: OpenSSL would hold it against the names that the authority is for.
    subject = _common_name(f"Sparrow at {_text(names[0])}")
    return (
        _begun(issuer.subject, subject, key, min(until, issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(secret.public_key()), critical=False)
        .sign(secret, hashes.SHA256())
    )


def _begun(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(until)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_MAX_COMMON_NAME])])


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# Files.


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """It stays the same when the certificate is renewed, so that no server ever sees one without the other."""
    if not path.exists():
        make(path, _key_text(ec.generate_private_key(ec.SECP256R1())), 0o600)
    return _read_key(path)


def _replace(path: Path, made: x509.Certificate, issuer: x509.Certificate) -> None:
    """The old one, if it was this authority's, or nothing."""
    if path.exists():
        _of_authority(path, issuer)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    make(draft, _certificate_text(made), 0o644)
    draft.replace(path)


def _of_authority(path: Path, issuer: x509.Certificate) -> x509.Certificate:
    found = _read_certificate(path)
    try:
        found.verify_directly_issued_by(issuer)
    except Exception as error:  # of cryptography, of several kinds
        raise ConfigError(f"{path} is not of the authority beside it, and is not written over: move it away") from error
    return found


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}): put it back, or choose another folder") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no certificate (PEM): move it away, or choose another folder") from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({error.strerror}): put it back, or make another authority in a new folder"
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no key (PEM, without a password): choose another folder") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no key that was made here: choose another folder")
    return found


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _certificate_text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
