"""A user's own devices.

Owns what a program sees of them. They are made by logins.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.api.signed import SignedApi
from protocol.ids import check_device_id


@dataclass(frozen=True, slots=True)
class Device:
    """One of one's own devices."""

    device: str
    """Its id."""
    label: str
    """What people call it."""
    created_ms: int
    """Unix time."""
    logged_in: bool
    """It can get new tokens."""
    current: bool
    """It is this one."""


class Devices:
    """Of one user. Beside what is named, everything raises what `SignedApi` says."""

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def list(self) -> list[Device]:
        """All of them, oldest first."""
        return await self._api.all_of(Device, "/v1/me/devices")

    async def rename(self, device: str, label: str) -> Device:
        """Call it something else. Raises `NotFoundError`, `InvalidIdError`, `MisuseError` (what is no label)."""
        return await self._api.one(Device, "PATCH", _path(device), json={"label": label})

    async def remove(self, device: str) -> None:
        """Remove it: its session is closed, its tokens end, and its id never comes back.

        Raises `NotFoundError`, `InvalidIdError`.
        """
        await self._api.send("DELETE", _path(device))

    async def log_out(self, device: str) -> None:
        """End its login: it needs the password again. Raises `NotFoundError`, `InvalidIdError`."""
        await self._api.send("DELETE", f"{_path(device)}/login")


def _path(device: str) -> str:
    return f"/v1/me/devices/{check_device_id(device)}"
