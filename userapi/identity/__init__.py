"""Whose passwords: Sparrow's own (argon2id), or those of another user system, which the settings choose.

Owns the one place that asks. Another system: `userapi.identity.port`, with LDAP, an HTTP hook and entry points. An
OpenID provider, which may vouch for people besides: `userapi.identity.oidc`.
"""

from userapi.identity.asking import (
    NEW_PASSWORD,
    PASSWORD,
    authenticate,
    check_enabled,
    check_new_password,
    check_passwords_on,
    right_one,
)
from userapi.identity.choosing import open_identity
from userapi.identity.port import Identity

__all__ = [
    "NEW_PASSWORD",
    "PASSWORD",
    "Identity",
    "authenticate",
    "check_enabled",
    "check_new_password",
    "check_passwords_on",
    "open_identity",
    "right_one",
]
