"""The run directory: names, locks, and sweeping up after dead labs."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from emulab.errors import UserError
from emulab.kernel import names
from emulab.kernel.cgroups import sweeping
from emulab.lab.folders import rundir
from emulab.lab.folders.rundir import LabInfo


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory, and places for names, of the test's own."""
    top = tmp_path / "run"
    monkeypatch.setenv("EMULAB_RUN_DIR", str(top))
    monkeypatch.setattr(names, "NETNS", tmp_path / "netns")
    monkeypatch.setattr(names, "ETC_NETNS", tmp_path / "etc-netns")
    monkeypatch.setattr(sweeping, "swept_folders", tuple)
    return top


@pytest.mark.parametrize("name", ["default", "a", "0", "a-b", "x" * 40, "py-12-ab34"])
def test_names(name: str, base: Path) -> None:
    assert rundir.check_name(name) == name and rundir.folder(name) == base / name


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a-", "x" * 41, "../x", "a/b", "a b", "a\n", "ä"])
def test_no_names(name: str) -> None:
    with pytest.raises(UserError, match="is no name for a lab"):
        rundir.folder(name)


def test_where_labs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EMULAB_RUN_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rundir.base() == Path("/run/emulab")
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert rundir.base() == tmp_path / "emulab"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert rundir.base() == Path("/tmp/emulab-1234")


def test_a_labs_folder_is_its_owners_alone(base: Path) -> None:
    path = rundir.make("x")
    assert path == base / "x" and rundir.make("x") == path
    claimed, lock = rundir.claim("x")
    assert claimed == path and {p.name for p in path.iterdir()} == {"logs", "etc", "lock"}
    assert [p.stat().st_mode & 0o777 for p in (path, path / "logs", path / "etc")] == [0o700] * 3
    os.close(lock)


def test_a_claim_clears_what_a_dead_lab_left_and_refuses_a_living_one(base: Path) -> None:
    path = dead("x")
    claimed, lock = rundir.claim("x")
    assert claimed == path and not (path / "lab.json").exists()
    with pytest.raises(UserError, match="is up already"):
        rundir.claim("x")
    os.close(lock)


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rundir.make("x")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UserError, match="belongs to another user"):
        rundir.make("x")


def test_a_folder_that_cannot_be_made(base: Path) -> None:
    base.write_text("a file")
    with pytest.raises(UserError, match=r"set EMULAB_RUN_DIR to a folder of your own$"):
        rundir.make("x")


def test_one_supervisor_a_lab() -> None:
    path = rundir.make("x")
    assert rundir.is_alive(path) is False
    lock = rundir.take_lock(path)
    assert lock is not None and rundir.is_alive(path) is True
    assert rundir.take_lock(path) is None
    os.close(lock)
    assert rundir.is_alive(path) is False
    again = rundir.take_lock(path)
    assert again is not None
    os.close(again)


def test_a_lock_is_not_lost_by_looking() -> None:
    path = rundir.make("x")
    lock = rundir.take_lock(path)
    assert lock is not None
    for _ in range(3):
        assert rundir.is_alive(path) is True
    assert rundir.take_lock(path) is None
    os.close(lock)


def test_who_looks_does_not_keep_a_lab_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a command looks whether a lab is alive, its supervisor may be taking the lock."""
    path = rundir.make("x")
    os.close(rundir.take_lock(path) or -1)
    looker = os.open(path / "lock", os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    turns: list[float] = []

    def leave(seconds: float) -> None:
        turns.append(seconds)
        os.close(looker)

    monkeypatch.setattr("emulab.lab.folders.rundir.time.sleep", leave)
    taken = rundir.take_lock(path, patience=60.0)
    assert taken is not None and len(turns) == 1
    os.close(taken)


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    path = rundir.make("x")
    holder = rundir.take_lock(path)
    assert holder is not None
    clock = iter(range(100))
    monkeypatch.setattr("emulab.lab.folders.rundir.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("emulab.lab.folders.rundir.time.sleep", lambda _: None)
    gc.collect()  # what others left is not to be closed in between
    before = len(os.listdir("/proc/self/fd"))
    assert rundir.take_lock(path, patience=5) is None
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(holder)


def test_info_is_written_and_read() -> None:
    path = rundir.make("x")
    assert rundir.read_info(path) is None
    info = LabInfo("x", 17, "2024-01-01T00:00:00Z")
    rundir.write_info(path, info)
    assert rundir.read_info(path) == info
    assert not (path / "lab.json.new").exists()
    for text in ("", "{}", "[1]", '{"name": 1, "what": 2}'):
        (path / "lab.json").write_text(text)
        assert rundir.read_info(path) is None, text


def test_which_labs_there_are(base: Path) -> None:
    assert list(rundir.labs()) == []
    for name in ("b", "a"):
        rundir.make(name)
    (base / "Not-A-Lab").mkdir()
    (base / "file").write_text("")
    assert [p.name for p in rundir.labs()] == ["a", "b"]


def link(path: Path, target: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)
    return path


def dead(name: str, pid: int = 4711) -> Path:
    path = rundir.make(name)
    rundir.write_info(path, LabInfo(name, pid, "t"))
    return path


def test_a_dead_lab_is_swept_with_its_names_and_nothing_else(base: Path, tmp_path: Path) -> None:
    path = dead("x")
    ours = [
        link(names.NETNS / "x.client", "/proc/4711/fd/9"),
        link(names.ETC_NETNS / "x.client", str(path / "etc" / "client")),
    ]
    theirs = [
        link(names.NETNS / "x.other", "/proc/9999/fd/9"),
        link(names.NETNS / "y.client", "/proc/4711/fd/10"),
        link(names.ETC_NETNS / "x.other", "/somewhere/else"),
    ]
    plain = names.NETNS / "x.file"
    plain.write_text("")
    assert rundir.sweep(path) is True
    assert not path.exists() and not any(p.is_symlink() for p in ours)
    assert all(p.is_symlink() for p in theirs) and plain.exists()
    assert rundir.sweep(path) is False


def test_a_living_lab_is_not_swept() -> None:
    path = dead("x")
    name = link(names.NETNS / "x.client", "/proc/4711/fd/9")
    lock = rundir.take_lock(path)
    assert lock is not None
    assert rundir.sweep(path) is False
    rundir.sweep_dead()
    assert path.is_dir() and name.is_symlink()
    os.close(lock)
    rundir.sweep_dead()
    assert not path.exists() and not name.is_symlink()


def test_a_lab_that_is_being_started_is_left_alone() -> None:
    path, lock = rundir.claim("x")
    rundir.sweep_dead()
    assert path.is_dir() and rundir.is_alive(path)
    os.close(lock)


def test_waiting_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    path = dead("x")
    lock = rundir.take_lock(path)
    assert lock is not None
    clock = iter(range(100))
    monkeypatch.setattr("emulab.lab.folders.rundir.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("emulab.lab.folders.rundir.time.sleep", lambda _: None)
    assert rundir.wait_gone(path, 5) is False and path.is_dir()
    monkeypatch.setattr("emulab.lab.folders.rundir.time.sleep", lambda _: os.close(lock))
    assert rundir.wait_gone(path, 5) is True and not path.exists()


def test_a_socket_path_is_short_wherever_the_folder_is(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 120) / ("e" * 120)
    path.mkdir(parents=True)
    gc.collect()  # what others left is not to be closed in between
    before = len(os.listdir("/proc/self/fd"))
    with rundir.socket_path(path) as address, socket.socket(socket.AF_UNIX) as sock:
        assert len(address) < 108
        sock.bind(address)
        assert (path / "control.sock").is_socket()
    assert len(os.listdir("/proc/self/fd")) == before


# names below /run/netns


def test_a_name_is_published_and_taken_back(tmp_path: Path) -> None:
    names.publish([("x.client", 4711, 9, str(tmp_path / "etc"))])
    assert os.readlink(names.NETNS / "x.client") == "/proc/4711/fd/9"
    assert os.readlink(names.ETC_NETNS / "x.client") == str(tmp_path / "etc")
    names.publish([("x.client", 4712, 3, "")])
    assert os.readlink(names.NETNS / "x.client") == "/proc/4712/fd/3", (
        "that of a lab that is gone is replaced"
    )
    names.retract("x.client", 4711, names.NETNS.parent)
    assert (names.NETNS / "x.client").is_symlink(), "it is another process's by now"
    names.retract("x.client", 4712, names.NETNS.parent)
    assert not (names.NETNS / "x.client").is_symlink()


def test_a_namespace_that_is_no_link_of_ours_stays(tmp_path: Path) -> None:
    names.NETNS.mkdir()
    (names.NETNS / "x.client").write_text("made by ip netns add")
    names.publish([("x.client", 4711, 9, "")])
    names.retract("x.client", 4711, names.NETNS.parent)
    assert (names.NETNS / "x.client").read_text() == "made by ip netns add"


def test_files_for_etc_that_are_not_ours_stay() -> None:
    """ "Only links that point to where ours point are ever removed"."""
    foreign: Any = link(names.ETC_NETNS / "x.client", "/etc/somebody-elses")
    names.retract("x.client", 4711, names.NETNS.parent)
    assert foreign.is_symlink()
