"""All settings: one frozen tree, read from a TOML file and the environment.

Owns reading and the rules for one value alone; rules between values are `sparrow.config.checks`' business. The
rooms own their own settings classes.

A section of the file is a room (`[connector]`, `[broker]`, `[store]`, `[userapi]`), or `[etcd]`, `[monitor]`,
`[operator]`, `[log]`. The environment comes second and wins: `SPARROW_CONNECTOR__LISTEN_PORT=7401`, lists separated by
commas. Relative paths are relative to `data_dir`, and that to the working directory.

(pydantic-settings was tried: it passes over variables of sections that are not there, wants lists in JSON, tells a
mistake in three lines, and takes 0.2 s to import. msgspec says what is wrong without the value, the environment or
what may have been meant.)
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from protocol.errors import ConfigError
from sparrow.config.checks import Finding, check
from sparrow.config.numbers import numbers, told
from sparrow.config.origins import with_own_origins
from sparrow.config.renamed import GONE, RENAMED, Entry, translate
from sparrow.config.tree import LogSettings, Settings, sections

__all__ = ["Finding", "LogSettings", "Settings", "check", "load", "sections"]

PREFIX = "SPARROW_"

PATHS = (
    ("broker", "allowed_keys_file"),
    ("broker", "curve_key_file"),
    ("broker", "node_socket"),
    ("connector", "broker_public_key_file"),
    ("connector", "curve_key_file"),
    ("connector", "tls_certificate_file"),
    ("connector", "tls_private_key_file"),
    ("connector", "token_public_key_file"),
    ("etcd", "ca_file"),
    ("etcd", "cert_file"),
    ("etcd", "key_file"),
    ("etcd", "password_file"),
    ("history", "ledger"),
    ("monitor", "backup_folder"),
    ("operator", "tls_certificate_file"),
    ("operator", "tls_private_key_file"),
    ("operator", "userapi_ca_file"),
    ("store", "cassandra_credentials_file"),
    ("store", "cassandra_tls_ca_file"),
    ("store", "cassandra_tls_cert_file"),
    ("store", "cassandra_tls_key_file"),
    ("store", "path"),
    ("userapi", "admin_token_file"),
    ("userapi", "broker_public_key_file"),
    ("userapi", "curve_key_file"),
    ("userapi", "hook_ca_file"),
    ("userapi", "hook_secret_file"),
    ("userapi", "ldap_bind_password_file"),
    ("userapi", "ldap_ca_file"),
    ("userapi", "oidc_ca_file"),
    ("userapi", "oidc_client_secret_file"),
    ("userapi", "password_breached_file"),
    ("userapi", "tls_certificate_file"),
    ("userapi", "tls_private_key_file"),
    ("userapi", "token_private_key_file"),
    ("userapi", "token_public_key_file"),
)
"""What is relative to `data_dir`; what is empty stays empty."""

CHOICES = {
    ("broker", "presence"): ("memory", "etcd"),
    ("broker", "who_may_write"): ("anyone", "friends"),
    ("userapi", "oidc_newcomers"): ("named", "choose", "refused"),
    ("userapi", "registration"): ("open", "invitation", "admin"),
    ("userapi", "who_may_write"): ("anyone", "friends"),
    ("log", "level"): ("info", "warning", "error"),
    ("store", "engine"): ("sqlite", "cassandra"),
    ("history", "words_of_deleted_accounts"): ("keep", "erase"),
}
"""What may stand there."""
_MAY_BE_EMPTY = {
    ("connector", "trusted_proxies"),
    ("userapi", "trusted_proxies"),
    ("userapi", "unlimited_addresses"),
}


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings in the file `path` (None: no file), then `environ`, then defaults; paths joined to `data_dir`, and
    the origins of WebSockets known.

    Raises `ConfigError` for a file that cannot be read, an unknown key, and a value of the wrong type or range.
    """
    settings = Settings()
    if path is not None:
        settings = _with_file(settings, path)
    settings = _with_environment(settings, environ)
    return with_own_origins(_with_joined_paths(settings))


def _with_file(settings: Settings, path: Path) -> Settings:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another settings file, or leave it out") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this is not TOML: {error}") from error
    known = {*sections(), *(old.partition(".")[0] for old in (*RENAMED, *GONE))}
    entries: dict[str, object] = {}
    for name, value in content.items():
        if name == "data_dir":
            entries[name] = value
        elif name not in known:
            raise ConfigError(f'{path}: unknown section or key "{name}"{_nearest(name, [*known, "data_dir"])}')
        elif not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} = {value!r}: expected a section, [{name}]")
        else:
            entries.update({f"{name}.{key}": entry for key, entry in value.items()})
    return _with_entries(settings, str(path), entries)


def _with_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    names = [f"{section}.{key}" for section, kind in sections().items() for key in get_type_hints(kind)]
    known = {_variable(name): name for name in ("data_dir", *RENAMED, *GONE, *names)}
    entries: dict[str, object] = {}
    for variable, text in sorted(environ.items()):
        if variable in known:
            entries[known[variable]] = text
        elif _looks_like_ours(variable):
            raise ConfigError(f"environment: unknown variable {variable}{_nearest(variable, known)}")
    return _with_entries(settings, "environment", entries, as_text=True)


def _variable(name: str) -> str:
    """What a setting is called in the environment."""
    return f"{PREFIX}{name.replace('.', '__')}".upper()


def _with_entries(settings: Settings, source: str, entries: Mapping[str, object], *, as_text: bool = False) -> Settings:
    """The settings with what one source says: name with section → value, all `as_text` or what TOML makes of it."""
    found, notes = translate(entries)
    wrong: list[str] = []
    for name, entry in found.items():
        try:
            settings = _with_entry(settings, name, entry, as_text=as_text)
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(f"{source}: {'; '.join(wrong)}")
    return dataclasses.replace(
        settings,
        written=settings.written | found.keys(),
        written_in_old_ways=(*settings.written_in_old_ways, *notes),
    )


def _with_entry(settings: Settings, name: str, entry: Entry, *, as_text: bool) -> Settings:
    known = sections()
    section, _, key = name.rpartition(".")
    of: Any = getattr(settings, section, None) if section else settings
    hints = {"data_dir": str} if not section else get_type_hints(known[section]) if section in known else {}
    if key not in hints:
        raise ConfigError(f'unknown key "{name}"{_nearest(key, hints, section + ".")}')
    value = _from_text(hints[key], entry.value) if as_text else entry.value
    before = "" if entry.written == name else f"{entry.written} is called {name} now: "
    changed = dataclasses.replace(of, **{key: _typed(before, section, key, hints[key], value)})
    return dataclasses.replace(settings, **{section: changed}) if section else changed


def _looks_like_ours(variable: str) -> bool:
    # Other SPARROW_ variables may be the business of whoever starts us.
    starts = tuple(f"{PREFIX}{name}_".upper() for name in sections())
    return variable.startswith(starts) or (variable.startswith(PREFIX) and "__" in variable)


def _with_joined_paths(settings: Settings) -> Settings:
    root = Path(settings.data_dir)
    for name, key in PATHS:
        section = getattr(settings, name)
        if getattr(section, key):
            joined = dataclasses.replace(section, **{key: str(root / getattr(section, key))})
            settings = dataclasses.replace(settings, **{name: joined})
    return settings


def _from_text(hint: object, value: object) -> object:
    """What TOML would have made of it; text that fits no type stays text, and `_typed` refuses it."""
    text = str(value)
    if hint == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    for number in (int, float):
        if hint in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _typed(before: str, section: str, key: str, hint: object, value: object) -> Any:
    """`value`, if it may stand for `key`; whole numbers may stand for fractions and lists for tuples."""
    expected = None
    if hint is bool:
        expected = None if isinstance(value, bool) else "true or false"
    elif hint is int:
        expected = _expected_number(section, key, value, whole=True)
    elif hint is float:
        expected = _expected_number(section, key, value, whole=False)
        value = float(value) if expected is None else value  # type: ignore[arg-type]
    elif hint is str:
        expected = _expected_text(section, key, value)
    elif hint == tuple[str, ...]:
        may_be_empty = _may_be_empty(section, key)
        fits = isinstance(value, list) and (value or may_be_empty)
        if fits and all(isinstance(entry, str) and entry for entry in value):  # type: ignore[attr-defined]
            value = tuple(value)  # type: ignore[arg-type]
        else:
            expected = "a list of texts" + ("" if may_be_empty else ", at least one")
    else:
        raise TypeError(f"a setting of type {hint} cannot be read yet")
    if expected is not None:
        name = f"{section}.{key}" if section else key
        raise ConfigError(f"{before}{name} = {value!r}: expected {expected}")
    return value


def _expected_number(section: str, key: str, value: object, *, whole: bool) -> str | None:
    bounds = numbers()[section, key]
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    return None if fits and bounds.admit(value) else told(key, bounds, whole=whole)  # type: ignore[arg-type]


def _expected_text(section: str, key: str, value: object) -> str | None:
    choices = CHOICES.get((section, key))
    if choices is not None:
        return None if value in choices else "one of " + ", ".join(f'"{choice}"' for choice in choices)
    if _may_be_empty(section, key):
        return None if isinstance(value, str) and "\0" not in value else "a text"
    return None if isinstance(value, str) and value and "\0" not in value else "a text that is not empty"


def _may_be_empty(section: str, key: str) -> bool:
    """What is empty unless it is set may be set to be empty."""
    kind = sections().get(section)
    return kind is not None and any(
        field.name == key and (field.default in ("", ()) or (section, key) in _MAY_BE_EMPTY)
        for field in dataclasses.fields(kind)
    )


def _nearest(name: str, known: Mapping[str, object] | list[str], before: str = "") -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f'; did you mean "{before}{found[0]}"?' if found else ""
