"""Common passwords, which guessers try first.

Owns the list that comes with Sparrow, some hundred kilobytes, read when it is first needed. A list of one's own, of
hundreds of millions, is `userapi.identity.breaches`' business.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from userapi.passwords import normal


def is_common(password: str, user: str) -> bool:
    """Whether the password of `user` is on the list, or is the user's own id, whatever the case of its letters."""
    form = normal(password).casefold()
    return form == user or form in _listed()


@cache
def _listed() -> frozenset[str]:
    lines = files(__package__).joinpath("common.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
