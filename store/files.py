"""What the store keeps of a file beside its content, and of an owner's uploads.

Owns these types. Knows no engine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file, or one on its way. Its content is a row of pieces, each kept once and for good."""

    file: str
    """The file's id, drawn by the caller and never used before."""
    owner: str
    name: str
    media_type: str
    size: int
    """Bytes when it is complete."""
    created_ms: int
    expires_ms: int
    """Unix time; nothing of it is shown after that."""
    readers: frozenset[str] = frozenset()
    """Who may read it beside its owner."""
    sha256: str = ""
    """Hexadecimal; until it is complete, what its owner says that it will be, if anything."""
    complete: bool = False
    upload_expires_ms: int = 0
    """Unix time; if it is not complete by then, nothing of it is shown after that. 0: `expires_ms` alone holds."""

    @property
    def gone_ms(self) -> int:
        """When it is gone, as it stands now; Unix time."""
        return self.expires_ms if self.complete else min(self.upload_expires_ms or self.expires_ms, self.expires_ms)


@dataclass(frozen=True, slots=True)
class Uploads:
    """What one owner has begun to upload."""

    bytes: int
    """Bytes of all files, complete or not, that were begun since a certain time."""
    begun: int
    """Files that are not complete, whenever they were begun."""
    begun_bytes: int
    """What these will have when they are."""
