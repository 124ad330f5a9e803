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
    """The device's id."""
    label: str
    """What people call it."""
    created_ms: int
    """When it was made, in milliseconds of Unix time."""
    logged_in: bool
    """It can get new tokens."""
    current: bool
    """It is this one."""


class Devices:
    """The devices of one user. They are made by logins.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call").
    """

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def list(self) -> list[Device]:
        """Return all of them, oldest first."""
        return await self._api.all_of(Device, "/v1/me/devices")

    async def rename(self, device: str, label: str) -> Device:
        """Give a device another label.

        Args:
            device: The id of one of the user's devices.
            label: What people are to call it.

        Raises:
            InvalidIdError: `device` is no device id.
            NotFoundError: The user has no such device.
            MisuseError: The service takes no such label; the text says why.
        """
        return await self._api.one(Device, "PATCH", _path(device), json={"label": label})

    async def remove(self, device: str) -> None:
        """Remove a device: its session is closed, its tokens end, and its id never comes back.

        Args:
            device: The id of one of the user's devices.

        Raises:
            InvalidIdError: `device` is no device id.
            NotFoundError: The user has no such device.
        """
        await self._api.send("DELETE", _path(device))

    async def log_out(self, device: str) -> None:
        """End a device's login: it needs the password again.

        Args:
            device: The id of one of the user's devices.

        Raises:
            InvalidIdError: `device` is no device id.
            NotFoundError: The user has no such device.
        """
        await self._api.send("DELETE", f"{_path(device)}/login")


def _path(device: str) -> str:
    return f"/v1/me/devices/{check_device_id(device)}"
