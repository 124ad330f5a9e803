"""Which certificates a store uses, by the settings that name them.

Owns nothing. Reads no file.
"""

from __future__ import annotations

from fabric.certificates import NamedFile
from store.settings import StoreSettings


def certificates(settings: StoreSettings) -> list[NamedFile]:
    """Those that are named, and used."""
    if settings.engine != "cassandra" or not settings.cassandra_tls_ca_file:
        return []
    found = [
        NamedFile("store.cassandra_tls_ca_file", settings.cassandra_tls_ca_file, is_ca=True),
        NamedFile("store.cassandra_tls_cert_file", settings.cassandra_tls_cert_file),
    ]
    return [file for file in found if file.path]
