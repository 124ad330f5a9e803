"""The user API as real processes: gunicorn over either engine, beside a broker, and their end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from store import StoreSettings
from tests.ports import free_port

RUN = """
import logging, os, sys, json
from protocol.errors import SparrowError
from store import StoreSettings
from userapi.server import run
from userapi.settings import UserApiSettings

logging.basicConfig(level=logging.INFO, format="%(message)s")
settings, store = (json.loads(text) for text in sys.argv[1:])
try:
    run(UserApiSettings(**settings), StoreSettings(**store), parent=os.getppid())
except SparrowError as error:
    sys.exit(f"error: {error}")
"""


def sqlite(folder: Path) -> StoreSettings:
    """A database in the folder."""
    return StoreSettings(path=str(folder / "sparrow.db"))


def command(folder: Path, port: int, store: StoreSettings | None = None, **changes: object) -> list[str]:
    """What runs it, with keys, and a database unless `store` says where, in `folder`."""
    settings: dict[str, object] = {
        "listen_port": port,
        "token_private_key_file": f"{folder}/key.pem",
        "token_public_key_file": f"{folder}/pub.pem",
        "argon2_memory_kib": 64,
        "max_requests_per_second_of_account": 0,
        "max_logins_per_minute_of_account": 0,
        **changes,
    }
    kept = dataclasses.asdict(store or sqlite(folder))
    return [sys.executable, "-W", "error", "-c", RUN, json.dumps(settings), json.dumps(kept)]


def wait_until_up(port: int, process: subprocess.Popen[str] | None = None) -> None:
    """Until it answers, and its store does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None, "the user API has ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail("the user API does not come up")


class Server:
    """One gunicorn with its workers. What it logs goes to a file, so that it never waits for a reader."""

    def __init__(self, folder: Path, store: StoreSettings | None = None, **changes: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"userapi-{self.port}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command(folder, self.port, store, **changes), stderr=log, text=True, start_new_session=True
            )
        wait_until_up(self.port, self.process)

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def stop(self) -> tuple[int, str]:
        """Stop it; returns its exit status and what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30), self.log()


@contextlib.contextmanager
def serving(folder: Path, broker: str, store: StoreSettings | None = None, **changes: object) -> Iterator[Server]:
    """One, killed in the end if it is still there."""
    values = {"workers": 2, "further_device_delay_s": 0.5, "brokers": [broker], **changes}
    made = Server(folder, store, **values)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
            made.process.wait()
