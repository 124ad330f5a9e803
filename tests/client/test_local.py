"""Names of strangers before they touch a disk, and files while they are being downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.api.local import MAX_NAME_BYTES, Part, Source, safe_name, target_of
from protocol.errors import ChecksumError, LocalFileError, MisuseError

FILE = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("holiday.jpg", "holiday.jpg"),
        ("Übersicht März.tar.gz", "Übersicht März.tar.gz"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\..\\boot.ini", "_.._boot.ini"),
        (".bashrc", "bashrc"),
        ("...", "file"),
        ("", "file"),
        (" . . ", "file"),
        ("a\x00b\n\x1b[2J.txt", "a_b__[2J.txt"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("-rf", "-rf"),
        ("👩\u200d👩\u200d👧.png", "👩\u200d👩\u200d👧.png"),
        ("می\u200cخواهم.txt", "می\u200cخواهم.txt"),
        ("a\u200d.exe\u200c", "a_.exe_"),
        ("\u200d\u200c", "_"),
        ("ü\u200d\u200c.jpg", "ü_.jpg"),
        ("a\u2028b\u0085c\u2067d.txt", "a_b_c_d.txt"),
        ("at 3.04\u202fPM.png", "at 3.04 PM.png"),
        ("x" * 300 + ".jpg", "x" * 196 + ".jpg"),
        ("ä" * 300, "ä" * 100),
        ("a." + "b" * 300, "a." + "b" * 198),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=300))
@example("\ud800")
@example("ä.jpg" * 60)
def test_a_safe_name_is_a_name_in_a_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert not safe.startswith(".")
    assert len(os.fsencode(safe)) <= MAX_NAME_BYTES
    assert not set(safe) & {"/", "\\", "\0", "\n", "\x1b", "\u202e"}
    assert Path("folder", safe).parent == Path("folder")
    assert safe.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert safe_name(safe) == safe


def part(target: Path, data: bytes) -> Part:
    made = Part(target, FILE, len(data))
    made.open()
    return made


def test_a_part_goes_on_and_becomes_a_file(tmp_path: Path) -> None:
    data = os.urandom(600_000)
    digest = hashlib.sha256(data).hexdigest()
    target = target_of(tmp_path, "../a.tar.gz")
    for number in range(3):
        first = part(target, data)
        assert first.length == 0
        first.add(data[:300_000])
        first.close()
        second = part(target, data)
        assert second.length == 300_000
        with pytest.raises(MisuseError, match="already"):
            part(target, data)
        second.add(data[300_000:])
        made = second.finish(digest)
        second.close()
        assert made.name == ("_a.tar.gz", "_a.tar (2).gz", "_a.tar (3).gz")[number]
        assert made.read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 3


def test_a_part_that_is_not_what_was_announced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    one = part(target, b"four")
    with pytest.raises(ChecksumError, match="longer"):
        one.add(b"fives")
    one.add(b"fo")
    with pytest.raises(ChecksumError, match="shorter"):
        one.finish("")
    one.restart()
    one.add(b"FOUR")
    with pytest.raises(ChecksumError, match="SHA-256"):
        one.finish(hashlib.sha256(b"four").hexdigest())
    one.close()
    # What is too long was never a part of this.
    assert part(target, b"fou").length == 0
    one.discard()
    one.discard()
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="No such file"):
        part(tmp_path / "nowhere" / "a", b"")
    (tmp_path / f"a.{FILE}.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalFileError):
        part(tmp_path / "a", b"")
    assert not (tmp_path / "elsewhere").exists()
    for name in ("a\0b", "\ud800"):
        with pytest.raises(LocalFileError):
            part(tmp_path / name, b"")
        with pytest.raises(LocalFileError):
            Source(tmp_path / name).open()


def test_a_source(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for wrong, text in ((path, "No such file"), (tmp_path, "is no file"), (Path("/dev/null"), "is no file")):
        source = Source(wrong)
        with pytest.raises(LocalFileError, match=text):
            source.open()
        source.close()
    path.write_bytes(b"x" * 300_000)
    source = Source(path)
    source.open()
    assert (source.size, source.sha256) == (300_000, hashlib.sha256(b"x" * 300_000).hexdigest())
    assert len(source.read(0)) < source.size
    assert source.read(299_999) == b"x"
    os.truncate(path, 100)
    with pytest.raises(LocalFileError, match="changed while"):
        source.read(100)
    source.close()
