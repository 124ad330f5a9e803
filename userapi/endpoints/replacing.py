"""A new device in the place of another: what the password alone suffices for once a user has as many as allowed.

Owns which devices a login may take the place of, and in which order they are told: the one silent longest first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from store.interface import Device
from userapi.endpoints.devices import remove
from userapi.http.problems import ProblemError
from userapi.service import Service

SILENT_LONGEST = "silent_longest"
"""As the field `replaces`: whichever that is."""


def make_room(parts: Service, user: str, known: list[Device], replaces: str | None) -> None:
    """Make room for one device more, if there is none, in the place that the user has named.

    Raises `ProblemError` ("too_many_devices", with the `devices` that there are; "no_such_device").
    """
    if len(known) < parts.settings.max_devices:
        if replaces not in (None, SILENT_LONGEST, *(one.device for one in known)):
            # A repeat: perhaps the brokers have not heard of it yet.
            remove(parts, user, str(replaces), stands=False)
        return
    listed = _listed(parts, user, known)
    if replaces is None:
        detail = (
            f'the user has {len(known)} devices already: log in with "replaces", which is the id of one of them, '
            f'or "{SILENT_LONGEST}"; that one is removed for good'
        )
        raise ProblemError("too_many_devices", detail, devices=listed)
    chosen = listed[0]["device"] if replaces == SILENT_LONGEST else replaces
    if chosen not in {one["device"] for one in listed}:
        raise ProblemError("no_such_device", 'the user has no such device: "replaces" names one', field="replaces")
    remove(parts, user, chosen, stands=True, by=user, why="replaced")


def _listed(parts: Service, user: str, known: list[Device]) -> list[dict[str, Any]]:
    """All of them, the one silent longest first; those that are logged out are silent for good."""
    store = parts.bridge.store
    logins = parts.bridge.together(*(partial(store.login, user, one.device) for one in known))
    found = [
        {
            "device": one.device,
            "label": one.label,
            "created_ms": one.created_ms,
            "logged_in": one.logged_in,
            "active_ms": max(one.created_ms, login.refreshed_ms if login is not None else 0),
        }
        for one, login in zip(known, logins, strict=True)
    ]
    return sorted(found, key=lambda one: (one["logged_in"], one["active_ms"]))
