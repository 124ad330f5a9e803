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
    """CAs of those that it asks who somebody is."""
    asked = [settings.identity] + (["oidc"] if settings.oidc_issuer else [])
    paths = {f"{name}_ca_file": getattr(settings, f"{name}_ca_file", "") for name in asked}
    return [NamedFile(f"userapi.{key}", path, is_ca=True) for key, path in paths.items() if path]
