"""The words of a text, for the index and for those who ask it: both must see the same.

Owns what a word is. Touches no database.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_WORDS: Final = 16
"""Of a question; further ones are not looked for."""
_IDEOGRAPHS: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(f"[{_IDEOGRAPHS}]|[^\\W_{_IDEOGRAPHS}]+")
"""Ideographs and kana stand alone, since nothing tells where words end."""
_MAX_LENGTH: Final = 64


def words(text: str) -> list[str]:
    """In order; without case and accents."""
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return [word[:_MAX_LENGTH] for word in _WORD.findall(plain)]


def has_phrase(text: str, phrase: list[str]) -> bool:
    """Whether these words follow one another in it; the last may be the beginning of one."""
    found, size = words(text), len(phrase)
    first, last = phrase[:-1], phrase[-1]
    return any(
        found[at : at + size - 1] == first and found[at + size - 1].startswith(last)
        for at in range(len(found) - size + 1)
    )
