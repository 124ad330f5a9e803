"""What the body of a FILE message holds (docs/protocol.md, "Files").

Owns its form, on both sides. Touches no file.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields

from protocol.errors import FileReferenceError
from protocol.strict_json import without_repeats

MAX_BODY_BYTES = 8192
MAX_NAME = 255
"""Characters."""
MAX_SIZE = 2**53 - 1
"""What every reader of JSON can hold exactly."""

_ID = re.compile(r"[0-9a-f]{32}")
MEDIA_TYPE = re.compile(r"[A-Za-z0-9_.+-]{1,60}/[A-Za-z0-9_.+-]{1,60}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file that was uploaded, as its sender describes it.

    Raises:
        FileReferenceError: A field is none that a `FILE` message may have.
    """

    file: str
    """The file's id at the user API."""
    name: str
    """What its sender calls it: to be shown, and made safe before it touches a disk."""
    media_type: str
    """What its sender says that it is, such as `image/jpeg`."""
    size: int
    """How long it is, in bytes."""
    sha256: str
    """The SHA-256 of its bytes, hexadecimal."""

    def __post_init__(self) -> None:
        _match("file", _ID, self.file)
        _match("media_type", MEDIA_TYPE, self.media_type)
        _match("sha256", SHA256, self.sha256)
        if not _is_name(self.name):
            raise FileReferenceError(f"a FILE message's name is no text of up to {MAX_NAME} characters")
        if type(self.size) is not int or not 0 <= self.size <= MAX_SIZE:
            raise FileReferenceError(f"a FILE message's size is no whole number from 0 to {MAX_SIZE}")

    def encode(self) -> bytes:
        """Return the body of a `FILE` message: JSON in UTF-8."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()


def parse_file_reference(body: bytes) -> FileReference:
    """Read a body, which may be anything. Raises `FileReferenceError`."""
    if len(body) > MAX_BODY_BYTES:
        raise FileReferenceError(f"a FILE message's body has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    try:
        value = json.loads(body.decode(), object_pairs_hook=without_repeats)
    except (ValueError, RecursionError):
        raise FileReferenceError("a FILE message's body is not JSON in UTF-8 with each field once") from None
    if not isinstance(value, dict):
        raise FileReferenceError("a FILE message's body is no JSON object")
    try:
        # What else is there is of a later version.
        return FileReference(**{field.name: value[field.name] for field in fields(FileReference)})
    except KeyError as error:
        raise FileReferenceError(f"a FILE message's body lacks {error.args[0]}") from None


def _match(name: str, pattern: re.Pattern[str], value: object) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise FileReferenceError(f"a FILE message's {name} does not match {pattern.pattern}")


def _is_name(value: object) -> bool:
    """A text without halves of surrogate pairs, which UTF-8 cannot carry."""
    return isinstance(value, str) and len(value) <= MAX_NAME and not any("\ud800" <= char <= "\udfff" for char in value)
