"""Which settings a command uses that was given none: those of this folder, or of the installation on this machine.

Owns where they are sought (docs/operations.md, "Which settings a command reads"), and how the files of the parts that
one machine runs make one. Servers take no part in it: each is given its file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from protocol.errors import ConfigError
from sparrow.config.settings import PREFIX, Settings, load

INSTALLED = "/etc/sparrow"
"""Where scripts/install puts settings."""
FOLDER_VARIABLE = f"{PREFIX}SETTINGS_DIR"
"""Names another folder; empty: none."""
LOCAL = Path("sparrow.toml")
_NODE = "sparrow"
_PARTS = ("broker", "connector", "userapi")
"""Files of an installation, without ".toml": one for a whole node, or one a part."""
_OF_STORE = ("broker", "userapi")
_PLACES = ("data_dir", "store.path")


class Store(Enum):
    """What a command does with the store."""

    NOTHING = 0
    READS = 1
    WRITES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """Settings, and where they come from."""

    settings: Settings
    """Of all files together."""
    files: tuple[tuple[Path | None, Settings], ...]
    """File → settings; None: defaults and the environment alone."""
    note: str = ""
    """What a person is to be told of it; empty: nothing, as they have named the file."""


def find(config: Path | None, environ: Mapping[str, str], store: Store = Store.NOTHING) -> Found:
    """Of a command with `--config` (None: without). Raises `ConfigError`, also where a command that writes would have
    nothing but the defaults to tell it where."""
    path = given(config, environ)
    if path is not None:
        return _one(path, environ, f"the settings are {LOCAL.absolute()}" if path is LOCAL else "")
    if not _in_checkout():
        folder = environ.get(FOLDER_VARIABLE, INSTALLED)
        found = _installed(Path(folder), environ, store) if folder else None
        if found is not None:
            if store is not Store.NOTHING and _has_run_here(Settings()):
                raise ConfigError(
                    f"{folder} has settings, and a node has run in this folder without any: name with --config which "
                    "is meant, or go elsewhere"
                )
            return found
        if store is Store.WRITES:
            _refuse_defaults(load(None, environ), folder)
    return _one(None, environ)


def given(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that is named, or that is in this folder, which is `LOCAL`: all that a server looks for."""
    if config is not None:
        return config
    if environ.get("SPARROW_CONFIG"):
        return Path(environ["SPARROW_CONFIG"])
    return LOCAL if LOCAL.is_file() else None


def _one(path: Path | None, environ: Mapping[str, str], note: str = "") -> Found:
    settings = load(path, environ)
    return Found(settings, ((path, settings),), note)


def _in_checkout() -> bool:
    """Whether this is the command of the tree that we stand in, where `scripts/serve` runs with the defaults."""
    root = Path(__file__).resolve().parents[2]
    return Path.cwd() == root and (root / "scripts" / "serve").is_file()


def _refuse_defaults(settings: Settings, folder: str) -> None:
    """Raises `ConfigError` unless a node runs, or ran, in this folder with them."""
    if settings.store.engine != "sqlite" or settings.written.intersection(_PLACES) or _has_run_here(settings):
        return
    raise ConfigError(
        f"there are no settings in ./{LOCAL}{f' or {folder}' if folder else ''}, and no node has run in this folder: "
        f"name them with --config FILE, or go to the node's folder (for one without settings: touch {LOCAL})"
    )


def _has_run_here(settings: Settings) -> bool:
    """The lock stays where the database is lost."""
    data = Path(settings.store.path)
    return data.exists() or data.with_name(f"{data.name}-lock").exists()


# An installation.


def _installed(folder: Path, environ: Mapping[str, str], store: Store) -> Found | None:
    """Of the files in this folder; None if there is none."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml"))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        text = f"cannot look into {folder} ({error.strerror}): run this with sudo, or name your settings with --config"
        raise ConfigError(text) from error
    paths = _chosen(folder, names)
    if not paths:
        return None
    each = {path: list(_instances(path, environ)) for path in paths}
    files = tuple((path, of[0]) for path, of in each.items())
    settings = _together({path.stem: of[0] for path, of in each.items()})
    monitors = [one for of in each.values() for one in of]
    processes = _processes(monitors)
    settings = dataclasses.replace(settings, monitor=dataclasses.replace(settings.monitor, processes=processes))
    if store is not Store.NOTHING:
        _check_store(folder, files)
    return Found(settings, files, f"the settings are {', '.join(map(str, paths))}")


def _chosen(folder: Path, names: list[str]) -> list[Path]:
    """Of the files there, those that scripts/install has put there; or else the only one. Raises `ConfigError`."""
    known = [name for name in names if name.removesuffix(".toml") in (_NODE, *_PARTS)]
    several = len(known) > 1 and f"{_NODE}.toml" in known
    if several or (not known and len(names) > 1):
        why = f"{_NODE}.toml is for a whole node, the others for its parts: " if several else ""
        there = ", ".join(known or names)
        raise ConfigError(f"{folder} has {there}; {why}name one with --config, or move away what is not in use")
    return [folder / name for name in known or names]


def _instances(path: Path, environ: Mapping[str, str]) -> Iterator[Settings]:
    """Settings of the services that have this file, with the variables of each (`EnvironmentFile=` of its unit)."""
    variables = [path.with_suffix(".env"), *sorted(path.parent.glob(f"{path.stem}-*.env"))]
    there = [file for file in variables if file.is_file()]
    if not there:
        yield load(path, environ)
    for file in there:
        own = _variables(file)
        try:
            yield load(path, {**own, **environ})
        except ConfigError as error:
            # Which of the two it is, is told apart no further.
            raise ConfigError(str(error).replace("environment: ", f"environment, or {file}: ", 1)) from error


def _variables(file: Path) -> dict[str, str]:
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; run this with sudo, or name your settings with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: this is not text: write NAME=VALUE, a line each") from error
    pairs = (line.partition("=") for line in lines if line.startswith(PREFIX))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _together(parts: dict[str, Settings]) -> Settings:
    """One of all: each section from the file of whose it is."""
    whole = next(iter(parts.values()))
    if len(parts) == 1:
        return whole
    changes: dict[str, object] = {}
    for section, owners in (
        ("broker", ("broker",)),
        ("etcd", ("broker",)),
        ("connector", ("connector",)),
        ("userapi", ("userapi",)),
        ("store", _OF_STORE),
        ("history", _OF_STORE),
    ):
        owner = next((parts[name] for name in owners if name in parts), None)
        if owner is not None:
            changes[section] = getattr(owner, section)
    # Whichever of the parts it stands with: there is one page for all.
    named = [one.operator for one in parts.values() if any(key.startswith("operator.") for key in one.written)]
    changes["operator"] = (*named, whole.operator)[0]
    return dataclasses.replace(
        whole,
        written=frozenset().union(*(one.written for one in parts.values())),
        written_in_old_ways=tuple(dict.fromkeys(note for one in parts.values() for note in one.written_in_old_ways)),
        **changes,  # type: ignore[arg-type]
    )


def _processes(all_settings: list[Settings]) -> tuple[str, ...]:
    """Monitors that somebody names; or else those of this machine."""
    named = [address for one in all_settings for address in one.monitor.processes]
    return tuple(dict.fromkeys(named or filter(None, (one.monitor.reached for one in all_settings))))


def _check_store(folder: Path, files: tuple[tuple[Path | None, Settings], ...]) -> None:
    """Raises `ConfigError` where they name no store, or two, or one that is elsewhere for everybody."""
    places: dict[str, list[str]] = {}
    for path, settings in files:
        assert path is not None
        if path.stem != "connector":
            store = settings.store
            place = store.path if store.engine == "sqlite" else f"{store.engine}, keyspace {store.cassandra_keyspace}"
            if store.engine == "sqlite" and not Path(place).is_absolute():
                text = f"{path} does not say where the data is: set data_dir, or name the settings with --config"
                raise ConfigError(text)
            places.setdefault(place, []).append(path.name)
    if not places:
        raise ConfigError(
            f"{folder} has settings of connectors alone, which have no store: run this where a broker or user API is"
        )
    if len(places) > 1:
        said = "; ".join(f"{' and '.join(names)}: {place}" for place, names in places.items())
        raise ConfigError(f"{folder} names more than one store ({said}): name the settings with --config")
