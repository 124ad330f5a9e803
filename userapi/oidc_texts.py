"""What a login with an OpenID provider hands out between its steps, and gets back: the state, and the ticket.

Owns what they say, and for how long. They are sealed, and kept nowhere: what is begun and never ended costs nothing,
and any process of the service goes on with what another has begun.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import astuple, dataclass
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer

from store.subjects import Subject
from userapi.tokens import TokenMinter

STATE_S: Final = 600
"""So long somebody may be at the provider."""
TICKET_S: Final = 300
"""So long the ticket lets them in for which the provider has vouched."""
APART_S: Final = 60
"""How far the clocks of two user APIs may be apart."""
NEWCOMER: Final = -1
"""As `Ticket.epoch`: there is no account yet."""
_RANDOM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that was begun."""

    nonce: str
    challenge: str
    """Whoever ends it has what this is made of (RFC 7636)."""
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """The provider vouches for somebody."""

    name: str
    """Random; of the one device that it is good for."""
    issuer: str
    subject: str
    epoch: int
    """The account's when it was made, so that what ends its logins ends the ticket, too."""
    user: str
    """What a newcomer is called; empty: they choose."""
    display_name: str

    @property
    def whose(self) -> Subject:
        """Whom it is about."""
        return Subject(self.issuer, self.subject)


def draw() -> str:
    """128 bits."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def answers(verifier: str, challenge: str) -> bool:
    """Whether the challenge is made of this verifier (RFC 7636, 4.6)."""
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode())


class OidcTexts:
    """Of one provider: what was sealed for another issuer or client is none of it."""

    def __init__(self, minter: TokenMinter, issuer: str, client: str) -> None:
        of = f"{issuer} {client}"
        self._states = minter.sealing(b"sparrow oidc", f"state of {of}")
        self._tickets = minter.sealing(b"sparrow oidc", f"ticket of {of}")

    def state(self, begun: Begun, now: float) -> str:
        """`now` is Unix time."""
        return _sealed(self._states, now, *astuple(begun))

    def read_state(self, state: str, now: float) -> Begun | None:
        """None for what we have not made, or not in the last `STATE_S`."""
        found = _opened(self._states, state, now, STATE_S)
        return None if found is None else Begun(*found)

    def ticket(self, ticket: Ticket, now: float) -> str:
        """`now` is Unix time."""
        return _sealed(self._tickets, now, *astuple(ticket))

    def read_ticket(self, ticket: str, now: float) -> Ticket | None:
        """None for what we have not made, or not in the last `TICKET_S`."""
        found = _opened(self._tickets, ticket, now, TICKET_S)
        return None if found is None else Ticket(*found)


def _sealed(seal: URLSafeSerializer, now: float, *told: object) -> str:
    made: str = seal.dumps([int(now), *told])
    return made


def _opened(seal: URLSafeSerializer, text: str, now: float, life_s: int) -> list[Any] | None:
    try:
        at, *told = seal.loads(text)
    except (BadData, ValueError, TypeError):
        return None
    return told if -APART_S <= now - at <= life_s else None
