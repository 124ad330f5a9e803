"""An OpenID provider by whose accounts people log in: the authorization code flow with PKCE (RFC 6749, RFC 7636).

Owns what the provider is asked over HTTP, and for how long an answer counts. What is an ID token is
`userapi.identity.id_tokens`'s business. (Authlib was looked at: beside PyJWT and httpx, which are here already, it
would add a second implementation of JWTs, for two forms.)
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import httpx

from protocol.errors import ConfigError, TokenError, UnavailableError
from store.subjects import Subject
from userapi.credentials import client_context, read_secret
from userapi.identity.id_tokens import ALGORITHMS, ProviderKey, find_key, read_keys, verify
from userapi.settings import UserApiSettings

KNOWN_S: Final = 3600.0
"""What the provider says of itself, and its keys, are asked for again after so long."""
KEYS_AGAIN_S: Final = 10.0
"""Keys are asked for no oftener, whatever keys tokens name."""
REST_S: Final = 2.0
"""A provider that was away is left alone for so long: whoever comes meanwhile hears at once that it is."""
_MAX_ANSWER_BYTES: Final = 1024 * 1024
_DISCOVERY: Final = "/.well-known/openid-configuration"
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_OK: Final = 200

_log = logging.getLogger("sparrow.userapi")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery 1.0, 3), as far as it matters here."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    """Empty: there is none."""
    algorithms: frozenset[str]
    posts_secret: bool
    """The secret goes into the form, and not into a header."""
    takes_fragment: bool
    """It sends people back with the code behind `#`, where no server sees it."""
    names_itself: bool
    """It says in each answer who it is (RFC 9207)."""


class Provider:
    """One, for one process. Threads may share it. `clock` is Unix time in seconds; `steady` never steps."""

    def __init__(
        self,
        settings: UserApiSettings,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks nothing yet. Raises `ConfigError`."""
        self.issuer = settings.oidc_issuer
        self.client = settings.oidc_client_id
        self._check(settings)
        self.name = settings.oidc_name or (urlsplit(self.issuer).hostname or "")
        self._secret = (
            read_secret("userapi.oidc_client_secret_file", settings.oidc_client_secret_file)
            if settings.oidc_client_secret_file
            else ""
        )
        self._scopes = " ".join(settings.oidc_scopes)
        self._wanted = [settings.oidc_user_claim, *(text.partition("=")[0] for text in settings.oidc_required_claims)]
        self._required = [text.partition("=")[::2] for text in settings.oidc_required_claims]
        self._timeout_s = settings.identity_timeout_s
        self._clock, self._steady = clock, steady
        self._lock = threading.Lock()
        self._known: Metadata | None = None
        self._known_at = self._keys_at = self._away_at = float("-inf")
        self._why_away = ""
        self._keys: list[ProviderKey] = []
        self._http = httpx.Client(
            timeout=settings.identity_timeout_s,
            verify=client_context("userapi.oidc_ca_file", settings.oidc_ca_file),
            # Who sends us elsewhere is not asked there: what it says of itself are the addresses.
            follow_redirects=False,
            trust_env=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    def _check(self, settings: UserApiSettings) -> None:
        if not _is_safe(self.issuer) or urlsplit(self.issuer).query or urlsplit(self.issuer).fragment:
            raise ConfigError(
                f'userapi.oidc_issuer = "{self.issuer}" is no issuer: write https://host or https://host/path, as the '
                "provider calls itself; http is for this machine alone"
            )
        if not self.client:
            raise ConfigError("userapi.oidc_client_id: write what the provider knows us by; oidc_issuer needs it")
        if "openid" not in settings.oidc_scopes:
            raise ConfigError('userapi.oidc_scopes: must have "openid", or the provider says nothing of who it is')
        for text in settings.oidc_required_claims:
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                raise ConfigError(f'userapi.oidc_required_claims: "{text}": write claim=value, such as groups=chat')
        for address in (*settings.oidc_redirect_uris, *((settings.page_url,) if settings.page_url else ())):
            if urlsplit(address).fragment or not _is_safe(address):
                raise ConfigError(
                    f'"{address}" (userapi.page_url, oidc_redirect_uris) cannot be where people come back to: write '
                    "https://host/; http is for this machine alone"
                )

    def close(self) -> None:
        """The process ends."""
        self._http.close()

    # What an administrator, and a login, wants to know.

    def look(self) -> Metadata:
        """Ask the provider what it says of itself, and for its keys. Raises `UnavailableError`, `ConfigError`."""
        found = self._discover()
        if not self._fetch_keys(found):
            raise ConfigError(f"userapi.oidc_issuer: {found.keys} has no key that signs ID tokens")
        return found

    def try_client(self, redirect_uri: str) -> str:
        """Why the provider does not take us for a client that it knows; empty: it does.

        A code that is none is shown to it: then it looks at the client first (RFC 6749, 5.2). Raises
        `UnavailableError`.
        """
        form = _code_form("-", redirect_uri, "-" * 43)
        _, answer = self._post(self._metadata(), form)
        error = str(answer.get("error", ""))[:80]
        return "" if error in ("", "invalid_grant", "invalid_request") else error

    def address(self, *, state: str, nonce: str, challenge: str, redirect_uri: str, fragment: bool) -> str:
        """Where somebody goes to log in. `fragment`: they come back to a page, which can read what is behind `#`.

        Raises `UnavailableError`.
        """
        known = self._metadata()
        asked = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": redirect_uri,
            "scope": self._scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if fragment and known.takes_fragment:
            asked["response_mode"] = "fragment"
        return f"{known.authorization}{'&' if '?' in known.authorization else '?'}{urlencode(asked)}"

    def redeem(
        self, code: str, *, verifier: str, redirect_uri: str, nonce: str, said_issuer: str | None
    ) -> tuple[Subject, Mapping[str, Any]]:
        """Whom the provider vouches for by this code, and what it claims of them.

        `said_issuer`: who the answer with the code says that it is from. Raises `TokenError` if it does not vouch,
        `UnavailableError`.
        """
        known = self._metadata()
        if said_issuer is None and known.names_itself:
            raise TokenError("its answer does not say whose it is")
        if said_issuer not in (None, self.issuer):
            raise TokenError("the answer is another provider's")
        status, answer = self._post(known, _code_form(code, redirect_uri, verifier))
        if status != _OK:
            error = str(answer.get("error", ""))[:80]
            if error != "invalid_grant":
                # Ours to mend, and not whoever wants in.
                raise self._trouble(known.token, f"it answers {status} ({error or 'no error'}): is the client right?")
            raise TokenError("it does not take the code, which is good once and for a short time")
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise self._trouble(known.token, "there is no ID token in its answer")
        key, algorithm = self._key_of(known, token)
        subject, claims = verify(
            token, key, algorithm, issuer=self.issuer, client=self.client, nonce=nonce, now=self._clock()
        )
        return subject, self._with_userinfo(known, subject, claims, answer)

    def lacks(self, claims: Mapping[str, Any]) -> str:
        """Which of `userapi.oidc_required_claims` they have not; empty: none."""
        for name, value in self._required:
            if value not in _values(claims, name):
                return name
        return ""

    def _with_userinfo(
        self, known: Metadata, subject: Subject, claims: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Some providers say there what they do not say in the token (OpenID Connect Core 1.0, 5.4)."""
        access = answer.get("access_token")
        missing = any(not _values(claims, name) for name in self._wanted)
        if not missing or not known.userinfo or not isinstance(access, str) or not access.isascii():
            return claims
        status, more = self._ask("GET", known.userinfo, headers={"Authorization": f"Bearer {access}"})
        if status != _OK:
            raise self._trouble(known.userinfo, f"it answers {status}")
        if more.get("sub") != subject.subject:
            raise TokenError("it says of somebody else than it vouches for (userinfo)")
        return {**more, **claims}

    # What the provider says of itself.

    def _metadata(self) -> Metadata:
        with self._lock:
            known = self._known
            if known is None or self._steady() - self._known_at >= KNOWN_S:
                self._rest()
                known = self._discover()
            return known

    def _key_of(self, known: Metadata, token: str) -> tuple[ProviderKey, str]:
        with self._lock:
            now = self._steady()
            if now - self._keys_at >= KNOWN_S:
                self._rest()
                self._fetch_keys(known)
            found = find_key(token, self._keys, known.algorithms)
            # It may have a new one.
            if found is None and now - self._keys_at >= KEYS_AGAIN_S:
                self._rest()
                self._fetch_keys(known)
                found = find_key(token, self._keys, known.algorithms)
        if found is None:
            raise TokenError("its ID token is signed with a key that it does not publish")
        return found

    def _rest(self) -> None:
        if self._steady() - self._away_at < REST_S:
            raise UnavailableError(self._why_away)

    def _discover(self) -> Metadata:
        where = self.issuer.rstrip("/") + _DISCOVERY
        status, found = self._ask("GET", where)
        if status != _OK:
            self._away(where, f"it answers {status}: is userapi.oidc_issuer right?")
        said = found.get("issuer")
        if said != self.issuer:
            text = f'it calls itself "{str(said)[:200]}", which userapi.oidc_issuer must be, to the letter'
            raise self._trouble(where, text)
        authenticates = _texts(found, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
        made = Metadata(
            authorization=self._endpoint(where, found, "authorization_endpoint"),
            token=self._endpoint(where, found, "token_endpoint"),
            keys=self._endpoint(where, found, "jwks_uri"),
            userinfo=self._endpoint(where, found, "userinfo_endpoint") if found.get("userinfo_endpoint") else "",
            algorithms=ALGORITHMS & set(_texts(found, "id_token_signing_alg_values_supported", ("RS256",))),
            posts_secret="client_secret_basic" not in authenticates,
            takes_fragment="fragment" in _texts(found, "response_modes_supported", ()),
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )
        self._known, self._known_at = made, self._steady()
        return made

    def _endpoint(self, where: str, found: Mapping[str, Any], name: str) -> str:
        address = found.get(name)
        here = urlsplit(self.issuer).scheme == "http"
        if not isinstance(address, str) or not _is_safe(address) or (address.startswith("http:") and not here):
            raise self._trouble(where, f"its {name} is no https address")
        return address

    def _fetch_keys(self, known: Metadata) -> list[ProviderKey]:
        status, found = self._ask("GET", known.keys)
        if status != _OK:
            self._away(known.keys, f"it answers {status}")
        self._keys, self._keys_at = read_keys(found), self._steady()
        return self._keys

    # HTTP.

    def _post(self, known: Metadata, form: dict[str, str]) -> tuple[int, Mapping[str, Any]]:
        if not self._secret or known.posts_secret:
            form = {**form, "client_id": self.client} | ({"client_secret": self._secret} if self._secret else {})
            return self._ask("POST", known.token, data=form)
        # Each as a form would have it (RFC 6749, 2.3.1).
        return self._ask("POST", known.token, data=form, auth=(quote(self.client, ""), quote(self._secret, "")))

    def _ask(self, method: str, address: str, **more: Any) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON object of its answer. Raises `UnavailableError`."""
        until = self._steady() + self._timeout_s
        try:
            with self._http.stream(method, address, **more) as answer:
                body = b""
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > _MAX_ANSWER_BYTES:
                        self._away(address, "its answer is too large")
                    if self._steady() > until:
                        self._away(address, "its answer takes too long")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self._away(address, f"{type(error).__name__}: {error}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            if answer.status_code == _OK or answer.is_server_error:
                self._away(address, f"it answers {answer.status_code}, and no JSON object")
            found = {}
        return answer.status_code, found

    def _away(self, address: str, why: str) -> NoReturn:
        error = self._trouble(address, why)
        self._away_at, self._why_away = self._steady(), str(error)
        raise error

    def _trouble(self, address: str, why: str) -> UnavailableError:
        return UnavailableError(f"the OpenID provider at {address}: {why}")


def open_provider(settings: UserApiSettings) -> Provider | None:
    """The provider that the settings name; None: none. Asks nothing. Raises `ConfigError`."""
    if settings.oidc_issuer:
        return Provider(settings)
    if not settings.password_login:
        raise ConfigError("userapi.password_login = false lets nobody in: set userapi.oidc_issuer")
    return None


def _code_form(code: str, redirect_uri: str, verifier: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }


def _is_safe(address: str) -> bool:
    """Whether nobody on the way can change what is said there."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _HERE)


def _texts(found: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    listed = found.get(name)
    return tuple(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else otherwise


def _values(claims: Mapping[str, Any], name: str) -> list[str]:
    """What a claim says, as texts; one within another is named with a dot: `realm_access.roles`."""
    value: Any = claims
    for step in (name,) if name in claims else name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, str | int)]
