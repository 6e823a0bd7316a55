"""Folders that are ours alone, and emptying one: what is refused, what is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from otherusers import EXCHANGE, HOSTILE, program

from emulab.errors import UserError
from emulab.kernel import folders


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can get to."""
    path = Path(tempfile.mkdtemp(prefix="emulab-folders-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def opens(path: Path, create: bool = False) -> bool:
    """Whether the folder is taken for ours, and the descriptor is its own."""
    fd = folders.open_own(path, create)
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    finally:
        os.close(fd)


def test_a_folder_is_made_with_its_parents_for_its_owner_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folders.open_own(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists(), "who only looks makes nothing"
    assert opens(tmp_path / "a" / "b", create=True)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_links_of_our_own_may_lead_to_it_but_it_is_none(tmp_path: Path) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "way")
    assert opens(tmp_path / "way" / "run") and opens(tmp_path / "absolute" / ".." / "real" / "run")
    (tmp_path / "real" / "link").symlink_to("run")
    with pytest.raises(
        UserError, match=r"is a symbolic link, .*; set EMULAB_RUN_DIR to a folder of your own$"
    ):
        folders.open_own(tmp_path / "real" / "link")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match="is a symbolic link"):
        folders.open_own(tmp_path / "round" / "run")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702, 0o1702])
def test_a_folder_that_others_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(UserError, match=f"is writable by others: chmod go-w {path}, or set EMULAB_RUN_DIR"):
        folders.open_own(path)
    assert folders.open_inner(os.open(tmp_path, os.O_RDONLY), "run") is None


@pytest.mark.parametrize(("mode", "safe"), [(0o777, False), (0o1777, True), (0o755, True), (0o702, False)])
def test_a_folder_below_one_that_others_may_write_to(mode: int, safe: bool, tmp_path: Path) -> None:
    """In a sticky folder nobody else can move what is ours."""
    (tmp_path / "above" / "run").mkdir(parents=True)
    (tmp_path / "above").chmod(mode)
    if safe:
        assert opens(tmp_path / "above" / "run")
    else:
        with pytest.raises(UserError, match=f"chmod go-w {tmp_path}/above, or set EMULAB_RUN_DIR"):
            folders.open_own(tmp_path / "above" / "run")


@pytest.mark.root
def test_a_group_is_no_other_where_nobody_else_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "above" / "run"
    path.mkdir(parents=True)
    path.parent.chmod(0o775)
    assert opens(path), "the group `root` is root's own"
    os.chown(path.parent, 0, 54321)
    with pytest.raises(UserError, match="to which others may write"):
        folders.open_own(path)


@pytest.mark.root
@pytest.mark.parametrize("whose", ["run", "above", "link"])
def test_root_uses_nothing_of_another_users(whose: str, tmp_path: Path) -> None:
    path = tmp_path / "above" / "link" / "run"
    (tmp_path / "above" / "real" / "run").mkdir(parents=True)
    (tmp_path / "above" / "link").symlink_to("real")
    assert opens(path)
    chowned = {"run": path, "above": tmp_path / "above", "link": tmp_path / "above" / "link"}
    os.lchown(chowned[whose], HOSTILE, HOSTILE)
    with pytest.raises(UserError, match=r"another user.*set EMULAB_RUN_DIR to a folder of your own$"):
        folders.open_own(path)
    if whose == "run":
        assert folders.open_inner(os.open(path.parent, os.O_RDONLY), "run") is None


def test_an_inner_folder_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    top = os.open(tmp_path, os.O_RDONLY)
    assert [folders.open_inner(top, name) for name in ("link", "file", "missing")] == [None] * 3
    assert folders.open_inner(top, "real") is not None


def emptied(path: Path, *but: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        folders.empty(fd, but)
    finally:
        os.close(fd)


def test_emptying_follows_no_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "lab"
    (victim / "thesis").mkdir(parents=True)
    (victim / "notes").write_text("all of it")
    (path / "inner").mkdir(parents=True)
    for where in (path, path / "inner"):
        (where / "folder").symlink_to(victim)
        (where / "file").symlink_to(victim / "notes")
    (path / "lock").write_text("")
    (path / ".removed-0").mkdir()  # of one who was killed here
    (path / ".removed-0" / "x").write_text("")
    emptied(path, "lock")
    assert os.listdir(path) == ["lock"]
    assert (victim / "notes").read_text() == "all of it" and (victim / "thesis").is_dir()


def test_emptying_needs_few_descriptors_at_any_depth(tmp_path: Path) -> None:
    """A program in a lab may have made a path longer than any name can tell (PATH_MAX)."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("a" * 20, dir_fd=fd)
        inner = os.open("a" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    emptied(tmp_path)
    assert os.listdir(tmp_path) == []


def test_emptying_takes_the_right_to_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("")
    for path in ("a/b/c", "a/b", "a"):
        (tmp_path / path).chmod(0)
    emptied(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.root
@pytest.mark.parametrize("where", ["mounted", "inner/mounted", "file"])
def test_what_is_mounted_stays(where: str, tmp_path: Path) -> None:
    """What is bind-mounted from the same file system isn't known by its device: the kernel says EBUSY."""
    victim, path = tmp_path / "victim", tmp_path / "lab"
    victim.mkdir()
    (victim / "notes").write_text("all of it")
    (path / "inner" / "mounted").mkdir(parents=True)
    (path / "mounted").mkdir()
    (path / "file").write_text("")
    (path / "other" / "deep").mkdir(parents=True)
    source = victim / "notes" if where == "file" else victim
    mount = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5"', "sh"]
    script = (
        "import os, sys; from emulab.kernel import folders; folders.empty(os.open(sys.argv[1], os.O_RDONLY))"
    )
    ran = subprocess.run(
        [*mount, str(source), str(path / where), os.path.realpath("/proc/self/exe"), script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, __import__("sys").path))},
        capture_output=True,
        text=True,
    )
    assert "Device or resource busy" in ran.stderr, ran.stderr
    assert (victim / "notes").read_text() == "all of it"
    assert not (path / "other").exists(), "the rest goes all the same"


@pytest.mark.root
def test_emptying_while_another_user_exchanges_folder_and_link(public: Path) -> None:
    """A folder in it is his: a volume, say. He exchanges what is in it for links while we remove it."""
    victim, lab = public / "victim", public / "lab"
    victim.mkdir()
    for number in range(20):
        (victim / str(number)).write_text("all of it")
    pairs = [(f"folder{n}", f"link{n}") for n in range(100)]
    end = time.monotonic() + 10
    for _ in range(10):
        volume = lab / "volume"
        for folder, link in pairs:
            (volume / folder).mkdir(parents=True)
            (volume / folder / "file").write_text("")
            (volume / link).symlink_to(victim)
        os.chown(volume, HOSTILE, HOSTILE)
        with program(HOSTILE, EXCHANGE, str(volume), *(name for pair in pairs for name in pair)):
            emptied(lab)
        assert os.listdir(lab) == []
        assert len(os.listdir(victim)) == 20
        if time.monotonic() > end:
            break
