"""The sample configurations for proxies: the programs that they are for accept them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from sparrow.settings import Settings
from tests.bare_metal.machine import ROOT, ensure

PROXIES = ROOT / "scripts" / "proxies"


def test_haproxy() -> None:
    command = [ensure("haproxy", "haproxy"), "-c", "-f", PROXIES / "haproxy.cfg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx(tmp_path: Path) -> None:
    text = (PROXIES / "nginx.conf").read_text()
    copy = tmp_path / "nginx.conf"
    copy.write_text(text.replace("/run/nginx.pid", str(tmp_path / "pid")))
    command = [ensure("nginx", "libnginx-mod-stream"), "-t", "-c", copy, "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_silent_clients_are_the_connectors_to_end() -> None:
    silent_s = 2 * Settings().connector.heartbeat_s
    found = [
        *re.findall(r"timeout (?:client|server) (\d+)s", (PROXIES / "haproxy.cfg").read_text()),
        *re.findall(r"proxy_timeout (\d+)s", (PROXIES / "nginx.conf").read_text()),
    ]
    assert len(found) == 3
    assert all(int(limit_s) > silent_s for limit_s in found)
