"""What the user API says that it can do: by what was lately tried, to whom, and at which door."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.abilities import NOTIFY, SERVE
from protocol.errors import NoSpaceError, StoreError
from tests.userapi.conftest import Api, api_in, problem
from userapi import health
from userapi.http.handover import DOOR, MONITOR
from userapi.service import EXTENSION

MONITORS = {"environ_base": {DOOR: MONITOR}}


def of(api: Api) -> health.Health:
    made: health.Health = api.client.application.extensions[EXTENSION].health
    return made


def test_without_a_broker_it_is_not_ready(api: Api) -> None:
    assert api.client.get("/readyz").json == {"status": "ok"}
    api.fabric.away = True
    assert api.client.get("/readyz").status_code == 200  # nobody who asks makes it look
    of(api).look()
    assert problem(api.client.get("/readyz"), 503, "unavailable")["detail"] == "not able to notify"
    told = api.client.get("/varz", **MONITORS).json
    assert told is not None
    assert told["not_ready"] == {NOTIFY: "no broker answers"}
    assert told["values"]["sparrow_able{to=notify}"] == 0
    api.fabric.away = False
    of(api).look()
    assert api.client.get("/readyz").status_code == 200


def test_a_store_that_has_failed_is_tried(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    of(api).told = said.append

    async def fails(*_: object) -> None:
        raise StoreError("store x: its disk is in flames")

    with monkeypatch.context() as patch:
        patch.setattr(api.bridge.store, "saw", fails)
        patch.setattr(api.bridge.store, "set_disabled", fails)
        with pytest.raises(StoreError):
            api.bridge.call(api.bridge.store.set_disabled, "alice", True)
        for _ in range(3):  # reading works, and is no excuse
            of(api).look()
            problem(api.client.get("/readyz"), 503, "unavailable")
        assert "flames" not in api.client.get("/readyz").text  # a path is nothing for strangers
        assert of(api).abilities()[SERVE] == "store x: its disk is in flames"
    of(api).look()
    assert api.client.get("/readyz").status_code == 200
    assert said == [{SERVE: "store x: its disk is in flames", NOTIFY: ""}] * 3 + [{SERVE: "", NOTIFY: ""}]


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_in(tmp_path) as api:
        monkeypatch.setattr(api.bridge.store, "no_space", lambda: True)
        with pytest.raises(NoSpaceError):
            api.bridge.call(api.bridge.store.create_account, "alice", "hash")
        of(api).look()
        assert "nearly full" in of(api).abilities()[SERVE]


def test_what_monitors_are_told_is_at_their_door_alone(api: Api) -> None:
    for path in ("/metrics", "/varz"):
        problem(api.client.get(path), 404, "not_found")
        assert api.client.get(path, **MONITORS).status_code == 200
    for path in ("/", "/v1/me", "/v1/openapi.json", "/v1/admin/counts"):
        problem(api.client.get(path, **MONITORS), 404, "not_found")
    assert api.client.get("/healthz", **MONITORS).json == {"status": "ok"}
    text = api.client.get("/metrics", **MONITORS).text
    assert 'sparrow_info{name="userapi-1",role="userapi"' in text
    assert 'sparrow_able{to="serve"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert '"/metrics"' not in api.client.get("/v1/openapi.json").text
