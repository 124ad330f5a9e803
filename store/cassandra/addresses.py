"""What the settings say about where Cassandra is, in the forms that the driver wants.

Owns the syntax of those settings. Opens no connection; imports no driver, so that settings can be checked without it.
"""

from __future__ import annotations

import re
from pathlib import Path

from protocol.errors import ConfigError
from store.settings import StoreSettings

DEFAULT_PORT = 9042
_POINT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^:/\s\[\]]+)(:(?P<port>\d{1,5}))?")
_LARGEST_PORT = 65535
_SIMPLE = re.compile(r"SimpleStrategy:(?P<replicas>[1-9]\d?)")
_CENTRE = re.compile(r"(?P<name>[\w.-]+)=(?P<replicas>[1-9]\d?)")
_BY_CENTRE = "NetworkTopologyStrategy:"


def where(settings: StoreSettings) -> str:
    """How errors and the log name the database."""
    return "Cassandra at " + ", ".join(settings.cassandra_contact_points)


def parse_contact_points(settings: StoreSettings) -> list[tuple[str, int]]:
    """Hosts and ports. Raises `ConfigError`."""
    points = []
    for text in settings.cassandra_contact_points:
        found = _POINT.fullmatch(text)
        port = int(found["port"] or DEFAULT_PORT) if found else 0
        if found is None or not 1 <= port <= _LARGEST_PORT:
            raise ConfigError(f'"{text}" is no address: write host or host:port')
        points.append((found["host"].strip("[]"), port))
    return points


def parse_replication(settings: StoreSettings) -> dict[str, str | int]:
    """The keyspace's replication, as CQL's map. Raises `ConfigError`."""
    text = settings.cassandra_replication
    if found := _SIMPLE.fullmatch(text):
        return {"class": "SimpleStrategy", "replication_factor": int(found["replicas"])}
    centres = [_CENTRE.fullmatch(part.strip()) for part in text.removeprefix(_BY_CENTRE).split(",")]
    if not text.startswith(_BY_CENTRE) or None in centres:
        raise ConfigError(
            f'"{text}" is no replication: write SimpleStrategy:3, or NetworkTopologyStrategy:dc1=3 with the replicas '
            "of each data centre"
        )
    named = {found["name"]: int(found["replicas"]) for found in centres if found}
    return {"class": "NetworkTopologyStrategy", **named}


def read_credentials(settings: StoreSettings) -> tuple[str, str] | None:
    """User and password; None without a file. Raises `ConfigError` for a file that is unreadable or too readable."""
    if not settings.cassandra_credentials_file:
        return None
    path = Path(settings.cassandra_credentials_file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
    if len(lines) < 2 or not lines[0].strip() or not lines[1].strip():
        raise ConfigError(f"{path}: write the user's name in the first line and the password in the second")
    return lines[0].strip(), lines[1].strip()
