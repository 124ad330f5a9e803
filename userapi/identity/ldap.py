"""LDAP: a password is right if the directory takes it for a bind.

Owns the use of ldap3. Every check has a connection of its own, so threads share nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import ssl
import warnings
from typing import Any
from urllib.parse import urlsplit

from protocol.errors import ConfigError, UnavailableError
from userapi.credentials import client_context, read_secret
from userapi.settings import UserApiSettings

with warnings.catch_warnings():
    # It uses names that pyasn1 calls old.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPInvalidDnError
    from ldap3.utils.conv import escape_filter_chars
    from ldap3.utils.dn import escape_rdn

_log = logging.getLogger("sparrow.userapi")
_SUCCESS, _NO_SUCH_OBJECT, _INVALID_DN, _INAPPROPRIATE, _INVALID_CREDENTIALS = 0, 32, 34, 48, 49
_WRONG = (_NO_SUCH_OBJECT, _INVALID_DN, _INAPPROPRIATE, _INVALID_CREDENTIALS)
"""What a directory answers to a bind with a wrong password, or of nobody."""


class LdapIdentity:
    """`userapi.identity.port.Identity` over a directory."""

    def __init__(self, settings: UserApiSettings) -> None:
        """Raises `ConfigError`."""
        url = urlsplit(settings.ldap_url)
        self._url = settings.ldap_url
        self._secure = url.scheme == "ldaps"
        try:
            self._port = url.port or (636 if self._secure else 389)
        except ValueError:
            self._port = 0
        self._host = url.hostname or ""
        if url.scheme not in ("ldap", "ldaps") or not self._host or not self._port or url.path.strip("/"):
            raise ConfigError(f'userapi.ldap_url = "{self._url}" is no URL: write ldaps://host or ldap://host')
        self._start_tls = settings.ldap_start_tls and not self._secure
        self._timeout_s = settings.identity_timeout_s
        self._user_dn = settings.ldap_user_dn
        self._base = settings.ldap_search_base
        self._filter = settings.ldap_search_filter
        if bool(self._user_dn) == bool(self._base):
            raise ConfigError("userapi.ldap_user_dn or ldap_search_base: set one, and not both")
        key, template = ("ldap_user_dn", self._user_dn) if self._user_dn else ("ldap_search_filter", self._filter)
        if "{user}" not in template:
            raise ConfigError(f'userapi.{key} = "{template}": must hold {{user}}, where the user\'s id goes')
        self._searcher = settings.ldap_bind_dn or None
        if bool(settings.ldap_bind_dn) != bool(settings.ldap_bind_password_file):
            raise ConfigError("userapi.ldap_bind_dn goes with ldap_bind_password_file: set both, or neither")
        self._searchers = (
            read_secret("userapi.ldap_bind_password_file", settings.ldap_bind_password_file) if self._searcher else None
        )
        self._tls = _Tls(client_context("userapi.ldap_ca_file", settings.ldap_ca_file))

    def check(self, user: str, password: str) -> bool:
        """See `Identity`."""
        if not password:
            # A directory takes a bind without a password for an anonymous one, and says yes.
            return False
        try:
            dn = self._user_dn.replace("{user}", escape_rdn(user)) if self._user_dn else self._find(user)
            return dn is not None and self._bind(dn, password)
        except LDAPInvalidDnError as error:
            raise self._away(f"userapi.ldap_user_dn makes no DN ({error})") from error
        except (LDAPException, OSError) as error:
            raise self._away(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """See `Identity`."""

    def _find(self, user: str) -> str | None:
        """The DN of the only entry that fits."""
        with _Closing(self._connect(self._searcher, self._searchers)) as connection:
            self._open(connection)
            if not connection.bind():
                raise self._away(f"it refuses userapi.ldap_bind_dn: {connection.result['description']}")
            wanted = self._filter.replace("{user}", escape_filter_chars(user))
            connection.search(
                self._base, wanted, attributes=ldap3.NO_ATTRIBUTES, size_limit=2, time_limit=math.ceil(self._timeout_s)
            )
            found = [entry["dn"] for entry in connection.response or () if entry["type"] == "searchResEntry"]
            if connection.result["result"] not in (_SUCCESS, 4) or (connection.result["result"] and not found):
                raise self._away(f"searching {self._base}: {connection.result['description']}")
        if len(found) > 1:
            _log.error('the directory has more than one entry for "%s": make userapi.ldap_search_filter narrower', user)
            return None
        return found[0] if found else None

    def _bind(self, dn: str, password: str) -> bool:
        with _Closing(self._connect(dn, password)) as connection:
            self._open(connection)
            if connection.bind():
                return True
            code: int = connection.result["result"]
            if code in _WRONG:
                return False
            raise self._away(f"it answers a bind with: {connection.result['description']}")

    def _connect(self, dn: str | None, password: str | None) -> Any:
        server = ldap3.Server(
            self._host,
            self._port,
            use_ssl=self._secure,
            tls=self._tls,
            get_info=ldap3.NONE,
            connect_timeout=self._timeout_s,
        )
        return ldap3.Connection(
            server,
            dn,
            password,
            client_strategy=ldap3.SYNC,
            read_only=True,
            auto_referrals=False,
            receive_timeout=math.ceil(self._timeout_s),
        )

    def _open(self, connection: Any) -> None:
        connection.open(read_server_info=False)
        if self._start_tls:
            connection.start_tls(read_server_info=False)

    def _away(self, text: str) -> UnavailableError:
        return UnavailableError(f"the directory {self._url}: {text}")


class _Closing:
    """The connection, closed in the end whatever it is like."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        return self._connection

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(LDAPException, OSError):
            self._connection.unbind()
        # ldap3 leaves a socket open that it could not connect.
        if self._connection.socket is not None:
            self._connection.socket.close()


class _Tls(ldap3.Tls):
    """With our context, in which OpenSSL checks the host name. ldap3 looks at names by itself, and not at addresses."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """See `ldap3.Tls`."""
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=True
        )
