"""The cluster of `scripts/cluster`, for tests: a folder and ports of its own, and accounts without the user API.

Owns how `scripts/cluster` is called. What happens to its processes is each test's own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from client import Client
from sparrow.config.settings import Settings, load
from store import open_store
from tests.cluster.processes import log_in, make_group
from tests.ports import free_ports
from userapi.tokens import TokenMinter

ROOT = Path(__file__).resolve().parents[2]
PORTS = 40
ACCOUNTS_AT_ONCE = 16


class InStore:
    """Accounts, devices and groups that are made without the user API, straight in the store."""

    def settings(self, name: str) -> Settings:
        """Those of one of our servers. Raises `ConfigError`."""
        raise NotImplementedError

    async def tokens(self, devices: Sequence[str]) -> dict[str, str]:
        """Make accounts with these devices (`user/device`), straight in the store; returns a login token for each."""
        settings = self.settings("userapi")
        minter = TokenMinter(Path(settings.userapi.token_private_key_file), lifetime_s=86400.0)
        of: dict[str, list[str]] = {}
        for name in devices:
            user, _, device = name.partition("/")
            of.setdefault(user, []).append(device)
        gate = asyncio.Semaphore(ACCOUNTS_AT_ONCE)
        async with open_store(settings.store) as store:

            async def make(user: str) -> None:
                async with gate:
                    await store.create_account(user, "!")
                    for device in of[user]:
                        await store.add_device(user, device, device)

            await asyncio.gather(*map(make, of))
        return {f"{user}/{own}": minter.mint(user, own, time.time())[0] for user in of for own in of[user]}

    async def groups(self, teams: Sequence[Sequence[str]]) -> dict[str, list[str]]:
        """Make groups of these, straight in the store; returns who is in which."""
        async with open_store(self.settings("userapi").store) as store:
            return {await make_group(store, team): list(team) for team in teams}

    async def new_devices(self, users: Sequence[str], device: str = "new") -> dict[str, str]:
        """One more device for each of these; returns an access token for each, for the user API, too."""
        settings = self.settings("userapi")
        minter = TokenMinter(Path(settings.userapi.token_private_key_file), lifetime_s=86400.0)
        async with open_store(settings.store) as store:
            return {f"{user}/{device}": await log_in(store, minter, user, device) for user in users}


class Whole(InStore):
    """A cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_ports(PORTS)
        self.folder = folder
        self._environment = os.environ | {
            "SPARROW_CLUSTER_DIR": str(folder),
            "SPARROW_CLUSTER_PORTS": str(self.ports),
        }

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`scripts/cluster …`, whatever comes of it."""
        command = [str(ROOT / "scripts" / "cluster"), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True)

    def settings(self, name: str) -> Settings:
        """Those of one of our servers. Raises `ConfigError`."""
        return load(self.folder / f"{name}.toml", {})

    @property
    def api(self) -> str:
        """Where the user API listens."""
        return f"https://127.0.0.1:{self.ports + 30}"

    async def run(self, *arguments: str) -> str:
        """`scripts/cluster …`, which must succeed."""
        done = await asyncio.to_thread(self.call, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self, user: str, state: Path) -> Client:
        """A person with an account, over TLS."""
        return Client(
            user,
            password="correct horse",
            register=True,
            api=self.api,
            ca=self.folder / "keys" / "ca.pem",
            state=state,
        )
