"""All settings as one frozen tree. The rooms own their own sections; `[monitor]`, `[operator]` and `[log]` are here.

Owns what there is to set, and no rule. Reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from typing import Any, get_type_hints

from broker.settings import BrokerSettings, EtcdSettings
from connector.settings import ConnectorSettings
from fabric.bounds import number, port
from store.settings import HistorySettings, StoreSettings
from userapi.settings import UserApiSettings


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """Where a process tells of itself: metrics, health, and what is up."""

    listen_host: str = "127.0.0.1"
    """Whoever reaches it sees metrics and addresses of servers, never messages or users."""
    listen_port: int = port(0, zero=True)
    """0: it tells nobody. Processes of one machine have a port each."""
    allow_trace: bool = False
    """Lets whoever reaches it ask for traces, which name users: who writes to whom, when, from which devices."""
    processes: tuple[str, ...] = ()
    """host:port of the monitors of all processes, for `sparrow status` and `sparrow top`; name=host:port shows one that
    is down by its name."""
    backup_folder: str = ""
    """Where `sparrow backup --into` puts backups: the process then tells how old the newest good one is."""

    @property
    def reached(self) -> str:
        """host:port of this monitor, from its own machine; empty: it tells nobody."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen_host, self.listen_host)
        return f"{f'[{host}]' if ':' in host else host}:{self.listen_port}" if self.listen_port else ""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The operator's page, as `sparrow operator` serves it: what is wrong, how much goes on, accounts, groups."""

    listen_host: str = "127.0.0.1"
    """Where browsers find it. Beyond this machine it takes a certificate."""
    listen_port: int = port(7485)
    """An origin of its own: nothing else is served there."""
    tls_certificate_file: str = ""
    """PEM of the certificate, with its chain; empty: plain HTTP, on this machine alone. Read again when it changes."""
    tls_private_key_file: str = ""
    """PEM of the certificate's key, without a password."""
    names: tuple[str, ...] = ()
    """Host names by which browsers open it, besides localhost and addresses. Under others nothing is answered."""
    userapi_url: str = ""
    """Where `/v1/admin` is, such as "https://chat.example.net"; empty: where [userapi] has it on this machine."""
    userapi_ca_file: str = ""
    """With `userapi_url`: PEM of the CA that its certificate is of; empty: the system's."""
    look_interval_s: float = number(5.0, 1, 60)
    """Every monitor of `monitor.processes` is asked so often, however many look at the page."""
    session_lifetime_s: float = number(8 * 3600.0, 60, 7 * 86400)
    """After so long an operator shows the administrator's token again."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What goes to the log: standard error, or the journal with fields if that is where standard error leads."""

    level: str = "info"
    """info, warning or error."""
    session_lines_per_second: int = number(1000, 1, 1_000_000, zero=True)
    """A line, of some 250 bytes, tells that a session begins or ends; beyond this they are only counted. 0: none."""
    session_bytes_per_day: int = number(1024 * 1024 * 1024, 1, 1024**5)
    """What these lines of a process may come to in a day, an hour's share of it in each hour; beyond it they are only
    counted."""
    strangers_bytes_per_day: int = number(64 * 1024 * 1024, 1, 1024**5)
    """The same of lines that anybody can cause who reaches a port: refused logins, breaches, failed handshakes,
    requests that fail, and what the audit log says of nobody that is known."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    data_dir: str = "."
    """The folder that relative paths below are in; itself relative to the working directory."""
    connector: ConnectorSettings = field(default_factory=ConnectorSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    etcd: EtcdSettings = field(default_factory=EtcdSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    userapi: UserApiSettings = field(default_factory=UserApiSettings)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    operator: OperatorSettings = field(default_factory=OperatorSettings)
    log: LogSettings = field(default_factory=LogSettings)
    written: frozenset[str] = field(default=frozenset(), compare=False)
    """Not a setting: names, as in "store.path", of those that somebody has written, be it as they are by default."""
    written_in_old_ways: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Not a setting: names of what was read and is called otherwise now, or is gone, and what to say of each."""


def sections() -> dict[str, type[Any]]:
    """The settings class of each section."""
    hints = get_type_hints(Settings)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
