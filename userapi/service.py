"""What the endpoints work with, found in the flask application they run in.

Owns the bundle. Later areas (friends, devices, files) add their part to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from userapi.bridge import StoreBridge
from userapi.passwords import Passwords
from userapi.settings import UserApiSettings
from userapi.tokens import TokenMinter

EXTENSION = "sparrow"


@dataclass(frozen=True, slots=True)
class Service:
    """One process's parts. `clock` is Unix time in seconds; `sleep` takes seconds."""

    settings: UserApiSettings
    bridge: StoreBridge
    passwords: Passwords
    minter: TokenMinter
    clock: Callable[[], float]
    sleep: Callable[[float], None]


def service() -> Service:
    """The parts of the application that handles this request."""
    found: Service = current_app.extensions[EXTENSION]
    return found
