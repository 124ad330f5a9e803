"""Files that root makes beside a server's are the server's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabric.files import give_to_owner_of, make_folder, open_as_folders

NEW = os.O_WRONLY | os.O_CREAT
SOMEBODY = (1234, 5678)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """As root, in a folder of somebody's: file → whom it was given to."""
    found: dict[str, tuple[int, int]] = {}
    stat = Path.stat

    def owned(path: Path, **options: bool) -> os.stat_result:
        seen = stat(path, **options)
        values = list(seen)
        values[4:6] = SOMEBODY if path.is_relative_to(tmp_path) else (0, 0)
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", owned)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda file, *to: found.update({os.readlink(f"/proc/self/fd/{file}"): to}))  # noqa: PTH115
    monkeypatch.setattr(os, "chown", lambda path, *to, **_: found.update({str(path): to}))
    return found


def test_what_is_new_is_its_folders_owners(tmp_path: Path, given: dict[str, tuple[int, int]]) -> None:
    make_folder(tmp_path / "a" / "b")
    path = tmp_path / "a" / "b" / "key"
    os.close(open_as_folders(path, NEW, 0o600))
    made = [path.parent.parent, path.parent, path]
    assert given == {str(one): SOMEBODY for one in made}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_there_stays_whose_it_is(tmp_path: Path, given: dict[str, tuple[int, int]]) -> None:
    """Its owner may have put a link there, to a file of root's."""
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.close(open_as_folders(tmp_path / "link", NEW, 0o600))
    with pytest.raises(FileExistsError):
        open_as_folders(tmp_path / "link", NEW | os.O_EXCL, 0o600)
    make_folder(tmp_path)
    assert given == {}


def test_roots_own_folder_and_other_users(
    tmp_path: Path, given: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "file").open("w") as file:
        give_to_owner_of(Path("/"), file.fileno())
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        give_to_owner_of(tmp_path, file.fileno())
    os.close(open_as_folders(tmp_path / "other", NEW, 0o600))
    assert given == {}


def test_two_at_once_end_with_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def late(path: Path) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(Path, "mkdir", late)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_nothing_is_left_open_where_it_cannot_be_given(tmp_path: Path, given: dict[str, tuple[int, int]]) -> None:
    assert given == {}

    def refuse(descriptor: int, *_: int) -> None:
        found.append(descriptor)
        raise PermissionError(1, "Operation not permitted")

    found: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fchown", refuse)
        with pytest.raises(PermissionError):
            open_as_folders(tmp_path / "new", NEW, 0o600)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(found[0])
    (tmp_path / "old").touch()
    os.close(open_as_folders(tmp_path / "old", os.O_RDONLY, 0o600))
