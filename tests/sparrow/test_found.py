"""Which settings a command finds by itself, and what it does where there are none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ConfigError
from sparrow.config.found import FOLDER_VARIABLE, Found, Store, find
from store import StoreSettings, open_store
from store.sqlite.backup import look_at
from tests.sparrow.test_cli import run

ROOT = Path(__file__).parents[2]


class Machine:
    """An installation, and the empty folder of somebody who types a command."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.data, self.home = folder / "etc", folder / "lib", folder / "home"
        for made in (self.etc, self.data, self.home):
            made.mkdir()

    def install(self, *roles: str) -> None:
        """As `scripts/install --role` writes settings."""
        for role in roles:
            text = (ROOT / "scripts" / "install.d" / f"{role}.toml").read_text()
            text = text.replace("/etc/sparrow", str(self.etc)).replace("/var/lib/sparrow", str(self.data))
            (self.etc / f"{role}.toml").write_text(text)

    def write(self, name: str, text: str) -> None:
        (self.etc / name).write_text(text)

    def find(self, store: Store = Store.NOTHING, **environ: str) -> Found:
        return find(None, {FOLDER_VARIABLE: str(self.etc), **environ}, store)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    monkeypatch.chdir(made.home)
    yield made
    assert not [path for path in made.home.iterdir() if path.name == "var"]


# Where they are.


def test_what_is_named_wins_and_is_not_told(machine: Machine) -> None:
    machine.install("sparrow")
    machine.write("mine", "[log]\nlevel = 'error'\n")
    named = find(machine.etc / "mine", {FOLDER_VARIABLE: str(machine.etc)})
    assert (named.settings.log.level, named.note) == ("error", "")
    by_variable = machine.find(SPARROW_CONFIG=str(machine.etc / "mine"))
    assert (by_variable.settings.log.level, by_variable.note) == ("error", "")
    (machine.home / "sparrow.toml").write_text("[log]\nlevel = 'warning'\n")
    here = machine.find()
    assert (here.settings.log.level, here.note) == ("warning", f"the settings are {machine.home}/sparrow.toml")


def test_a_node_that_is_installed(machine: Machine) -> None:
    machine.install("sparrow")
    found = machine.find(Store.WRITES)
    assert found.note == f"the settings are {machine.etc}/sparrow.toml"
    assert found.settings.store.path == f"{machine.data}/sparrow.db"
    assert found.settings.monitor.processes == ("127.0.0.1:7490",)
    assert machine.find(SPARROW_STORE__PATH="/else.db").settings.store.path == "/else.db"


def test_what_a_service_has_besides_its_file(machine: Machine) -> None:
    """As `EnvironmentFile=` of its unit."""
    machine.install("sparrow")
    machine.write("sparrow.env", f"# moved\n SPARROW_DATA_DIR='{machine.data}/disk'\nTZ=UTC\n")
    assert machine.find(Store.WRITES).settings.store.path == f"{machine.data}/disk/sparrow.db"
    assert machine.find(SPARROW_DATA_DIR="/mine").settings.store.path == "/mine/sparrow.db"
    machine.write("sparrow.env", "SPARROW_BROKER__LEASE_S=5000\n")
    with pytest.raises(ConfigError, match=r"environment, or .*/sparrow\.env: broker\.lease_s = 5000"):
        machine.find()
    (machine.etc / "sparrow.env").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"sparrow\.env: this is not text"):
        machine.find()


def test_parts_of_a_cluster_are_one_machine(machine: Machine) -> None:
    machine.install("broker", "connector", "userapi")
    machine.write("connector-1.env", "SPARROW_MONITOR__LISTEN_PORT=7491\n")
    machine.write("connector-2.env", "SPARROW_MONITOR__LISTEN_PORT=7492\n")
    found = machine.find(Store.READS)
    settings = found.settings
    assert [path.name for path, _ in found.files if path] == ["broker.toml", "connector.toml", "userapi.toml"]
    assert settings.store.path == f"{machine.data}/sparrow.db"
    assert settings.broker.curve_key_file == f"{machine.etc}/keys/broker.key"
    assert settings.connector.reuse_port
    assert settings.userapi.token_private_key_file == f"{machine.etc}/keys/token.key.pem"
    assert settings.monitor.processes == tuple(f"127.0.0.1:{port}" for port in (7490, 7491, 7492, 7489))
    machine.write("userapi.toml", f"data_dir = '{machine.data}'\n[monitor]\nprocesses = ['a:1', 'b:2']\n")
    with pytest.raises(ConfigError, match="more than one store"):
        machine.find(Store.READS)  # store.path is var/sparrow.db there
    assert machine.find().settings.monitor.processes == ("a:1", "b:2")


def test_only_file_of_another_name(machine: Machine) -> None:
    machine.write("ours.toml", f"data_dir = '{machine.data}'\n")
    assert machine.find(Store.WRITES).settings.store.path == f"{machine.data}/var/sparrow.db"
    machine.write("theirs.toml", "")
    with pytest.raises(ConfigError, match=r"ours\.toml, theirs\.toml; name one with --config"):
        machine.find()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"sparrow": "", "broker": ""}, "sparrow.toml is for a whole node"),
        ({"sparrow": ""}, "does not say where the data is: set data_dir"),
        ({"connector": ""}, "connectors alone, which have no store"),
        ({"broker": "data_dir = '/a'", "userapi": "data_dir = '/b'"}, "more than one store .broker.toml: /a/var/"),
        (
            {"broker": "[store]\nengine = 'cassandra'", "userapi": "data_dir = '/b'"},
            "broker.toml: cassandra, keyspace sparrow; userapi.toml: /b/",
        ),
        ({"broker": "[brokr]"}, 'broker.toml: unknown section or key "brokr"'),
    ],
)
def test_what_cannot_be_told(machine: Machine, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        machine.write(f"{name}.toml", text)
    with pytest.raises(ConfigError, match=says):
        machine.find(Store.WRITES)


def test_a_folder_that_is_not_ours_to_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def refuse(folder: Path) -> list[str]:
        if folder == machine.etc:
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ConfigError, match=r"cannot look into .*: run this with sudo, or name"):
        machine.find()


# Nowhere.


def test_defaults_are_nothing_to_write_with(machine: Machine) -> None:
    for store in (Store.NOTHING, Store.READS):
        assert machine.find(store).files[0][0] is None
    with pytest.raises(ConfigError, match=r"there are no settings in ./sparrow.toml or .*etc, and no node has run"):
        machine.find(Store.WRITES)
    with pytest.raises(ConfigError, match=r"in ./sparrow.toml, and no node"):
        find(None, {FOLDER_VARIABLE: ""}, Store.WRITES)
    with pytest.raises(ConfigError, match="there are no settings"):
        machine.find(Store.WRITES, SPARROW_LOG__LEVEL="error")  # says nothing of where
    with pytest.raises(ConfigError, match="there are no settings"):
        machine.find(Store.WRITES, SPARROW_STORE__ENGINE="sqlite")
    assert machine.find(Store.WRITES, SPARROW_STORE__ENGINE="cassandra")
    assert machine.find(Store.WRITES, SPARROW_DATA_DIR="x").settings.store.path == "x/var/sparrow.db"


def test_where_a_node_has_run_with_defaults_they_are_right(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    (folder / "var").mkdir(parents=True)
    (folder / "var" / "sparrow.db-lock").touch()  # it stays when the database is lost
    os.chdir(folder)
    assert machine.find(Store.WRITES).settings.store.path == "var/sparrow.db"
    machine.install("sparrow")
    for store in (Store.READS, Store.WRITES):
        with pytest.raises(ConfigError, match="name with --config which is meant"):
            machine.find(store)
    assert machine.find().note


def test_a_checkout_is_its_own(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scripts/serve runs with the defaults, also on a machine with an installation."""
    machine.install("sparrow")
    monkeypatch.chdir(ROOT)
    found = machine.find(Store.WRITES)
    assert (found.note, found.settings.store.path) == ("", "var/sparrow.db")
    monkeypatch.chdir(ROOT / "docs")
    assert machine.find().note


# The commands.


async def test_a_restore_goes_where_the_server_looks(machine: Machine, tmp_path: Path) -> None:
    async with open_store(StoreSettings(path=str(tmp_path / "old.db"))):
        pass

    def sparrow(*arguments: str, folder: Path | str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, folder=machine.home, **{FOLDER_VARIABLE: str(folder)}, **environ)

    machine.install("sparrow")
    archive = str(tmp_path / "monday.tar")
    assert sparrow("backup", archive, folder="", SPARROW_STORE__PATH=str(tmp_path / "old.db")).returncode == 0
    refused = sparrow("restore", archive, folder="")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("sparrow: there are no settings in ./sparrow.toml, and no node has run in this")
    if os.geteuid() == 0:
        os.chown(machine.data, 1234, 1234)
    done = sparrow("restore", archive, folder=machine.etc)
    assert (done.returncode, done.stderr) == (0, f"sparrow: the settings are {machine.etc}/sparrow.toml\n")
    assert look_at(machine.data / "sparrow.db")[1].accounts == 0
    owner = machine.data.stat().st_uid
    assert {path.name: path.stat().st_uid for path in machine.data.iterdir()} == {
        "sparrow.db": owner,
        "sparrow.db-lock": owner,
    }
    assert sparrow("history", "keep", "9", folder=machine.etc).stdout.startswith("conversations are kept for 9 days")


def test_the_operators_page_is_for_all_parts(machine: Machine) -> None:
    machine.install("broker", "connector", "userapi")
    assert machine.find().settings.operator.listen_port == 7485
    for part in ("connector", "userapi"):
        machine.install("broker", "connector", "userapi")
        machine.write(f"{part}.toml", (machine.etc / f"{part}.toml").read_text() + "\n[operator]\nlisten_port = 7486\n")
        assert machine.find().settings.operator.listen_port == 7486


def test_check_looks_at_each_file_and_at_all_together(machine: Machine) -> None:
    for name, text in {
        "broker": "[broker]\nlisten = 'tcp://127.0.0.1:7411'\n",
        "connector": "[connector]\nlisten_host = '0.0.0.0'\nplain_tcp = true\nbrokers = ['tcp://127.0.0.1:7411']\n",
        "userapi": "[userapi]\nbrokers = ['tcp://127.0.0.1:7411']\npage = false\n",
    }.items():
        machine.write(f"{name}.toml", f"data_dir = '{machine.data}'\n{text}")
    answer = run("check", folder=machine.home, **{FOLDER_VARIABLE: str(machine.etc)})
    assert answer.returncode == 0, answer.stdout
    (line,) = answer.stdout.splitlines()
    assert line.startswith('warning: userapi.connectors: "127.0.0.1:7400" is what clients are told')
    machine.write("connector.toml", f"data_dir = '{machine.data}'\n[connector]\nbrokers = ['tcp://127.0.0.1:7411']\n")
    answer = run("check", folder=machine.home, **{FOLDER_VARIABLE: str(machine.etc)})
    assert answer.stdout == "nothing to complain about, as of a broker, a connector, a user API\n"
