"""Releases as they are handed out: what `scripts/package` makes, and a machine that has it by apt, without a network.

Those that need a machine need the ones before.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bare_metal.busy import Busy
from tests.bare_metal.machine import NEWER, ROOT, Machine, ensure, fresh_debian, wheels
from tests.bare_metal.node import UNIT, Node
from tests.bare_metal.packages import Repository, made

pytestmark = pytest.mark.slow

INSIDE = "/usr/lib/sparrow-im"


def of(folder: Path, suffix: str) -> Path:
    (found,) = folder.glob(f"*{suffix}")
    return found


def control(package: Path, field: str) -> str:
    return subprocess.check_output(["dpkg-deb", "--field", package, field], text=True).strip()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made of this tree, which no tag is of."""
    return made(tmp_path_factory.mktemp("package"))


# What is made.


def test_what_is_made(out: Path) -> None:
    package, archive, wheel = of(out, ".deb"), of(out, ".tar.gz"), of(out, ".whl")
    assert {path.name for path in out.iterdir()} == {package.name, archive.name, wheel.name, "SHA256SUMS"}
    sums = dict(line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (package, archive, wheel)}
    version = control(package, "Version")
    assert "+git20260102030405." in version  # of no release, and later than the one before
    machine = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    assert (package.name, archive.name) == (f"sparrow-im_{version}_{machine}.deb", f"sparrow-im-{version}.tar.gz")
    assert "python3 (>= 3.11~), python3 (<< 3.12~)" in control(package, "Depends")


def test_what_is_in_the_package(out: Path, tmp_path: Path) -> None:
    listed = subprocess.check_output(["dpkg-deb", "--contents", of(out, ".deb")], text=True).splitlines()
    assert {line.split()[1] for line in listed} == {"root/root"}
    assert not [line for line in listed if line[0] != "l" and "w" in line[5] + line[8]], "others may write to it"
    subprocess.run(["dpkg-deb", "--extract", of(out, ".deb"), tmp_path], check=True)
    place = tmp_path / INSIDE.lstrip("/")
    assert {path.name for path in (place / "wheels").iterdir()} == {path.name for path in wheels().iterdir()}
    # A release that scripts/install makes of the package is the one that it makes of the tree.
    for tree in ("broker", "userapi/page", "scripts/install.d"):
        theirs = {path.relative_to(place): path.read_bytes() for path in (place / tree).rglob("*") if path.is_file()}
        ours = {path: (ROOT / path).read_bytes() for path in theirs}
        assert theirs == ours
    assert not list(tmp_path.rglob("__pycache__"))
    assert not (tmp_path / "etc").exists()


def test_a_release_is_of_a_commit(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    (repository.folder / "protocol" / "mine.py").touch()
    done = repository.package(tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("package: there are changes that are not committed")
    assert not (tmp_path / "out").exists()


def test_whoever_releases_signs_it(out: Path, tmp_path: Path) -> None:
    """As docs/operations.md and CONTRIBUTING.md have it."""
    ensure("gpg", "gnupg")
    folder, environment = tmp_path / "downloads", os.environ | {"GNUPGHOME": str(tmp_path / "gpg")}
    shutil.copytree(out, folder)
    of(folder, ".whl").unlink()  # who does not want it
    (tmp_path / "gpg").mkdir(mode=0o700)

    def shell(command: str) -> int:
        return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True).returncode

    (verify,) = re.findall(r"^    (gpg --verify .*)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    try:
        assert shell("gpg --batch --passphrase '' --quick-generate-key releases@localhost ed25519 sign") == 0
        assert shell(verify) != 0
        assert shell("gpg --detach-sign --armor SHA256SUMS") == 0
        assert shell(verify) == 0
        with of(folder, ".deb").open("ab") as package:
            package.write(b"\n")
        assert shell(verify) != 0
    finally:
        shell("gpgconf --kill all")


@pytest.mark.full
def test_the_same_bytes_again(out: Path, tmp_path: Path) -> None:
    """Whoever makes it, whenever, and wherever."""
    repository = Repository(tmp_path / "somewhere else")
    done = repository.package(tmp_path / "out", umask=0o077, TZ="Asia/Tokyo", LC_ALL="C.UTF-8", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "SHA256SUMS").read_text() == (out / "SHA256SUMS").read_text()


# A machine that has it.


@pytest.fixture(scope="module")
def machine(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Debian, booted; this package, a newer one, the source archive and wheels are below /srv."""
    folder = tmp_path_factory.mktemp("machine")
    newer = made(folder / "newer", NEWER)
    (folder / "packages").mkdir()
    shutil.copy(of(out, ".deb"), folder / "packages" / "this.deb")
    shutil.copy(of(newer, ".deb"), folder / "packages" / "newer.deb")
    subprocess.run(["tar", "-x", "-C", folder, "-f", of(out, ".tar.gz")], check=True)
    (tree,) = folder.glob("sparrow-im-*")
    binds = {
        "/srv/packages": folder / "packages",
        "/srv/wheels": wheels(),
        "/srv/tree": tree,
    }
    running = Machine(folder, binds)
    try:
        running.boot()
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.root)


def apt(machine: Machine, *arguments: str) -> str:
    """`apt-get …`, which nobody answers questions of, and which reaches no network."""
    command = ("unshare", "--net", "apt-get", "-y", "-q", *arguments)
    done = machine.run(*command, DEBIAN_FRONTEND="noninteractive")
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def node(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(machine, tmp_path_factory.mktemp("people"))


async def in_use(node: Node, prefix: str, disturb: Callable[[], None]) -> None:
    """It goes on in all that it is used for while it is upgraded: conversations, groups, the page's logins."""
    await Busy(node.folder, node.api, prefix).through(disturb)


def restarted(node: Node) -> str:
    """The version that it has then."""
    node.machine.run("systemctl", "restart", UNIT)
    return node.version


@pytest.mark.full
async def test_from_nothing_to_a_chat(node: Node) -> None:
    machine = node.machine
    said = apt(machine, "install", "/srv/packages/this.deb")
    assert "now say what this machine is to be: sparrow-install --role one" in said
    assert machine.run("sparrow", "--version").stdout.startswith("sparrow ")
    # Nobody has asked for more.
    assert not (machine.root / "etc/sparrow").exists()
    assert machine.show(UNIT, "LoadState") == "not-found"

    machine.run("sparrow-install", "--role", "one")
    assert machine.show(UNIT, "ActiveState") == "inactive"
    machine.write("/etc/sparrow/sparrow.env", node.environment)
    machine.run("sparrow", "check")
    machine.run("systemctl", "enable", "--now", UNIT)
    await node.check()
    machine.run("sparrow", "status")
    assert machine.run("dpkg", "--verify", "sparrow-im").stdout == ""
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"


@pytest.mark.full
async def test_upgrade_back_and_forth(node: Node) -> None:
    machine = node.machine
    settings = machine.root / "etc/sparrow/sparrow.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    this = node.version
    releases = machine.root / "opt/sparrow/releases"
    for older in ("0.0.1", "0.0.2"):
        (releases / older / "bin").mkdir(parents=True)
    shutil.copy(machine.root / "usr/bin/sleep", releases / "0.0.2/bin")
    machine.run("systemd-run", "/opt/sparrow/releases/0.0.2/bin/sleep", "600")

    def upgrade() -> None:
        said = apt(machine, "install", "/srv/packages/newer.deb")
        assert f"until you restart them one by one (brokers first): {UNIT}" in said
        assert node.version == this  # until it is restarted
        assert restarted(node) == NEWER

    def rollback() -> None:
        machine.run("sparrow-install", "--rollback")
        assert restarted(node) == this
        machine.run("sparrow-install", "--rollback")
        assert restarted(node) == NEWER

    def downgrade() -> None:
        said = apt(machine, "install", "--allow-downgrades", "/srv/packages/this.deb")
        assert "is there already" in said
        assert restarted(node) == this

    for disturb in (upgrade, rollback, downgrade):
        await in_use(node, disturb.__name__, disturb)
    assert settings.read_text().endswith("# mine\n")
    # What is older is gone, but for what runs.
    assert {path.name for path in releases.iterdir()} == {"0.0.2", this, NEWER}


@pytest.mark.full
def test_one_way_at_a_time(machine: Machine) -> None:
    """What apt has put there is apt's."""
    for arguments in (("--role", "one", "--wheels", "/srv/wheels"), ("--rollback",), ("--uninstall",)):
        done = machine.run("/srv/tree/scripts/install", *arguments, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("install: the package sparrow-im is installed here: go on with apt")
    done = machine.run("sparrow-install", "--uninstall", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("install: this is apt's to do")


@pytest.mark.full
async def test_removed_and_here_again(node: Node) -> None:
    machine = node.machine
    said = apt(machine, "remove", "sparrow-im")
    assert "install: /etc/sparrow, /var/lib/sparrow and the users" in said
    assert machine.run("pgrep", "-f", "/opt/sparrow", check=False).stdout == ""
    assert machine.show(UNIT, "LoadState") == "not-found"
    assert not (machine.root / "opt/sparrow").exists()
    apt(machine, "install", "/srv/packages/this.deb")
    machine.run("sparrow-install", "--role", "one")
    machine.run("systemctl", "enable", "--now", UNIT)
    await node.check()  # the same people, with the same devices


@pytest.mark.full
def test_purge(node: Node) -> None:
    """Settings and keys go, data does not."""
    machine = node.machine
    said = apt(machine, "purge", "sparrow-im")
    assert "sparrow-im: /var/lib/sparrow stays: remove it yourself, if you mean that" in said
    assert not (machine.root / "etc/sparrow").exists()
    assert (machine.root / "var/lib/sparrow/sparrow.db").exists()
    assert machine.run("stat", "--format=%U", "/var/lib/sparrow/sparrow.db").stdout.strip() == "sparrow"
    apt(machine, "install", "/srv/packages/this.deb")
    machine.run("rm", "-r", "/var/lib/sparrow")
    assert "stays" not in apt(machine, "purge", "sparrow-im").partition("Purging")[2]
    assert machine.run("id", "sparrow", check=False).returncode == 1
    assert not [path for path in (machine.root / "etc").rglob("*") if "sparrow" in path.name]


@pytest.mark.full
async def test_from_a_tree_to_the_package(node: Node) -> None:
    """It takes over what scripts/install has put there, settings, data and roles."""
    machine = node.machine
    shutil.rmtree(node.folder)
    node.folder.mkdir()
    machine.run("/srv/tree/scripts/install", "--role", "one", "--wheels", "/srv/wheels")
    machine.write("/etc/sparrow/sparrow.env", node.environment)
    machine.run("systemctl", "enable", "--now", UNIT)

    def take_over() -> None:
        assert "is there already" in apt(machine, "install", "/srv/packages/this.deb")
        apt(machine, "install", "/srv/packages/newer.deb")
        assert restarted(node) == NEWER

    await in_use(node, "take-over", take_over)


@pytest.mark.full
def test_a_root_that_is_not_booted(machine: Machine, tmp_path: Path) -> None:
    """As an image is made of."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", fresh_debian(), root], check=True)

    def inside(*command: str) -> str:
        options = ["-q", "-D", root, "--register=no", "--keep-unit", "--as-pid2", "--private-network"]
        binds = ["--bind-ro", f"{machine.binds['/srv/packages']}:/srv/packages"]
        done = subprocess.run(
            ["systemd-nspawn", *options, *binds, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        inside("apt-get", "-y", "-q", "install", "/srv/packages/this.deb")
        inside("sparrow-install", "--role", "broker", "--role", "userapi")
        inside("/usr/local/bin/sparrow", "--version")
        assert (root / "etc/systemd/system/multi-user.target.wants/sparrow.target").is_symlink()
        inside("apt-get", "-y", "-q", "purge", "sparrow-im")
        assert not [path for path in (root / "etc").rglob("*") if "sparrow" in path.name]
    finally:
        shutil.rmtree(root)
