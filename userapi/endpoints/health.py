"""Health: `GET /healthz` and `GET /readyz`, for load balancers and monitors.

Owns the answers. They have a lane of their own (`userapi.process.lanes`), so that busy threads never stop them.
"""

from __future__ import annotations

from fabric.abilities import lacking
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Text
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("health", "For load balancers and monitors")


class Health(Answer):
    """What `GET /healthz` answers."""

    status = Text("ok", one_of=("ok",))


@endpoint(area, "GET", "/healthz", answer=Health)
def healthz() -> dict[str, object]:
    """Whether requests are answered at all. If not, start it again."""
    return {"status": "ok"}


@endpoint(area, "GET", "/readyz", answer=Health)
def readyz() -> dict[str, object]:
    """Whether requests should come here: the store and a broker did what was lately asked of them."""
    missing = lacking(service().health.abilities())
    if missing:
        # Why, the monitor's port and the log say: it names addresses.
        raise ProblemError("unavailable", f"not able to {' and '.join(missing)}", headers={"Retry-After": "2"})
    return {"status": "ok"}
