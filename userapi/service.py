"""What the endpoints work with, found in the flask application they run in.

Owns the bundle. Later areas (friends, devices, files) add their part to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from fabric.tokens import TokenVerifier
from userapi.asks import Fabric
from userapi.bridge import StoreBridge
from userapi.endings import Endings
from userapi.groups import GroupWork
from userapi.health import Health
from userapi.history import History
from userapi.http.counts import Counts
from userapi.notices import Notices
from userapi.passwords import Passwords
from userapi.proofs import Nonces
from userapi.settings import UserApiSettings
from userapi.tokens import TokenMinter

if TYPE_CHECKING:
    from userapi.http.limits import Limits
    from userapi.identity.oidc import Provider
    from userapi.identity.port import Identity

EXTENSION = "sparrow"


@dataclass(frozen=True, slots=True)
class Service:
    """One process's parts. `clock` is Unix time in seconds; `sleep` takes seconds."""

    settings: UserApiSettings
    bridge: StoreBridge
    fabric: Fabric
    passwords: Passwords
    minter: TokenMinter
    nonces: Nonces
    verifier: TokenVerifier
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    limits: Limits
    endings: Endings
    history: History
    groups: GroupWork
    notices: Notices
    counts: Counts
    health: Health
    identity: Identity | None
    """The user system that keeps the passwords; None: we do."""
    oidc: Provider | None
    """The OpenID provider by whose accounts people may log in; None: there is none."""
    admin_token: str
    """Empty: there is no administration."""
    identity_turn: threading.BoundedSemaphore
    """So many may ask it at once."""


def service() -> Service:
    """The parts of the application that handles this request."""
    found: Service = current_app.extensions[EXTENSION]
    return found
