"""A real OpenID provider for tests: oidc-provider, which is certified, on Node of the pinned version."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.ports import free_port

CLIENT, SECRET = "sparrow", "the client's secret"
_ROOT = Path(__file__).parents[2]


def _installed(script: str) -> str:
    made = subprocess.run([_ROOT / "scripts" / script], check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return made.stdout.strip()


class OpenIdProvider:
    """One that runs until it is stopped. Whoever writes a name into its form is that person."""

    def __init__(self, folder: Path, redirects: Sequence[str]) -> None:
        """`redirects`: to where it sends people; a loopback address is that with any port."""
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.secret_file = folder / "client-secret"
        self.secret_file.write_text(SECRET)
        self.secret_file.chmod(0o600)
        told = {"port": self.port, "client": CLIENT, "secret": SECRET, "redirects": list(redirects)}
        self._log = folder / "openid-provider.log"
        self._command = [
            f"{_installed('install-node')}/node",
            f"{_installed('install-openid-provider')}/provider.mjs",
            json.dumps(told),
        ]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> OpenIdProvider:
        """Returns when it listens."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = ""
        while line != "ready\n":
            line = self._process.stdout.readline()
            assert line, self._log.read_text()
        return self

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @property
    def settings(self) -> dict[str, object]:
        """Of a user API that goes by it."""
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret_file": self.secret_file,
            "oidc_name": "Example Ltd",
        }
