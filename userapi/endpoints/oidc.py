"""Logins with an OpenID provider: `/v1/oidc`.

Owns their three steps, and how somebody who comes the first time gets an account. People are found by issuer and
subject alone: no name, address or other claim ever leads to an account that is there.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from protocol.errors import AlreadyExistsError, InvalidIdError, NotFoundError, TokenError
from protocol.ids import check_new_user_id
from store.interface import Account
from store.subjects import Subject
from userapi import audit
from userapi.endpoints.new_logins import DPOP, NEW_LOGIN, Tokens, begin_login
from userapi.endpoints.replacing import SILENT_LONGEST
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import LABEL, Answer, Flag, Number, Strict, Text, in_a_line
from userapi.http.problems import ProblemError
from userapi.identity.oidc import Provider
from userapi.oidc_texts import NEWCOMER, STATE_S, TICKET_S, Begun, OidcTexts, Ticket, answers, draw
from userapi.passwords import NO_PASSWORD
from userapi.service import Service, service

area = Area("OpenID providers", "Logging in with an account at an OpenID provider (`userapi.oidc_issuer`)")

_MAX_NAME: Final = 100
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]):[0-9]{1,5}/")
_OF_NEWCOMERS = ("oidc_not_allowed", "oidc_name_unusable", "account_disabled")


class Start(Strict):
    """What `POST /v1/oidc/start` takes."""

    redirect_uri = Text(
        "Where people come back to: `userapi.page_url`, one of `userapi.oidc_redirect_uris`, or, for a program on "
        "their machine, `http://127.0.0.1:PORT/` or `http://[::1]:PORT/` (RFC 8252).",
        example="http://127.0.0.1:54321/",
    )
    code_challenge = Text(
        "The SHA-256 of a verifier that the client has drawn, and keeps to itself (RFC 7636, S256).",
        pattern="[A-Za-z0-9_-]{43}",
        example="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    )


class Started(Answer):
    """Where to go."""

    authorization_url = Text("Open this in a browser.", max_length=8192)
    state = Text("What the provider sends back as `state`: the client takes no other.", max_length=4096)
    expires_in = Number("Seconds until it has to be done.")


class Answered(Strict):
    """What `POST /v1/oidc/ticket` takes."""

    state = Text("As it came back.", max_length=4096)
    code = Text("As it came back.", max_length=4096, min_length=1)
    iss = Text("As it came back, if it did (RFC 9207).", required=False)
    code_verifier = Text("What `code_challenge` was made of.", pattern="[A-Za-z0-9._~-]{43,128}")


class Vouched(Answer):
    """What the provider says, and for how long it counts."""

    ticket = Text("For `POST /v1/oidc/login`: good for one device.", max_length=8192)
    expires_in = Number("Seconds for which it is good.")
    user = Text("Whose account it is, or will be; null: they come the first time, and choose a name.", allow_none=True)
    is_new = Flag("Whether they come the first time.")
    proposed = Text("A name for who chooses one; empty: none.")


class TicketLogin(Strict):
    """What `POST /v1/oidc/login` takes."""

    ticket = Text("As it was answered.", max_length=8192)
    user = Text("What somebody wants to be called who comes the first time, and chooses.", required=False)
    device = Text("The device's id, from its first login; without it, the login makes a new device.", required=False)
    label = Text("What people call the new device.", required=False, example="phone", **LABEL)
    replaces = Text(
        "If the user has as many devices as allowed: the id of the one that the new device takes the place of, or "
        f"{SILENT_LONGEST}. It is removed for good.",
        required=False,
    )


@endpoint(area, "POST", "/v1/oidc/start", body=Start, answer=Started, problems=("oidc_off", "redirect_not_allowed"))
def start_oidc(body: dict[str, Any]) -> dict[str, object]:
    """Begin a login with the OpenID provider.

    The client keeps `state` and verifier until the provider sends somebody back with a `code`; nothing is kept here.
    """
    parts = service()
    provider, redirect_uri = _provider(parts), body["redirect_uri"]
    is_page = redirect_uri in (parts.settings.page_url, *parts.settings.oidc_redirect_uris)
    if not redirect_uri or not (is_page or _is_loopback(redirect_uri)):
        place = (
            f"{parts.settings.page_url} alone" if parts.settings.page_url else "no page (userapi.page_url is not set)"
        )
        detail = f"from the provider people come back to {place}, and to programs on their own machine"
        raise ProblemError("redirect_not_allowed", detail, field="redirect_uri")
    begun = Begun(draw(), body["code_challenge"], redirect_uri)
    state = _texts(parts, provider).state(begun, parts.clock())
    address = provider.address(
        state=state, nonce=begun.nonce, challenge=begun.challenge, redirect_uri=redirect_uri, fragment=is_page
    )
    return {"authorization_url": address, "state": state, "expires_in": STATE_S}


@endpoint(
    area,
    "POST",
    "/v1/oidc/ticket",
    body=Answered,
    answer=Vouched,
    problems=("oidc_off", "oidc_expired", "oidc_refused", *_OF_NEWCOMERS),
)
def redeem_oidc(body: dict[str, Any]) -> dict[str, object]:
    """Show what the provider has answered, and get a ticket.

    The code is good once: who has not got the answer begins the login again.
    """
    parts = service()
    provider = _provider(parts)
    parts.limits.check_vouching()
    texts, now = _texts(parts, provider), parts.clock()
    begun = texts.read_state(body["state"], now)
    if begun is None or not answers(body["code_verifier"], begun.challenge):
        raise _failed("oidc_expired")
    try:
        subject, claims = provider.redeem(
            body["code"],
            verifier=body["code_verifier"],
            redirect_uri=begun.redirect_uri,
            nonce=begun.nonce,
            said_issuer=body.get("iss"),
        )
    except TokenError as error:
        raise _failed("oidc_refused", str(error)) from None
    if missing := provider.lacks(claims):
        audit.note("login_failed", "-", why="oidc_not_allowed", subject=subject.subject, claim=missing)
        raise ProblemError("oidc_not_allowed")
    account = _account_of(parts, subject)
    name = account.user if account is not None else _name_of_newcomer(parts, subject, claims)
    chooses = account is None and parts.settings.oidc_newcomers == "choose"
    told = claims.get("name")
    ticket = Ticket(
        draw(),
        *subject,
        NEWCOMER if account is None else account.epoch,
        "" if chooses else name,
        in_a_line(told)[:_MAX_NAME].strip() if isinstance(told, str) else "",
    )
    return {
        "ticket": texts.ticket(ticket, now),
        "expires_in": TICKET_S,
        "user": None if chooses else name,
        "is_new": account is None,
        "proposed": name if chooses else "",
    }


@endpoint(
    area,
    "POST",
    "/v1/oidc/login",
    body=TicketLogin,
    answer=Tokens,
    headers=(DPOP,),
    problems=(
        *("oidc_off", "oidc_expired", "oidc_name_needed", "invalid_user_id", "user_taken", "no_space"),
        *(*_OF_NEWCOMERS, *NEW_LOGIN),
    ),
)
def log_in_by_oidc(body: dict[str, Any]) -> dict[str, object]:
    """Log in with a ticket: from here on it is a login like any other.

    May be repeated while the ticket is good: then it is the same device. Who comes the first time gets an account; if
    they choose their name (`userapi.oidc_newcomers`), and somebody has it, they send another one.
    """
    parts = service()
    texts = _texts(parts, _provider(parts))
    ticket = texts.read_ticket(body["ticket"], parts.clock())
    if ticket is None:
        raise _failed("oidc_expired")

    def check() -> Account:
        account = _account_of(parts, ticket.whose)
        if account is None:
            account = _begin(parts, ticket, ticket.user or body.get("user", ""))
        elif account.epoch != max(ticket.epoch, 0):
            raise ProblemError("oidc_expired", "the account has changed since: begin the login again")
        parts.limits.at_home(account.user)
        return account

    return begin_login(parts, check, body, ticket.name, way="oidc")


def check_vouched(parts: Service, user: str, ticket: str) -> None:
    """Raises `ProblemError` ("oidc_off", "oidc_expired") unless the provider has just vouched for `user` by this."""
    found = _texts(parts, _provider(parts)).read_ticket(ticket, parts.clock())
    if found is None or parts.bridge.call(parts.bridge.store.subjects.user_of, found.whose) != user:
        raise _failed("oidc_expired")


def _provider(parts: Service) -> Provider:
    if parts.oidc is None:
        raise ProblemError("oidc_off")
    return parts.oidc


def _texts(parts: Service, provider: Provider) -> OidcTexts:
    return OidcTexts(parts.minter, provider.issuer, provider.client)


def _is_loopback(address: str) -> bool:
    if not _LOOPBACK.fullmatch(address):
        return False
    with contextlib.suppress(ValueError):
        return bool(urlsplit(address).port)
    return False


def _failed(code: str, reason: str = "") -> ProblemError:
    """What is said of what is no good. Nobody guesses it, so it does not count against others at the same address."""
    audit.note("login_failed", "-", why=code, **({"reason": reason} if reason else {}))
    return ProblemError(code, f"the provider does not vouch for you: {reason}" if reason else "")


def _account_of(parts: Service, subject: Subject) -> Account | None:
    """The account of somebody who was here before. Raises `ProblemError` ("account_disabled")."""
    store = parts.bridge.store
    user = parts.bridge.call(store.subjects.user_of, subject)
    account = parts.bridge.call(store.account, user) if user else None
    if account is not None and account.disabled:
        audit.note("login_failed", account.user, why="account_disabled")
        raise ProblemError("account_disabled")
    return account


# Who comes the first time.


def _name_of_newcomer(parts: Service, subject: Subject, claims: Any) -> str:
    """What they will be called, or a proposal. Raises `ProblemError`."""
    newcomers = parts.settings.oidc_newcomers
    if newcomers == "refused":
        audit.note("login_failed", "-", why="oidc_not_allowed", subject=subject.subject)
        detail = "no account here is yours: ask those who run the service to link one to you"
        raise ProblemError("oidc_not_allowed", f"{detail}; they need this: {subject.subject}")
    name = _name_in(parts, claims)
    # Nobody is told of whose a name is: it is one's own at the provider.
    is_free = bool(name) and _is_free(parts, subject, name)
    if newcomers == "named" and not is_free:
        audit.note("login_failed", "-", why="oidc_name_unusable", subject=subject.subject, name=name or "-")
        said = f'"{name}" is somebody else\'s here, or was' if name else "your name at the provider is none here"
        detail = f"{said}: ask those who run the service; they need this: {subject.subject}"
        raise ProblemError("oidc_name_unusable", detail)
    return name if is_free else ""


def _name_in(parts: Service, claims: Any) -> str:
    """A valid user id, or nothing. Letters that only look like others are none of it."""
    found = claims.get(parts.settings.oidc_user_claim)
    domain = parts.settings.oidc_user_domain
    if not isinstance(found, str) or not found.isascii():
        return ""
    name = found.lower()
    if domain:
        name = name.removesuffix(f"@{domain.lower()}")
    with contextlib.suppress(InvalidIdError):
        return check_new_user_id(name)
    return ""


def _is_free(parts: Service, subject: Subject, name: str) -> bool:
    """Whether nobody has, or had, the name; or this very person began with it before."""
    store = parts.bridge.store
    there = parts.bridge.call(store.account, name)
    if there is not None:
        return there.password_hash == _mark(subject)
    # Also told of accounts that have ended.
    return parts.bridge.call(store.codes.invitation_of, name) is None


def _mark(subject: Subject) -> str:
    """What an account has instead of a password that begins with this subject: so a repeat is known as one."""
    return f"{NO_PASSWORD} {subject.issuer} {subject.subject}"


def scramble() -> str:
    """The same for one whose subject was unlinked."""
    return f"{NO_PASSWORD} {secrets.token_hex(16)}"


def _begin(parts: Service, ticket: Ticket, wanted: str) -> Account:
    """Make the account. Raises `ProblemError`."""
    if ticket.epoch != NEWCOMER:
        raise ProblemError("oidc_expired", "the account has ended since: begin the login again")
    if not wanted:
        raise ProblemError("oidc_name_needed", field="user")
    if parts.settings.oidc_newcomers == "refused":
        raise ProblemError("oidc_not_allowed")
    try:
        user = check_new_user_id(wanted)
    except InvalidIdError as error:
        raise ProblemError("invalid_user_id", str(error), field="user") from None
    store = parts.bridge.store
    try:
        account = parts.bridge.call(store.create_account, user, _mark(ticket.whose))
    except AlreadyExistsError as error:
        code = "oidc_name_unusable" if ticket.user else "user_taken"
        raise ProblemError(code, "" if ticket.user else str(error), field="user") from None
    if account.disabled:  # of a repeat
        raise ProblemError("account_disabled")
    whose = parts.bridge.call(store.subjects.link, ticket.whose, user)
    if whose != user:
        # The same person, at once, by another name: that one counts, and this was nobody's yet.
        with contextlib.suppress(NotFoundError):
            parts.bridge.call(store.delete_account, user)
        other = _account_of(parts, ticket.whose)
        if other is None:
            raise ProblemError("changed_meanwhile")
        return other
    audit.note("account_created", user, by=user, why="oidc", subject=ticket.subject)
    if ticket.display_name:
        with contextlib.suppress(NotFoundError):
            parts.bridge.call(store.change_profile, user, ticket.display_name)
    return account
