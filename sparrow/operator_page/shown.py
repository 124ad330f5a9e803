"""Settings in force, as the operator's page shows them: without anything that opens a door.

Owns what is left out. Secrets are in files that settings name, so it is what a URL may carry: credentials, and what
stands behind a question mark.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from sparrow.config.defaults import in_toml
from sparrow.config.settings import Settings, sections

HIDDEN = "•••"
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*@")
_CREDENTIALS_BARE = re.compile(r"^[^/@\s]+:[^/@\s]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile(r"(password|secret|token|credential)s?$")
"""How the name of a setting would end that held one itself: there is none yet."""


def shown(settings: Settings) -> Iterator[dict[str, Any]]:
    """Each setting: its name, its value as a settings file has it, and whether somebody has written it."""
    yield _row("data_dir", settings.data_dir, "data_dir" in settings.written)
    for section, kind in sections().items():
        values = getattr(settings, section)
        for item in dataclasses.fields(kind):
            key = f"{section}.{item.name}"
            yield _row(key, getattr(values, item.name), key in settings.written)


def _row(key: str, value: object, written: bool) -> dict[str, Any]:
    told = HIDDEN if _SECRET.search(key) and value else _without_secrets(value)
    return {"name": key, "value": in_toml(told).replace("\\u2022", "•"), "written": written}


def _without_secrets(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_without_secrets, value))
    if not isinstance(value, str):
        return value
    hidden = _CREDENTIALS_BARE.sub(f"{HIDDEN}@", _CREDENTIALS.sub(f"{HIDDEN}@", value))
    return _QUERY.sub(lambda found: found[0][0] + HIDDEN, hidden) if _URL.match(hidden) else hidden
