"""`sparrow migrate`, where it must not begin. How it goes: tests/store and tests/cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparrow.cli import main
from store.settings import StoreSettings
from store.sqlite.schema import open_writer


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Of a node with SQLite, which has a database, and no Cassandra anywhere."""
    path = tmp_path / "sparrow.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/sparrow.db"\ncassandra_contact_points = ["127.0.0.1:1"]\n'
        "cassandra_start_timeout_s = 0.2\n"
    )
    open_writer(StoreSettings(path=f"{tmp_path}/sparrow.db")).close()
    return path


def refused(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str) -> str:
    """What it says."""
    assert main(["migrate", "--config", str(settings), *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    return said.err


def test_where_the_engine_is_the_other_one(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, settings, "--to", "sqlite")
    assert 'store.engine is "sqlite": this is run with "cassandra"' in said
    settings.write_text(settings.read_text() + 'engine = "cassandra"\n')
    said = refused(capsys, settings, "--to", "cassandra")
    assert 'store.engine is "cassandra": this is run with "sqlite"' in said


def test_where_nothing_was_copied_yet(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not everything was copied yet" in refused(capsys, settings, "--to", "cassandra", "--finish")


def test_where_there_is_no_database(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.parent / "sparrow.db").unlink()
    assert "there is no database" in refused(capsys, settings, "--to", "cassandra")


def test_where_cassandra_is_away(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Cassandra at 127.0.0.1:1" in refused(capsys, settings, "--to", "cassandra")
    # Nothing has begun, and there is nothing to undo.
    assert main(["migrate", "--config", str(settings), "--to", "cassandra", "--abort"]) == 0
    assert "Forgotten" in capsys.readouterr().out
