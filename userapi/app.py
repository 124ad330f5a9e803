"""The flask application: settings and a store in, endpoints out.

Owns what is registered where. Opens nothing and starts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from userapi import accounts, health, logins, problems
from userapi.bridge import StoreBridge
from userapi.passwords import Passwords
from userapi.service import EXTENSION, Service
from userapi.settings import UserApiSettings
from userapi.tokens import TokenMinter

BLUEPRINTS = (health.blueprint, accounts.blueprint, logins.blueprint)
"""One for each area."""


def create_app(
    settings: UserApiSettings,
    bridge: StoreBridge,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Flask:
    """An application over an open bridge. Raises `ConfigError` if the private key is not there."""
    app = Flask("userapi", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    minter = TokenMinter(Path(settings.token_private_key_file), settings.token_lifetime_s)
    app.extensions[EXTENSION] = Service(settings, bridge, Passwords(settings), minter, clock, sleep)
    problems.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
