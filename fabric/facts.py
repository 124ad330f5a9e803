"""The form of a log line that tells facts: `event=… name=value …`.

Owns the form, and that a line holds neither a line's end nor a secret. What is worth telling is decided where it
happens.
"""

from __future__ import annotations

import json
import logging
import re

_PLAIN = re.compile(r"[A-Za-z0-9._:/@+\[\]-]{1,128}")
_SECRETS = ("password", "secret", "token")
_MAX_VALUE = 128
BY_STRANGERS = {"by_strangers": True}
"""`extra` of a log line that whoever reaches a port can cause as often as they like: it is written as far as
`log.strangers_bytes_per_day` goes."""


def tell(log: logging.Logger, event: str, *, by_strangers: bool = False, **facts: object) -> None:
    """Log `event` (a verb in the past, such as "session_began") and facts; a handler finds them as `record.facts`.

    `by_strangers`: see `BY_STRANGERS`. Values are cut at 128 characters, and quoted as in JSON where they are not
    plain. Raises `ValueError` for a fact whose name is that of a secret.
    """
    if any(name.endswith(_SECRETS) for name in facts):
        raise ValueError("a secret has no place in the log")
    told = {"event": event, **{name: str(value)[:_MAX_VALUE] for name, value in facts.items()}}
    line = " ".join(f"{name}={_quoted(value)}" for name, value in told.items())
    log.info("%s", line, extra={"facts": told, "by_strangers": by_strangers}, stacklevel=2)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
