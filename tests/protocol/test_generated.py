"""The committed protobuf code is what the committed .proto generates."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "generate", tmp_path], check=True, timeout=300)
    for name in ("protocol/sparrow_pb2", "broker/etcd/api_pb2"):
        for suffix in (".py", ".pyi"):
            if (ROOT / name).with_suffix(suffix).read_bytes() != (tmp_path / name).with_suffix(suffix).read_bytes():
                pytest.fail(f"{name}{suffix} is out of date: run scripts/generate and commit the result")
