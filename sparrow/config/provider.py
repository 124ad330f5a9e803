"""What is wrong or unwise with the OpenID provider that the user API's settings name.

Owns the rules between these settings, and the trial of the provider. What must hold for one alone is
`userapi.identity.oidc`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from protocol.errors import ConfigError, UnavailableError
from sparrow.config.exposure import Found

if TYPE_CHECKING:
    from sparrow.config.tree import Settings

_OF_EVERYBODY = ("accounts.google.com", "login.microsoftonline.com", "gitlab.com", "login.yahoo.com")
"""Providers of people all over the world."""
_EVERYBODYS_TENANTS = ("common", "organizations", "consumers")
_TRIED_REDIRECT = "http://127.0.0.1:1/"


def provider(settings: Settings) -> Iterator[Found]:
    """All that can be told without asking it."""
    from userapi.identity.oidc import open_provider

    userapi = settings.userapi
    try:
        made = open_provider(userapi)
    except ConfigError as error:
        yield "userapi.oidc_issuer", str(error), True
        return
    if made is None:
        of_no_use = sorted(name for name in settings.written if name.startswith("userapi.oidc_"))
        for name in of_no_use:
            if name != "userapi.oidc_issuer":
                yield name, "is of no use without userapi.oidc_issuer", False
        return
    made.close()
    if userapi.page and not userapi.page_url:
        text = "is where people come back to from the OpenID provider: without it the page cannot send them there"
        yield "userapi.page_url", text, False
    if urlsplit(userapi.page_url).path not in ("", "/"):
        yield "userapi.page_url", 'is not where the page is, which is at "/": people would come back to nothing', False
    elif userapi.page_url and not userapi.page_url.endswith("/"):
        text = 'must end in "/", as browsers have it: people come back to what is written here, to the letter'
        yield "userapi.page_url", text, True
    issuer = urlsplit(userapi.oidc_issuer)
    tenant = issuer.path.strip("/").partition("/")[0]
    if tenant in _EVERYBODYS_TENANTS and issuer.hostname == "login.microsoftonline.com":
        text = f'"{tenant}" is no issuer of its own: write your tenant\'s id in its place'
        yield "userapi.oidc_issuer", text, True
    everybody = issuer.hostname in _OF_EVERYBODY and issuer.hostname != "login.microsoftonline.com"
    if everybody and not userapi.oidc_required_claims and userapi.oidc_newcomers != "refused":
        text = (
            f"is empty, so that everybody who has an account at {issuer.hostname} may come: name what makes somebody "
            'one of yours, such as ["hd=example.net"]'
        )
        yield "userapi.oidc_required_claims", text, False
    if userapi.oidc_newcomers == "refused" and not userapi.admin_token_file:
        text = '"refused" lets nobody in without userapi.admin_token_file: sparrow user link is administration'
        yield "userapi.oidc_newcomers", text, False


def try_provider(settings: Settings) -> Iterator[Found]:
    """All that it says itself. Blocks."""
    from userapi.identity.oidc import open_provider

    key = "userapi.oidc_issuer"
    try:
        made = open_provider(settings.userapi)
    except ConfigError:
        return  # which is told already
    if made is None:
        return
    try:
        made.look()
        refused = made.try_client(settings.userapi.page_url or _TRIED_REDIRECT)
    except (ConfigError, UnavailableError) as error:
        yield key, str(error), True
        return
    finally:
        made.close()
    if refused:
        text = (
            f'"{settings.userapi.oidc_client_id}" with its secret is none that {settings.userapi.oidc_issuer} takes '
            f"({refused}): look at the client there, and at userapi.oidc_client_secret_file"
        )
        yield "userapi.oidc_client_id", text, True
