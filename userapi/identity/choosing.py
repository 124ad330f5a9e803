"""The user system that the settings name.

Owns the choice, and the loading of entry points. Asks nothing.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from protocol.errors import ConfigError
from userapi.identity.port import Identity
from userapi.settings import UserApiSettings

GROUP = "sparrow.identity"
"""Of entry points: each is called with `userapi.identity_file`, a text that may be empty, and returns an `Identity`."""


def open_identity(settings: UserApiSettings) -> Identity | None:
    """The system; None where passwords are our own. Raises `ConfigError`."""
    if settings.identity == "own":
        return None
    if settings.identity == "ldap":
        from userapi.identity.ldap import LdapIdentity

        return LdapIdentity(settings)
    if settings.identity == "hook":
        from userapi.identity.hook import HookIdentity

        return HookIdentity(settings)
    return _load(settings)


def _load(settings: UserApiSettings) -> Identity:
    name = settings.identity
    key = f'userapi.identity = "{name}"'
    found = entry_points(group=GROUP)
    names = sorted({one.name for one in found})
    if name not in names:
        others = ", ".join(f'"{one}"' for one in ("own", "ldap", "hook", *names))
        raise ConfigError(f"{key}: there is no such entry point in the group {GROUP}; known are: {others}")
    try:
        made = found[name].load()(settings.identity_file)
    except ConfigError:
        raise
    except Exception as error:  # of code that is not ours
        text = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{key}: {found[name].value} could not be loaded ({text})") from error
    for method in ("check", "close"):
        if not callable(getattr(made, method, None)):
            raise ConfigError(f"{key}: what {found[name].value} returns has no method {method}(): see userapi.identity")
    checked: Identity = made
    return checked
