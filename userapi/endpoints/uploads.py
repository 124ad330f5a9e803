"""What an upload's request says, and whether there is room for what it asks.

Owns the headers of tus 1.0 (https://tus.io) and the limits of one user. Knows no endpoint, and stores nothing.
"""

from __future__ import annotations

import base64
import binascii
import re

from flask import request

from protocol.files import MAX_NAME, MEDIA_TYPE, SHA256
from userapi.http.problems import ProblemError
from userapi.service import Service

VERSION = "1.0.0"
TUS = {"Tus-Resumable": VERSION, "Tus-Version": VERSION}
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a file's name may not hold: controls, and what ends a line."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def check_room(parts: Service, user: str, now_ms: int, more: int, more_bytes: int) -> None:
    """Raises `ProblemError` if these would be too many uploads, or bytes."""
    settings = parts.settings
    there = parts.bridge.call(parts.bridge.store.uploads_of, user, now_ms - DAY_MS)
    if (
        there.begun + more > settings.max_uploads_of_account
        or there.begun_bytes + more_bytes > settings.max_upload_bytes_of_account
    ):
        raise ProblemError("too_many_uploads")
    if there.bytes + more_bytes > settings.max_file_bytes_per_day_of_account:
        raise ProblemError("too_many_file_bytes", headers={"Retry-After": str(HOUR_MS // 1000)})


def check_version() -> None:
    """Raises `ProblemError` for another version than ours."""
    if request.headers.get("Tus-Resumable") != VERSION:
        raise ProblemError("wrong_tus_version", headers={"Tus-Version": VERSION})


def number(header: str) -> int:
    """Bytes, as a header says. Raises `ProblemError`."""
    value = request.headers.get(header, "")
    if not value.isascii() or not value.isdecimal() or len(value) > 15:
        raise ProblemError("malformed_upload", f"{header} must be a number of bytes")
    return int(value)


def metadata(header: str) -> dict[str, str]:
    """tus's Upload-Metadata; of keys that we know. Raises `ProblemError`."""
    found: dict[str, str] = {}
    for pair in header.split(",") if header else ():
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (ValueError, binascii.Error):
            raise ProblemError(
                "malformed_upload", f"Upload-Metadata: the value of {key[:80]!r} is not base64"
            ) from None
    if len(found.get("filename", "")) > MAX_NAME or _UNFIT.search(found.get("filename", "")):
        raise ProblemError("malformed_upload", f"a file's name has up to {MAX_NAME} characters on one line")
    if not MEDIA_TYPE.fullmatch(found.get("filetype", "a/b")):
        raise ProblemError("malformed_upload", "filetype is no media type such as image/jpeg")
    if not SHA256.fullmatch(found.get("sha256", "0" * 64)):
        raise ProblemError("malformed_upload", "sha256 has 64 digits 0-9, a-f")
    return found
