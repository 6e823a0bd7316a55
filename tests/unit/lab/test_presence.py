"""A lab notices that its folder is gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import soon

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.lab.folders import rundir
from emulab.lab.supervisor.presence import Presence


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab's folder, with a socket in it."""
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "above" / "run"))
    path = rundir.make("x")
    with rundir.socket_path(path) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
    return path


def replace_folder(path: Path) -> None:
    path.rename(path.parent / "old")
    shutil.copytree(path.parent / "old" / "logs", path)


def replace_lock(path: Path) -> None:
    (path / "lock.new").write_bytes((path / "lock").read_bytes())
    (path / "lock.new").replace(path / "lock")


ENDS: dict[str, Callable[[Path], object]] = {
    "folder-removed": lambda path: os.system(f"rm -rf {path}"),
    "base-removed": lambda path: os.system(f"rm -rf {path.parent}"),
    "folder-moved": lambda path: path.rename(path.parent / "other"),
    "base-moved": lambda path: path.parent.rename(path.parent.parent / "other"),
    "above-moved": lambda path: path.parents[1].rename(path.parents[2] / "other"),
    "folder-replaced": replace_folder,
    "lock-removed": lambda path: (path / "lock").unlink(),
    "lock-replaced": replace_lock,
    "socket-removed": lambda path: (path / "control.sock").unlink(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("told", [True, False], ids=["inotify", "looking"])
async def test_a_folder_that_goes_is_noticed(
    end: Callable[[Path], object], told: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: int) -> int:
        raise KernelError("inotify_init1", errno=24)

    if not told:
        monkeypatch.setattr(libc, "inotify_init", refused)
    watching = asyncio.ensure_future(Presence(path).until_gone())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not watching.done()
    end(path)
    await soon(watching)


async def test_what_happens_in_it_is_no_end(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watching = asyncio.ensure_future(Presence(path).until_gone())
    await asyncio.sleep(0)
    rundir.write_info(path, rundir.LabInfo("x", 1, "t"))
    (path / "logs" / "a.log").write_text("")
    (path / "supervisor.log").write_text("")
    (path / "supervisor.log").unlink()
    (path.parent / "y").mkdir()
    (path.parent / "y").rename(path.parent / "z")
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert not watching.done()
    watching.cancel()
    await asyncio.wait([watching])
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_folder_that_is_gone_already(path: Path) -> None:
    shutil.rmtree(path)
    await soon(Presence(path).until_gone())
