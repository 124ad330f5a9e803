"""The audit log: a line for each change of an account, a credential, a device or a contact.

Owns the form of the lines, `name=value` each, and that none holds a secret or a line's end. They go to the logger
"sparrow.audit".
"""

from __future__ import annotations

import json
import logging
import re

from flask import g, has_request_context

from userapi.service import service

_log = logging.getLogger("sparrow.audit")
_PLAIN = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
_SECRETS = ("password", "secret", "token")
_MAX_VALUE = 128
ADMINISTRATOR = "(administrator)"


def note(event: str, user: str, *, by: str = "", **facts: object) -> None:
    """`event` (a verb in the past, such as "account_created") has happened to `user`.

    `by` is who did it: without it the caller whom a guard has let pass (`g.caller.user`), else nobody that we know.
    `facts`: what else is worth knowing; never a password, a hash or a token, whose names are refused.
    """
    if any(name.endswith(_SECRETS) for name in facts):
        raise ValueError("a secret has no place in the audit log")
    origin = ""
    if has_request_context():
        origin = str(service().limits.address() or "")
        by = by or getattr(getattr(g, "caller", None), "user", "")
    values = {"event": event, "user": user, "by": by or "-", "from": origin or "-", **facts}
    _log.info("%s", " ".join(f"{name}={_value(value)}" for name, value in values.items()))


def _value(value: object) -> str:
    text = str(value)[:_MAX_VALUE]
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
