"""What a process can be, and which settings are its own.

Owns the roles, and how they are told from a settings file where nobody says them. No rule about a value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparrow.config.tree import Settings

ROLES = ("node", "connector", "broker", "userapi", "operator")
"""A whole node (`sparrow serve`), a process that is a part of one or more, or one that serves the operator's page."""

_SECTIONS = {
    "node": ("data_dir", "connector", "broker", "store", "history", "userapi", "monitor", "log"),
    "connector": ("data_dir", "connector", "monitor", "log"),
    "broker": ("data_dir", "broker", "etcd", "store", "history", "monitor", "log"),
    "userapi": ("data_dir", "userapi", "store", "history", "monitor", "log"),
    "operator": ("data_dir", "operator", "monitor", "log"),
}
_LINKS = {
    "connector": ("brokers", "curve_key_file", "broker_public_key_file", "plain_links"),
    "broker": ("listen", "advertise", "curve_key_file", "allowed_keys_file", "plain_links", "presence"),
    "userapi": ("brokers", "curve_key_file", "broker_public_key_file", "plain_links"),
}
"""What only processes that are apart need: those of a node meet in memory, and at a socket."""


def sections_of(roles: Collection[str]) -> frozenset[str]:
    """The sections that processes with one of these roles read."""
    return frozenset(section for role in roles for section in _SECTIONS[role])


def roles_of(key: str) -> tuple[str, ...]:
    """Who reads the setting `section.key`."""
    section, _, name = key.rpartition(".")
    found = [role for role in ROLES if (section or name) in _SECTIONS[role]]
    return tuple(role for role in found if role != "node" or name not in _LINKS.get(section, ()))


def inferred(settings: Settings) -> tuple[str, ...]:
    """The roles that a file with these settings is for: those whose links to others somebody has written, and then
    every section that stands there; without any, a node. The operator's page besides, where [operator] stands there."""
    written = settings.written - {"broker.presence"} if settings.broker.presence == "memory" else settings.written
    there = {name.partition(".")[0] for name in written}
    linked = any(f"{role}.{name}" in written for role, names in _LINKS.items() for name in names)
    page = ("operator",) if "operator" in there else ()
    if not linked and "etcd" not in there:
        return ("node", *page)
    return (*(role for role in _LINKS if role in there or (role == "broker" and "etcd" in there)), *page)


def of_no_use(settings: Settings, roles: Collection[str]) -> Iterator[tuple[str, str, bool]]:
    """What somebody has written, and processes of these roles do not use: key, text, and that it is not serious."""
    etcd = sorted(name for name in settings.written if name.startswith("etcd."))
    if etcd and "broker" in roles and settings.broker.presence == "memory":
        yield etcd[0], 'is not read while broker.presence is "memory": write "etcd" there, or take [etcd] out', False
    if set(roles) - {"operator"} != {"node"}:
        return
    for key in etcd:
        yield key, "is not read by a node, which keeps presence in memory: take it out, or run brokers apart", False
    for role, names in _LINKS.items():
        for name in names:
            key = f"{role}.{name}"
            if key in settings.written and (key != "broker.presence" or settings.broker.presence != "memory"):
                yield key, "is not read by a node, whose parts meet in memory: take it out, or run them apart", False
