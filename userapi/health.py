"""Health: `GET /healthz`, for load balancers and monitors.

Owns the answer. 200 means that requests are served and the store answers.
"""

from __future__ import annotations

from userapi.fields import Answer, Text
from userapi.frame import Area, endpoint
from userapi.service import service

area = Area("health", "For load balancers and monitors")


class Health(Answer):
    """Of `GET /healthz`."""

    status = Text("ok", one_of=("ok",))


@endpoint(area, "GET", "/healthz", answer=Health)
def healthz() -> dict[str, object]:
    """Whether requests are served and the store answers."""
    bridge = service().bridge
    bridge.call(bridge.store.account, "")
    return {"status": "ok"}
