"""An OpenID provider for tests, over real HTTP: it does all that a login needs, and whatever wrong it is told to do.

What holds against a real one is in `tests/openid`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CLIENT, SECRET = "sparrow", "the client's secret"
_JWK: dict[type, Any] = {
    rsa.RSAPublicKey: RSAAlgorithm.to_jwk,
    ec.EllipticCurvePublicKey: ECAlgorithm.to_jwk,
    ed25519.Ed25519PublicKey: OKPAlgorithm.to_jwk,
}


@dataclass
class Key:
    """One of the provider's, by which it signs."""

    id: str
    private: PrivateKeyTypes
    algorithm: str

    def published(self) -> dict[str, Any]:
        """As a JWK."""
        public = self.private.public_key()  # type: ignore[union-attr]
        made = next(to_jwk for kind, to_jwk in _JWK.items() if isinstance(public, kind))(public)
        return {**json.loads(made), "kid": self.id, "use": "sig"}


def new_key(name: str, algorithm: str = "ES256") -> Key:
    """A key for this algorithm."""
    if algorithm == "EdDSA":
        return Key(name, ed25519.Ed25519PrivateKey.generate(), algorithm)
    if algorithm == "ES256":
        return Key(name, ec.generate_private_key(ec.SECP256R1()), algorithm)
    return Key(name, rsa.generate_private_key(65537, 2048), algorithm)


@dataclass
class Provider:
    """One that runs. What the attributes say holds from the next request on."""

    port: int = 0
    keys: list[Key] = field(default_factory=lambda: [new_key("first")])
    """The first signs; all are published."""
    published: list[dict[str, Any]] | None = None
    """In place of those."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes to what it says of itself."""
    userinfo: dict[str, Any] | None = None
    asked: list[str] = field(default_factory=list)
    """Paths."""
    forms: list[dict[str, str]] = field(default_factory=list)
    """What the token endpoint was sent, with how the client has shown who it is."""
    change: Callable[[dict[str, Any]], object] = lambda claims: None
    """Does something to the claims of an ID token."""
    sign: Callable[[dict[str, Any]], str] | None = None
    """Makes a token of them, in place of what is right."""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path → what is answered there instead."""
    wait: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.time
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """What it calls itself."""
        return f"http://127.0.0.1:{self.port}/realm"

    def log_in(self, url: str, subject: str = "4711", **claims: object) -> dict[str, str]:
        """Somebody goes to this address, and is sent back with this."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert urlsplit(url)._replace(query="").geturl() == f"{self.issuer}/authorize"
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, "sub": subject, "claims": claims}
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def told(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_modes_supported": ["query", "fragment"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
            **({"userinfo_endpoint": f"{self.issuer}/userinfo"} if self.userinfo is not None else {}),
            **self.metadata,
        }

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        """To a request."""
        self.asked.append(path)
        self.wait.wait(30)
        path = path.removeprefix("/realm")
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps(self.told()).encode()
        if path == "/keys":
            keys = [one.published() for one in self.keys] if self.published is None else self.published
            return 200, json.dumps({"keys": keys}).encode()
        if path == "/userinfo":
            return 200, json.dumps(self.userinfo).encode()
        if path == "/token":
            status, found = self._token(form)
            return status, json.dumps(found).encode()
        return 404, b"{}"

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.forms.append(form)
        if (form.get("client_id"), form.get("client_secret", SECRET)) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        kept = self.codes.pop(form["code"], None)
        if kept is None or kept["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        made = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if made != kept["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(self.clock())
        claims = {
            "iss": self.issuer,
            "sub": kept["sub"],
            "aud": kept["client_id"],
            "iat": now,
            "exp": now + 300,
            "nonce": kept["nonce"],
            **kept["claims"],
        }
        self.change(claims)
        key = self.keys[0]
        token = (
            self.sign(claims)
            if self.sign is not None
            else jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.id})  # type: ignore[arg-type]
        )
        return 200, {"id_token": token, "access_token": "access", "token_type": "Bearer"}


@contextmanager
def providing() -> Iterator[Provider]:
    """One, while it runs."""
    made = Provider()
    made.wait.set()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, form: dict[str, str]) -> None:
            kind, _, given = self.headers.get("Authorization", "").partition(" ")
            if kind == "Basic":
                client, _, secret = base64.b64decode(given).decode().partition(":")
                form = {**form, "client_id": unquote(client), "client_secret": unquote(secret), "by": "header"}
            status, body = made.answer(urlsplit(self.path).path, form)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: value for name, (value,) in parse_qs(body, strict_parsing=True).items()})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()
