"""Devices: `/v1/me/devices`.

Owns listing, naming and removing them. They are made by logins.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from protocol.errors import NotFoundError
from protocol.sparrow_pb2 import Hint
from store.interface import Device
from userapi import audit
from userapi.callers import DEVICE, SIGNED, caller, check_login
from userapi.endpoints.hints import tell
from userapi.http.endpoint import DEVICE_IN_PATH, Area, endpoint
from userapi.http.fields import LABEL, Answer, Flag, Number, Strict, Text, items
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("devices", "One's own devices")


class Label(Strict):
    """What `PATCH /v1/me/devices/{device}` takes."""

    label = Text("What people call the device.", example="phone", **LABEL)


class OwnDevice(Answer):
    """A device, as its user sees it."""

    device = Text("Its id.")
    label = Text("What people call it.")
    created_ms = Number("When it was made; Unix time in milliseconds.")
    logged_in = Flag("Whether it can get new tokens.")
    current = Flag("Whether it is the one that asks.")


class OwnDevices(Answer):
    """All of a user's devices."""

    items = items(OwnDevice, "Oldest first.")


def _answer(device: Device) -> dict[str, object]:
    return {
        "device": device.device,
        "label": device.label,
        "created_ms": device.created_ms,
        "logged_in": device.logged_in,
        "current": device.device == caller().device,
    }


@endpoint(area, "GET", "/v1/me/devices", answer=OwnDevices, guard=DEVICE)
def list_devices() -> dict[str, object]:
    """List one's own devices."""
    parts = service()
    return {"items": [_answer(one) for one in parts.bridge.call(parts.bridge.store.list_devices, caller().user)]}


@endpoint(
    area,
    "PATCH",
    "/v1/me/devices/<device>",
    body=Label,
    answer=OwnDevice,
    parts=(DEVICE_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_device",),
)
def rename_device(body: dict[str, Any], device: str) -> dict[str, object]:
    """Give one of one's own devices another label."""
    parts = service()
    store, user, label = parts.bridge.store, caller().user, body["label"]
    known = {one.device: one for one in parts.bridge.call(store.list_devices, user)}
    if device not in known:
        raise ProblemError("no_such_device")
    if known[device].label != label:
        try:
            parts.bridge.call(store.rename_device, user, device, label)
        except NotFoundError:
            raise ProblemError("no_such_device") from None
        audit.note("device_renamed", user, device=device)
    return _answer(dataclasses.replace(known[device], label=label))


@endpoint(
    area,
    "DELETE",
    "/v1/me/devices/<device>",
    status=204,
    parts=(DEVICE_IN_PATH,),
    guard=SIGNED,
    problems=("no_such_device",),
)
def remove_device(device: str) -> tuple[str, int]:
    """Remove one of one's own devices, this one or another.

    Its tokens stop working everywhere within a second, and its session is closed. What it had not read goes to the
    user's other devices. Its id never comes back; removing it again is no error.
    """
    parts = service()
    user = caller().user
    stands = parts.bridge.call(parts.bridge.store.login, user, device) is not None
    if stands or device != caller().device:
        check_login()
    remove(parts, user, device, stands)
    return "", 204


def remove(parts: Service, user: str, device: str, stands: bool, **facts: str) -> None:
    """Remove a device, which `stands` or was removed before, for good. May be repeated.

    Raises `ProblemError` ("no_such_device") and `ServiceError`.
    """
    try:
        parts.bridge.call(parts.bridge.store.remove_device, user, device)
    except NotFoundError:
        raise ProblemError("no_such_device") from None
    if stands:
        audit.note("device_removed", user, device=device, **facts)
    parts.endings.end(user, device)
    tell(user, Hint.DEVICES_CHANGED)
