"""Certificates in files: when they end, and how a server takes one that was renewed.

Owns the look at files that have changed, the warnings before an end, and the metric. Makes no TLS context, and keeps no
timer: whoever has one looks, every `LOOK_S`.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric

from protocol.errors import ConfigError

LOOK_S = 2.0
"""How often to look, in seconds."""
WARN_DAYS = (21, 7)
"""So many days before the end a certificate is warned of; from the last on daily."""
DAY_S = 86400.0


class NamedFile(NamedTuple):
    """A file of certificates that a setting names."""

    setting: str
    path: str
    is_ca: bool = False
    """It holds whom we trust, not what we show."""


def read_end(file: NamedFile) -> float:
    """When it ends, as Unix time: a chain with the first of its certificates, CAs with the last of them.

    Raises `OSError` or `ValueError` where no certificate can be read.
    """
    found = x509.load_pem_x509_certificates(Path(file.path).read_bytes())
    ends = [certificate.not_valid_after_utc.timestamp() for certificate in found]
    return max(ends) if file.is_ca else min(ends)


def day(when: float) -> str:
    """The date of a Unix time, in UTC."""
    return f"{datetime.datetime.fromtimestamp(when, datetime.UTC):%Y-%m-%d}"


class Followed:
    """One that another process of ours uses, and takes when it is renewed: it is told of, and not warned of."""

    cure = ""

    def __init__(self, file: NamedFile) -> None:
        self.file = file
        self._state = _state_of(file.path)
        self.end = _end(file)

    def look(self) -> None:
        """See when the file ends now, if it has changed."""
        state = _state_of(self.file.path)
        if state != self._state:
            self._state = state
            self.end = _end(self.file)


class ReadOnce:
    """One that was read at the start: until the next one, whatever is in the file by then."""

    def __init__(self, file: NamedFile) -> None:
        self.file = file
        self.cure = "renew it, then restart this process"
        self.end = _end(file)

    def look(self) -> None:
        """There is nothing to take."""


class Reloaded:
    """What new handshakes use: certificate and key as they were when they were last good.

    A subclass says what is made of them.
    """

    cure = "renew it"

    def __init__(self, file: NamedFile, key_file: str, log: logging.Logger) -> None:
        """Raises `ConfigError` if the files are no good."""
        self.file = file
        self.quiet = False
        """Another process tells what becomes of these files."""
        self._files = (file.path, key_file)
        self._log = log
        self._state = _state_of(*self._files)
        self._load()
        self.end = _end(file)
        self._is_bad = self._was_told = False
        self._tried_at = time.monotonic()

    def _load(self) -> None:
        """Make of the files what new handshakes need. Raises `ConfigError`, and then changes nothing."""
        raise NotImplementedError

    def look(self) -> None:
        """Take what the files hold, if they have changed and are good.

        A pair that is no good may be half written: that is told only if it is still so at the next look.
        """
        state = _state_of(*self._files)
        if state != self._state:
            self._state, self._was_told = state, False
            self._take(tell=False)
        elif self._is_bad and time.monotonic() - self._tried_at >= LOOK_S:
            self._take(tell=True)

    def reload(self) -> None:
        """Take what the files hold now, whether they have changed or not; if that is no good, tell it at once."""
        self._state, self._was_told = _state_of(*self._files), False
        self._take(tell=True)

    def _take(self, *, tell: bool) -> None:
        self._tried_at = time.monotonic()
        try:
            self._load()
        except ConfigError as error:
            self._is_bad = True
            if tell and not self._was_told and not self.quiet:
                self._was_told = True
                self._log.error("the certificate is not changed: %s", error)
            return
        self._is_bad = False
        self.end = _end(self.file)
        if not self.quiet:
            self._log.info("the certificate was read again")


def _state_of(*paths: str) -> tuple[object, ...]:
    """Another one after each change of these files."""
    state: list[object] = []
    for path in paths:
        try:
            found = Path(path).stat()
        except OSError:
            state.append(None)
        else:
            state.append((found.st_ino, found.st_mtime_ns, found.st_size))
    return tuple(state)


def _end(file: NamedFile) -> float | None:
    try:
        return read_end(file)
    except (OSError, ValueError):  # TLS has taken it, so it is stricter here: then nobody knows
        return None


@dataclass(frozen=True, slots=True)
class _Warned:
    end: float
    stage: int
    at: float


class CertificateWatch:
    """All certificates of a process: has them looked at, warns before they end, and tells when they do."""

    def __init__(
        self,
        certificates: Sequence[ReadOnce | Reloaded | Followed],
        log: logging.Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is Unix time."""
        self._certificates = certificates
        self._log = log
        self._clock = clock
        self._warned: dict[str, _Warned] = {}

    def look(self) -> None:
        """Take what was renewed, and warn: at each threshold once, and from the last of them on daily."""
        self.renew()
        for certificate in self._certificates:
            if certificate.end is not None and not isinstance(certificate, Followed):
                self._warn(certificate, certificate.end)

    def renew(self) -> None:
        """Take what was renewed."""
        for certificate in self._certificates:
            certificate.look()

    def _warn(self, certificate: ReadOnce | Reloaded, end: float) -> None:
        setting, path, _ = certificate.file
        now = self._clock()
        left_d = (end - now) / DAY_S
        stage = sum(left_d < days for days in (*WARN_DAYS, 0))
        known = self._warned.get(setting)
        is_again = known is not None and (known.end, known.stage) == (end, stage)
        if is_again and (stage < len(WARN_DAYS) or known is None or abs(now - known.at) < DAY_S):
            return
        self._warned[setting] = _Warned(end, stage, now)
        if stage > len(WARN_DAYS):
            text = "%s: %s has expired on %s, and whoever checks it refuses it: %s"
            self._log.error(text, setting, path, day(end), certificate.cure)
        elif stage:
            text = "%s: %s expires in %d days, on %s: %s"
            self._log.warning(text, setting, path, left_d, day(end), certificate.cure)

    def metrics(self) -> Iterator[Metric]:
        """When each ends, as it is in use; nothing if there are none."""
        family = GaugeMetricFamily(
            "sparrow_certificate_expiration_timestamp_seconds",
            "When the certificate in use ends, in Unix time, by the setting that names its file.",
            labels=("setting",),
        )
        for certificate in self._certificates:
            if certificate.end is not None:
                family.add_metric((certificate.file.setting,), certificate.end)
        if family.samples:
            yield family
