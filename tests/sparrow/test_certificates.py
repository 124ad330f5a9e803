"""`sparrow keys certificate`: an authority that is trusted for its names alone, its certificates, and renewals."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.typing import Origin

from protocol.errors import ConfigError
from sparrow.config import certificates
from sparrow.config.certificates import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY, make_certificate
from sparrow.config.settings import check, load
from tests.ports import free_port
from tests.sparrow.serving import Node
from tests.sparrow.test_keys import keys, modes

GUARD_S = 30.0
NAMES = ("chat.example.net", "mybox", "192.168.1.5", "2001:db8::5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all four files; not to be changed."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(NAMES, folder)
    return folder


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def copy_of(made: Path, folder: Path) -> Path:
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def handshake(folder: Path, host: str, certificate: Path | None = None, key: Path | None = None) -> None:
    """As a client does it that trusts the authority in `folder`. Raises `ssl.SSLError`."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate or folder / CERTIFICATE, key or folder / KEY)
    theirs = ssl.create_default_context(cafile=str(folder / AUTHORITY))
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(here, there, server_hostname=host)
    server = ours.wrap_bio(there, here, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


def test_what_is_made(made: Path) -> None:
    assert modes(made) == {AUTHORITY: 0o644, AUTHORITY_KEY: 0o600, CERTIFICATE: 0o644, KEY: 0o600}
    now = datetime.datetime.now(datetime.UTC)
    one, authority = read(made / CERTIFICATE), read(made / AUTHORITY)
    assert one.not_valid_after_utc - one.not_valid_before_utc < datetime.timedelta(days=397)
    assert one.not_valid_after_utc - now > datetime.timedelta(days=396)
    for each in (one, authority):
        assert each.not_valid_before_utc <= now - datetime.timedelta(minutes=59)
    assert authority.not_valid_after_utc - now > datetime.timedelta(days=3649)
    assert one.public_key() != authority.public_key()
    for path in (made / KEY, made / AUTHORITY_KEY):
        assert "BEGIN PRIVATE KEY" in path.read_text()


@pytest.mark.parametrize("host", NAMES)
def test_every_name_is_believed(made: Path, host: str) -> None:
    handshake(made, host)


@pytest.mark.parametrize("host", ["example.net", "other.example.net", "192.168.1.6", "::1", "localhost"])
def test_no_other_name_is(made: Path, host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        handshake(made, host)


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (NAMES, ("evil.example", "example.net", "10.0.0.1", "2001:db8::6")),
        (("chat.example.net",), ("evil.example", "10.0.0.1", "::1")),
        (("192.168.1.5",), ("evil.example", "com", "192.168.1.6", "::1")),
        (("fd00::7",), ("evil.example", "192.168.1.6", "fd00::8")),
    ],
)
def test_an_authority_that_was_stolen_is_of_no_use_for_others(
    tmp_path: Path, names: tuple[str, ...], others: tuple[str, ...]
) -> None:
    make_certificate(names, tmp_path)
    handshake(tmp_path, names[0])
    secret = serialization.load_pem_private_key((tmp_path / AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    forged = tmp_path / "forged.pem"
    for other in others:
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(other))
        except ValueError:
            name = x509.DNSName(other)
        issuer, key = read(tmp_path / AUTHORITY), read(tmp_path / CERTIFICATE).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        forged.write_bytes(certificates._signed([name], key, issuer, secret).public_bytes(serialization.Encoding.PEM))
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
            handshake(tmp_path, other, forged)


def test_renewal(made: Path, tmp_path: Path) -> None:
    folder = copy_of(made, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    renewed = make_certificate((), folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    # The authority is the one that is trusted, and no server sees a certificate without its key.
    assert {name for name in after if after[name] != before.get(name)} == {CERTIFICATE}
    assert (renewed.names, renewed.is_first) == (NAMES, False)
    assert read(folder / CERTIFICATE).serial_number != read(made / CERTIFICATE).serial_number
    for host in NAMES:
        handshake(folder, host)
    # Some of the names, and what is below one.
    assert make_certificate(("MYBOX.", "www.chat.example.net"), folder).names == ("mybox", "www.chat.example.net")
    handshake(folder, "www.chat.example.net")
    # A certificate that was lost is made again.
    (folder / CERTIFICATE).unlink()
    (folder / KEY).unlink()
    make_certificate(NAMES, folder)
    handshake(folder, "mybox")


@pytest.mark.parametrize(
    ("spoil", "names", "text"),
    [
        (AUTHORITY_KEY, NAMES, "cannot read .*ca.key.pem .*: put it back, or make another authority in a new folder"),
        (AUTHORITY, NAMES, "cannot read .*ca.pem"),
        (CERTIFICATE, (), "to renew: name what the page is opened as"),
        (
            "",
            ("other.example.net",),
            "is for chat.example.net, mybox, 192.168.1.5, 2001:db8::5 alone, and not for other",
        ),
        ("", ("192.168.1.6",), "alone, and not for 192.168.1.6"),
    ],
)
def test_what_cannot_be_renewed(made: Path, tmp_path: Path, spoil: str, names: tuple[str, ...], text: str) -> None:
    folder = copy_of(made, tmp_path)
    if spoil:
        (folder / spoil).unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigError, match=text):
        make_certificate(names, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", [AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY])
def test_what_is_somebody_elses_is_not_written_over(made: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(made, tmp_path)
    other = tmp_path / "other"
    make_certificate(NAMES, other)
    for content in ((other / name).read_bytes(), b"nonsense"):
        if name == KEY and content != b"nonsense":
            continue  # any key will do for the certificate that follows
        (folder / name).write_bytes(content)
        with pytest.raises(ConfigError):
            make_certificate(NAMES, folder)
        assert (folder / name).read_bytes() == content
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / CERTIFICATE).write_bytes(b"mine")
    with pytest.raises(ConfigError, match="of another authority: choose another folder"):
        make_certificate(NAMES, alone)
    assert modes(alone).keys() == {CERTIFICATE}


def test_an_authority_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "AUTHORITY_DAYS", 30)
    soon = make_certificate(("mybox",), tmp_path).until
    assert soon == read(tmp_path / AUTHORITY).not_valid_after_utc  # not beyond it
    other = tmp_path / "other"
    monkeypatch.setattr(certificates, "AUTHORITY_DAYS", 0)
    with pytest.raises(ConfigError, match="the authority has expired: make another one in a new folder"):
        make_certificate(("mybox",), other)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "chat..net", ".net", "*.example.net", "https://chat.example.net", "chat.example.net:7480"),
        *("chat.example.net/x", "10.0.0", "10.0.0.256", "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", "bücher.example"),
        *("-a.net", "a-.net", "a" * 64 + ".net", "a." * 127 + "net", "a\nb", 'a"b'),
    ],
)
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        make_certificate((name,), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_long_name(tmp_path: Path) -> None:
    host = ".".join(["a" * 60] * 3)
    make_certificate((host,), tmp_path)
    handshake(tmp_path, host)


def test_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    answer = keys("certificate", "::1", "chat.example.net", str(folder))
    assert answer.returncode == 0, answer.stderr
    for text in ("ca.key.pem is secret", "have browsers and phones trust it", "is for ::1, chat.example.net, until 20"):
        assert text in answer.stderr
    file = tmp_path / "sparrow.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n{answer.stdout}')
    assert check(load(file, {})) == []
    settings = load(file, {})
    assert settings.connector.websocket_origins == ("https://[::1]:7480", "https://chat.example.net:7480")
    assert settings.userapi.connectors == ("tls://chat.example.net:7400", "wss://chat.example.net:7402")
    again = keys("certificate", str(folder))
    assert (again.returncode, again.stdout) == (0, "")
    assert "take it by themselves, within a minute" in again.stderr


def test_a_folder_that_was_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("chat.example.net",), ("chat.example.net", "192.168.1.5"), ("a.net", "::1")):
        answer = keys("certificate", *arguments)
        assert answer.returncode == 2
        assert "would be the folder, and is not there: name it last, or write ./" in answer.stderr
    assert list(tmp_path.iterdir()) == []
    assert keys("certificate", "chat.example.net", "./keys.d").returncode == 0
    assert (tmp_path / "keys.d" / KEY).is_file()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """With the settings that were printed, but for the ports, and on this machine alone."""
    answer = keys("certificate", "127.0.0.1", str(tmp_path / "tls"))
    websocket = free_port()
    made = Node(tmp_path, connector__websocket_listen_port=websocket)
    text = answer.stdout.replace("0.0.0.0", "127.0.0.1").replace(":7480", f":{made.api_port}")
    text = text.replace(":7402", f":{websocket}").replace(":7400", f":{made.port}")
    (tmp_path / "sparrow.toml").write_text(text)
    del made.environment["SPARROW_USERAPI__CONNECTORS"]
    made.api = made.api.replace("http:", "https:")
    made.start()
    yield made
    assert made.stop() == 0, made.log


async def test_a_node_with_it(node: Node) -> None:
    trust = ssl.create_default_context(cafile=str(node.folder / "tls" / AUTHORITY))
    async with httpx.AsyncClient(base_url=node.api, trust_env=False, verify=trust) as client:
        page = await client.get("/")
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    (websocket,) = (word.rstrip(";") for word in page.headers["Content-Security-Policy"].split() if word[:4] == "wss:")
    async with connect(websocket, origin=Origin(node.api), ssl=trust, proxy=None):
        pass
    assert f"to chat, open {node.api}/ in a browser" in node.log
    # A renewal: the user API takes it at the next connection, the connector at SIGHUP.
    assert keys("certificate", str(node.folder / "tls")).returncode == 0
    node.reload()
    renewed, deadline = read(node.folder / "tls" / CERTIFICATE), time.monotonic() + GUARD_S
    while True:
        async with connect(websocket, origin=Origin(node.api), ssl=trust, proxy=None) as line:
            shown = line.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if x509.load_der_x509_certificate(shown) == renewed:
            break
        assert time.monotonic() < deadline, node.log
        await asyncio.sleep(0.05)
