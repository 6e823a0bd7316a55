"""The end of cgroups: a container's with its life, a lab's with the lab, however that ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from emulab.kernel.cgroups.cgroup import ENABLED, OURS
from emulab.kernel.cgroups.hierarchies import hierarchies, swept_folders

_PAUSE = 0.005


def remove(folders: Sequence[str], seconds: float = 1.0) -> bool:
    """Removes the cgroup of a container that has ended, and its pod's with the last container. Blocks.

    What it has left behind, where it isn't alone in its PID namespace, ends with it, as runc's `delete` sees to.
    Whether the cgroup is gone.
    """
    end = time.monotonic() + seconds
    while left := [folder for folder in folders if not _removed(folder)]:
        if time.monotonic() > end:
            return False
        _kill(left[0])
        time.sleep(_PAUSE)
    for folder in folders:
        _removed(os.path.dirname(folder))
    return True


def _kill(folder: str) -> None:
    with suppress(OSError):  # Linux 5.14
        Path(f"{folder}/cgroup.kill").write_text("1")
        return
    with suppress(OSError):
        for pid in Path(f"{folder}/cgroup.procs").read_text().split():
            if int(pid):  # else it is in a PID namespace that can't be seen from here
                os.kill(int(pid), signal.SIGKILL)


def remove_pod(lab: str, pod: str, seconds: float = 2.0) -> None:
    """Removes what a pod that is gone has left, where its processes were killed with it. Blocks.

    There may be another pod of its name already, whose cgroups have processes and stay.
    """
    paths = [path for top in hierarchies().folders if os.path.isdir(path := f"{top}/{OURS}/{lab}/{pod}")]
    end, pause = time.monotonic() + seconds, _PAUSE
    while paths:
        for path in paths:
            _remove_tree(path)
        paths = [path for path in paths if os.path.isdir(path)]
        if not paths or time.monotonic() > end:
            break
        time.sleep(pause)
        pause *= 2


def _removed(folder: str) -> bool:
    """Whether a cgroup is gone, after a try."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def sweep(lab: str, seconds: float = 1.0) -> None:
    """Removes the cgroups of a lab that is gone; its processes may still be on their way out. Blocks.

    Where processes stay, it is the lab of that name of another run directory that lives: all is left to that.
    """
    tops = [f"{folder}/{OURS}" for folder in swept_folders()]
    ours = [path for top in tops if os.path.isdir(path := f"{top}/{lab}")]
    end = time.monotonic() + seconds
    while ours:
        if not any(map(_is_populated, ours)):
            for path in ours:
                _remove_tree(path)
        ours = [path for path in ours if os.path.isdir(path)]
        if not ours or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    for top in tops:
        _remove_top(top)


def _remove_top(path: str) -> None:
    """Removes our topmost folder with the last lab, and takes back what was enabled above it."""
    try:
        enabled = os.getxattr(path, ENABLED).decode().split()
    except OSError:
        enabled = []
    if os.path.isdir(path) and _removed(path) and enabled:
        with suppress(OSError):  # somebody else has come to need it
            control = Path(path).parent / "cgroup.subtree_control"
            control.write_text(" ".join(f"-{name}" for name in enabled))


def _below(path: str) -> Iterable[str]:
    with suppress(OSError), os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return ()


def _remove_tree(path: str) -> None:
    for folder in _below(path):
        _remove_tree(folder)
    _removed(path)


def _is_populated(path: str) -> bool:
    """Whether there is a process in a cgroup or below it."""
    with suppress(OSError):  # version 2, cgroups(7)
        return "populated 1" in Path(f"{path}/cgroup.events").read_text().splitlines()
    with suppress(OSError):
        if Path(f"{path}/cgroup.procs").read_text():
            return True
    return any(map(_is_populated, _below(path)))
