"""The flask application: settings and a store in, endpoints out.

Owns what is registered where. Opens nothing and starts nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from fabric.certificates import CertificateWatch
from store.settings import HistorySettings
from userapi import monitor
from userapi.asks import Fabric
from userapi.bridge import StoreBridge
from userapi.endings import Endings
from userapi.endpoints import (
    accounts,
    admin,
    admin_accounts,
    admin_groups,
    contacts,
    conversations,
    devices,
    files,
    group_links,
    group_members,
    groups,
    health,
    invitations,
    logins,
    metrics,
    mutes,
    oidc,
    oidc_admin,
    password_reset,
    profiles,
    reports,
    search,
)
from userapi.groups import GroupWork
from userapi.health import Health
from userapi.history import History
from userapi.http import document, doors, limits, page, problems, web
from userapi.http.counts import Counts
from userapi.identity import Identity
from userapi.identity.oidc import Provider
from userapi.monitor import Named
from userapi.notices import Notices
from userapi.passwords import Passwords
from userapi.service import EXTENSION, Service
from userapi.settings import UserApiSettings
from userapi.tokens import TokenMinter

_VERSION = "1.0"
"""The version of the API, which is not Sparrow's."""
AREAS = (
    accounts.area,
    password_reset.area,
    logins.area,
    oidc.area,
    profiles.area,
    devices.area,
    contacts.area,
    conversations.area,
    mutes.area,
    search.area,
    reports.area,
    files.area,
    groups.area,
    group_members.area,
    group_links.area,
    admin.area,
    admin_accounts.area,
    invitations.area,
    oidc_admin.area,
    admin_groups.area,
    metrics.area,
    health.area,
)
"""All areas, in the order in which the document has them."""


def create_app(
    settings: UserApiSettings,
    bridge: StoreBridge,
    fabric: Fabric,
    *,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    identity: Identity | None = None,
    provider: Provider | None = None,
    counts: Counts | None = None,
    history: HistorySettings | None = None,
    health: Health | None = None,
    named: Named | None = None,
    page_folder: Path = page.FOLDER,
    certificates: CertificateWatch | None = None,
) -> Flask:
    """An application over an open bridge; `identity` checks passwords, without it we do; `provider` vouches for people
    as well. It counts into `counts`.

    `health` is looked at by somebody, or whoever asks for it looks. `named`: it tells of itself under this name.

    Raises `ConfigError` if the private key, or the page, is not there.
    """
    app = Flask("userapi", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    minter = TokenMinter(Path(settings.token_private_key_file), settings.access_token_lifetime_s)
    counted = limits.Limits(settings, steady)
    counts = counts or Counts()
    health = health or Health(bridge, fabric, steady=steady)
    notices = Notices(fabric, settings.further_device_delay_s, counts, steady)
    app.extensions[EXTENSION] = Service(
        settings,
        bridge,
        fabric,
        Passwords(settings),
        minter,
        minter.nonces(),
        minter.verifier(),
        clock,
        sleep,
        limits=counted,
        endings=Endings(bridge, fabric, steady),
        history=History(bridge, history or HistorySettings(), steady),
        groups=GroupWork(bridge, counts.group, clock),
        notices=notices,
        counts=counts,
        health=health,
        identity=identity,
        oidc=provider,
        admin_token=admin.read_admin_token(settings),
        identity_turn=threading.BoundedSemaphore(settings.identity_max_at_once),
    )
    # Two slashes are another path, and no reason to send anybody on.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    doors.install(app, settings)
    web.install(app, settings)
    limits.install(app, counted)
    page.install(app, settings, page_folder)
    api = document.install(app, _VERSION)
    problems.install(app)
    for area in AREAS:
        api.register_blueprint(area)
    metrics.install(app, counts, certificates)
    monitor.install(app, monitor.Telling(named or Named(settings.name), health, counts, certificates))
    return app
