"""Health: `GET /healthz`, for load balancers and monitors.

Owns the answer. 200 means that requests are served and the store answers.
"""

from __future__ import annotations

from flask import Blueprint

from userapi.service import service

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, object]:
    """{status: "ok"}, or 503."""
    bridge = service().bridge
    bridge.call(bridge.store.account, "")
    return {"status": "ok"}
