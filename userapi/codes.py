"""Codes that are handed to people: for a new password, and to register.

Owns their form, and what becomes of one that is no good: 128 bits, which nobody guesses, so only their digests are
kept. They stand in bodies alone, never in a path or a log.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from userapi import audit
from userapi.http.problems import ProblemError
from userapi.service import Service

_BYTES = 16
_IN_A_GROUP = 4
MAX_LENGTH = 64
"""Characters of what somebody has typed."""


def draw() -> str:
    """A new one: letters and digits that are hard to mistake, in groups, to be read out if need be."""
    text = base64.b32encode(secrets.token_bytes(_BYTES)).decode().rstrip("=").lower()
    return "-".join(text[start : start + _IN_A_GROUP] for start in range(0, len(text), _IN_A_GROUP))


def digest(code: str) -> str:
    """What is kept of a code, however it was typed."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).hexdigest()


def wrong_code(parts: Service, user: str, field: str) -> ProblemError:
    """What is said of one that is no good, and counted; `user` has shown it, in this field."""
    parts.limits.code_failed()
    audit.note("code_refused", user)
    return ProblemError("wrong_code", field=field)
