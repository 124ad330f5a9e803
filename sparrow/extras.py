"""What is installed by which extra of the package, for whoever lacks one.

Owns the table, which `tests/sparrow/test_extras.py` holds against setup.cfg. Imports nothing of it.
"""

from __future__ import annotations

EXTRAS: dict[str, tuple[str, ...]] = {
    "server": (
        "argon2",
        "cryptography",
        "flask",
        "flask_cors",
        "flask_smorest",
        "flask_swagger_ui",
        "gunicorn",
        "h11",
        "jwt",
        "logging_journald",
        "marshmallow",
        "prometheus_client",
        "proxyprotocol",
        "uvloop",
        "webargs",
        "zmq",
    ),
    "cassandra": ("cassandra",),
    "etcd": ("grpc",),
    "ldap": ("ldap3",),
    "chat": ("prompt_toolkit",),
    "load": (),
}
"""Extra → the modules that come with it; `load` needs those of `server`."""


def what_to_install(error: ModuleNotFoundError) -> str | None:
    """What to say of a module that is not there; None if it comes with no extra."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"{module} is not installed; it comes with the extra [{extra}]: pip install 'sparrow-im[{extra}]'"
    return None
