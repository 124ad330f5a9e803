"""Certificates in files: renewed ones, pairs that are no good, warnings, and the metric."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest

from fabric import certificates
from fabric.certificates import DAY_S, CertificateWatch, NamedFile, ReadOnce, Reloaded, read_end
from protocol.errors import ConfigError
from tests.certificates import Authority

LOG = logging.getLogger("sparrow.test")
SETTING = "room.tls_certificate_file"


class Pair(Reloaded):
    """A pair in a folder, and how often it was taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken = 0
        super().__init__(NamedFile(SETTING, str(folder / "use.crt")), str(folder / "use.key"), LOG)

    def _load(self) -> None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files, password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigError(str(error)) from error
        self.taken += 1


def install(folder: Path, certificate: Path | None = None, key: Path | None = None) -> None:
    """As renewal does it: by renaming."""
    for source, name in ((certificate, "use.crt"), (key, "use.key")):
        if source is not None:
            Path(shutil.copy(source, folder / "draft")).replace(folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(tmp_path, *Authority(tmp_path).issue("first", last_day=30))
    return tmp_path


def test_a_renewed_one_is_taken_without_a_word_from_anybody(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pair = Pair(folder)
    first = pair.end
    pair.look()
    assert (pair.taken, caplog.text) == (1, "")
    install(folder, *Authority(folder, "ca2").issue("second", last_day=60))
    pair.look()
    assert pair.taken == 2
    assert pair.end is not None
    assert first is not None
    assert round((pair.end - first) / DAY_S) == 30
    assert "the certificate was read again" in caplog.text
    pair.look()
    assert pair.taken == 2
    pair.reload()
    assert pair.taken == 3, "SIGHUP takes it in any case"


def test_half_a_renewal_is_no_error_and_a_wrong_pair_is_one_line(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(certificates.time, "monotonic", lambda: now)
    pair = Pair(folder)
    first = pair.end
    certificate, key = Authority(folder, "ca2").issue("second", last_day=60)
    install(folder, certificate)
    pair.look()
    assert (pair.end, caplog.text) == (first, ""), "the old one goes on, and the key may be on its way"
    install(folder, None, key)
    pair.look()
    assert pair.end != first
    install(folder, None, Authority(folder, "ca3").issue("third")[1])
    for _ in range(5):
        pair.look()
        now += certificates.LOOK_S
    assert caplog.text.count("the certificate is not changed: ") == 1
    # What makes it good again need not touch the files.
    assert pair.taken == 2
    monkeypatch.setattr(pair, "_load", lambda: None)
    pair.look()
    assert "read again" not in caplog.text  # that is INFO
    assert not pair._is_bad


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\0"])
def test_what_is_no_certificate_changes_nothing(
    folder: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(folder)
    first = pair.end
    (folder / "use.crt").unlink()
    if content is not None:
        (folder / "use.crt").write_text(content)
    pair.reload()
    pair.reload()
    assert (pair.end, pair.taken) == (first, 1)
    assert caplog.text.count("the certificate is not changed: ") == 2, "once for each time that it was asked for"


def test_warnings(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At each threshold once, then daily; the end is an error."""
    caplog.set_level(logging.WARNING)
    pair = Pair(folder)
    assert pair.end is not None
    now = pair.end - 22 * DAY_S
    watch = CertificateWatch([pair], LOG, lambda: now)
    lines: dict[int, list[int]] = {}
    for _ in range(24 * 25):  # 25 days of looks, one an hour
        caplog.clear()
        watch.look()
        for record in caplog.records:
            lines.setdefault(record.levelno, []).append(round((now - pair.end) / 3600))
        now += 3600
    first, second, *daily = lines[logging.WARNING]
    assert (first, second) == (-21 * 24 + 1, -7 * 24 + 1)
    assert daily == [second + 24 * count for count in range(1, 7)]
    assert lines[logging.ERROR] == [1, 25, 49]
    install(folder, *Authority(folder, "ca2").issue("second", last_day=90))
    caplog.clear()
    now -= 10 * DAY_S
    watch.look()
    assert caplog.text == "", "renewed"
    (metric,) = watch.metrics()
    assert [(sample.labels, sample.value) for sample in metric.samples] == [({"setting": SETTING}, pair.end)]


def test_chains_and_authorities(tmp_path: Path) -> None:
    """Of a chain the first end counts; whom we trust is trusted until the last."""
    authority = Authority(tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(authority.issue("leaf", last_day=10)[0].read_bytes() + authority.file.read_bytes())
    first, last = (read_end(NamedFile("x", str(chain), is_ca=is_ca)) for is_ca in (False, True))
    assert round((last - first) / DAY_S) == 90
    once = ReadOnce(NamedFile("etcd.cert_file", str(chain)))
    chain.write_bytes(authority.file.read_bytes())
    once.look()
    assert once.end == first, "in use until a restart"
    assert ReadOnce(NamedFile("x", str(tmp_path / "none"))).end is None
    assert not list(CertificateWatch([], LOG).metrics())
