"""The committed protobuf code is what the committed .proto generates."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "generate", tmp_path], check=True, timeout=300)
    for name in ("sparrow_pb2.py", "sparrow_pb2.pyi"):
        committed = ROOT / "protocol" / name
        if committed.read_bytes() != (tmp_path / "protocol" / name).read_bytes():
            pytest.fail(f"protocol/{name} is out of date: run scripts/generate and commit the result")
