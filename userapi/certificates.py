"""Which certificates the user API uses, by the settings that name them; those of its store are the store's.

Owns nothing. Reads no file.
"""

from __future__ import annotations

from fabric.certificates import NamedFile
from userapi.settings import UserApiSettings


def certificates(settings: UserApiSettings) -> list[NamedFile]:
    """Those that are named, its own first."""
    own = NamedFile("userapi.tls_certificate_file", settings.tls_certificate_file)
    return [own, *trusted(settings)] if own.path else trusted(settings)


def trusted(settings: UserApiSettings) -> list[NamedFile]:
    """CAs of those that it asks for passwords."""
    path: str = getattr(settings, f"{settings.identity}_ca_file", "")
    return [NamedFile(f"userapi.{settings.identity}_ca_file", path, is_ca=True)] if path else []
