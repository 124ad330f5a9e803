"""Health: `GET /healthz` and `GET /readyz`, for load balancers and monitors.

Owns the answers. They have a lane of their own (`userapi.process.lanes`), so that busy threads never stop them.
"""

from __future__ import annotations

from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Text
from userapi.service import service

_PATIENCE_S = 3.0
"""Who asks for health does not wait for as long as others."""

area = Area("health", "For load balancers and monitors")


class Health(Answer):
    """What `GET /healthz` answers."""

    status = Text("ok", one_of=("ok",))


@endpoint(area, "GET", "/healthz", answer=Health)
def healthz() -> dict[str, object]:
    """Whether requests are served and the store answers."""
    return _look()


@endpoint(area, "GET", "/readyz", answer=Health)
def readyz() -> dict[str, object]:
    """Whether requests should come here: the same; while it stops, nobody answers."""
    return _look()


def _look() -> dict[str, object]:
    bridge = service().bridge
    bridge.call_within(_PATIENCE_S, bridge.store.account, "")
    return {"status": "ok"}
