"""The audit log: a line for each change of an account, a credential, a device or a contact.

Owns what every line has: who, whose, and from where. They go to the logger "sparrow.audit" in the form of
`fabric.facts`.
"""

from __future__ import annotations

import logging

from flask import g, has_request_context

from fabric.facts import tell
from userapi.service import service

_log = logging.getLogger("sparrow.audit")
ADMINISTRATOR = "(administrator)"


def note(event: str, user: str, *, by: str = "", **facts: object) -> None:
    """`event` (a verb in the past, such as "account_created") has happened to `user`.

    `by` is who did it: without it the caller whom a guard has let pass (`g.caller.user`), else nobody that we know.
    `facts`: what else is worth knowing; never a password, a hash or a token, whose names are refused.
    """
    origin = ""
    if has_request_context():
        origin = str(service().limits.address() or "")
        by = by or getattr(getattr(g, "caller", None), "user", "")
    # Nobody that we know: what they do is bounded in bytes a day, like the other lines of strangers.
    tell(_log, event, by_strangers=not by, **{"user": user, "by": by or "-", "from": origin or "-", **facts})
