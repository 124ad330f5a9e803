"""The connector's keys: whose tokens it believes, its own for links, and those that brokers may have.

Owns reading them, and reading them again. Opens no socket.
"""

from __future__ import annotations

import logging
from pathlib import Path

from connector.settings import ConnectorSettings
from fabric.curve import read_link_keys
from fabric.tokens import TokenVerifier
from protocol.errors import ConfigError

log = logging.getLogger("sparrow.connector")


class Keys:
    """As the files had them when they were last good."""

    def __init__(self, settings: ConnectorSettings) -> None:
        """Raises `ConfigError`."""
        self._settings = settings
        self._take()

    def _take(self) -> None:
        settings = self._settings
        verifier = TokenVerifier(_read(settings.token_public_key_file))
        self.links = read_link_keys(settings.curve_key_file, settings.broker_public_key_file)
        """For links; None: without CURVE."""
        self.verifier = verifier

    def reload(self) -> None:
        """Take what the files hold now; if one of them is no good, log it and keep what was."""
        try:
            self._take()
        except ConfigError as error:
            log.error("the keys are not changed: %s", error)
            return
        brokers = len(self.links.brokers) if self.links is not None else 0
        log.info("keys were read again: of tokens %s; of brokers %d", ", ".join(self.verifier.key_ids), brokers)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"connector.token_public_key_file: cannot read {path} ({error.strerror}); "
            "copy the user API's public key there"
        ) from error
