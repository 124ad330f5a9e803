"""Secrets and CAs, in the files that settings name.

Owns the reading, and the rule that nobody else may read a secret.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from protocol.errors import ConfigError


def read_secret(key: str, name: str) -> str:
    """The first line of the file `name`; `key` is the setting that names it. Raises `ConfigError`."""
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not text in UTF-8") from None
    if mode & 0o077:
        raise ConfigError(f"{key}: {path} can be read by others: chmod 600 {path}")
    secret = text.partition("\n")[0].strip()
    if not secret:
        raise ConfigError(f"{key}: {path} is empty: write the secret into its first line")
    return secret


def client_context(key: str, ca_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks certificate and host name; without a file, against the system's CAs.

    Raises `ConfigError`.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{key}: {ca_file} is no PEM file of CA certificates ({text})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
