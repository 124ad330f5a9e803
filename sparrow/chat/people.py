"""Whom we know: friends, and who asks or was asked to be one.

Owns what is news about them. Asks nobody and shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from client import Contact


class People:
    """As one user knows them. `news` is for what came from elsewhere, `changed` for what we have done ourselves."""

    def __init__(self) -> None:
        self._known: dict[str, Contact] | None = None
        self.changes = 0
        """How many we have made: a list that was asked for before the last one is old."""

    def names(self) -> list[str]:
        """All of them."""
        return sorted(self._known or ())

    def asking(self) -> list[str]:
        """Who wants to be our friend."""
        return sorted(user for user, contact in (self._known or {}).items() if contact.asks)

    def changed(self, contact: Contact) -> None:
        """We have done something ourselves."""
        self.changes += 1
        if self._known is not None:
            self._known.pop(contact.user, None)
            if _matters(contact):
                self._known[contact.user] = contact

    def news(self, contacts: Iterable[Contact]) -> list[str]:
        """These are all, now; returns what to say of it. Of the first ones only who waits for an answer."""
        before, self._known = self._known, {contact.user: contact for contact in contacts if _matters(contact)}
        told = []
        for user in sorted({*(before or ()), *self._known}):
            was, now = (before or {}).get(user), self._known.get(user)
            if now is not None and now.asks and not (was is not None and was.asks):
                told.append(f"{user} asks to be your friend: /accept {user} or /decline {user}")
            elif before is None:
                continue
            elif now is not None and now.friend and not (was is not None and was.friend):
                told.append(f"{user} is your friend now")
            elif was is not None and was.friend and not (now is not None and now.friend):
                told.append(f"{user} is your friend no more")
            elif was is not None and was.asked and now is None:
                told.append(f"{user} is not asked any more to be your friend: it was declined, or taken back")
        return told


def _matters(contact: Contact) -> bool:
    return contact.friend or contact.asks or contact.asked
