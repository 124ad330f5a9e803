"""The list of breached passwords: a sorted file of SHA-1 hashes, searched where it lies.

Owns its format: a line each, 40 hexadecimal digits in ascending order, and whatever may follow a colon, as the download
of haveibeenpwned has it. Nothing of it is kept in memory, so a new file takes its place by `mv`.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from protocol.errors import ConfigError, UnavailableError
from userapi.passwords import normal

_DIGITS = 40
_MAX_LINE_BYTES = 128
_LINE = re.compile(rb"[0-9A-Fa-f]{40}(:[^\r\n]*)?\r?\n?")


def check_list(name: str) -> None:
    """Raises `ConfigError` for a file that cannot be read, or begins like no such list."""
    key = "userapi.password_breached_file"
    try:
        with Path(name).open("rb") as file:
            first = file.readline(_MAX_LINE_BYTES)
    except OSError as error:
        raise ConfigError(f"{key}: {name}: {error.strerror}") from error
    if not _LINE.fullmatch(first):
        raise ConfigError(
            f"{key}: {name} is no list of SHA-1 hashes: each line is 40 hexadecimal digits, sorted, and maybe :count"
        )


def is_breached(name: str, password: str) -> bool:
    """Whether the list has the password, as it was typed or in its normal form.

    Raises `UnavailableError` if the file cannot be read (any more).
    """
    forms = {password.encode(), normal(password).encode()}
    try:
        number = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(f"userapi.password_breached_file: {name}: {error.strerror}") from error
    try:
        size = os.fstat(number).st_size
        return any(_has(number, size, hashlib.sha1(form, usedforsecurity=False).hexdigest()) for form in forms)
    finally:
        os.close(number)


def _has(number: int, size: int, digest: str) -> bool:
    """Bisects for the last line that begins at or before `low`'s end and is not above `digest`."""
    wanted = digest.upper().encode()
    low, high = 0, size
    # The line that is sought begins at `low` or later, and before `high`.
    while low < high:
        start, found, after = _line_from(number, (low + high) // 2, low)
        if start >= high:
            # No line begins in the upper half.
            high = (low + high) // 2
            continue
        if found == wanted:
            return True
        if found < wanted:
            low = after
        else:
            high = start
    return False


def _line_from(number: int, at: int, low: int) -> tuple[int, bytes, int]:
    """The first line that begins at or after `at`: where, its digits, and where the next one begins. Lines begin at
    `low`."""
    start = at
    if at > low:
        # A line begins at `at` if the byte before it ends one.
        start = at - 1
        start += _length(os.pread(number, _MAX_LINE_BYTES, start))
    line = os.pread(number, _MAX_LINE_BYTES, start)
    return start, line[:_DIGITS].upper(), start + _length(line)


def _length(data: bytes) -> int:
    """The length of the first line in `data`, with its end."""
    end = data.find(b"\n")
    return len(data) if end < 0 else end + 1
