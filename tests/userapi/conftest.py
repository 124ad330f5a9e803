"""A flask test client over a real SQLite store."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from protocol.tokens import TokenVerifier
from store import StoreSettings, open_store
from userapi.app import create_app
from userapi.bridge import StoreBridge
from userapi.keys import ensure_key_pair
from userapi.settings import UserApiSettings


@dataclass
class Api:
    """A client, the parts behind it, and what it slept for."""

    settings: UserApiSettings
    bridge: StoreBridge
    client: FlaskClient
    verifier: TokenVerifier
    slept: list[float] = field(default_factory=list)
    now: float = 1_800_000_000.0


def settings_in(folder: Path, **changes: object) -> UserApiSettings:
    made = UserApiSettings(
        token_private_key_file=str(folder / "key.pem"),
        token_public_key_file=str(folder / "pub.pem"),
        argon2_time_cost=1,
        argon2_memory_kib=64,
        connectors=("chat.example.net:7400",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    settings = settings_in(tmp_path)
    private, public = Path(settings.token_private_key_file), Path(settings.token_public_key_file)
    ensure_key_pair(private, public)
    bridge = StoreBridge(open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))), 10)
    bridge.open()
    made: Api
    app = create_app(settings, bridge, clock=lambda: made.now, sleep=lambda seconds: made.slept.append(seconds))
    made = Api(settings, bridge, app.test_client(), TokenVerifier(public.read_bytes()))
    yield made
    bridge.close()
