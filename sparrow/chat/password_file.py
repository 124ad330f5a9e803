"""A password that somebody has put into a file, for programs that cannot be asked.

Owns how it is read.
"""

from __future__ import annotations

from pathlib import Path

from protocol.errors import ConfigError


def password_in(file: Path) -> str:
    """The first line of what `--password-file` names. Raises `ConfigError`."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"--password-file {file}: {reason}") from error
    if not lines or not lines[0]:
        raise ConfigError(f"--password-file {file}: its first line is empty")
    return lines[0]
