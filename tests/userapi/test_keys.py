"""The key pair's files."""

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fabric.tokens import TokenVerifier
from protocol.errors import ConfigError
from userapi.keys import belongs_to, ensure_key_pair, load_keys, publish, use
from userapi.tokens import TokenMinter


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "a" / "key.pem", tmp_path / "b" / "pub.pem"


def test_made_once_and_kept(paths: tuple[Path, Path]) -> None:
    private, public = paths
    ensure_key_pair(private, public)
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes(), public.read_bytes()
    ensure_key_pair(private, public)
    assert (private.read_bytes(), public.read_bytes()) == before
    public.unlink()
    ensure_key_pair(private, public)
    assert public.read_bytes() == before[1]
    assert [path.name for folder in (private.parent, public.parent) for path in folder.iterdir()] == [
        "key.pem",
        "pub.pem",
    ]


def test_many_at_once_end_with_one_pair(paths: tuple[Path, Path]) -> None:
    private, public = paths
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        ensure_key_pair(private, public)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    token, _ = TokenMinter(private, 60).mint("alice", "d", 1000)
    assert TokenVerifier(public.read_bytes()).verify(token, 1000).user == "alice"
    assert len(list(private.parent.iterdir())) == 1


def test_public_keys_that_are_ahead_of_ours_stay(paths: tuple[Path, Path]) -> None:
    """While keys change, public ones come first; what lacks one of ours, or is none, is mended."""
    private, public = paths
    ensure_key_pair(private, public)
    before = private.read_bytes()
    publish(private, public)
    ahead = public.read_bytes()
    private.write_bytes(before)
    ensure_key_pair(private, public)
    assert public.read_bytes() == ahead
    for content in (b"nonsense", before, ahead.partition(b"# next")[2]):
        public.write_bytes(content)
        ensure_key_pair(private, public)
        assert [TokenVerifier(public.read_bytes()).key_ids] == [(load_keys(private)[0].id,)]


def test_a_file_that_has_seen_another_system_and_one_behind_a_link(paths: tuple[Path, Path]) -> None:
    private, public = paths
    ensure_key_pair(private, public)
    publish(private, public)
    private.write_bytes(private.read_bytes().replace(b"\n", b"\r\n"))
    place = private.with_name("elsewhere.pem")
    private.replace(place)
    private.symlink_to(place)
    use(private, public)
    assert private.is_symlink()
    assert [key.use for key in load_keys(place)] == ["in use", "old"]


def test_files_that_are_no_keys(paths: tuple[Path, Path]) -> None:
    private, public = paths
    private.parent.mkdir()
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"nonsense", other):
        private.write_bytes(content)
        with pytest.raises(ConfigError, match=r"key\.pem.*remove it"):
            ensure_key_pair(private, public)
        assert private.read_bytes() == content
    with pytest.raises(ConfigError, match="No such file"):
        load_keys(public)


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        ensure_key_pair(tmp_path / "file" / "key.pem", tmp_path / "pub.pem")


def test_who_only_reads_them_is_not_told_to_be_let_write(
    paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = paths
    ensure_key_pair(private, public)
    assert belongs_to(public, private)
    public.write_text("another's")
    assert not belongs_to(public, private)

    def refuse(path: Path, flags: int, mode: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("userapi.keys.open_as_folders", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied; make key\.pem and pub\.pem together, as root") as error:
        ensure_key_pair(private, public)
    assert "write" not in str(error.value)
